//! A disk for tests, in memory: it forgets what was not synced, tears what was being written,
//! fails syncs and then shows what it never kept, is full, is read-only, and dies at any step.

use super::{Disk, File};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct LyingDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Not yet synced, in order.
    name_steps: Vec<NameStep>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    steps: u64,
    dies_at: Option<u64>,
    is_dead: bool,
    failing_syncs: u64,
    is_read_only: bool,
    capacity: Option<u64>,
    unreadable: Option<(PathBuf, u64, u64)>,
    longest_read: usize,
    age: Duration,
    chance: u64,
}

#[derive(Default, Clone)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Resize(usize),
    Write(usize, Vec<u8>),
}

/// One step for the file system: a name goes, or comes, or both.
#[derive(Clone)]
struct NameStep {
    goes: Option<PathBuf>,
    comes: Option<(PathBuf, usize)>,
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(length) => bytes.resize(*length, 0),
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }
}

impl NameStep {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(path) = &self.goes {
            names.remove(path);
        }
        if let Some((path, file)) = &self.comes {
            names.insert(path.clone(), *file);
        }
    }
}

fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl State {
    /// Counts a step; gives whether the disk dies with it. What is being done may still happen.
    fn step(&mut self) -> io::Result<bool> {
        if self.is_dead {
            return Err(error(libc::EIO));
        }
        if self.is_read_only {
            return Err(error(libc::EROFS));
        }
        self.steps += 1;
        self.is_dead = self.dies_at == Some(self.steps);
        Ok(self.is_dead)
    }

    fn done(dies: bool) -> io::Result<()> {
        if dies { Err(error(libc::EIO)) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| error(libc::ENOENT))
    }

    fn name(&mut self, goes: Option<&Path>, comes: Option<(&Path, usize)>) {
        let comes = comes.map(|(path, file)| (path.to_owned(), file));
        let step = NameStep { goes: goes.map(Path::to_owned), comes };
        step.apply(&mut self.names);
        self.name_steps.push(step);
    }

    fn used(&self) -> u64 {
        let files: BTreeSet<usize> = self.names.values().copied().collect();
        files.into_iter().map(|file| self.files[file].live.len() as u64).sum()
    }

    fn change(&mut self, file: usize, pending: Pending) -> io::Result<()> {
        let dies = self.step()?;
        let grown = match &pending {
            Pending::Resize(length) => *length,
            Pending::Write(offset, bytes) => offset + bytes.len(),
        };
        let more = grown.saturating_sub(self.files[file].live.len()) as u64;
        if self.capacity.is_some_and(|capacity| more > 0 && self.used() + more > capacity) {
            return Err(error(libc::ENOSPC));
        }
        pending.apply(&mut self.files[file].live);
        self.files[file].pending.push(pending);
        Self::done(dies)
    }

    /// A number below `below`, from the seed on always the same ones (SplitMix64).
    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// What a power cut leaves of a change that was not synced.
    fn survive(&mut self, pending: &Pending, bytes: &mut Vec<u8>) {
        let Pending::Write(offset, written) = pending else {
            if self.draw(2) == 0 {
                pending.apply(bytes);
            }
            return;
        };
        match self.draw(4) {
            0 => {}
            1 => pending.apply(bytes),
            2 => {
                let kept = self.draw(written.len() as u64 + 1) as usize;
                Pending::Write(*offset, written[..kept].to_vec()).apply(bytes);
            }
            _ => {
                // Sector by sector, in no order.
                for (i, sector) in written.chunks(512).enumerate() {
                    if self.draw(2) == 0 {
                        Pending::Write(offset + i * 512, sector.to_vec()).apply(bytes);
                    }
                }
            }
        }
    }
}

impl LyingDisk {
    /// Dies at the `step`th change from now on, which may or may not still happen.
    pub fn die_at(&self, step: u64) {
        let mut state = self.0.lock();
        state.dies_at = Some(state.steps + step);
    }

    /// Whether it died.
    pub fn is_dead(&self) -> bool {
        self.0.lock().is_dead
    }

    /// Changes so far.
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Lets the next `count` syncs fail. What they were to keep is shown, and never kept.
    pub fn fail_syncs(&self, count: u64) {
        self.0.lock().failing_syncs = count;
    }

    /// Takes no more than this many bytes, or any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Refuses all changes, or none.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.0.lock().is_read_only = is_read_only;
    }

    /// How old every file is from now on.
    pub fn set_age(&self, age: Duration) {
        self.0.lock().age = age;
    }

    /// A part of a file that cannot be read: from, to.
    pub fn set_unreadable(&self, path: &Path, from: u64, to: u64) {
        self.0.lock().unreadable = Some((path.to_owned(), from, to));
    }

    /// The most bytes that were read at once since [`LyingDisk::forget_reads`].
    pub fn longest_read(&self) -> usize {
        self.0.lock().longest_read
    }

    /// Begins [`LyingDisk::longest_read`] anew.
    pub fn forget_reads(&self) {
        self.0.lock().longest_read = 0;
    }

    /// Changes a file behind everybody's back, durably.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.find(path)?;
        change(&mut state.files[file].live);
        state.files[file].durable = state.files[file].live.clone();
        state.files[file].pending.clear();
        Ok(())
    }

    /// The disk after a power cut: of what was not synced, what the seed says.
    pub fn cut(&self, seed: u64) -> Self {
        let old = self.0.lock();
        let mut new = State { chance: seed, dirs: old.dirs.clone(), ..State::default() };
        new.names = old.durable_names.clone();
        let kept = new.draw(old.name_steps.len() as u64 + 1) as usize;
        for step in &old.name_steps[..kept] {
            step.apply(&mut new.names);
        }
        for file in &old.files {
            let mut bytes = file.durable.clone();
            for pending in &file.pending {
                new.survive(pending, &mut bytes);
            }
            new.files.push(Contents { live: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        new.durable_names = new.names.clone();
        Self(Arc::new(Mutex::new(new)))
    }

    /// The disk after only the process died: nothing is lost yet, and nothing more is synced.
    pub fn killed(&self) -> Self {
        let old = self.0.lock();
        let new = State {
            files: old.files.clone(),
            names: old.names.clone(),
            durable_names: old.durable_names.clone(),
            name_steps: old.name_steps.clone(),
            dirs: old.dirs.clone(),
            chance: old.chance,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(new)))
    }
}

struct Held(LyingDisk, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().locks.remove(&self.1);
    }
}

impl Disk for LyingDisk {
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let is_free = self.0.lock().locks.insert(path.to_owned());
        Ok(is_free.then(|| Box::new(Held(self.clone(), path.to_owned())) as Box<dyn Send + Sync>))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let state = self.0.lock();
        if state.is_read_only {
            return Err(error(libc::EROFS));
        }
        Ok(Box::new(LyingFile { disk: self.clone(), file: state.find(path)? }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.0.lock();
        let dies = state.step()?;
        state.files.push(Contents::default());
        let file = state.files.len() - 1;
        state.name(None, Some((path, file)));
        State::done(dies)?;
        Ok(Box::new(LyingFile { disk: self.clone(), file }))
    }

    fn read(&self, path: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut state = self.0.lock();
        let file = state.find(path)?;
        let length = state.files[file].live.len();
        let from = (offset as usize).min(length);
        let to = from.saturating_add(bytes_max).min(length);
        state.longest_read = state.longest_read.max(to - from);
        match &state.unreadable {
            Some((bad, a, b)) if bad == path && (from as u64) < *b && *a < to as u64 => Err(error(libc::EIO)),
            _ => Ok(state.files[file].live[from..to].to_vec()),
        }
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        Ok(state.files[state.find(path)?].live.len() as u64)
    }

    fn age(&self, _path: &Path) -> io::Result<Duration> {
        Ok(self.0.lock().age)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let dies = state.step()?;
        let file = state.find(from)?;
        state.name(Some(from), Some((to, file)));
        State::done(dies)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let dies = state.step()?;
        let file = state.find(from)?;
        state.name(None, Some((to, file)));
        State::done(dies)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let dies = state.step()?;
        state.find(path)?;
        state.name(Some(path), None);
        State::done(dies)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.step()? {
            return Err(error(libc::EIO));
        }
        state.durable_names = state.names.clone();
        state.name_steps.clear();
        Ok(())
    }

    fn free(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.0.lock().draw(u64::MAX))
    }
}

struct LyingFile {
    disk: LyingDisk,
    file: usize,
}

impl File for LyingFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let length = state.files[self.file].live.len().max(bytes as usize);
        state.change(self.file, Pending::Resize(length))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.0.lock().change(self.file, Pending::Write(offset as usize, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.step()? {
            return Err(error(libc::EIO));
        }
        let pending = std::mem::take(&mut state.files[self.file].pending);
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(error(libc::EIO));
        }
        for change in pending {
            change.apply(&mut state.files[self.file].durable);
        }
        Ok(())
    }
}
