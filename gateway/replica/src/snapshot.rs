//! The fold as of record N ↔ bytes.
//!
//! Everything that the log before N would give again, and nothing that is only known for
//! now (what the cloud is believed to hold is not in it). Restored and folded on, the state
//! is bit-identical to one that never stopped. Pages are named in it, not repeated: so what a
//! snapshot takes does not grow with what is held.

#[cfg(test)]
mod tests;

use crate::crossing::Crossing;
use crate::error::Error;
use crate::fold::{Fold, FoldConfig, Open, Series, Undated, is_zero};
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::machine::{Machine, Machines};
use crate::outbox::page::name_of;
use crate::outbox::{Acknowledged, AlertPage, Alerts, Before, BootPart, Entries, EntryName, Fork, MarkPage, Marks, Page, Sealed, Telling};
use crate::session::Sessions;
use detect::Watch;
use detect::alarm::Annunciator;
use schemas::message::{Act, AlertBody};
use schemas::{DecodeError, cbor, pack};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// Entries in one block, so that a decoder's bounds hold.
const BLOCK_ENTRIES_MAX: usize = 4_096;

// CBOR's keys are the positions of the fields: what is written and what is read have them in
// the same order. What was added later comes last, with a default.

#[derive(Serialize)]
struct View<'a> {
    format: u32,
    lsn: u64,
    clock_ms: i64,
    config: &'a FoldConfig,
    series: Vec<SeriesView<'a>>,
    boots: Vec<BootView<'a>>,
    sessions: &'a Sessions,
    duplicates: u64,
    refused: &'a BTreeMap<u8, u64>,
    orphaned: u64,
    quarantined: u64,
    shown: u64,
    fresh: &'a [(u64, AlertBody)],
    open: SavedEntries,
    machines: &'a [Machine],
    pages_last: u64,
    page_entries: u64,
    alarms: &'a Annunciator,
    #[serde(skip_serializing_if = "Crossing::is_unused")]
    crossing: &'a Crossing,
    unheard: bool,
    page_marks: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    undated: &'a [Undated],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shadowed: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    lost_alerts: u64,
    #[serde(skip_serializing_if = "is_zero")]
    clamped: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    behind: &'a BTreeMap<u64, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    alerts_unheld: u64,
}

#[derive(Deserialize)]
struct Saved {
    format: u32,
    lsn: u64,
    clock_ms: i64,
    config: FoldConfig,
    series: Vec<SavedSeries>,
    boots: Vec<SavedBoot>,
    sessions: Sessions,
    duplicates: u64,
    refused: BTreeMap<u8, u64>,
    orphaned: u64,
    quarantined: u64,
    shown: u64,
    fresh: Vec<(u64, AlertBody)>,
    open: SavedEntries,
    /// Since fold version 2.
    #[serde(default)]
    machines: Vec<Machine>,
    #[serde(default)]
    pages_last: u64,
    #[serde(default)]
    page_entries: u64,
    #[serde(default)]
    alarms: Annunciator,
    #[serde(default)]
    crossing: Crossing,
    #[serde(default)]
    unheard: bool,
    /// Pages of marks once had as many as those of entries.
    #[serde(default)]
    page_marks: u64,
    #[serde(default)]
    undated: Vec<Undated>,
    #[serde(default)]
    shadowed: BTreeMap<String, u64>,
    #[serde(default)]
    lost_alerts: u64,
    #[serde(default)]
    clamped: u64,
    #[serde(default)]
    behind: BTreeMap<u64, u64>,
    #[serde(default)]
    alerts_unheld: u64,
}

#[derive(Serialize)]
struct SeriesView<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    watch: &'a Watch,
    leaves: bool,
    last: Option<(i64, f64)>,
}

#[derive(Deserialize)]
struct SavedSeries {
    name: String,
    unit: Option<String>,
    watch: Watch,
    leaves: bool,
    last: Option<(i64, f64)>,
}

#[derive(Serialize)]
struct BootView<'a> {
    boot: u64,
    parent: Option<(u64, u64)>,
    base: u64,
    end: u64,
    ended: bool,
    clock_ms: i64,
    readings: u64,
    local: u64,
    applied: u64,
    readings_applied: u64,
    shed: u64,
    damaged: u64,
    complete_from: u64,
    alerts: &'a VecDeque<(AlertBody, Before)>,
    entries: SavedEntries,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    pages: &'a [Page],
    damage: &'a [(u64, u64)],
    shed_to: u64,
    marks: &'a [MarkPage],
    readings_from: u64,
    acts: &'a VecDeque<(u64, Act, Before)>,
    offered: u64,
    sizes_ms: &'a [i64],
    grace_ms: i64,
    cloud_boot: u64,
    hash: u64,
    hash_applied: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    forked: Option<Fork>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    holed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    alert_pages: &'a [AlertPage],
}

#[derive(Deserialize)]
struct SavedBoot {
    boot: u64,
    parent: Option<(u64, u64)>,
    base: u64,
    end: u64,
    ended: bool,
    clock_ms: i64,
    readings: u64,
    local: u64,
    applied: u64,
    readings_applied: u64,
    shed: u64,
    damaged: u64,
    complete_from: u64,
    alerts: VecDeque<(AlertBody, Before)>,
    entries: SavedEntries,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    pages: Vec<Page>,
    #[serde(default)]
    damage: Vec<(u64, u64)>,
    #[serde(default)]
    shed_to: u64,
    #[serde(default)]
    marks: Vec<MarkPage>,
    #[serde(default)]
    readings_from: u64,
    #[serde(default)]
    acts: VecDeque<(u64, Act, Before)>,
    /// A program that noted nothing may have sent anything.
    #[serde(default = "anything")]
    offered: u64,
    /// A program that kept none took the living boot's for all.
    #[serde(default)]
    sizes_ms: Option<Vec<i64>>,
    #[serde(default)]
    grace_ms: i64,
    #[serde(default)]
    cloud_boot: u64,
    #[serde(default)]
    hash: u64,
    #[serde(default)]
    hash_applied: u64,
    #[serde(default)]
    forked: Option<Fork>,
    #[serde(default)]
    holed: bool,
    #[serde(default)]
    alert_pages: Vec<AlertPage>,
}

fn anything() -> u64 {
    u64::MAX
}

/// Entries as blocks, with what a block does not carry beside them.
#[derive(Serialize, Deserialize, Default)]
struct SavedEntries {
    blocks: Vec<Vec<u8>>,
    extra: Vec<(EntryName, Before, i64, i64)>,
}

impl SavedEntries {
    fn of<'a>(entries: impl Iterator<Item = (EntryName, u64, Before, i64, i64, &'a Aggregate)>) -> Self {
        let mut saved = Self::default();
        let mut block_entries = Vec::new();
        for (name, version, before, birth_ms, change_ms, aggregate) in entries {
            let EntryName { born, series, size_ms, start_ms } = name;
            saved.extra.push((name, before, birth_ms, change_ms));
            block_entries.push(Entry { series, size_ms, start_ms, born, version, aggregate: aggregate.clone() });
            if block_entries.len() == BLOCK_ENTRIES_MAX {
                saved.blocks.push(block::encode(&block_entries));
                block_entries.clear();
            }
        }
        if !block_entries.is_empty() {
            saved.blocks.push(block::encode(&block_entries));
        }
        saved
    }

    fn restore(self, mut each: impl FnMut(EntryName, u64, Before, i64, i64, Aggregate)) -> Result<(), DecodeError> {
        let mut extra = self.extra.into_iter();
        for bytes in &self.blocks {
            // A block has its entries in an order of its own.
            let entries = block::decode(bytes, BLOCK_ENTRIES_MAX)?;
            let mut aggregates: HashMap<EntryName, (u64, Aggregate)> =
                entries.into_iter().map(|e| (name_of(&e), (e.version, e.aggregate))).collect();
            for (name, before, birth_ms, change_ms) in extra.by_ref().take(aggregates.len()) {
                let (version, aggregate) = aggregates.remove(&name).ok_or(DecodeError::Invalid("entry without aggregate"))?;
                each(name, version, before, birth_ms, change_ms, aggregate);
            }
        }
        if extra.next().is_some() { Err(DecodeError::Invalid("entry without aggregate")) } else { Ok(()) }
    }
}

impl Fold {
    /// The state as bytes, the pages that it names aside.
    pub fn save(&self) -> Vec<u8> {
        let open = self.series.iter().flat_map(|s| &s.open);
        let view = View {
            format: 1,
            lsn: self.lsn,
            clock_ms: self.clock_ms,
            config: &self.config,
            series: self.series.iter().map(view_series).collect(),
            boots: self.boots.iter().map(view_boot).collect(),
            sessions: &self.sessions,
            duplicates: self.duplicates,
            refused: &self.refused,
            orphaned: self.orphaned,
            quarantined: self.quarantined,
            shown: self.shown,
            fresh: &self.fresh,
            open: SavedEntries::of(open.map(|o| (o.name, o.version, o.before, o.birth_ms, o.change_ms, &o.aggregate))),
            machines: &self.machines.all,
            pages_last: self.shelf.last,
            page_entries: self.shelf.page_entries as u64,
            alarms: &self.alarms,
            crossing: &self.crossing,
            unheard: self.unheard,
            page_marks: self.shelf.page_marks as u64,
            undated: &self.undated,
            clamped: self.clamped,
            behind: &self.behind,
            alerts_unheld: self.alerts_unheld,
            shadowed: &self.shadowed,
            lost_alerts: self.lost_alerts,
        };
        pack::compress(&cbor::to_vec(&view))
    }

    /// Numbers of the pages that the state names, which must be kept as long as it is.
    pub fn pages(&self) -> Vec<u64> {
        let entries = self.boots.iter().flat_map(|p| p.entries.pages()).map(|page| page.id);
        let marks = self.boots.iter().flat_map(|p| p.marks.pages()).map(|page| page.id);
        let alerts = self.boots.iter().flat_map(|p| p.alerts.pages()).map(|page| page.id);
        let mut ids: Vec<u64> = entries.chain(marks).chain(alerts).collect();
        ids.sort_unstable();
        ids
    }

    /// The state of [`Fold::save`].
    ///
    /// # Errors
    /// [`Error::Snapshot`] for bytes that it did not write.
    pub fn restore(bytes: &[u8]) -> Result<Fold, Error> {
        restore(bytes).map_err(Error::Snapshot)
    }
}

fn view_series(s: &Series) -> SeriesView<'_> {
    let Series { name, unit, watch, leaves, last, .. } = s;
    SeriesView { name, unit: unit.as_deref(), watch, leaves: *leaves, last: *last }
}

fn view_boot(p: &BootPart) -> BootView<'_> {
    BootView {
        boot: p.boot,
        parent: p.parent,
        base: p.base,
        end: p.end,
        ended: p.ended,
        clock_ms: p.clock_ms,
        readings: p.readings,
        local: p.local,
        applied: p.logged.applied,
        readings_applied: p.logged.readings,
        shed: p.logged.shed,
        damaged: p.damaged,
        complete_from: p.complete_from,
        alerts: &p.alerts.tail,
        entries: SavedEntries::of(p.entries.young().map(|(n, s)| (*n, s.version, s.before, 0, 0, &s.aggregate))),
        group: p.group.as_deref(),
        pages: p.entries.pages(),
        damage: &p.damage,
        shed_to: p.shed_to,
        marks: p.marks.pages(),
        readings_from: p.readings_from,
        acts: &p.acts,
        offered: p.offered,
        sizes_ms: &p.sizes_ms,
        grace_ms: p.grace_ms,
        cloud_boot: p.logged.cloud_boot,
        hash: p.hash,
        hash_applied: p.logged.hash,
        forked: p.forked,
        holed: p.holed,
        alert_pages: p.alerts.pages(),
    }
}

fn restore(bytes: &[u8]) -> Result<Fold, DecodeError> {
    let plain = pack::decompress(bytes, SNAPSHOT_BYTES_MAX)?;
    let saved: Saved = cbor::from_slice(&plain, SNAPSHOT_BYTES_MAX)?;
    if saved.format != 1 {
        return Err(DecodeError::Invalid("snapshot format"));
    }
    let detection = &saved.config.detection;
    let series = |s: SavedSeries| Series {
        maintained: detection.maintained(&s.name),
        name: s.name,
        unit: s.unit,
        watch: s.watch,
        watch_at: i64::MAX,
        open: Vec::new(),
        leaves: s.leaves,
        last: s.last,
    };
    let series = saved.series.into_iter().map(series).collect();
    let mut fold = Fold {
        lsn: saved.lsn,
        clock_ms: saved.clock_ms,
        kept_ms: telemetry::window::kept(&saved.config.sizes_ms),
        config: saved.config,
        series,
        sessions: saved.sessions,
        duplicates: saved.duplicates,
        refused: saved.refused,
        orphaned: saved.orphaned,
        quarantined: saved.quarantined,
        shown: saved.shown,
        fresh: saved.fresh,
        machines: Machines::restore(saved.machines),
        alarms: saved.alarms,
        crossing: saved.crossing,
        unheard: saved.unheard,
        undated: saved.undated,
        clamped: saved.clamped,
        behind: saved.behind,
        alerts_unheld: saved.alerts_unheld,
        shadowed: saved.shadowed,
        lost_alerts: saved.lost_alerts,
        ..Fold::default()
    };
    fold.shelf.last = saved.pages_last;
    fold.shelf.set_page_alerts(fold.config.page_alerts);
    if saved.page_entries > 0 {
        fold.shelf.set_page_entries(usize::try_from(saved.page_entries).unwrap_or(usize::MAX));
        fold.shelf.page_marks = match usize::try_from(saved.page_marks).unwrap_or(0) {
            0 => fold.shelf.page_entries,
            marks => marks.min(fold.shelf.page_entries),
        };
    }
    for b in saved.boots {
        let mut part = BootPart {
            boot: b.boot,
            parent: b.parent,
            base: b.base,
            end: b.end,
            ended: b.ended,
            clock_ms: b.clock_ms,
            readings: b.readings,
            local: b.local,
            applied: b.applied,
            readings_applied: b.readings_applied,
            shed: b.shed,
            damaged: b.damaged,
            complete_from: b.complete_from.max(b.applied),
            // The first programs said nothing of it, and had let go of all that was applied.
            readings_from: if b.complete_from < b.applied { b.readings_applied } else { b.readings_from },
            group: b.group,
            logged: Acknowledged {
                applied: b.applied,
                readings: b.readings_applied,
                shed: b.shed,
                cloud_boot: b.cloud_boot,
                hash: b.hash_applied,
            },
            entries: Entries::of_pages(b.pages),
            damage: b.damage,
            shed_to: b.shed_to,
            marks: Marks::of_pages(b.marks),
            alerts: Alerts { tail: b.alerts, pages: b.alert_pages },
            acts: b.acts,
            offered: b.offered,
            grace_ms: if b.sizes_ms.is_some() { b.grace_ms } else { fold.config.grace_ms },
            sizes_ms: b.sizes_ms.unwrap_or_else(|| fold.config.sizes_ms.clone()),
            cloud_boot: b.cloud_boot,
            hash: b.hash,
            hash_applied: b.hash_applied,
            forked: b.forked,
            holed: b.holed,
            telling: Telling::Goes,
        };
        let shelf = &mut fold.shelf;
        b.entries.restore(|name, version, before, _, _, aggregate| {
            part.entries.insert(name, Sealed { version, before, aggregate }, shelf);
        })?;
        fold.boots.push(part);
    }
    let mut stray = false;
    let places = &mut fold.series;
    saved.open.restore(|name, version, before, birth_ms, change_ms, aggregate| match places.get_mut(name.series as usize) {
        Some(series) => series.open.push(Open { name, version, before, birth_ms, change_ms, aggregate }),
        None => stray = true,
    })?;
    if stray {
        return Err(DecodeError::Invalid("open entry of an unknown series"));
    }
    fold.schedule_all();
    fold.rests_ms = fold.config.detection.maintenance_after(fold.clock_ms);
    Ok(fold)
}
