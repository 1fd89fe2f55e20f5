//! The front door from outside: hand-made packets over real sockets against an application
//! whose log is a counter.

mod application;
mod connect;
mod hostile;
mod pressure;
mod publish;
mod session;
mod stop;
mod strain;
mod subscribe;
mod will;
mod wire;
