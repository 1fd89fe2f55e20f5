//! A cloud that lost what it had acknowledged is told again, from the log as far as it is kept:
//! the log's past, handed to the fold in slices, so that readings go on being acknowledged.

use crate::limits::HEALING_SLICE;
use crate::store::Store;
use journal::{Beginning, History, Journal};
use replica::fold::Fold;
use std::time::Instant;
use tracing::{info, warn};

/// Reads the past while a cloud heals.
pub struct Healing {
    journal: Journal,
    history: Option<History>,
}

impl Healing {
    /// For a gateway with this log.
    pub fn new(journal: Journal) -> Self {
        Self { journal, history: None }
    }

    /// Whether it reads the log's past.
    pub fn reads(&self) -> bool {
        self.history.is_some()
    }

    /// A slice of the work; whether there is more to do at once.
    pub fn go_on(&mut self, fold: &mut Fold) -> bool {
        if let Some(lsn) = fold.heals_from() {
            self.begin(fold, lsn);
        }
        if !fold.is_healing() {
            if self.history.take().is_some() {
                info!("the cloud has again what it lost, as far as the log is kept");
            }
            return false;
        }
        let Some(history) = &mut self.history else { return false };
        let began = Instant::now();
        while let Some(next) = fold.heals_with() {
            let Some(frame) = history.frame(next) else { return false };
            if let Err(error) = fold.heal_frame(frame.first, frame.marks, frame.records()) {
                warn!(%error, record = frame.first, "the log cannot be folded again; what the cloud lost is told it as a gap");
                fold.heal(None);
                return false;
            }
            if began.elapsed() >= HEALING_SLICE {
                return true;
            }
        }
        false
    }

    fn begin(&mut self, fold: &mut Fold, lsn: u64) {
        let mut history = self.journal.history();
        let mut state = match history.begin(lsn) {
            Some(Beginning::State(at, bytes)) => Fold::restore(&bytes)
                .inspect_err(|error| warn!(%error, record = at, "an earlier state cannot be read; what the cloud lost is told it as a gap"))
                .ok(),
            Some(Beginning::Log) => Some(Fold::default()),
            None => None,
        };
        if let Some(state) = &mut state {
            info!(lacking = lsn, from = state.lsn, "the log is folded again for a cloud that lost what it had");
            state.shelf.keep_in(std::sync::Arc::new(Store(self.journal.parts())));
            self.history = Some(history);
        }
        fold.heal(state);
    }
}
