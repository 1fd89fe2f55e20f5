//! What the log costs the flash that it lies on, by day and by reading.

use journal::Stats;
use journal::rate::Rate;
use serde::Serialize;
use std::time::Duration;

/// How far back the present reaches: the snapshots of a quiet plant, one an hour, are within it.
const PRESENT: Duration = Duration::from_secs(3_600);
const DAY_S: f64 = 86_400.0;

/// Looks at what was written and what for.
#[derive(Debug)]
pub struct Wear {
    disk: Rate,
    accepted: Rate,
    budget: u64,
}

/// What status and metrics say of it.
#[derive(Debug, Clone, Serialize)]
pub struct Flash {
    /// Bytes of the pages that this process had written to disk for frames, snapshots and their parts.
    pub bytes: u64,
    /// The same in a day, at the rate of the last hour; `None` in the first second.
    pub bytes_per_day: Option<u64>,
    /// The same for each reading accepted in that hour; `None` without one.
    pub bytes_per_reading: Option<f64>,
    /// `[log] flash_budget`.
    pub budget_bytes_per_day: u64,
    /// Commits of this process that waited for company, as the budget was used up.
    pub spaced_commits: u64,
}

impl Wear {
    /// Nothing looked at; `budget` is in bytes a day.
    pub fn new(budget: u64) -> Self {
        Self { disk: Rate::over(PRESENT), accepted: Rate::over(PRESENT), budget }
    }

    /// So many bytes went to the disk, and so many readings were accepted, `elapsed` after the process began.
    pub fn look(&mut self, disk_bytes: u64, accepted: u64, elapsed: Duration) {
        self.disk.look(disk_bytes, elapsed);
        self.accepted.look(accepted, elapsed);
    }

    /// As it stands.
    pub fn flash(&self, stats: &Stats) -> Flash {
        let (written, readings) = (self.disk.growth(), self.accepted.growth().filter(|readings| *readings > 0));
        Flash {
            bytes: stats.disk_bytes,
            bytes_per_day: self.disk.per_s().map(|per_s| (per_s * DAY_S) as u64),
            bytes_per_reading: written.zip(readings).map(|(written, readings)| written as f64 / readings as f64),
            budget_bytes_per_day: self.budget,
            spaced_commits: stats.spaced,
        }
    }
}
