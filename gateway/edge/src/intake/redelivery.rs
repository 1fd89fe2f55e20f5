//! Which readings come again (contract §3).

use broker::Publish;
use hashbrown::HashSet;
use replica::session::Redelivery;

/// What a session sent lately, and which of it may come again without a DUP flag.
#[derive(Default)]
pub struct Memory {
    recent: Redelivery,
    /// Packet ids that the client may hold unacknowledged since it came back, until it uses
    /// each again. Clients exist that resend what was in flight without DUP (rumqttc 0.25), and
    /// at QoS 2 publish anew what they had released already (paho 2.x, when the first attempt
    /// to come back fails).
    in_doubt: HashSet<u16>,
}

impl Memory {
    /// Of a session that the log remembers.
    pub fn of(recent: Redelivery) -> Self {
        Self { recent, in_doubt: HashSet::new() }
    }

    /// The client is back: an acknowledgement that we sent may not have reached it.
    pub fn resumed(&mut self) {
        self.in_doubt = self.recent.packet_ids().collect();
    }

    /// Whether a timed message is a redelivery (contract §3): one with DUP whose readings
    /// are all known, or the first use of a packet id in doubt for the very readings that came
    /// under it before.
    pub fn is_redelivery(&mut self, publish: &Publish<'_>, readings: &[(u32, i64, f64)]) -> bool {
        let in_doubt = !self.in_doubt.is_empty() && self.in_doubt.remove(&publish.packet_id);
        (publish.dup && readings.iter().all(|(s, t, v)| self.recent.knows(*s, *t, *v)))
            || (in_doubt && readings.iter().all(|(s, t, v)| self.recent.knows_under(publish.packet_id, *s, *t, *v)))
    }

    /// A message was taken.
    pub fn remember(&mut self, packet_id: u16, readings: &[(u32, i64, f64)]) {
        for (series, time_ms, value) in readings {
            self.recent.remember(packet_id, *series, *time_ms, *value);
        }
    }
}
