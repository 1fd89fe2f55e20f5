//! The owner's state as of a record, written atomically: a file of its own, synced, then renamed.
//!
//! `snap-NNNNNNNNNNNNNNNNNNNN`: CRC-32C of the rest, record number, state. The newest two
//! stay, and what cannot be read is passed over for the one before.

use crate::Lsn;
use crate::segment::sync_dir;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Snapshots kept.
const KEPT: usize = 2;

/// Writes a snapshot and removes those beyond the newest two.
///
/// # Errors
/// The system's; the older snapshots then stay as they are.
pub fn write(dir: &Path, at: Lsn, state: &[u8]) -> io::Result<()> {
    let temporary = dir.join("snap.tmp");
    let mut body = at.to_le_bytes().to_vec();
    body.extend_from_slice(state);
    let mut file = File::create(&temporary)?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(format!("snap-{at:020}")))?;
    sync_dir(dir)?;
    for (_, path) in list(dir)?.into_iter().skip(KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Snapshots by record, newest first.
///
/// # Errors
/// The system's.
pub fn list(dir: &Path) -> io::Result<Vec<(Lsn, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let at = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("snap-")).and_then(|n| n.parse().ok());
        if let Some(at) = at {
            found.push((at, path));
        }
    }
    found.sort_by(|a: &(Lsn, PathBuf), b| b.0.cmp(&a.0));
    Ok(found)
}

/// A snapshot's state, when it is whole.
pub fn read(path: &Path) -> Option<(Lsn, Vec<u8>)> {
    let bytes = fs::read(path).ok()?;
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    let (at, state) = body.split_first_chunk::<8>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then(|| (Lsn::from_le_bytes(*at), state.to_vec()))
}
