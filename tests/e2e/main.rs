//! The built binary as processes, on free loopback ports: what was sent is compared with what came out.

mod journey;
mod plant;
