//! The next interval, computed from the fold, what was acknowledged, and what is under way.

use super::flight::{self, Flight};
use super::pieces::{Piece, Told};
use super::{Out, Uplink};
use crate::fold::Fold;
use crate::hash;
use crate::interval::{self, Content, Unreadable};
use crate::lane;
use crate::limits::{ENTRY_BYTES_GUESS, HEALING_PAUSE_MS, IDLE_FRONTIER_MS, INTERVAL_BYTES_MAX, INTERVAL_ENTRIES_MAX, OFFER_RECORDS};
use crate::outbox::page::name_of;
use crate::outbox::{Before, BootPart, EntryName, Fate, MarkPage, Telling};
use crate::record::Refusal;
use schemas::message::{Act, AlertBody, Definition, Delta, FORMAT, READS, ShedMark, Tally};
use telemetry::block;
use telemetry::entry::Entry;

/// Bytes of a mark on the line, at most.
const MARK_WIRE_BYTES_MAX: usize = 72;

/// Boots that are asked about at once: others have their turn beside.
const ASKED_AT_ONCE: usize = 2;

/// What an interval is to say.
#[derive(Default)]
struct Plan {
    from: u64,
    /// The running hash of the log there.
    hash_from: u64,
    to: u64,
    before: Before,
    entries: Vec<Entry>,
    ahead: Vec<Entry>,
    /// Both encoded.
    blocks: (Vec<u8>, Vec<u8>),
    alerts: Vec<AlertBody>,
    named: Vec<(u64, u32)>,
    acts: Vec<Act>,
    marks: Vec<ShedMark>,
    mark_pages: Vec<u64>,
    /// It carries a part of what one record made, and nothing else.
    piece: Option<Piece>,
    /// Open windows among those ahead, and the series at which the next ones begin.
    previews: (Vec<(EntryName, u64)>, usize),
    /// Bytes of alerts and acts, before compression.
    told_bytes: usize,
    /// More waits behind it.
    is_cut: bool,
}

impl Plan {
    fn encoded(mut self) -> Self {
        self.blocks = (block::encode(&self.entries), block::encode(&self.ahead));
        self
    }

    /// Whether it says nothing but what holds back others.
    fn is_empty(&self) -> bool {
        let nothing = self.entries.is_empty() && self.ahead.is_empty() && self.marks.is_empty();
        self.to == self.from && self.is_cut && nothing && self.alerts.is_empty() && self.named.is_empty() && self.acts.is_empty()
    }
}

impl Uplink {
    /// The next interval, when there is something to say, or what must be offered before.
    pub(super) fn interval(&mut self, now_ms: i64, living: &Fold) -> Option<Out> {
        let most = self.entries_max();
        if let Some(part) = living.boots.iter().find(|p| self.asks(p))
            && living.boots.iter().filter(|p| self.flights.asks(p.boot)).count() < ASKED_AT_ONCE
        {
            return Some(Out::Delta(self.ask(now_ms, living, part)));
        }
        let every_ms = if living.is_healing() { self.settings.every_ms.min(HEALING_PAUSE_MS) } else { self.settings.every_ms };
        let Some(fold) = living.outbox() else {
            self.next_ms = now_ms.saturating_add(every_ms);
            return None;
        };
        let part = fold.boots.iter().find(|p| self.worth(living, fold, p));
        let waiting: usize = fold.boots.iter().map(|p| p.entries.len()).sum();
        if (waiting > most || living.is_healing())
            && self.look_ms <= now_ms
            && self.share.is_newest_next()
            && let Some(out) = self.newest(now_ms, living, most)
        {
            return Some(out);
        }
        let Some(part) = part else {
            self.next_ms = now_ms.saturating_add(every_ms);
            return None;
        };
        // What the living state knows to be offered: the second one lags.
        let offered = living.boots.iter().find(|p| p.boot == part.boot).unwrap_or(part);
        if let Some(offer) = self.offer(offered) {
            return Some(offer);
        }
        let mut wanted = most;
        let plan = loop {
            match self.covering(fold, part, wanted).map(Plan::encoded) {
                // However large entries are, and names of series: what is too long is never taken.
                Ok(plan) if wanted > 1 && self.bytes(fold, part, &plan) > INTERVAL_BYTES_MAX => wanted /= 2,
                Ok(plan) => break plan,
                Err(Unreadable(pages)) => {
                    self.unreadable = pages;
                    // What is lost of a record changes the places of the others.
                    self.pieces.forget();
                    self.next_ms = now_ms.saturating_add(every_ms);
                    return None;
                }
            }
        };
        if !part.ended && plan.piece.is_none() {
            self.frontier_ms = plan.before.clock_ms;
        }
        self.preview_at = plan.previews.1;
        if plan.is_empty() && self.cloud_boot != 0 {
            // What is under way must be answered first.
            self.stalled = true;
            self.next_ms = now_ms.saturating_add(self.settings.every_ms);
            return None;
        }
        self.previewed.extend(plan.previews.0.iter().copied());
        self.previewed.retain(|name, _| name.born > part.applied);
        self.share.went(false, plan.entries.len() + plan.ahead.len());
        self.next_ms = if plan.is_cut || part.ended { now_ms } else { now_ms.saturating_add(every_ms) };
        Some(Out::Delta(self.send(now_ms, living, fold, part, plan)))
    }

    /// What must be in the log before anything of a boot goes: what goes may arrive, and the
    /// fold must know that it may have, whatever becomes of this process.
    fn offer(&mut self, part: &BootPart) -> Option<Out> {
        if part.offered >= part.end {
            return None;
        }
        let born = if part.ended { part.end } else { part.end.saturating_add(OFFER_RECORDS) };
        self.offering = Some((part.boot, born));
        Some(Out::Offer(part.boot, born))
    }

    /// Whether it is not known if the present cloud has all of a boot that is over: nothing else
    /// would ever be said of it. Asked first, as what a cloud lost is told again in one go, and counts as held from there on.
    fn asks(&self, part: &BootPart) -> bool {
        // One with something left to say says with it that it is over.
        let is_told = part.ended && part.forked.is_none() && part.applied >= part.end;
        is_told && self.cloud_boot != 0 && part.cloud_boot != self.cloud_boot && !self.flights.asks(part.boot)
    }

    /// An interval that begins beyond everything changes nothing, and is answered with `applied`.
    fn ask(&mut self, now_ms: i64, living: &Fold, part: &BootPart) -> Delta {
        let before = Before { readings: part.readings, clock_ms: part.clock_ms, hash: hash::UNKNOWN };
        let plan = Plan { from: u64::MAX, to: u64::MAX, before, is_cut: true, ..Plan::default() };
        self.send(now_ms, living, living, part, plan)
    }

    /// Entries that one interval carries, by what the connection bore so far and by the budget.
    fn entries_max(&self) -> usize {
        let by_budget = self.budget.slice().saturating_mul(16) / self.entry_bytes.max(16);
        let by_aim = self.flights.aim / ENTRY_BYTES_GUESS.max(self.entry_bytes / 16);
        by_aim.min(by_budget).clamp(1, INTERVAL_ENTRIES_MAX)
    }

    /// Whether an interval about `part` would tell the cloud anything that is not under way.
    fn worth(&self, living: &Fold, fold: &Fold, part: &BootPart) -> bool {
        let (told, readings, _) = self.flights.told(part);
        let own = living.boots.iter().find(|p| p.boot == part.boot);
        if own.is_some_and(|p| p.forked.is_some()) {
            return false;
        }
        if part.telling == Telling::Silent {
            return false;
        }
        if part.ended || part.telling == Telling::Ends {
            return told < part.end || self.has_marks(part, part.end);
        }
        let (to, before) = fold.complete_to(part);
        // What is let go of here, the cloud must come to have.
        let let_go = own.filter(|_| living.is_healing()).map_or(0, |p| p.complete_from);
        if self.has_marks(part, to) || told < let_go.min(to) {
            return true;
        }
        self.has_entries(fold, part, told)
            || part.alerts.has(told, to)
            || part.acts.iter().any(|(seq, ..)| *seq > told && *seq <= to)
            || readings < before.readings
            || (to == part.end
                && told < to
                && (before.clock_ms - self.frontier_ms >= IDLE_FRONTIER_MS || fold.ends.passed(self.frontier_ms, before.clock_ms)))
            || (self.settings.preview && self.shows(fold))
    }

    /// Whether marks born at or before `to` are neither counted nor under way.
    fn has_marks(&self, part: &BootPart, to: u64) -> bool {
        part.marks.pages().iter().any(|page| page.born.0 <= to && self.fate(part, page) == Fate::Goes)
    }

    /// What becomes of a page of marks in the next interval.
    fn fate(&self, part: &BootPart, page: &MarkPage) -> Fate {
        let goes_before = || self.flights.marks_go_before(part.boot, page.id, page.born.0, part.applied);
        if part.marks.is_counted(self.cloud_boot, page) || goes_before() {
            Fate::Done
        } else if self.flights.carries_marks(part.boot, page.id) || (self.cloud_boot == 0 && page.told != 0) {
            // Until the cloud says who it is, what another boot of it has counted is not repeated.
            Fate::Waits
        } else {
            Fate::Goes
        }
    }

    /// Whether there is a sealed entry that the cloud lacks, as far as we know, and that is not under way.
    fn has_entries(&self, fold: &Fold, part: &BootPart, told: u64) -> bool {
        // More than are under way beyond what is told: one of them must be new.
        let most = self.flights.beyond(part.boot, told) + 1;
        let batch = part.entries.oldest(&fold.shelf, told.max(part.floor()), self.cloud_boot, most);
        !batch.unreadable.is_empty() || batch.entries.iter().any(|e| !self.flights.carries(part.boot, &name_of(e), e.version))
    }

    /// The newest windows of the living boot, ahead of a backlog.
    fn newest(&mut self, now_ms: i64, fold: &Fold, most: usize) -> Option<Out> {
        let part = fold.current().filter(|p| p.forked.is_none())?;
        if let Some(offer) = self.offer(part) {
            return Some(offer);
        }
        let windows = lane::windows_of(fold.series.len(), &fold.kept_ms, self.settings.every_ms);
        let sent = |name: &EntryName, version: u64| self.flights.carries(part.boot, name, version);
        let room = part.entries.held_room().saturating_sub(self.flights.beyond(part.boot, part.applied));
        let ahead = lane::newest(fold, part, self.cloud_boot, windows, most.min(room), sent);
        if ahead.is_empty() {
            self.share.newest_rest();
            self.look_ms = now_ms.saturating_add(self.settings.every_ms / 4);
            return None;
        }
        // It claims nothing: whatever becomes of what is under way, it is taken.
        let (from, hash_from) = (part.applied, part.hash_applied);
        let before = Before { readings: part.readings_applied, clock_ms: 0, hash: hash_from };
        let mut plan = Plan { from, hash_from, to: from, before, ahead, is_cut: true, ..Plan::default() }.encoded();
        while plan.ahead.len() > 1 && self.bytes(fold, part, &plan) > INTERVAL_BYTES_MAX {
            plan.ahead.truncate(plan.ahead.len() / 2);
            plan = plan.encoded();
        }
        self.share.went(true, plan.ahead.len());
        Some(Out::Delta(self.send(now_ms, fold, fold, part, plan)))
    }

    /// The interval that goes on from what is told.
    fn covering(&self, fold: &Fold, part: &BootPart, most: usize) -> Result<Plan, Unreadable> {
        let (from, readings, hash_from) = self.flights.told(part);
        if self.flights.carries_piece(part.boot) {
            let before = Before { readings, clock_ms: part.clock_ms, hash: hash_from };
            return Ok(Plan { from, hash_from, to: from, before, is_cut: true, ..Plan::default() });
        }
        let packs = self.reads & READS != 0;
        // Packed, a mark takes about a third of an entry, and else nearly twice as much.
        let marks_max = if packs { 2 * most } else { most / 2 };
        let Content { mut to, mut before, mut entries, mut ahead, marks, mark_pages, cut: mut is_cut } =
            interval::content(fold, part, from, self.cloud_boot, (most, marks_max), |page| self.fate(part, page))?;
        ahead.retain(|e| !self.flights.carries(part.boot, &name_of(e), e.version));
        if part.boot == self.settings.boot && self.cloud_boot != 0 && self.chain.is_followed(part.boot) {
            // Taken only behind what is under way, this one needs nothing that goes there.
            entries.retain(|e| !self.flights.carries(part.boot, &name_of(e), e.version));
        }
        // What cannot be remembered would go again and again.
        ahead.truncate(part.entries.held_room().saturating_sub(self.flights.beyond(part.boot, from)));
        let room = if packs { 2 * self.flights.aim } else { self.flights.aim };
        let is_heard = |alert: &AlertBody| packs && self.urgent.is_heard(self.cloud_boot, alert);
        let told = Told::of(part, &fold.shelf, (from, to), self.pieces.had(part.boot), room, is_heard)?;
        let Told { alerts, named, acts, bytes: told_bytes, cut, piece } = told;
        if let Some((end, stood)) = cut {
            (to, before, is_cut) = (end, stood, true);
        }
        if piece.is_some() {
            return Ok(Plan { from, hash_from, to, before, alerts, named, acts, piece, told_bytes, is_cut, ..Plan::default() });
        }
        // Those behind the alerts that had no place follow with them.
        entries.truncate(entries.partition_point(|e| e.born <= to));
        let mut previews = (Vec::new(), 0);
        if self.settings.preview && !part.ended && part.telling == Telling::Goes {
            let room = most.saturating_sub(entries.len() + ahead.len());
            let open = self.preview(fold, room);
            previews = (open.0.iter().map(|e| (name_of(e), e.version)).collect(), open.1);
            is_cut |= open.1 > 0;
            ahead.extend(open.0);
        }
        if to < from {
            // What a clone told for us: nothing new below, entries ahead all the same.
            (to, before.readings, before.hash) = (from, readings, hash_from);
        }
        let blocks = Default::default();
        Ok(Plan {
            from,
            hash_from,
            to,
            before,
            entries,
            ahead,
            blocks,
            alerts,
            named,
            acts,
            marks,
            mark_pages,
            piece,
            previews,
            told_bytes,
            is_cut,
        })
    }

    /// Whether there are open windows that may be shown and were not, as they are.
    fn shows(&self, fold: &Fold) -> bool {
        let waits = fold.undated_series();
        let open = fold.series.iter().flat_map(|s| &s.open).filter(|open| !waits.contains(&open.name.series));
        open.into_iter().any(|open| self.previewed.get(&open.name) != Some(&open.version))
    }

    /// Open windows that were not shown as they are, so many at most, and the series at which the
    /// next ones begin; 0 once all series had their turn.
    fn preview(&self, fold: &Fold, most: usize) -> (Vec<Entry>, usize) {
        let (mut out, waits) = (Vec::new(), fold.undated_series());
        for (number, series) in fold.series.iter().enumerate().skip(self.preview_at) {
            if waits.contains(&(number as u32)) {
                continue;
            }
            if out.len() + series.open.len() > most && (most == 0 || !out.is_empty()) {
                return (out, number);
            }
            for open in series.open.iter().filter(|open| self.previewed.get(&open.name) != Some(&open.version)) {
                let EntryName { born, series, size_ms, start_ms } = open.name;
                out.push(Entry { series, size_ms, start_ms, born, version: open.version, aggregate: open.aggregate.clone() });
            }
        }
        (out, 0)
    }

    /// Series of a plan that the cloud may not know, by number.
    fn definitions(&self, part: &BootPart, plan: &Plan) -> Vec<u32> {
        let known = self.defined.get(&part.boot);
        let is_new = |s: &u32| known.is_none_or(|k| !k.contains(s)) && !self.flights.defines(part.boot, *s);
        let numbers = plan.entries.iter().chain(&plan.ahead).map(|e| e.series).chain(plan.marks.iter().map(|m| m.series));
        let mut definitions: Vec<u32> = numbers.filter(is_new).collect();
        definitions.sort_unstable();
        definitions.dedup();
        definitions
    }

    /// Bytes that a plan takes as a message, about and at most.
    fn bytes(&self, fold: &Fold, part: &BootPart, plan: &Plan) -> usize {
        let definitions = self.definitions(part, plan);
        let texts = definitions.iter().filter_map(|n| fold.series.get(*n as usize));
        let texts: usize = texts.map(|s| s.name.len() + s.unit.as_ref().map_or(0, String::len) + 16).sum();
        let rest = texts + plan.marks.len() * MARK_WIRE_BYTES_MAX + plan.told_bytes;
        rest + plan.blocks.0.len() + plan.blocks.1.len()
    }

    fn send(&mut self, now_ms: i64, living: &Fold, fold: &Fold, part: &BootPart, plan: Plan) -> Delta {
        let definitions = self.definitions(part, &plan);
        let Plan { from, hash_from, to, before, entries, ahead, blocks, alerts, named, acts, marks, mark_pages, piece, .. } = plan;
        self.number = self.number.wrapping_add(1);
        let number = flight::number(self.number, living.current().map_or(hash::UNKNOWN, |p| p.hash));
        let is_living = part.boot == self.settings.boot && from != u64::MAX;
        let after = if is_living { self.flights.last(part.boot).unwrap_or(self.chain.taken()) } else { 0 };
        if is_living {
            self.chain.send(number);
        }
        let (complete_from, readings_from) = living.gap_to(part.boot);
        // A past that is told again may end where a boot does, and not have come to the next: that it is over is said
        // with its last records, or never.
        let is_over = |p: &BootPart| p.boot == part.boot && p.ended && p.end == to;
        let ended = is_over(part) || living.boots.iter().any(is_over);
        let defs = definitions.iter().filter_map(|n| {
            let series = fold.series.get(*n as usize)?;
            Some(Definition { number: *n, name: series.name.clone(), unit: series.unit.clone() })
        });
        let delta = Delta {
            format: FORMAT,
            boot: part.boot,
            from,
            to,
            cloud_boot: self.cloud_boot,
            number,
            frontier_ms: before.clock_ms,
            ended,
            readings_to: before.readings,
            accepted: part.readings,
            local: part.local,
            complete_from,
            defs: defs.collect(),
            entries: blocks.0,
            ahead: blocks.1,
            alerts,
            marks,
            sizes: part.sizes_ms.clone(),
            grace_ms: part.grace_ms,
            acts,
            group: part.group.clone(),
            // Who sends it looks at the clock.
            sent_ms: 0,
            clock: 0,
            // One that ended may speak for another disk's counts by now.
            tally: (!part.ended).then(|| tally(living)).flatten(),
            lost: part.lost_to(to),
            readings_from,
            hash_from,
            hash_to: before.hash,
            after,
            past: !part.ended && living.current().is_some_and(|p| p.boot != part.boot),
            more: Vec::new(),
            holed: part.holed,
            // What is let go of here, a cloud had.
            again: living.boots.iter().any(|p| p.boot == part.boot && from < p.complete_from),
            named,
            packs: self.reads & READS != 0,
        };
        self.flights.push(Flight {
            number,
            boot: part.boot,
            cloud_boot: self.cloud_boot,
            asks: from == u64::MAX,
            from,
            to,
            readings: before.readings,
            hash: before.hash,
            names: names(&entries),
            ahead: names(&ahead),
            mark_pages,
            definitions,
            piece,
            sent_ms: now_ms,
            bytes: 0,
        });
        delta
    }
}

/// Names with their versions, in order: what is under way is looked up in them.
fn names(list: &[Entry]) -> Vec<(EntryName, u64)> {
    let mut names: Vec<_> = list.iter().map(|e| (name_of(e), e.version)).collect();
    names.sort_unstable();
    names
}

/// What was not taken as a reading, if there is any such thing.
fn tally(fold: &Fold) -> Option<Tally> {
    let refused = Refusal::ALL.map(|reason| fold.refused.get(&(reason as u8)).copied().unwrap_or(0));
    (fold.duplicates > 0 || refused != [0; Refusal::ALL.len()]).then(|| Tally { duplicates: fold.duplicates, refused: refused.to_vec() })
}
