//! Consumers whose sessions end with their connections. After a restart of the bridge they come
//! back with nothing but their subscriptions, and what was published in between nobody would tell
//! them again. So which filters they had is noted in a file, and a bridge that starts holds what it
//! publishes until each filter has as many subscribers again, a moment at most. (Durable sessions
//! are in the log, and miss nothing anyway.)
//!
//! The file is a hint: without it, or with another's, nobody is waited for, or for nobody.

use crate::limits::{AUDIENCE_FILTERS_MAX, AUDIENCE_NOTE, AUDIENCE_WAIT};
use broker::Broker;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tracing::{info, warn};

/// Filters, and how many subscribe to each.
type Filters = BTreeMap<String, usize>;

/// Who listens, and who did before the restart.
pub struct Audience {
    /// An existing broker has sessions of its own, and restarts by itself.
    broker: Option<Broker>,
    path: PathBuf,
    noted: Filters,
    noted_at: Instant,
    /// Who is waited for, and until when.
    missing: Option<(Filters, Instant)>,
}

/// Gateways ask for what is theirs once they are back.
fn consumers(mut filters: Filters) -> Filters {
    filters.retain(|filter, _| !filter.starts_with("bridge/"));
    while filters.len() > AUDIENCE_FILTERS_MAX {
        filters.pop_last();
    }
    filters
}

impl Audience {
    /// Those whom an earlier process left behind.
    pub fn of(data_dir: &Path, broker: Option<Broker>) -> Self {
        let path = data_dir.join("consumers.json");
        let noted: Filters = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let now = Instant::now();
        let missing = (broker.is_some() && !noted.is_empty()).then(|| (noted.clone(), now + AUDIENCE_WAIT));
        Self { broker, path, noted, noted_at: now, missing }
    }

    fn present(&self) -> Option<Filters> {
        self.broker.as_ref()?.audience().map(consumers)
    }

    /// Whether somebody is waited for.
    pub fn is_awaited(&self) -> bool {
        self.missing.is_some()
    }

    /// Looks who is back; whether the wait is over now.
    pub fn is_back(&mut self) -> bool {
        let Some((missing, until)) = &self.missing else { return false };
        let present = self.present().unwrap_or_default();
        let absent = missing.iter().filter(|(filter, count)| present.get(*filter).unwrap_or(&0) < count).count();
        if absent > 0 && Instant::now() < *until {
            return false;
        }
        if absent > 0 {
            info!(filters = absent, "consumers that were subscribed before the restart did not come back; publishing without them");
        }
        self.missing = None;
        true
    }

    /// Notes from time to time who listens.
    pub fn note(&mut self) {
        // Whoever is waited for stays noted, should this process end, too.
        if self.is_awaited() || self.noted_at.elapsed() < AUDIENCE_NOTE {
            return;
        }
        self.noted_at = Instant::now();
        let Some(present) = self.present().filter(|present| *present != self.noted) else { return };
        let temporary = self.path.with_extension("tmp");
        let written = serde_json::to_vec(&present).map_err(std::io::Error::other);
        if let Err(error) = written.and_then(|bytes| fs::write(&temporary, bytes)).and_then(|()| fs::rename(&temporary, &self.path)) {
            warn!(%error, path = %self.path.display(), "who listens is not noted; after a restart nobody is waited for");
        }
        // Not tried again before it changes: the disk has other worries.
        self.noted = present;
    }
}
