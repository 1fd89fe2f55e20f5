//! What lies open of one sled: windows that changed since record B, as of record N.
//!
//! | below `live-B/` | what |
//! |---|---|
//! | `sled/` | windows by key, and the number of the record as of which they are |
//! | `state-N` | all else then: CRC-32C, [`replica::join::Bridge::save`] |
//! | `changed-N` | while they go into sled: windows that changed up to N |
//! | `base` | all else as of B |
//! | `kernel`, `closed`, `since` | whether and since when its files can be trusted |
//!
//! A batch is longer than a reader can wait for, and sled lets nobody read while it takes one. So it
//! goes in pieces, behind a file that has it whole; who finds that file after a crash gives it to
//! sled once more. The number of the record comes last.

use super::run::key_bytes;
use super::{StoreError, sync_dir};
use replica::join::window::{decode, encode};
use replica::join::{Window, WindowKey};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// sled's own cache: what changed lately is in memory before it.
const CACHE_BYTES: u64 = 16 << 20;
/// Where live says as of which record it is.
const AS_OF: &[u8] = b"as of";
/// Version of all of it. The first gave sled each batch at once; else it is the same. Another is thrown away.
const FORMAT: u64 = 2;
/// Windows that sled takes at once: some 0.3 ms.
const PIECE_WINDOWS: usize = 64;
/// Windows, and entries of them, in one piece of `changed-N`.
const CHANGED_MAX: (usize, usize) = (1 << 10, 1 << 12);

/// What lies open of one sled.
#[derive(Clone)]
pub struct Live {
    /// Record B.
    pub base: u64,
    /// Its folder.
    pub dir: PathBuf,
    /// Windows by key.
    pub db: sled::Db,
    /// Windows written since B, each as often as it was.
    pub written: u64,
    /// When it was made.
    pub since: SystemTime,
}

impl Live {
    /// Opens or makes one; from here on its files change without being synced.
    pub fn open(dir: &Path, base: u64, kernel: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)?;
        match fs::remove_file(dir.join("closed")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::write(dir.join("kernel"), kernel)?;
        File::open(dir.join("kernel"))?.sync_all()?;
        sync_dir(dir)?;
        let config =
            sled::Config::new().path(dir.join("sled")).cache_capacity(CACHE_BYTES).flush_every_ms(None).mode(sled::Mode::HighThroughput);
        // Damaged files make sled panic in places.
        let db = catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| "sled panics over its files")??;
        let since = dir.join("since");
        if !since.exists() {
            fs::write(&since, b"")?;
        }
        let since = fs::metadata(&since)?.modified()?;
        Ok(Self { base, dir: dir.to_owned(), db, written: 0, since })
    }

    /// Whether its files are what was written to them.
    pub fn is_trusted(dir: &Path, kernel: &str) -> bool {
        dir.join("closed").exists() || fs::read_to_string(dir.join("kernel")).is_ok_and(|then| then == kernel)
    }

    /// As of which record it is, with the state beside it. What did not get all into sled does now.
    pub fn found(&mut self) -> Result<(u64, Vec<u8>), StoreError> {
        let mut lsn = self.as_of()?;
        for file in self.files("changed-")? {
            if let Some(newer) = file.1.filter(|newer| *newer > lsn) {
                let bytes = fs::read(&file.0)?;
                let (pieces, crc) = bytes.split_last_chunk::<4>().ok_or("what changed last is cut")?;
                if crc32c::crc32c(pieces).to_le_bytes() != *crc {
                    return Err("what changed last is damaged".into());
                }
                let mut rest = pieces;
                while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                    let piece = behind.get(..u32::from_le_bytes(*length) as usize).ok_or("what changed last is damaged")?;
                    rest = &behind[piece.len()..];
                    let windows = decode(piece)?;
                    self.insert(&windows.iter().map(|(key, window)| (*key, window)).collect::<Vec<_>>())?;
                }
                lsn = newer;
                self.stands(lsn)?;
            }
            fs::remove_file(file.0)?;
        }
        let bytes = fs::read(self.dir.join(format!("state-{lsn:020}")))?;
        let (crc, state) = bytes.split_at_checked(4).ok_or("its state is cut")?;
        if crc32c::crc32c(state).to_le_bytes() != crc {
            return Err("its state is damaged".into());
        }
        Ok((lsn, state.to_vec()))
    }

    fn as_of(&mut self) -> Result<u64, StoreError> {
        let meta = self.db.get(AS_OF)?.ok_or("it was never written")?;
        let number = |range| meta.get::<std::ops::Range<usize>>(range).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(lsn), Some(written), Some(1..=FORMAT)) = (number(0..8), number(8..16), number(16..24)) else {
            return Err("it has another format".into());
        };
        self.written = written;
        Ok(lsn)
    }

    /// Windows, sorted by key, and all else as of a record, in files beside sled.
    ///
    /// # Errors
    /// The system's; then nothing has changed, and little is left behind.
    pub fn prepare(&self, lsn: u64, state: &[u8], changed: &[(WindowKey, &Window)]) -> io::Result<()> {
        let mut bytes = crc32c::crc32c(state).to_le_bytes().to_vec();
        bytes.extend_from_slice(state);
        let (beside, whole) = (self.dir.join(format!("state-{lsn:020}")), self.whole(lsn));
        let written = fs::write(&beside, bytes).and_then(|()| keep_whole(&whole, changed));
        if written.is_err() {
            // On a full disk each byte counts; what cannot be removed goes with the next batch.
            for path in [&beside, &whole.with_extension("tmp")] {
                drop(fs::remove_file(path));
            }
        }
        written
    }

    fn whole(&self, lsn: u64) -> PathBuf {
        self.dir.join(format!("changed-{lsn:020}"))
    }

    /// Takes what was prepared. Readers get the one or the other of those windows meanwhile.
    pub fn take(&mut self, lsn: u64, changed: &[(WindowKey, &Window)]) -> Result<(), StoreError> {
        self.insert(changed)?;
        self.stands(lsn)?;
        fs::remove_file(self.whole(lsn))?;
        for (path, other) in self.files("state-")? {
            if other != Some(lsn) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, changed: &[(WindowKey, &Window)]) -> Result<(), StoreError> {
        for piece in changed.chunks(PIECE_WINDOWS) {
            let mut batch = sled::Batch::default();
            for (key, window) in piece {
                batch.insert(&key_bytes(*key)[..], encode(std::iter::once((*key, *window))));
            }
            self.db.apply_batch(batch)?;
        }
        self.written += changed.len() as u64;
        Ok(())
    }

    /// Everything up to a record is in sled, and in its files.
    fn stands(&self, lsn: u64) -> Result<(), StoreError> {
        let meta: Vec<u8> = [lsn, self.written, FORMAT].into_iter().flat_map(u64::to_le_bytes).collect();
        self.db.insert(AS_OF, meta)?;
        self.db.flush()?;
        Ok(())
    }

    /// Files that begin so, and the record that their names end with.
    fn files(&self, prefix: &str) -> io::Result<Vec<(PathBuf, Option<u64>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let rest = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix(prefix));
            found.extend(rest.map(|rest| rest.parse().ok()).map(|lsn| (path.clone(), lsn)));
        }
        Ok(found)
    }
}

/// What changed, in a file that has it whole or not at all.
pub(super) fn keep_whole(path: &Path, changed: &[(WindowKey, &Window)]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut out = BufWriter::new(File::create(&temporary)?);
    let mut crc = 0;
    let mut rest = changed;
    while !rest.is_empty() {
        let mut entries = 0;
        let fits = |(_, window): &&(WindowKey, &Window)| {
            entries += window.entries.len();
            entries <= CHANGED_MAX.1
        };
        let length = rest.iter().take(CHANGED_MAX.0).take_while(fits).count().max(1);
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        let bytes = encode(piece.iter().copied());
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes();
        for part in [&length[..], &bytes] {
            crc = crc32c::crc32c_append(crc, part);
            out.write_all(part)?;
        }
    }
    out.write_all(&crc.to_le_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(temporary, path)
}

/// A window of a sled.
pub fn read(db: &sled::Db, key: WindowKey) -> Result<Option<Window>, StoreError> {
    match db.get(key_bytes(key))? {
        None => Ok(None),
        Some(bytes) => Ok(decode(&bytes)?.pop().map(|(_, window)| window)),
    }
}
