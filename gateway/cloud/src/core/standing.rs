//! How the bridge stands, and each gateway.

use super::Core;
use crate::alarms;
use crate::inbound::wall_ms;
use crate::publish;
use crate::status::Status;
use crate::store::Figures;
use replica::join::{Crossing, Gateway};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

impl Core {
    /// A gateway's status, as it is published and shown.
    pub fn gateway_status(&self, name: &str, gateway: &Gateway) -> Value {
        let (online, seen_ms) = self.presence.of(name);
        let mut status = publish::status(name, gateway, self.bridge.crossings.get(name).map(Arc::as_ref), online, seen_ms);
        publish::clock(&mut status, self.clocks.get(name).copied());
        publish::lacking(&mut status, self.bridge.lacking(gateway));
        if let Some(both) = self.speakers.conflict(name, Instant::now()) {
            let boots = gateway.boots.keys().filter(|boot| both.contains(&(**boot as u16)));
            status["conflict"] = boots.map(|boot| format!("{boot:016x}")).collect();
        }
        status
    }

    /// As it stands now.
    pub fn status(&self) -> Status {
        let mut sums = [0u64; 7];
        let gateways = self.bridge.gateways.iter().map(|(name, g)| {
            let mut status = self.gateway_status(name, g);
            if let Some(conflict) = self.conflicts.get(name) {
                status["shared_boot"] = conflict.json();
            }
            status["ledger"] = publish::ledger(g);
            for (sum, key) in sums.iter_mut().zip(["accepted", "delivered", "held", "shed", "local", "expired", "refused"]) {
                *sum = sum.saturating_add(status[key].as_u64().unwrap_or(0));
            }
            (name.clone(), status)
        });
        let gateways: serde_json::Map<String, Value> = gateways.collect();
        let stats = self.journal.stats();
        let room_s = stats.room.as_ref().ok().and_then(|room| self.rate.lasts_s(*room));
        let (dirty, waiting, cached, _) = self.bridge.sizes();
        let Figures { runs, live_windows, damaged } = self.store.figures();
        let behind = self.taken.0 - self.out.settle(self.taken.0).min(self.taken.0);
        let json = json!({
            "role": "cloud", "boot": format!("{:016x}", self.bridge.boot), "lsn": self.bridge.lsn,
            "gateways": gateways, "room_s": room_s,
            "series": self.bridge.series(), "expired": sums[5], "refused": sums[6].saturating_add(self.refused).saturating_add(self.out.refused()), "spoilt": self.bridge.spoilt,
            "windows": { "published": self.bridge.rounds_windows, "due": dirty, "waiting": waiting, "cached": cached,
                "in_runs": runs.1, "live_written": live_windows, "damaged_parts": damaged },
            "store": { "runs": runs.0, "run_bytes": runs.2 },
            "log": { "bytes": stats.used_bytes, "first": stats.first, "durable": stats.durable, "snapshots": self.journal.snapshots() },
            "broker_connected": self.out.is_connected(), "records_unpublished": behind,
        });
        let online = self.presence.online();
        let crossed = |of: fn(&Crossing) -> u64| self.bridge.crossings.values().map(|c| of(c)).sum::<u64>() as f64;
        let figures = vec![
            ("gateways", "gauge", "Gateways known.", self.bridge.gateways.len() as f64),
            ("gateways_online", "gauge", "Gateways that are online.", online as f64),
            (
                "gateways_conflicting",
                "gauge",
                "Gateways under whose name two processes live.",
                self.speakers.conflicts(Instant::now()) as f64,
            ),
            (
                "gateways_sharing_boot",
                "gauge",
                "Gateways of which two spoke under one boot, seen by this process.",
                self.conflicts.len() as f64,
            ),
            ("series", "gauge", "Series known.", self.bridge.series() as f64),
            ("readings_accepted_total", "counter", "Readings accepted by gateways, as far as known here.", sums[0] as f64),
            ("readings_delivered_total", "counter", "Readings durable here.", sums[1] as f64),
            ("readings_held", "gauge", "Readings still at gateways, as far as known here.", sums[2] as f64),
            ("readings_shed_total", "counter", "Readings given up by gateways and reported.", sums[3] as f64),
            ("readings_local_total", "counter", "Readings that stay at gateways.", sums[4] as f64),
            ("windows_published_total", "counter", "Revisions of merged windows published.", self.bridge.rounds_windows as f64),
            ("windows_expired_total", "counter", "Entries of windows that had ended too long ago to be merged.", sums[5] as f64),
            (
                "entries_refused_total",
                "counter",
                "Entries, definitions and alerts with impossible names, or beyond a bound.",
                sums[6] as f64,
            ),
            (
                "messages_refused_total",
                "counter",
                "Messages of gateways, and for them, that were not taken by this process.",
                (self.refused + self.out.refused()) as f64,
            ),
            ("windows_due", "gauge", "Merged windows that changed and are to be published.", dirty as f64),
            ("windows_incomplete", "gauge", "Published windows that wait for a gateway.", waiting as f64),
            ("windows_cached", "gauge", "Merged windows in memory.", cached as f64),
            ("windows_archived", "gauge", "Merged windows in runs.", runs.1 as f64),
            ("windows_archived_bytes", "gauge", "Bytes of runs.", runs.2 as f64),
            ("windows_damaged_total", "counter", "Parts of runs that were lost.", damaged as f64),
            ("bridge_up_total", "counter", "Ordinary messages taken from gateways.", crossed(|c| c.up)),
            ("bridge_down_total", "counter", "Ordinary messages taken by gateways.", crossed(|c| c.down)),
            ("bridge_waiting", "gauge", "Ordinary messages that wait for gateways.", crossed(|c| c.standing(wall_ms()).0)),
            ("bridge_given_up_total", "counter", "Ordinary messages for gateways given up for want of room.", crossed(|c| c.given_up)),
            ("bridge_expired_total", "counter", "Ordinary messages for gateways that were too old.", crossed(|c| c.standing(wall_ms()).2)),
            ("broker_connected", "gauge", "1 while the broker is there.", f64::from(u8::from(self.out.is_connected()))),
        ];
        let mut figures = figures;
        let alarms: Vec<_> = alarms::figures(&self.bridge).collect();
        figures.extend(replica::alarm::metrics(alarms.iter().map(|(_, figures)| figures)));
        let alarms = replica::alarm::metrics_by(alarms.iter().map(|(gateway, figures)| (gateway.as_str(), figures)));
        Status { json, figures, alarms }
    }
}
