//! What is given up first when there is no room (protocol §4): of the oldest boot that holds
//! anything, whole entries, lowest version first; never alerts, nor what people did.
//!
//! What is given up leaves a mark each. In an outage without end these too have a bound: beyond
//! it the oldest lose their names, as far as the cloud can have nothing of them.
//!
//! An entry that is still open keeps all of higher versions: else it would be sealed among
//! those that are gone already.

use crate::fold::Fold;

/// Boot and version up to which to give up, so that pages of some `bytes` go; `None` when no
/// page is left that could go.
pub fn oldest(fold: &Fold, bytes: u64) -> Option<(u64, u64)> {
    fold.boots.iter().find_map(|part| {
        let sealed_to = fold.sealed_to(part.boot);
        let living = part.entries.pages().iter().filter(|page| page.version.1 > part.floor() && page.version.0 <= sealed_to);
        let mut pages: Vec<(u64, u64)> = living.map(|page| (page.version.1, u64::from(page.bytes))).collect();
        pages.sort_unstable();
        let mut sum = 0;
        let enough = pages.iter().find(|(_, size)| {
            sum += size;
            sum >= bytes
        });
        let (version, _) = enough.or(pages.last())?;
        Some((part.boot, *version.min(&sealed_to))).filter(|(_, version)| *version > part.floor())
    })
}

/// Boot and birth up to which marks lose their names, so that pages of some `keep_bytes` stay;
/// `None` while there are no more, and when the others must keep theirs.
pub fn nameless(fold: &Fold, keep_bytes: u64) -> Option<(u64, u64)> {
    let all: u64 = fold.boots.iter().map(|part| part.marks.bytes()).sum();
    let excess = all.checked_sub(keep_bytes).filter(|excess| *excess > 0)?;
    fold.boots.iter().find_map(|part| {
        let unoffered = part.marks.pages().iter().filter(|page| page.is_unoffered(part.offered));
        let mut pages: Vec<(u64, u64)> = unoffered.map(|page| (page.born.1, u64::from(page.bytes))).collect();
        pages.sort_unstable();
        let mut sum = 0;
        let enough = pages.iter().find(|(_, size)| {
            sum += size;
            sum >= excess
        });
        let (born, _) = enough.or(pages.last())?;
        Some((part.boot, *born))
    })
}
