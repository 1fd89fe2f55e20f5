//! Runs: windows that are kept for good, in files that are written once and synced.
//!
//! `run-DDDDDD-NNNNNNNNNNNNNNNNNNNN`: windows that start on one day, as of record N.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `TGRUN\0\0\x01` |
//! | … | blocks: length u32, CRC-32C u32, windows in the order of their keys ([`replica::join::window::encode`]) |
//! | 28 each | index: first key of each block (20), its offset u64 |
//! | 56 | trailer: offset of the index, blocks, windows, least and greatest start, greatest end, CRC-32C of index and trailer, and magic again |
//!
//! Keys are big-endian with flipped signs, so that they order as their numbers do; all else is
//! little-endian.

use replica::join::window::{decode, encode};
use replica::join::{Window, WindowKey};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"TGRUN\0\0\x01";
const TRAILER: usize = 8 * 6 + 4 + 8;
const INDEX: usize = KEY + 8;
/// Bytes of a key.
pub const KEY: usize = 20;
/// Windows in a block: read for one of them, short enough to be decoded in a fraction of a millisecond.
const BLOCK_WINDOWS: usize = 256;
/// Entries in a block, however few windows they are of.
const BLOCK_ENTRIES: usize = 4_096;
/// Bytes of a block; larger is damage.
const BLOCK_BYTES_MAX: usize = 64 << 20;
const DAY_MS: i64 = 86_400_000;

/// A key as bytes that order as it does.
pub fn key_bytes(key: WindowKey) -> [u8; KEY] {
    let mut out = [0; KEY];
    let flip = |v: i64| (v as u64 ^ 1 << 63).to_be_bytes();
    out[..4].copy_from_slice(&key.0.to_be_bytes());
    out[4..12].copy_from_slice(&flip(key.1));
    out[12..].copy_from_slice(&flip(key.2));
    out
}

/// The key of [`key_bytes`].
pub fn key_of(bytes: &[u8]) -> Option<WindowKey> {
    let signed = |range: std::ops::Range<usize>| Some((u64::from_be_bytes(bytes.get(range)?.try_into().ok()?) ^ 1 << 63) as i64);
    if bytes.len() != KEY {
        return None;
    }
    Some((u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?), signed(4..12)?, signed(12..20)?))
}

/// The day that a window starts on.
pub fn day_of(key: WindowKey) -> i64 {
    key.2.div_euclid(DAY_MS)
}

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The day that its windows start on.
    pub day: i64,
    /// The record as of which they are.
    pub label: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Windows in it.
    pub windows: u64,
    /// Its bytes.
    pub bytes: u64,
    starts: (i64, i64),
    /// When its last window ends.
    pub end_ms: i64,
    index: u64,
    blocks: u64,
}

/// A run while it is written; the keys come in order.
pub struct Writer {
    path: PathBuf,
    day: i64,
    label: u64,
    out: BufWriter<File>,
    offset: u64,
    pending: Vec<(WindowKey, Window)>,
    entries: usize,
    index: Vec<u8>,
    windows: u64,
    starts: (i64, i64),
    end_ms: i64,
}

impl Writer {
    /// Begins a run beside its final name.
    ///
    /// # Errors
    /// The system's.
    pub fn new(dir: &Path, day: i64, label: u64) -> io::Result<Self> {
        let path = dir.join(format!("run-{day:06}-{label:020}"));
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path.with_extension("tmp"))?);
        out.write_all(&MAGIC)?;
        Ok(Self {
            path,
            day,
            label,
            out,
            offset: MAGIC.len() as u64,
            pending: Vec::new(),
            entries: 0,
            index: Vec::new(),
            windows: 0,
            starts: (i64::MAX, i64::MIN),
            end_ms: i64::MIN,
        })
    }

    /// Adds a window.
    ///
    /// # Errors
    /// The system's.
    pub fn push(&mut self, key: WindowKey, window: Window) -> io::Result<()> {
        self.entries += window.entries.len();
        self.windows += 1;
        self.starts = (self.starts.0.min(key.2), self.starts.1.max(key.2));
        self.end_ms = self.end_ms.max(key.2.saturating_add(key.1));
        self.pending.push((key, window));
        if self.pending.len() >= BLOCK_WINDOWS || self.entries >= BLOCK_ENTRIES { self.block() } else { Ok(()) }
    }

    fn block(&mut self) -> io::Result<()> {
        let Some((first, _)) = self.pending.first() else { return Ok(()) };
        self.index.extend_from_slice(&key_bytes(*first));
        self.index.extend_from_slice(&self.offset.to_le_bytes());
        let bytes = encode(self.pending.iter().map(|(key, window)| (*key, window)));
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&crc32c::crc32c(&bytes).to_le_bytes())?;
        self.out.write_all(&bytes)?;
        self.offset += 8 + u64::from(length);
        self.pending.clear();
        self.entries = 0;
        Ok(())
    }

    /// Syncs it and gives it its name; the dir is the caller's to sync.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self) -> io::Result<Run> {
        self.block()?;
        let blocks = (self.index.len() / INDEX) as u64;
        let mut tail = std::mem::take(&mut self.index);
        for v in [self.offset, blocks, self.windows, self.starts.0 as u64, self.starts.1 as u64, self.end_ms as u64] {
            tail.extend_from_slice(&v.to_le_bytes());
        }
        let crc = crc32c::crc32c(&tail);
        tail.extend_from_slice(&crc.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.out.write_all(&tail)?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(self.path.with_extension("tmp"), &self.path)?;
        Ok(Run {
            day: self.day,
            label: self.label,
            path: self.path,
            windows: self.windows,
            bytes: self.offset + tail.len() as u64,
            starts: self.starts,
            end_ms: self.end_ms,
            index: self.offset,
            blocks,
        })
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Run {
    /// What a file's name and trailer say; `None` for a name of another kind.
    ///
    /// # Errors
    /// The system's, and damage.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let parts = name.strip_prefix("run-").and_then(|rest| rest.rsplit_once('-'));
        let Some((Ok(day), Ok(label))) = parts.map(|(day, label)| (day.parse(), label.parse())) else { return Ok(None) };
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let at = bytes.checked_sub(TRAILER as u64).ok_or_else(|| damaged("too short"))?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, at)?;
        let number = |i: usize| u64::from_le_bytes(trailer[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        let (index, blocks) = (number(0), number(1));
        let length = blocks.checked_mul(INDEX as u64).filter(|l| index.checked_add(*l) == Some(at));
        let length = length.filter(|_| trailer[52..] == MAGIC).ok_or_else(|| damaged("its trailer is none"))?;
        let mut tail = vec![0; usize::try_from(length).map_err(io::Error::other)? + 48];
        file.read_exact_at(&mut tail, index)?;
        if crc32c::crc32c(&tail).to_le_bytes() != trailer[48..52] {
            return Err(damaged("its index is damaged"));
        }
        let (windows, starts, end_ms) = (number(2), (number(3) as i64, number(4) as i64), number(5) as i64);
        Ok(Some(Self { day, label, path: path.to_owned(), windows, bytes, starts, end_ms, index, blocks }))
    }

    /// Whether a window that starts then can be in it.
    pub fn covers(&self, start_ms: i64) -> bool {
        self.starts.0 <= start_ms && start_ms <= self.starts.1
    }

    /// The block that a key lies in, by its offset; `None` before the first.
    ///
    /// # Errors
    /// The system's.
    pub fn block_for(&self, file: &File, key: WindowKey) -> io::Result<Option<u64>> {
        let wanted = key_bytes(key);
        let (mut low, mut high) = (0, self.blocks);
        let mut found = None;
        while low < high {
            let middle = (low + high) / 2;
            let mut entry = [0; INDEX];
            file.read_exact_at(&mut entry, self.index + middle * INDEX as u64)?;
            if entry[..KEY] <= wanted[..] {
                found = Some(u64::from_le_bytes(entry[KEY..].try_into().unwrap_or_default()));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The windows of a block.
    ///
    /// # Errors
    /// The system's, and damage.
    pub fn read_block(&self, file: &File, offset: u64) -> io::Result<Vec<(WindowKey, Window)>> {
        let mut head = [0; 8];
        file.read_exact_at(&mut head, offset)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > BLOCK_BYTES_MAX || offset + 8 + length as u64 > self.index {
            return Err(damaged("a block's length is damaged"));
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset + 8)?;
        if crc32c::crc32c(&bytes).to_le_bytes() != head[4..] {
            return Err(damaged("a block is damaged"));
        }
        decode(&bytes).map_err(|error| damaged(&error.to_string()))
    }
}

/// Runs of a dir, with the files read last.
#[derive(Debug, Default)]
pub struct Runs {
    list: Vec<Run>,
    open: Vec<Opened>,
    /// Blocks that could not be read: their windows are as if they were new.
    pub damaged: u64,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    block: Option<(u64, Vec<(WindowKey, Window)>)>,
}

/// Files held open with their last block: a backfill asks for neighbours.
const OPEN_MAX: usize = 16;

impl Runs {
    /// Adds a run.
    pub fn add(&mut self, run: Run) {
        self.list.push(run);
        // The newest of a day first: it has what changed last.
        self.list.sort_by_key(|run| (run.day, std::cmp::Reverse(run.label)));
    }

    /// All runs.
    pub fn list(&self) -> &[Run] {
        &self.list
    }

    /// Takes runs out of the list.
    pub fn remove(&mut self, mut gone: impl FnMut(&Run) -> bool) -> Vec<Run> {
        let (gone, stay): (Vec<Run>, Vec<Run>) = std::mem::take(&mut self.list).into_iter().partition(|run| gone(run));
        self.list = stay;
        self.open.retain(|opened| !gone.iter().any(|run| run.path == opened.path));
        gone
    }

    /// A window as the newest run has it. Where that is damaged it is lost: what an older run has is
    /// older than what was published.
    pub fn get(&mut self, key: WindowKey) -> Option<Window> {
        let day = day_of(key);
        let from = self.list.partition_point(|run| run.day < day);
        let candidates: Vec<usize> =
            (from..self.list.len()).take_while(|i| self.list[*i].day == day).filter(|i| self.list[*i].covers(key.2)).collect();
        for i in candidates {
            match self.look_up(i, key) {
                Ok(None) => {}
                Ok(found) => return found,
                Err(error) => {
                    let path = self.list[i].path.display();
                    tracing::error!(%error, %path, "a part of a run is lost; its windows begin anew");
                    self.damaged += 1;
                    return None;
                }
            }
        }
        None
    }

    fn look_up(&mut self, i: usize, key: WindowKey) -> io::Result<Option<Window>> {
        let run = &self.list[i];
        let at = match self.open.iter().position(|opened| opened.path == run.path) {
            Some(at) => at,
            None => {
                let file = File::open(&run.path)?;
                if self.open.len() == OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push(Opened { path: run.path.clone(), file, block: None });
                self.open.len() - 1
            }
        };
        let opened = &mut self.open[at];
        let Some(offset) = run.block_for(&opened.file, key)? else { return Ok(None) };
        if opened.block.as_ref().is_none_or(|(loaded, _)| *loaded != offset) {
            opened.block = Some((offset, run.read_block(&opened.file, offset)?));
        }
        let Some((_, windows)) = &opened.block else { return Ok(None) };
        Ok(windows.binary_search_by_key(&key, |(k, _)| *k).ok().map(|at| windows[at].1.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::join::window::{Held, Published};
    use telemetry::aggregate::Aggregate;

    fn window(i: i64) -> Window {
        let mut w = Window { published: Published { revision: 2, at_ms: i, complete: true }, ..Window::default() };
        w.join(Held { source: 3, born: 1, version: 1 + i.unsigned_abs(), aggregate: Aggregate::new(i, 0.25) });
        w
    }

    #[test]
    fn a_run_has_what_was_written_and_says_when_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path(), 0, 9).unwrap();
        let keys: Vec<WindowKey> = (0..20).flat_map(|s| (0..300).map(move |t| (s, 10_000, t * 10_000))).collect();
        for key in &keys {
            writer.push(*key, window(key.2)).unwrap();
        }
        let written = writer.finish().unwrap();
        let run = Run::open(&written.path).unwrap().unwrap();
        assert_eq!(run, written);
        assert!(written.bytes < 20 * 6_000, "neighbours are short: {}", written.bytes);
        let mut runs = Runs::default();
        runs.add(run);
        for key in &keys {
            assert_eq!(runs.get(*key), Some(window(key.2)));
        }
        for absent in [(0, 10_000, 3_000_000), (0, 10_000, 5), (0, 5, 0), (20, 10_000, 0), (0, 10_000, -10_000)] {
            assert_eq!(runs.get(absent), None);
        }
        let mut bytes = fs::read(&written.path).unwrap();
        bytes[40] ^= 1;
        fs::write(&written.path, &bytes).unwrap();
        let mut runs = Runs::default();
        runs.add(Run::open(&written.path).unwrap().unwrap());
        assert_eq!((runs.get(keys[0]), runs.damaged), (None, 1));
        // An older run has an older state of it.
        let mut older = Writer::new(dir.path(), 0, 5).unwrap();
        older.push(keys[0], window(7)).unwrap();
        runs.add(older.finish().unwrap());
        assert_eq!((runs.get(keys[0]), runs.damaged), (None, 2));
        let end = bytes.len();
        bytes[end - 30] ^= 1;
        fs::write(&written.path, &bytes).unwrap();
        assert!(Run::open(&written.path).is_err());
    }

    #[test]
    fn keys_order_as_their_numbers() {
        let keys = [(0, 5, i64::MIN), (0, 5, -1), (0, 5, 0), (0, 5, i64::MAX), (0, 6, -9), (1, 1, 1)];
        assert!(keys.windows(2).all(|pair| key_bytes(pair[0]) < key_bytes(pair[1])));
        assert!(keys.iter().all(|key| key_of(&key_bytes(*key)) == Some(*key)));
    }
}
