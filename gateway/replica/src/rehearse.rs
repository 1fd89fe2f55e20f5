//! Recorded readings through the very fold of a gateway, without a log: each call makes the
//! record that a gateway would log and folds it, ticks included. Scores and backtests rest on it.

use crate::error::Error;
use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::record::{Readings, Record, put_reading};

/// The boot that rehearsals run as.
const BOOT: u64 = 1;

/// A fold that is fed with readings instead of a log.
#[derive(Debug)]
pub struct Rehearsal {
    /// The working state, with the alerts made so far in [`Fold::fresh`].
    pub fold: Fold,
    payload: Vec<u8>,
    readings: Vec<u8>,
}

impl Rehearsal {
    /// A gateway that begins at a moment (ms since the Unix epoch) with these settings.
    ///
    /// # Errors
    /// The fold's.
    pub fn new(clock_ms: i64, config: FoldConfig) -> Result<Self, Error> {
        let mut rehearsal = Self { fold: Fold::default(), payload: Vec::new(), readings: Vec::new() };
        rehearsal.boot(clock_ms, BOOT, config)?;
        Ok(rehearsal)
    }

    /// A gateway that goes on from a state.
    pub fn resume(fold: Fold) -> Self {
        Self { fold, payload: Vec::new(), readings: Vec::new() }
    }

    /// A start of the gateway, with settings that hold from here on.
    ///
    /// # Errors
    /// The fold's.
    pub fn boot(&mut self, clock_ms: i64, boot: u64, config: FoldConfig) -> Result<(), Error> {
        let config = schemas::cbor::to_vec(&FoldConfig { fold_version: FOLD_VERSION, ..config });
        let parent = self.fold.current().map(|part| (part.boot, part.end));
        self.record(clock_ms, &Record::Boot { boot, parent, config: &config })
    }

    /// A series is met; gives its number.
    ///
    /// # Errors
    /// The fold's.
    pub fn series(&mut self, name: &str, unit: Option<&str>) -> Result<u32, Error> {
        let number = self.fold.series.len() as u32;
        self.record(self.fold.clock_ms, &Record::Series { number, name, unit })?;
        Ok(number)
    }

    /// One message with its readings (series, event time, value), at a moment; what falls due
    /// before it is ticked for, as a gateway does. A value that is not finite is no reading.
    ///
    /// # Errors
    /// The fold's.
    pub fn message(&mut self, clock_ms: i64, readings: impl IntoIterator<Item = (u32, i64, f64)>) -> Result<(), Error> {
        self.pass(clock_ms)?;
        let clock_ms = clock_ms.max(self.fold.clock_ms);
        let mut bytes = std::mem::take(&mut self.readings);
        bytes.clear();
        for (series, time_ms, value) in readings.into_iter().filter(|(_, _, value)| value.is_finite()) {
            put_reading(&mut bytes, series, time_ms, clock_ms, value);
        }
        let done = self.record(clock_ms, &Record::Message { flags: 0, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } });
        self.readings = bytes;
        done
    }

    /// Time passes up to a moment: a tick for each due time on the way.
    ///
    /// # Errors
    /// The fold's.
    pub fn pass(&mut self, clock_ms: i64) -> Result<(), Error> {
        let mut last = i64::MIN;
        while let Some(due_ms) = self.fold.next_due_ms().filter(|due| *due < clock_ms && *due > last) {
            last = due_ms;
            self.record(due_ms, &Record::Tick)?;
        }
        Ok(())
    }

    /// One record, at a moment; times before the present count as it.
    ///
    /// # Errors
    /// The fold's.
    pub fn record(&mut self, clock_ms: i64, record: &Record<'_>) -> Result<(), Error> {
        let advance_ms = clock_ms.saturating_sub(self.fold.clock_ms).max(0);
        self.payload.clear();
        record.encode(advance_ms.unsigned_abs(), &mut self.payload);
        let lsn = self.fold.lsn + 1;
        let payload = std::mem::take(&mut self.payload);
        let done = self.fold.apply(lsn, record.kind(), &payload);
        self.payload = payload;
        done
    }
}
