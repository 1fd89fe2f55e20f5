//! The urgent lane: an alert is logged as it arrives, and shown and receipted as soon as it is
//! durable, whatever backlog of intervals is still to be joined.
//!
//! The fold sees it later, in its order, and remains the truth of what was told. Of an alert that
//! both have, only the first shows it ([`Urgent::claim`]). An alert that needs a closer look goes
//! the way of all messages: of a boot that the fold does not know yet, of an alarm that people
//! have put aside here and whose gateway does not know that yet, or one too many.

use crate::known::Known;
use crate::outbound::Outbound;
use hashbrown::HashMap;
use journal::Refused;
use parking_lot::Mutex;
use replica::alarm::SHOWN;
use replica::alert::topic_and_json;
use replica::join::series::valid_name;
use replica::join::{Bridge, Gateway, Part};
use replica::limits::ALERTS_AHEAD_MAX;
use replica::record::Record;
use role::alarms::path;
use schemas::message::{AlertBody, AlertUp, FORMAT, Receipt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tracing::warn;

/// An alert's place in its boot: the record and which of its alerts.
type Place = (u64, u32);

/// How far an alert beyond `applied` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the log, not durable yet.
    Logged,
    /// Durable; whether it is shown is the fold's to say.
    Durable,
    /// Shown, with the messages of this record, while consumers were waited for.
    Early(u64),
    /// Shown, with the messages of this record.
    Shown(u64),
}

/// A boot, as far as this lane must know it.
#[derive(Default)]
struct Boot {
    applied: u64,
    ahead: BTreeMap<Place, Stage>,
}

impl Boot {
    /// As the fold knows it, which has shown what it remembers.
    fn of(part: &Part) -> Self {
        let ahead = part.alerts.iter().map(|place| (*place, Stage::Shown(0))).collect();
        Self { applied: part.applied, ahead }
    }
}

#[derive(Default)]
struct State {
    /// By gateway and boot: those that speak, and those with alerts ahead of their intervals.
    boots: HashMap<String, BTreeMap<u64, Boot>>,
    /// In the log and not durable, in its order.
    flying: VecDeque<(u64, String, AlertBody)>,
    /// Records of this lane that the fold has not seen.
    logged: VecDeque<u64>,
    /// Receipts for what was durable before it came.
    owed: Vec<(String, Receipt)>,
    /// Consumers are waited for: what is shown now, not all of them see.
    is_early: bool,
}

/// Alerts on their way past the fold.
pub struct Urgent {
    /// Held while a message is shown, so that the cursor cannot pass one that is claimed and not
    /// given yet; never across a sync.
    state: Mutex<State>,
    known: Arc<Known>,
    /// The cloud's boot, which receipts name.
    cloud_boot: u64,
    /// Rung when a receipt is owed.
    wake: Notify,
}

impl Urgent {
    /// A lane that knows no boot yet.
    pub fn new(known: Arc<Known>, cloud_boot: u64) -> Self {
        Self { state: Mutex::default(), known, cloud_boot, wake: Notify::new() }
    }

    /// The fold as a start finds it. What it knows ahead was shown, or is by now. While consumers
    /// are waited for, what this lane shows is for the fold to show again.
    pub fn resume(&self, bridge: &Bridge, is_early: bool) {
        let mut state = self.state.lock();
        state.is_early = is_early;
        for (name, gateway) in &bridge.gateways {
            let boots = gateway.boots.iter().filter(|(boot, part)| **boot == gateway.boot || !part.alerts.is_empty());
            let boots = boots.map(|(boot, part)| (*boot, Boot::of(part)));
            state.boots.insert(name.clone(), boots.collect());
        }
    }

    /// All consumers see what is shown from here on.
    pub fn audience_is_back(&self) {
        self.state.lock().is_early = false;
    }

    /// Takes a gateway's alert: logs it with `log`, unless it is known. False where it is not for
    /// this lane to do so.
    pub fn take(&self, gateway: &str, bytes: &[u8], log: impl FnOnce(&Record<'_>) -> Result<u64, Refused>) -> bool {
        let Ok(AlertUp { alert, .. }) = AlertUp::decode(bytes) else { return false };
        let place = (alert.seq, alert.ordinal);
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(boot) = state.boots.get_mut(gateway).and_then(|boots| boots.get_mut(&alert.boot)) else { return false };
        match boot.ahead.get(&place) {
            // Its receipt follows.
            Some(Stage::Logged) => return true,
            None if place.0 > boot.applied => {}
            _ => {
                state.owed.push((gateway.to_owned(), self.receipt(&alert)));
                self.wake.notify_one();
                return true;
            }
        }
        if boot.ahead.len() >= ALERTS_AHEAD_MAX || !valid_name(&alert.series) || alert.value.is_nan() {
            return false;
        }
        match log(&Record::AlertUp { gateway, bytes }) {
            Ok(lsn) => {
                boot.ahead.insert(place, Stage::Logged);
                state.logged.push_back(lsn);
                state.flying.push_back((lsn, gateway.to_owned(), alert));
            }
            Err(refused) => warn!(%refused, "an alert is not taken; the gateway sends it again"),
        }
        true
    }

    fn receipt(&self, alert: &AlertBody) -> Receipt {
        Receipt { format: FORMAT, boot: alert.boot, seq: alert.seq, ordinal: alert.ordinal, cloud_boot: self.cloud_boot }
    }

    /// Shows and receipts what is durable, until the log ends.
    pub async fn run(&self, mut horizon: watch::Receiver<journal::Horizon>, out: Outbound) {
        loop {
            let durable = horizon.borrow_and_update().durable;
            self.release(durable, &out);
            tokio::select! {
                changed = horizon.changed() => if changed.is_err() {
                    return;
                },
                () = self.wake.notified() => {}
            }
        }
    }

    fn release(&self, durable: u64, out: &Outbound) {
        let mut state = self.state.lock();
        let is_early = state.is_early;
        for (gateway, receipt) in state.owed.drain(..) {
            out.answer(receipt_topic(&gateway), receipt.encode());
        }
        while state.flying.front().is_some_and(|(lsn, ..)| *lsn <= durable) {
            let Some((lsn, gateway, alert)) = state.flying.pop_front() else { return };
            let boot = state.boots.get_mut(&gateway).and_then(|boots| boots.get_mut(&alert.boot));
            // One that is gone was covered by an interval, which has shown it.
            if let Some(stage) = boot.and_then(|boot| boot.ahead.get_mut(&(alert.seq, alert.ordinal)))
                && *stage == Stage::Logged
            {
                *stage = Stage::Durable;
                if self.is_plain(&gateway, &alert) {
                    *stage = if is_early { Stage::Early(lsn) } else { Stage::Shown(lsn) };
                    let (topic, json) = topic_and_json(&gateway, &alert);
                    out.publish_urgent(lsn, topic, json);
                }
            }
            out.answer(receipt_topic(&gateway), self.receipt(&alert).encode());
        }
    }

    /// Whether it is shown without a look at the alarm that it belongs to.
    fn is_plain(&self, gateway: &str, alert: &AlertBody) -> bool {
        let is_held = alert.alarm.as_ref().is_some_and(|note| note.held != SHOWN);
        let name = (alert.series.clone(), alert.kind.clone());
        !is_held && !self.known.read().get(&path(gateway, &name)).is_some_and(|known| known.is_aside)
    }

    /// The fold shows an alert with the messages of record `lsn`: whether that is still to be
    /// done. Otherwise the cursor must not pass this record before that message is taken. One that
    /// was shown early is, unless consumers are still waited for: it is withheld for them then.
    pub fn claim(&self, lsn: u64, gateway: &str, alert: &AlertBody, out: &Outbound) -> bool {
        let mut state = self.state.lock();
        let is_early = state.is_early;
        let Some(boot) = state.boots.get_mut(gateway).and_then(|boots| boots.get_mut(&alert.boot)) else { return true };
        match boot.ahead.insert((alert.seq, alert.ordinal), Stage::Shown(lsn)) {
            Some(Stage::Early(_)) if !is_early => true,
            Some(Stage::Early(shown) | Stage::Shown(shown)) => {
                out.hold_cursor(shown, lsn);
                false
            }
            _ => true,
        }
    }

    /// Whether a record that the fold has seen came by this lane, which has receipted it.
    pub fn has_logged(&self, lsn: u64) -> bool {
        let mut state = self.state.lock();
        while state.logged.front().is_some_and(|at| *at < lsn) {
            state.logged.pop_front();
        }
        let is_first = state.logged.front() == Some(&lsn);
        if is_first {
            state.logged.pop_front();
        }
        is_first
    }

    /// The fold has heard of a gateway.
    pub fn folded(&self, name: &str, gateway: &Gateway) {
        let mut state = self.state.lock();
        let boots = state.boots.entry_ref(name).or_default();
        // Alerts may have gone through the fold before this lane knew their boot.
        boots.entry(gateway.boot).or_insert_with(|| gateway.boots.get(&gateway.boot).map(Boot::of).unwrap_or_default());
        boots.retain(|boot, known| {
            let applied = gateway.boots.get(boot).map_or(0, |part| part.applied);
            if applied > known.applied {
                known.applied = applied;
                known.ahead = known.ahead.split_off(&(applied + 1, 0));
            }
            *boot == gateway.boot || !known.ahead.is_empty()
        });
    }
}

/// Where a gateway hears that an alert is durable.
pub fn receipt_topic(gateway: &str) -> String {
    format!("bridge/v1/{gateway}/down/receipt")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::known::Standing;
    use crate::outbound::Outbox;
    use rumqttc::{AsyncClient, MqttOptions};

    const BOOT: u64 = 7;

    /// The alert of record `seq` of that boot.
    pub(crate) fn alert(seq: u64) -> AlertBody {
        AlertBody {
            boot: BOOT,
            seq,
            ordinal: 0,
            series: "s".into(),
            severity: 1,
            kind: "high".into(),
            state: 0,
            time_ms: 0,
            value: 1.0,
            limit: None,
            unit: None,
            message: String::new(),
            score: None,
            baseline: None,
            alarm: None,
            contributors: Vec::new(),
        }
    }

    struct Bench {
        urgent: Urgent,
        outbox: Arc<Outbox>,
        out: Outbound,
        gateway: Gateway,
    }

    impl Bench {
        fn new() -> Self {
            let (client, _) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
            let outbox = Arc::new(Outbox::new(client));
            let mut gateway = Gateway::new(0);
            gateway.boot = BOOT;
            gateway.boots.insert(BOOT, Part::default());
            let urgent = Urgent::new(Arc::default(), 1);
            urgent.folded("plant-a", &gateway);
            Self { urgent, out: Outbound::Existing(outbox.clone()), outbox, gateway }
        }

        /// A gateway sends an alert; whether it is logged, and whether it is receipted at once.
        fn send(&self, seq: u64, lsn: u64) -> (bool, bool) {
            let bytes = AlertUp { format: FORMAT, alert: alert(seq) }.encode();
            let mut logged = false;
            let taken = self.urgent.take("plant-a", &bytes, |_| {
                logged = true;
                Ok(lsn)
            });
            assert!(taken);
            (logged, self.urgent.state.lock().owed.pop().is_some())
        }

        fn applied(&mut self, applied: u64) {
            self.gateway.change(BOOT, |part| part.applied = applied);
            self.urgent.folded("plant-a", &self.gateway);
        }
    }

    #[test]
    fn an_alert_is_shown_once_by_lane_or_fold() {
        let mut b = Bench::new();
        assert_eq!((b.send(5, 10), b.send(5, 11)), ((true, false), (false, false)), "repeated before it is durable");
        assert_eq!(b.outbox.waiting(), 0);
        b.urgent.release(9, &b.out);
        assert_eq!(b.outbox.waiting(), 0, "nothing that is not durable is shown");
        b.urgent.release(10, &b.out);
        assert_eq!((b.outbox.waiting(), b.send(5, 12)), (1, (false, true)), "repeated: only the receipt was lost");
        assert!(!b.urgent.claim(10, "plant-a", &alert(5), &b.out));
        assert!(b.urgent.has_logged(10) && !b.urgent.has_logged(11));
        // The fold comes to one first, by an interval before it in the log.
        assert_eq!(b.send(6, 14), (true, false));
        assert!(b.urgent.claim(13, "plant-a", &alert(6), &b.out));
        b.urgent.release(14, &b.out);
        assert_eq!(b.outbox.waiting(), 1);
        // What an interval has covered is receipted, and not logged again.
        b.applied(6);
        assert_eq!((b.send(5, 15), b.send(6, 15), b.send(7, 15)), ((false, true), (false, true), (true, false)));
        assert!(b.urgent.claim(20, "plant-b", &alert(1), &b.out), "of others the fold alone decides");
    }

    #[test]
    fn what_was_shown_before_all_consumers_were_back_is_shown_again() {
        let b = Bench::new();
        b.urgent.state.lock().is_early = true;
        for seq in [5, 6] {
            b.send(seq, seq);
        }
        b.urgent.release(6, &b.out);
        assert_eq!(b.outbox.waiting(), 2, "at once to those who are there");
        assert!(!b.urgent.claim(5, "plant-a", &alert(5), &b.out), "withheld by the fold");
        b.urgent.audience_is_back();
        assert!(b.urgent.claim(6, "plant-a", &alert(6), &b.out), "the fold came to it too late to withhold it");
        b.send(7, 7);
        b.urgent.release(7, &b.out);
        assert!(!b.urgent.claim(7, "plant-a", &alert(7), &b.out));
    }

    #[test]
    fn what_the_fold_showed_before_this_lane_knew_the_boot_is_not_shown_again() {
        let mut b = Bench::new();
        b.gateway.boot = BOOT - 1;
        b.urgent.folded("plant-a", &b.gateway);
        let bytes = AlertUp { format: FORMAT, alert: alert(5) }.encode();
        assert!(!b.urgent.take("plant-a", &bytes, |_| Ok(1)), "it goes the way of all messages");
        b.gateway.boot = BOOT;
        b.gateway.change(BOOT, |part| {
            part.applied = 3;
            part.alerts.insert((5, 0));
        });
        b.urgent.folded("plant-a", &b.gateway);
        assert_eq!(b.send(5, 2), (false, true), "a receipt is all that it still lacks");
        assert_eq!(b.send(6, 3), (true, false));
    }

    #[test]
    fn the_cursor_waits_for_what_was_shown_before_its_record_was_folded() {
        let b = Bench::new();
        b.send(5, 10);
        b.urgent.release(10, &b.out);
        // An interval at record 8 tells the same alert; the broker does not have it yet.
        assert!(!b.urgent.claim(8, "plant-a", &alert(5), &b.out));
        assert_eq!(b.out.settle(9), 7);
    }

    #[test]
    fn what_was_put_aside_is_left_to_the_fold() {
        let b = Bench::new();
        b.urgent.known.write().insert("plant-a/s/high".into(), Standing { is_aside: true, is_full: false });
        b.send(5, 10);
        b.urgent.release(10, &b.out);
        assert_eq!((b.outbox.waiting(), b.send(5, 11)), (0, (false, true)));
        assert!(b.urgent.claim(10, "plant-a", &alert(5), &b.out));
    }

    #[test]
    fn unknown_boots_and_what_does_not_decode_go_the_way_of_all_messages() {
        let b = Bench::new();
        let log = |_: &Record<'_>| -> Result<u64, Refused> { panic!("not logged") };
        let other = AlertUp { format: FORMAT, alert: AlertBody { boot: 8, ..alert(1) } }.encode();
        let nameless = AlertUp { format: FORMAT, alert: AlertBody { series: "#".into(), ..alert(1) } }.encode();
        for (gateway, bytes) in [("plant-a", &other[..]), ("plant-a", &nameless), ("plant-a", b"x"), ("plant-b", &other)] {
            assert!(!b.urgent.take(gateway, bytes, log));
        }
    }
}
