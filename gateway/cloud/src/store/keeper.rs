//! The store as the bridge sees it: windows are read where they lie, and batches are written by a
//! thread of their own, so that nothing waits for them.

use super::live::read;
use super::{Handle, Store, StoreError};
use replica::join::store::Batch;
use replica::join::{Window, WindowKey};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::{fs, io};
use tracing::warn;

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
        self.batches = None;
        // A panic has been told already, by a result that never came.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Handle {
    /// Writes a batch, and rolls over when that is due.
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let state = (batch.state)();
        let mut live = self.live.lock().clone();
        live.write(batch.lsn, &state, &batch.sorted())?;
        self.live.lock().written = live.written;
        drop(live);
        let save = self.shared.save.lock().clone();
        match save.filter(|_| self.is_full(batch.lsn) && self.has_room()) {
            Some(save) => self.roll(batch.lsn, state, save),
            None => Ok(()),
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
        let result = match wait {
            true => self.results.recv().map_err(|_| TryRecvError::Disconnected),
            false => self.results.try_recv(),
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
