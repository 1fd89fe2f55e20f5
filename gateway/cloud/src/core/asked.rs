//! What people ask for about alarms at an existing broker.

use super::Core;
use crate::alarms;
use replica::alarm::Body;
use replica::record::Record;
use tokio::runtime::Handle as Runtime;

impl Core {
    /// Nobody waits for the answer: what it changes is published.
    pub(super) fn asked(&mut self, generation: u64, publish: rumqttc::Publish, path: &str, body: &Body, runtime: &Runtime) {
        if !self.out.is_open(generation) {
            return;
        }
        match alarms::target(path, &self.bridge) {
            Ok(target) => {
                let request = target.request(rand::random(), body);
                let logged = self.log(&Record::AskedAt { gateway: target.gateway, request }, runtime);
                self.logged(logged, generation, publish);
            }
            Err(why) => {
                complain!(self, "what was asked about an alarm is refused", alarm = path, %why);
                self.refused += 1;
                self.out.acknowledge(generation, &publish);
            }
        }
    }
}
