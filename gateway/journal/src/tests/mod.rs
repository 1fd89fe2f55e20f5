//! The promises of the log, each on a disk that tries to break them.

mod damage;
mod pieces;
mod power_cut;
mod real;
mod room;

use crate::disk::Disk;
use crate::disk::lying::LyingDisk;
use crate::{Error, Frame, Journal, Lsn, Opened, Options, Refused, RunState, Tuning, open_on, parts, snapshot};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const SAFETY: Duration = Duration::from_secs(60);
const SEGMENT: u64 = 4096;
const LIMIT: u64 = 6 * SEGMENT;

fn data_dir() -> &'static Path {
    Path::new("/data")
}

fn log_dir() -> std::path::PathBuf {
    data_dir().join("log")
}

fn try_open(disk: &LyingDisk) -> Result<Opened, Error> {
    let options = Options { retain: Duration::from_secs(3600), limit_bytes: LIMIT };
    let tuning = Tuning { segment_bytes: SEGMENT, queue_bytes_max: 1 << 20, ..Tuning::default() };
    open_on(Arc::new(disk.clone()), data_dir(), options, tuning)
}

/// A log of records that are told from their numbers: a lost, doubled or mixed up one shows.
struct Log {
    journal: Journal,
    frames: Receiver<Frame>,
}

impl Log {
    fn open(disk: &LyingDisk) -> Result<Self, Error> {
        Ok(Self::start(try_open(disk)?))
    }

    fn start(opened: Opened) -> Self {
        let (out, frames) = channel();
        let journal = opened.start(Box::new(move |frame| drop(out.send(frame)))).unwrap();
        Self { journal, frames }
    }

    /// Pushes a record and waits for its commit; `None` when it never comes.
    fn write(&self) -> Result<Option<Lsn>, Refused> {
        let lsn = self.push()?;
        loop {
            match self.frames.recv_timeout(SAFETY) {
                Ok(frame) if frame.last() < lsn => {}
                Ok(_) => {
                    assert!(self.journal.horizon().borrow().durable >= lsn, "told before it is durable");
                    return Ok(Some(lsn));
                }
                Err(_) => {
                    assert_eq!(self.journal.horizon().borrow().state, RunState::Failed);
                    return Ok(None);
                }
            }
        }
    }

    fn push(&self) -> Result<Lsn, Refused> {
        let mut append = self.journal.append()?;
        let lsn = append.next();
        *append.marks() = marks(lsn);
        assert_eq!(append.push(kind(lsn), |out| out.extend(payload(lsn))), lsn);
        Ok(lsn)
    }

    /// Waits until room has been found.
    fn write_soon(&self) -> Lsn {
        let begun = Instant::now();
        loop {
            match self.write() {
                Ok(lsn) => return lsn.expect("the disk is well"),
                Err(Refused::Stopped) => panic!("the log is closed"),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(begun.elapsed() < SAFETY, "no room was found");
        }
    }

    /// Writes a snapshot and waits until it counts, or the disk is dead.
    fn snapshot(&self, at: Lsn, disk: &LyingDisk) {
        let new = pages(at).map(|id| (id, page(id).into())).collect();
        self.journal.snapshot_with(at, state(at), new, pages(at).collect());
        let begun = Instant::now();
        while !self.journal.shared.snapshots.lock().iter().any(|saved| saved.at == at) && !disk.is_dead() {
            std::thread::yield_now();
            assert!(begun.elapsed() < SAFETY, "no snapshot was written");
        }
    }
}

fn kind(lsn: Lsn) -> u8 {
    (lsn % 251) as u8
}

fn marks(lsn: Lsn) -> [u64; 4] {
    [lsn, lsn * 2, 7, u64::MAX - lsn]
}

fn payload(lsn: Lsn) -> Vec<u8> {
    (0..(lsn * 37) % 700).map(|i| (lsn ^ i) as u8).collect()
}

fn state(at: Lsn) -> Vec<u8> {
    format!("state as of {at}").into_bytes()
}

/// Pages that the state as of a record names.
fn pages(at: Lsn) -> impl Iterator<Item = u64> {
    at.saturating_sub(9)..=at
}

fn page(id: u64) -> Vec<u8> {
    (0..id % 90).map(|i| (id * 7 + i) as u8).collect()
}

/// Every record behind `from`, each found to be what was written under its number.
fn read(opened: &Opened, from: Lsn) -> Vec<Lsn> {
    let mut all = Vec::new();
    opened
        .replay(from, &mut |frame| {
            assert_eq!(frame.marks, marks(frame.last()));
            for (lsn, found, bytes) in frame.records().filter(|(lsn, ..)| *lsn > from) {
                assert_eq!((found, bytes), (kind(lsn), &payload(lsn)[..]), "record {lsn}");
                all.push(lsn);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn records_of(disk: &LyingDisk) -> Vec<Lsn> {
    read(&try_open(disk).unwrap(), 0)
}

fn segments(disk: &LyingDisk) -> Vec<crate::Segment> {
    crate::segment::list(disk, &log_dir()).unwrap()
}

fn quarantine(disk: &LyingDisk) -> Vec<String> {
    disk.list(&log_dir().join("quarantine")).unwrap()
}

fn snapshots(disk: &LyingDisk) -> Vec<Lsn> {
    snapshot::list(disk, &log_dir()).unwrap().into_iter().map(|saved| saved.at).collect()
}

/// A log of `count` records, each a frame of its own, stopped cleanly.
fn written(count: Lsn) -> LyingDisk {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    for lsn in 1..=count {
        assert_eq!(log.write_soon(), lsn);
    }
    log.journal.stop();
    disk
}
