//! What is found at start.
//!
//! A torn tail, the frame that was being written when the power went, is cut: it was never
//! acknowledged. Damage before the tail is something else: the segment is copied aside, its
//! whole frames before the damage stay, and the gap is reported. A log always opens, unless
//! another process has it or a newer program wrote it.

use crate::Lsn;
use crate::append::{Batch, Counters, Horizon, Journal, RunState, Shared};
use crate::error::{Error, at};
use crate::format::{Frame, SEGMENT_HEADER};
use crate::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES};
use crate::lock::{self, Lock};
use crate::reader::{walk, whole_frame_behind};
use crate::segment::{self, Segment};
use crate::snapshot;
use crate::writer::Writer;
use parking_lot::{Condvar, Mutex};
use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long records behind a snapshot stay.
    pub retain: Duration,
    /// Bytes of segments in all.
    pub limit_bytes: u64,
}

/// What recovery met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Records missing, from and to, by damage.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// Segments copied aside.
    pub quarantined: Vec<PathBuf>,
}

/// A log that is found and locked, and not yet running.
pub struct Opened {
    /// What recovery met.
    pub report: RecoveryReport,
    dir: PathBuf,
    options: Options,
    segment_bytes: u64,
    segments: Vec<Segment>,
    offset: u64,
    end: Lsn,
    marks: [u64; 4],
    lock: Lock,
}

/// Finds and locks the log of a data dir, making it if there is none.
///
/// # Errors
/// [`Error::Locked`], [`Error::Newer`], or what the system says.
pub fn open(data_dir: &Path, options: Options) -> Result<Opened, Error> {
    fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let lock = lock::take(data_dir)?;
    let dir = data_dir.join("log");
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    let segment_bytes = SEGMENT_BYTES.min(options.limit_bytes / 8).max(64 * 1024);
    let mut opened = Opened {
        report: RecoveryReport::default(),
        segments: segment::list(&dir)?,
        dir,
        options,
        segment_bytes,
        offset: 0,
        end: 0,
        marks: [0; 4],
        lock,
    };
    opened.recover()?;
    Ok(opened)
}

impl Opened {
    fn recover(&mut self) -> Result<(), Error> {
        let listed = std::mem::take(&mut self.segments);
        let count = listed.len();
        let mut furthest = 0;
        for (i, segment) in listed.into_iter().enumerate() {
            let tail = i + 1 == count;
            let Some(bytes) = segment::read(&segment)? else {
                // A segment whose header never reached the disk was never written to.
                let raw = fs::read(&segment.path).map_err(at(&segment.path))?;
                if !tail || whole_frame_behind(&raw, 0, segment.first.saturating_sub(1)) {
                    self.set_aside(&segment)?;
                }
                fs::remove_file(&segment.path).map_err(at(&segment.path))?;
                continue;
            };
            if furthest != 0 && segment.first != furthest {
                self.report.gaps.push((furthest, segment.first - 1));
            }
            let mut marks = self.marks;
            let end = walk(&bytes, segment.first, |frame| {
                marks = frame.marks;
                ControlFlow::Continue(())
            });
            let Some(end) = end else { continue };
            self.marks = marks;
            furthest = end.next;
            self.end = end.next - 1;
            self.offset = (end.offset + SEGMENT_HEADER) as u64;
            if tail && whole_frame_behind(&bytes, end.offset, end.next) {
                self.set_aside(&segment)?;
                let mut last = end.next;
                let mut from = end.offset + 1;
                while let Some(rest) = bytes.get(from..) {
                    match Frame::parse(rest).filter(|f| f.first > end.next) {
                        Some(frame) => {
                            last = frame.last() + 1;
                            self.marks = frame.marks;
                            from += frame.bytes.len();
                        }
                        None => from += 1,
                    }
                }
                self.report.gaps.push((end.next, last - 1));
                self.end = last - 1;
                // The next frame begins a segment of its own: this one stays as it was found.
                self.offset = u64::MAX;
            } else if tail {
                let torn = bytes[end.offset..].iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
                self.report.torn_bytes = torn as u64;
            }
            self.segments.push(segment);
        }
        Ok(())
    }

    fn set_aside(&mut self, segment: &Segment) -> Result<(), Error> {
        let quarantine = self.dir.join("quarantine");
        fs::create_dir_all(&quarantine).map_err(at(&quarantine))?;
        let copy = quarantine.join(segment.path.file_name().unwrap_or_default());
        fs::copy(&segment.path, &copy).map_err(at(&copy))?;
        tracing::error!(segment = %segment.path.display(), kept = %copy.display(), "a segment is damaged before its end");
        self.report.quarantined.push(copy);
        Ok(())
    }

    /// Last durable record, 0 for none.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Oldest record kept, 0 for none.
    pub fn first(&self) -> Lsn {
        self.segments.first().map_or(0, |s| s.first)
    }

    /// The owner's marks as of the last record.
    pub fn marks(&self) -> [u64; 4] {
        self.marks
    }

    /// The newest snapshot that is whole and not beyond the log's end.
    pub fn snapshot(&self) -> Option<(Lsn, Vec<u8>)> {
        let found = snapshot::list(&self.dir).unwrap_or_default();
        found.into_iter().find_map(|(_, path)| snapshot::read(&path).filter(|(at, _)| *at <= self.end))
    }

    /// Calls `each` with every frame that has a record beyond `from`, in order.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn replay(&self, from: Lsn, each: &mut dyn FnMut(&Frame) -> ControlFlow<()>) -> Result<(), Error> {
        for (i, segment) in self.segments.iter().enumerate() {
            if self.segments.get(i + 1).is_some_and(|next| next.first <= from + 1) {
                continue;
            }
            let Some(bytes) = segment::read(segment)? else { continue };
            let done = walk(&bytes, segment.first, |frame| if frame.last() > from { each(frame) } else { ControlFlow::Continue(()) });
            if done.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Starts the log's threads; `sink` is called with each frame once it is durable, and may
    /// block: that holds the log, and through it whoever writes.
    ///
    /// # Errors
    /// When the last segment cannot be opened or a thread not started.
    pub fn start(self, sink: Box<dyn FnMut(Frame) + Send>) -> Result<Journal, Error> {
        let file = match self.segments.last() {
            Some(last) if self.offset != u64::MAX => {
                Some(OpenOptions::new().read(true).write(true).open(&last.path).map_err(at(&last.path))?)
            }
            _ => None,
        };
        let (snapshots, requests) = std::sync::mpsc::channel::<(Lsn, Vec<u8>)>();
        let batch = Batch {
            bytes: Batch::blank(),
            first: self.end + 1,
            count: 0,
            marks: self.marks,
            refusing: None,
            refusing_bookkeeping: false,
            stopped: false,
        };
        let saved = self.snapshot().map_or(0, |(at, _)| at);
        let shared = Arc::new(Shared {
            batch: Mutex::new(batch),
            wake: Condvar::new(),
            horizon: watch::channel(Horizon { durable: self.end, state: RunState::Running }).0,
            counters: Counters::default(),
            segment_bytes: self.segment_bytes,
            limit_bytes: self.options.limit_bytes,
            batch_bytes_max: BATCH_BYTES_MAX.min(self.segment_bytes as usize / 8),
            snapshots,
            snapshot_lsn: AtomicU64::new(saved),
            threads: Mutex::new(Vec::new()),
        });
        let writer = Writer {
            shared: shared.clone(),
            dir: self.dir.clone(),
            retain: self.options.retain,
            segments: self.segments,
            file,
            offset: if self.offset == u64::MAX { 0 } else { self.offset },
            sink,
        };
        let weak = Arc::downgrade(&shared);
        let dir = self.dir.clone();
        let lock = self.lock;
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(at(&self.dir))
        };
        let writing = spawn(
            "journal",
            Box::new(move || {
                // The dir is owned as long as it is written.
                let _lock = lock;
                writer.run();
            }),
        )?;
        spawn(
            "snapshots",
            Box::new(move || {
                for (lsn, state) in requests {
                    match (snapshot::write(&dir, lsn, &state), weak.upgrade()) {
                        (Ok(()), Some(shared)) => shared.snapshot_lsn.store(lsn, Ordering::Release),
                        (Ok(()), None) => {}
                        (Err(error), _) => tracing::warn!(%error, "a snapshot cannot be written; the log stays longer"),
                    }
                }
            }),
        )?;
        shared.threads.lock().push(writing);
        Ok(Journal { shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn options() -> Options {
        Options { retain: Duration::from_secs(3600), limit_bytes: 1 << 20 }
    }

    fn write(dir: &Path, payloads: &[&[u8]]) -> Lsn {
        let opened = open(dir, options()).unwrap();
        let (sent, got) = mpsc::channel();
        let journal = opened.start(Box::new(move |frame| sent.send(frame).unwrap())).unwrap();
        let mut last = 0;
        for payload in payloads {
            {
                let mut append = journal.append().unwrap();
                append.marks()[0] += 1;
                last = append.push(7, |out| out.extend_from_slice(payload));
            }
            while got.recv().unwrap().last() < last {}
        }
        assert_eq!(journal.horizon().borrow().durable, last);
        journal.stop();
        last
    }

    fn read(dir: &Path) -> (RecoveryReport, Vec<(Lsn, Vec<u8>)>) {
        let opened = open(dir, options()).unwrap();
        let mut all = Vec::new();
        let each = &mut |frame: &Frame| {
            all.extend(frame.records().map(|(lsn, kind, payload)| {
                assert_eq!(kind, 7);
                (lsn, payload.to_vec())
            }));
            ControlFlow::Continue(())
        };
        opened.replay(0, each).unwrap();
        (opened.report, all)
    }

    #[test]
    fn what_is_durable_is_found_again_and_a_second_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), &[b"a", &[9; 300]]), 2);
        let held = open(dir.path(), options()).unwrap();
        assert!(matches!(open(dir.path(), options()), Err(Error::Locked(_))));
        drop(held);
        assert_eq!(write(dir.path(), &[b"c"]), 3);
        let (report, all) = read(dir.path());
        assert_eq!(report, RecoveryReport::default());
        assert_eq!(all, vec![(1, b"a".to_vec()), (2, vec![9; 300]), (3, b"c".to_vec())]);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[b"first", b"second"]);
        let path = segment::list(&dir.path().join("log")).unwrap()[0].path.clone();
        let whole = fs::read(&path).unwrap();
        let used = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
        let frame = used - (crate::format::FRAME_HEADER + 2 + 6);
        for cut in frame..used {
            let mut torn = whole.clone();
            torn[cut..].fill(0);
            fs::write(&path, &torn).unwrap();
            let (report, all) = read(dir.path());
            assert_eq!(all, vec![(1, b"first".to_vec())], "cut at {cut}");
            assert!(report.gaps.is_empty());
        }
        assert_eq!(write(dir.path(), &[b"again"]), 2);
        assert_eq!(read(dir.path()).1.len(), 2);
    }

    #[test]
    fn damage_in_the_middle_is_reported_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[b"one", b"two", b"three"]);
        let path = segment::list(&dir.path().join("log")).unwrap()[0].path.clone();
        let mut bytes = fs::read(&path).unwrap();
        bytes[SEGMENT_HEADER + crate::format::FRAME_HEADER + 5 + 20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(write(dir.path(), &[b"four"]), 4);
        let (report, all) = read(dir.path());
        assert_eq!(all, vec![(1, b"one".to_vec()), (4, b"four".to_vec())]);
        assert_eq!(report.gaps, vec![(2, 3)]);
    }

    #[test]
    fn a_full_log_refuses_until_a_snapshot_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), options()).unwrap().start(Box::new(|_| ())).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let mut last = 0;
        let push = |journal: &Journal| journal.append().map(|mut a| a.push(7, |out| out.extend_from_slice(&[1; 4_000])));
        loop {
            match push(&journal) {
                Ok(lsn) => last = lsn,
                Err(crate::Refused::NoRoom(_)) => break,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(std::time::Instant::now() < deadline);
        }
        while journal.horizon().borrow().durable < last {
            std::thread::sleep(Duration::from_millis(1));
        }
        journal.snapshot(last, b"state".to_vec());
        while push(&journal).is_err() {
            std::thread::sleep(Duration::from_millis(10));
            assert!(std::time::Instant::now() < deadline, "room was not found again");
        }
        journal.stop();
        assert_eq!(open(dir.path(), options()).unwrap().snapshot(), Some((last, b"state".to_vec())));
    }
}
