//! The outbox, computed: what of a boot goes into its next interval (protocol §4).

use crate::fold::Fold;
use crate::outbox::{Before, BootPart};
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
    /// More waits behind it.
    pub cut: bool,
}

/// Pages that cannot be read: what they hold is lost, and no interval may pass over it before
/// the log says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub Vec<u64>);

/// The entries for the next interval of `part`, some `budget` of them: those born first, less
/// those that the cloud of boot `cloud_boot` is known to hold.
///
/// # Errors
/// [`Unreadable`], when pages of them are damaged.
pub fn content(fold: &Fold, part: &BootPart, cloud_boot: u64, budget: usize) -> Result<Content, Unreadable> {
    let (to, before) = fold.complete_to(part);
    let mut max = budget;
    loop {
        let batch = part.entries.oldest(&fold.shelf, part.floor(), cloud_boot, max);
        if !batch.unreadable.is_empty() {
            return Err(Unreadable(batch.unreadable));
        }
        let mut entries = batch.entries;
        let last_born = entries.last().map_or(0, |e| e.born);
        if !batch.more || last_born > to {
            // All that is covered is here.
            let late = entries.partition_point(|e| e.born <= to);
            let ahead = entries.split_off(late);
            return Ok(Content { to, before, entries, ahead, cut: batch.more });
        }
        let first_born = entries.first().map_or(0, |e| e.born);
        if let Some((&born, &stood)) = batch.steps.range(first_born + 1..=last_born).next_back() {
            entries.truncate(entries.partition_point(|e| e.born < born));
            return Ok(Content { to: born - 1, before: stood, entries, ahead: Vec::new(), cut: true });
        }
        // Pages overlap so much that an interval can end nowhere among these.
        max *= 2;
    }
}
