//! The store as the bridge sees it: windows are read where they lie, and batches are written by a
//! thread of their own, so that nothing waits for them.

use super::live::read;
use super::{Handle, Store, StoreError};
use replica::join::store::Batch;
use replica::join::{Window, WindowKey};
use std::fs;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::warn;

/// How often a batch that waits for room looks for it.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a window, and of each entry in it, before they are written: more than most take.
const ENTRY_BYTES_GUESS: u64 = 256;

/// The store, for the bridge.
pub struct Keeper {
    handle: Handle,
    /// To the thread, until it is to end.
    batches: Option<Sender<Arc<Batch>>>,
    results: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
    /// A batch is under way.
    is_writing: bool,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub fn new(handle: Handle) -> io::Result<Self> {
        let (batches, inbox) = channel::<Arc<Batch>>();
        let (outbox, results) = channel();
        let writing = handle.clone();
        let work = move || {
            for batch in inbox {
                let result = writing.write(&batch);
                // Its windows go back to the bridge.
                drop(batch);
                if outbox.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(work)?;
        Ok(Self { handle, batches: Some(batches), results, thread: Some(thread), is_writing: false })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.handle.shared.is_closing.store(true, Ordering::Relaxed);
        self.batches = None;
        // A panic has been told already, by a result that never came.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Handle {
    /// Writes a batch once there is room, and rolls over when that is due.
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let state = (batch.state)();
        if state.is_empty() {
            return Err("what the bridge knows is more than it could read again".into());
        }
        let changed = batch.sorted();
        let entries: u64 = changed.iter().map(|(_, window)| 1 + window.entries.len() as u64).sum();
        let mut live = self.live.lock().clone();
        // The files beside sled, and what sled takes.
        let wanted = state.len() as u64 + 2 * ENTRY_BYTES_GUESS * entries;
        self.when_there_is_room(wanted, || live.prepare(batch.lsn, &state, &changed))?;
        live.take(batch.lsn, &changed)?;
        self.live.lock().written = live.written;
        drop(live);
        if let Some(save) = self.shared.save.lock().clone().filter(|_| self.is_full(batch.lsn))
            && let Err(error) = self.roll(batch.lsn, state, save)
        {
            warn!(%error, "the merge store cannot roll over; it is tried again, and the log stays longer");
            self.rest();
        }
        Ok(())
    }

    /// Does it when the disk has so much room, and again when it had not after all.
    fn when_there_is_room(&self, mut wanted: u64, mut act: impl FnMut() -> io::Result<()>) -> Result<(), StoreError> {
        let shared = &self.shared;
        loop {
            shared.wanted.store(wanted, Ordering::Relaxed);
            if self.has_room() {
                match act() {
                    Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                        wanted = wanted.max(self.free());
                        shared.wanted.store(wanted, Ordering::Relaxed);
                    }
                    done => {
                        shared.is_waiting.store(false, Ordering::Relaxed);
                        return done.map_err(Into::into);
                    }
                }
            }
            if shared.is_closing.load(Ordering::Relaxed) {
                return Err("there was no room to the end".into());
            }
            shared.is_waiting.store(true, Ordering::Relaxed);
            std::thread::sleep(ROOM_PAUSE);
        }
    }
}

impl Store for Keeper {
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError> {
        if let Some(window) = read(&self.handle.live.lock().db, key)? {
            return Ok(Some(window));
        }
        let shared = &self.handle.shared;
        // Held while it is read, so that it is not taken away between a miss here and its runs.
        let frozen = shared.frozen.lock();
        if let Some(db) = &*frozen
            && let Some(window) = read(db, key)?
        {
            return Ok(Some(window));
        }
        drop(frozen);
        Ok(shared.runs.lock().get(key))
    }

    fn write(&mut self, batch: Arc<Batch>) -> Result<(), StoreError> {
        let thread = self.batches.as_ref().ok_or("the store is closed")?;
        thread.send(batch).map_err(|_| "the store's thread has ended")?;
        self.is_writing = true;
        Ok(())
    }

    fn written(&mut self, wait: bool) -> Result<bool, StoreError> {
        if !self.is_writing {
            return Ok(true);
        }
        let result = loop {
            match self.results.try_recv() {
                // Who waits for it does not wait for room.
                Err(TryRecvError::Empty) if wait && !self.handle.shared.is_waiting.load(Ordering::Relaxed) => {
                    match self.results.recv_timeout(ROOM_PAUSE) {
                        Err(RecvTimeoutError::Timeout) => {}
                        result => break result.map_err(|_| TryRecvError::Disconnected),
                    }
                }
                result => break result,
            }
        };
        match result {
            Ok(result) => {
                self.is_writing = false;
                result.map(|()| true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err("the store's thread has ended".into()),
        }
    }

    fn forget(&mut self, before_ms: i64) {
        let shared = &self.handle.shared;
        *shared.oldest_ms.lock() = before_ms;
        let gone = shared.runs.lock().remove(|run| run.end_ms < before_ms);
        for run in gone {
            // Tried again at the next start, when it is still there.
            if let Err(error) = fs::remove_file(&run.path) {
                warn!(%error, path = %run.path.display(), "an expired run is not removed");
            }
        }
    }
}
