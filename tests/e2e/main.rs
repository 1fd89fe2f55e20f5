//! The built binary as processes, on free loopback ports: what was sent is compared with what came out.

mod absent;
mod alarms;
mod apart;
mod audience;
mod backlog;
mod bridge;
mod bytes;
mod clock;
mod crash;
mod demo;
mod disk;
mod existing;
mod flash;
mod foreign;
mod fork;
mod front;
mod gateway;
mod group;
mod healing;
mod hostile;
mod ingest;
mod journey;
mod limit;
mod link;
mod namespace;
mod outage;
mod pages;
mod pause;
mod plant;
mod presence;
mod recording;
mod series;
mod shed;
mod skew;
mod slow;
mod soak;
/// How busy the machine is, as the front door's own tests look at it.
#[path = "../../gateway/broker/tests/front_door/strain.rs"]
mod strain;
mod truth;
mod uplink;
mod why;
/// The client made by hand that the front door's own tests use.
#[path = "../../gateway/broker/tests/front_door/wire.rs"]
#[allow(dead_code, reason = "not every word of it is needed here")]
mod wire;
