//! A series, as the fold knows it.

use super::Open;
use detect::Watch;

/// One series of this gateway.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its unit, once given.
    pub unit: Option<String>,
    pub(crate) watch: Watch,
    /// Clock for which the watch has an item among the dues.
    pub(crate) watch_at: i64,
    pub(crate) open: Vec<Open>,
    /// Whether its readings may leave the site, as of the last one.
    pub leaves: bool,
    /// The last reading: event time in ms, value.
    pub last: Option<(i64, f64)>,
    /// Which maintenance it may be in, by the present settings.
    pub(crate) maintained: u64,
}

impl Series {
    /// How new its last reading was to it, in powers of ten; 0 for nothing new.
    pub fn novelty(&self) -> f64 {
        self.watch.novelty()
    }
}
