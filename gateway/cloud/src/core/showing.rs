//! What durable records make consumers see: answers, alerts, rounds, statuses; and the cursor behind it.

use super::Core;
use crate::alarms;
use crate::error::CoreError;
use crate::inbound::wall_ms;
use crate::limits::{ROUND_MS, STATUS_MS};
use crate::publish;
use crate::urgent::receipt_topic;
use replica::alert::topic_and_json;
use replica::join::Effects;
use replica::record::Record;
use schemas::message::AlertBody;
use tracing::{info, warn};

impl Core {
    /// What follows from a durable record.
    pub fn effects(&mut self, lsn: u64, mut effects: Effects) {
        let publishes = effects.publishes();
        let urgent = &self.door.urgent;
        if let Some((gateway, receipt)) = effects.receipt.take().filter(|_| !urgent.has_logged(lsn)) {
            self.out.answer(receipt_topic(&gateway), receipt.encode());
        }
        let is_claimed = |(gateway, body): &(String, AlertBody)| urgent.claim(lsn, gateway, body, &self.out);
        let shown = if self.audience.is_awaited() {
            // At once to those who are there, and again when all are.
            effects.alerts.iter().filter(|alert| is_claimed(alert)).cloned().collect()
        } else {
            effects.alerts.retain(is_claimed);
            std::mem::take(&mut effects.alerts)
        };
        self.alert_all(lsn, &shown);
        if let Some((name, gateway)) = effects.gateway.as_ref().and_then(|name| self.bridge.gateways.get_key_value(name)) {
            urgent.folded(name, gateway);
        }
        if let Some((gateway, ack)) = effects.cross_ack.take() {
            self.out.answer(format!("bridge/v1/{gateway}/down/cross-ack"), ack.encode());
        }
        if let Some((gateway, ack)) = effects.ack.take() {
            self.ack(&gateway, ack);
        }
        if let Some((gateway, command)) = effects.command.take() {
            self.out.answer(format!("bridge/v1/{gateway}/down/command"), command.encode());
        }
        self.alarms.changed(lsn, &effects.alarms, &self.bridge, &self.known, &self.out);
        if let Some(gateway) = effects.gateway.take() {
            self.changed.entry(gateway).or_insert_with(wall_ms);
        }
        if self.audience.is_awaited() {
            if publishes {
                self.withheld.push((lsn, effects));
            }
            return;
        }
        self.publish(lsn, effects);
        if publishes {
            self.taken.0 = lsn;
        }
    }

    fn alert_all(&self, lsn: u64, alerts: &[(String, AlertBody)]) {
        for (gateway, body) in alerts {
            let (topic, json) = topic_and_json(gateway, body);
            self.out.publish_urgent(lsn, topic, json);
        }
    }

    /// What a record makes that a broker must take.
    pub(super) fn publish(&self, lsn: u64, effects: Effects) {
        self.alert_all(lsn, &effects.alerts);
        for message in effects.crossed {
            self.out.forward(lsn, message);
        }
        for merged in &effects.merged {
            let (topic, json) = publish::merged(merged);
            self.out.publish(lsn, topic, json, merged.newest);
        }
        for (series, size_ms) in &effects.cleared {
            self.out.publish(lsn, publish::merged_topic(series, *size_ms), String::new(), true);
        }
    }

    /// Logs a round when there is something to publish, and the cursor behind the last one.
    pub(super) fn round(&mut self) {
        let now_ms = self.door.now_ms();
        if now_ms - self.round_ms < ROUND_MS || self.round_logged {
            return;
        }
        self.round_ms = now_ms;
        self.late_hellos();
        if self.bridge.round_due(now_ms) && !self.out.is_behind() && !self.audience.is_awaited() {
            self.round_logged = self.door.log(&Record::Round).is_ok();
        }
        // What comes off the shelf does so by the logged clock, and messages for gateways are too old by it.
        let is_behind = self.bridge.alarms.due_ms().is_some_and(|at| at <= now_ms && self.bridge.clock_ms < at);
        let goes_on = now_ms.div_euclid(1_000) > self.bridge.clock_ms.div_euclid(1_000);
        if is_behind || (goes_on && self.bridge.crossings_due_ms() <= now_ms) {
            // Full, it is tried again with the next round.
            let _ = self.door.log(&Record::Tick);
        }
        self.cursor(false);
    }

    /// Logs up to where messages were taken, when that moved.
    pub(super) fn cursor(&mut self, last: bool) {
        if self.audience.is_awaited() {
            return;
        }
        let taken = self.out.settle(self.taken.0);
        if taken > self.taken.1 {
            match self.door.log(&Record::Cursor { lsn: taken }) {
                Ok(_) => self.taken.1 = taken,
                Err(refused) if last => warn!(%refused, "messages may be repeated after the next start"),
                Err(_) => {}
            }
        }
    }

    /// Looks who has fallen silent, and shows the statuses that are due.
    pub(super) fn watch(&mut self, is_idle: bool) {
        let clock_ms = self.clock_ms();
        if clock_ms - self.looked_ms < STATUS_MS / 4 {
            return;
        }
        // While messages wait here, nobody is silent: they are heard of late. But not for ever.
        if is_idle || clock_ms - self.looked_ms > STATUS_MS {
            self.looked_ms = clock_ms;
            self.rate.look(self.journal.stats().bytes_written, self.began.elapsed());
            for gateway in self.presence.lost() {
                info!(gateway, "offline");
                if let Some((pace, _)) = self.carried.get_mut(&gateway) {
                    pace.disconnected();
                }
                self.changed.insert(gateway, 0);
            }
            self.show_statuses();
            let presence = &self.presence;
            self.alarms.pass_on(self.door.now_ms(), &mut self.bridge, &self.out, |gateway| presence.of(gateway).0);
            self.alarms.show_kpi(&self.bridge, &self.out);
        }
    }

    fn show_statuses(&mut self) {
        let now_ms = wall_ms();
        let due: Vec<String> =
            self.changed.iter().filter(|(_, at)| !(0..STATUS_MS).contains(&(now_ms - **at))).map(|(g, _)| g.clone()).collect();
        for name in due {
            self.changed.remove(&name);
            let Some(gateway) = self.bridge.gateways.get(&name) else { continue };
            let json = self.gateway_status(&name, gateway).to_string();
            self.out.publish(self.bridge.lsn, publish::status_topic(&name), json, true);
        }
    }

    /// Everything that is retained, once more.
    pub(super) fn anew(&mut self) -> Result<(), CoreError> {
        let (lsn, out) = (self.bridge.lsn, self.out.clone());
        self.bridge.newest(|merged| {
            let (topic, json) = publish::merged(&merged);
            out.publish(lsn, topic, json, true);
        })?;
        alarms::all(&self.bridge, &self.known, |topic, payload| self.out.publish(lsn, topic, payload, true));
        self.changed = self.bridge.gateways.keys().map(|name| (name.clone(), 0)).collect();
        Ok(())
    }
}
