//! The outbox, computed: what of a boot goes into its next interval (protocol §4).

use crate::fold::Fold;
use crate::limits::INTERVAL_ENTRIES_MAX;
use crate::outbox::{Before, BootPart, Fate, MarkPage};
use schemas::message::ShedMark;
use telemetry::entry::Entry;

/// What an interval carries of a boot's entries.
#[derive(Debug)]
pub struct Content {
    /// Its end: every record up to here is in.
    pub to: u64,
    /// Where the log stood there.
    pub before: Before,
    /// Entries born at or before `to`, in order of their births.
    pub entries: Vec<Entry>,
    /// Entries born later.
    pub ahead: Vec<Entry>,
    /// Marks of entries that were given up: all that were born at or before `to` and are neither
    /// counted nor told before.
    pub marks: Vec<ShedMark>,
    /// Pages of these marks.
    pub mark_pages: Vec<u64>,
    /// More waits behind it.
    pub cut: bool,
}

/// Pages that cannot be read: what they hold is lost, and no interval may pass over it before
/// the log says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub Vec<u64>);

/// Entries and marks for the next interval `(from, to]` of `part`, so many of them alone or both in
/// proportion: those born first, less those that the cloud of boot `cloud_boot` is known to
/// hold. `fate` says what becomes of a page of marks.
///
/// An interval may build on another that is still under way, and is then only taken if the cloud
/// got that far. But it may have got there by another way (a clone of this disk), with less in an
/// entry than is here. So of what is under way only that is left out whose version `from` covers; the
/// rest, too, is left out by who knows that the cloud takes an interval only behind the one before it.
///
/// # Errors
/// [`Unreadable`], when pages of them are damaged.
pub fn content(
    fold: &Fold,
    part: &BootPart,
    from: u64,
    cloud_boot: u64,
    (entries_max, marks_max): (usize, usize),
    fate: impl Fn(&MarkPage) -> Fate,
) -> Result<Content, Unreadable> {
    let (mut to, mut before) = fold.complete_to(part);
    let marked = part.marks.oldest(&fold.shelf, to, marks_max, fate);
    if !marked.unreadable.is_empty() {
        return Err(Unreadable(marked.unreadable));
    }
    let (marks, mark_pages) = (marked.marks, marked.pages);
    let is_marked = marked.next_born.is_some();
    if let Some(born) = marked.next_born {
        // Where no step is known, these marks go without anything new; the next ones follow.
        let step = marked.steps.range(..=born).next_back();
        (to, before) = step.map_or((0, Before::default()), |(born, stood)| (born - 1, *stood));
        if to <= from {
            return Ok(Content { to: 0, before, entries: Vec::new(), ahead: Vec::new(), marks, mark_pages, cut: true });
        }
    }
    let mut max = entries_max.saturating_sub(marks.len().saturating_mul(entries_max) / marks_max.max(1)).max(1);
    loop {
        let batch = part.entries.oldest(&fold.shelf, from.max(part.floor()), cloud_boot, max);
        if !batch.unreadable.is_empty() {
            return Err(Unreadable(batch.unreadable));
        }
        let mut entries = batch.entries;
        let last_born = entries.last().map_or(0, |e| e.born);
        // One record can open more than a block takes.
        let fits = entries.len() <= INTERVAL_ENTRIES_MAX || part.entries.held_room() == 0;
        if fits && (!batch.more || last_born > to) {
            // All that is covered is here.
            let late = entries.partition_point(|e| e.born <= to);
            let mut ahead = entries.split_off(late);
            if is_marked {
                // Their turn comes with the next marks: ahead of them they would have to be remembered.
                ahead.clear();
            }
            return Ok(Content { to, before, entries, ahead, marks, mark_pages, cut: is_marked || batch.more });
        }
        // It must get on: what was born before and goes again is no progress.
        let first_born = entries.first().map_or(0, |e| e.born).max(from + 1);
        let steps = batch.steps.range(first_born + 1..last_born.min(to + 1).max(first_born) + 1).map(|(born, stood)| (*born, *stood));
        if let Some((born, stood)) = best_cut(&entries, steps) {
            entries.truncate(entries.partition_point(|e| e.born < born));
            return Ok(Content { to: born - 1, before: stood, entries, ahead: Vec::new(), marks, mark_pages, cut: true });
        }
        if !fits {
            // They go ahead, until few are left.
            entries.truncate(if is_marked { 0 } else { entries_max });
            return Ok(Content { to: 0, before, entries: Vec::new(), ahead: entries, marks, mark_pages, cut: true });
        }
        // Pages overlap so much that an interval can end nowhere among these.
        max *= 2;
    }
}

/// The birth before which an interval best ends: late, and where few entries have grown since,
/// as those may go again with the interval that builds on it.
fn best_cut(entries: &[Entry], steps: impl Iterator<Item = (u64, Before)>) -> Option<(u64, Before)> {
    let mut versions: Vec<u64> = entries.iter().map(|e| e.version).collect();
    versions.sort_unstable();
    let worth = |born: u64| {
        let carried = entries.partition_point(|e| e.born < born) as i64;
        // Whatever ended before that birth was born before it.
        let settled = versions.partition_point(|v| *v < born) as i64;
        3 * settled - 2 * carried
    };
    let half = entries.get(entries.len() / 2).map_or(0, |e| e.born);
    let steps: Vec<(u64, Before)> = steps.collect();
    let late = steps.partition_point(|(born, _)| *born <= half).min(steps.len().saturating_sub(1));
    steps.get(late..)?.iter().copied().max_by_key(|(born, _)| (worth(*born), *born))
}
