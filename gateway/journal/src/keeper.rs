//! The thread that writes snapshots and their parts, and removes what nothing kept needs.

use crate::Lsn;
use crate::append::Shared;
use crate::disk::Disk;
use crate::pace::pages_bytes;
use crate::parts::Parts;
use crate::retention;
use crate::snapshot::{self, Desk, Saved, State};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::Ordering;

/// Works until the desk ends: a commit never waits for a snapshot.
pub(crate) fn run(disk: &dyn Disk, dir: &Path, desk: &Desk, parts: &Parts, limit_bytes: u64, shared: &Weak<Shared>) {
    while let Some(state) = desk.take() {
        let (saved, written) = match state.map(|state| save(disk, dir, parts, limit_bytes, &state)).transpose() {
            Ok(saved) => saved.unzip(),
            Err(error) => {
                tracing::warn!(%error, "a snapshot cannot be written; the log stays longer");
                continue;
            }
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.counters.disk_bytes.fetch_add(written.unwrap_or(0), Ordering::Relaxed);
        tidy(disk, dir, parts, &shared, saved);
        shared.snapshots_changed.store(true, Ordering::Release);
        shared.wake.notify_one();
    }
}

/// Pages first, so that what a snapshot names is there. Also the bytes that the disk wrote.
fn save(disk: &dyn Disk, dir: &Path, parts: &Parts, limit_bytes: u64, state: &State) -> io::Result<(Saved, u64)> {
    let anew = parts.scattered(state.at, &state.pages, limit_bytes);
    let part = parts.write(state.at, &state.new, &anew).or_else(|error| {
        if anew.is_empty() {
            return Err(error);
        }
        tracing::warn!(%error, "pages are not written anew: their parts stay longer");
        parts.write(state.at, &state.new, &[])
    })?;
    let saved = snapshot::write(disk, dir, state.at, &parts.holding(&state.pages), &state.bytes)?;
    let written = pages_bytes(0, part) + pages_bytes(0, saved.bytes);
    Ok((saved, written))
}

/// Takes a new snapshot in, and removes what nothing kept needs. Only this thread changes what
/// is kept.
fn tidy(disk: &dyn Disk, dir: &Path, parts: &Parts, shared: &Shared, saved: Option<Saved>) {
    let mut kept = shared.snapshots.lock().clone();
    if let Some(saved) = saved {
        kept.retain(|other| other.at != saved.at);
        kept.push(saved);
        kept.sort_by_key(|saved| std::cmp::Reverse(saved.at));
    }
    let first = shared.counters.first.load(Ordering::Relaxed);
    let mut removed = false;
    let held = shared.held_state.load(Ordering::Acquire);
    let over_limit = shared.is_short.load(Ordering::Acquire);
    for old in retention::superfluous(&kept, first, shared.limit_bytes, held, over_limit) {
        match disk.remove(&snapshot::path_of(dir, old)) {
            Ok(()) => {
                kept.retain(|saved| saved.at != old);
                removed = true;
            }
            Err(error) => tracing::warn!(%error, "an old snapshot cannot be removed"),
        }
    }
    let named: HashSet<Lsn> = kept.iter().flat_map(|saved| saved.parts.iter().copied()).collect();
    *shared.snapshots.lock() = kept;
    // A snapshot that comes back after a power cut must find its parts.
    match removed.then(|| disk.sync_dir(dir)).transpose() {
        Ok(_) => parts.retain(&named),
        Err(error) => tracing::warn!(%error, "parts that nobody needs stay for now"),
    }
}
