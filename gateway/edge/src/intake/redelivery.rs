//! Which messages come again (contract §3).

use broker::Publish;
use replica::session::{Redelivery, messages_max};

/// What a session sent lately, and which of it may come again without a DUP flag.
#[derive(Default)]
pub struct Memory {
    recent: Redelivery,
    /// Packet ids that the client may hold unacknowledged since it came back, until it uses
    /// each again. Clients exist that resend what was in flight without DUP (rumqttc 0.25), and
    /// at QoS 2 publish anew what they had released already (paho 2.x, when the first attempt
    /// to come back fails). In order: after a restart every session has as many as it is remembered by.
    in_doubt: Vec<u16>,
    /// Where the last that came again was.
    near: usize,
}

impl Memory {
    /// Of a session that the log remembers.
    pub fn of(recent: Redelivery) -> Self {
        Self { recent, ..Self::default() }
    }

    /// The client is back: an acknowledgement that we sent may not have reached it, unless it
    /// had said goodbye in order.
    pub fn resumed(&mut self) {
        self.in_doubt = self.recent.packet_ids().collect();
        self.in_doubt.sort_unstable();
        self.in_doubt.dedup();
        self.in_doubt.shrink_to_fit();
    }

    /// The client said goodbye when it had been sent all acknowledgements: it knows of them.
    pub fn settled(&mut self) {
        self.recent.settle();
        self.in_doubt = Vec::new();
    }

    /// Whether a timed message, its readings with the time that was sent, is a redelivery
    /// (contract §3): at QoS 1 one with DUP whose readings are all known; at either QoS the
    /// first use of a packet id in doubt for the very readings that came under it before. At QoS 2
    /// it is the received packet ids that tell: what comes under a free one is new, DUP or not,
    /// since the first copy may have been lost on its way.
    pub fn is_redelivery(&mut self, publish: &Publish<'_>, readings: &[(u32, i64, f64)]) -> bool {
        let place = self.in_doubt.binary_search(&publish.packet_id);
        let in_doubt = place.is_ok_and(|at| self.in_doubt.remove(at) == publish.packet_id);
        (publish.dup && publish.qos == 1 && self.recent.knows(&mut self.near, readings.iter().copied()))
            || (in_doubt && self.recent.knows_under(publish.packet_id, readings.iter().copied()))
    }

    /// A message was taken at that logged time, in one of so many sessions.
    pub fn remember(&mut self, packet_id: u16, now_ms: i64, sessions: usize, readings: &[(u32, i64, f64)]) {
        self.recent.remember(packet_id, now_ms, messages_max(sessions), readings.iter().copied());
    }
}
