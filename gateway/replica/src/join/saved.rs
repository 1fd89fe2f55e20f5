//! The bridge as of a record ↔ bytes: all but the windows, which the store has.

use super::crossing::{self, Crossing};
use super::gateways::Gateway;
use super::lacking::Lacking;
use super::rounds::{Budget, Due, Rounds, Waiting};
use super::series::{Catalogue, Series};
use super::set_back::SetBack;
use super::spans::{Span, Spans};
use super::store::{Store, Windows};
use super::{Alarms, Bridge, BridgeConfig, Pending};
use crate::error::Error;
use crate::limits::STATE_BYTES_MAX;
use crate::session::Sessions;
use schemas::{DecodeError, cbor, pack};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const FORMAT: u32 = 1;

// CBOR's keys are the positions of the fields: both structs have them in the same order.

/// All but the windows as of a record. Taking it copies little: gateways, series, alarms and spans that lack readings are shared
/// with the bridge until these change.
#[derive(Serialize)]
pub struct State {
    format: u32,
    boot: u64,
    lsn: u64,
    clock_ms: i64,
    config: BridgeConfig,
    gateways: BTreeMap<String, Arc<Gateway>>,
    sessions: Sessions,
    cursor: u64,
    spoilt: u64,
    rounds_windows: u64,
    series: Vec<Arc<Series>>,
    due: Vec<Due>,
    waiting: Vec<Waiting>,
    names: Vec<String>,
    sources: Vec<(u32, u64)>,
    swept: i64,
    pending: VecDeque<(u64, Pending)>,
    alarms: Alarms,
    crossings: BTreeMap<String, Arc<Crossing>>,
    due_long: Vec<Due>,
    budget: Budget,
    spans: Vec<Span>,
    set_back: SetBack,
    lacking: Arc<Lacking>,
}

impl State {
    /// As bytes, for [`Bridge::restore`]; none for a state that it would refuse as too large.
    pub fn encode(&self) -> Vec<u8> {
        let plain = cbor::to_vec(self);
        if plain.len() > STATE_BYTES_MAX { Vec::new() } else { pack::compress(&plain) }
    }
}

#[derive(Deserialize)]
struct Saved {
    format: u32,
    boot: u64,
    lsn: u64,
    clock_ms: i64,
    config: BridgeConfig,
    gateways: BTreeMap<String, Arc<Gateway>>,
    sessions: Sessions,
    cursor: u64,
    spoilt: u64,
    rounds_windows: u64,
    series: Vec<Arc<Series>>,
    due: Vec<Due>,
    waiting: Vec<Waiting>,
    names: Vec<String>,
    sources: Vec<(u32, u64)>,
    swept: i64,
    pending: VecDeque<(u64, Pending)>,
    #[serde(default)]
    alarms: Alarms,
    #[serde(default)]
    crossings: BTreeMap<String, Arc<Crossing>>,
    #[serde(default)]
    due_long: Vec<Due>,
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    spans: Vec<Span>,
    #[serde(default)]
    set_back: SetBack,
    #[serde(default)]
    lacking: Arc<Lacking>,
}

impl Bridge {
    /// All but the windows, as bytes.
    pub fn save(&self) -> Vec<u8> {
        self.state().encode()
    }

    /// All but the windows as of the last record.
    pub fn state(&self) -> State {
        let (due, due_long, waiting) = self.rounds.parts();
        State {
            format: FORMAT,
            boot: self.boot,
            lsn: self.lsn,
            clock_ms: self.clock_ms,
            config: self.config.clone(),
            gateways: self.gateways.clone(),
            sessions: self.sessions.clone(),
            cursor: self.cursor,
            spoilt: self.spoilt,
            rounds_windows: self.rounds_windows,
            series: self.series.list().to_vec(),
            due,
            waiting,
            names: self.names.clone(),
            sources: self.sources.clone(),
            swept: self.swept,
            pending: self.pending.clone(),
            alarms: self.alarms.clone(),
            crossings: self.crossings.clone(),
            due_long,
            budget: self.rounds.budget,
            spans: self.spans.list(),
            set_back: self.set_back,
            lacking: self.lacking.clone(),
        }
    }

    /// The bridge of [`Bridge::save`], over the store that has its windows as of the same record.
    ///
    /// # Errors
    /// [`Error::Snapshot`] for bytes that it did not write.
    pub fn restore(bytes: &[u8], store: Box<dyn Store>) -> Result<Self, Error> {
        let s = read(bytes).map_err(Error::Snapshot)?;
        let mut alarms = s.alarms;
        alarms.resume();
        let mut complete_ms = vec![i64::MAX; s.names.len()];
        let mut groups = vec![None; s.names.len()];
        for gateway in s.gateways.values() {
            complete_ms[gateway.number as usize] = gateway.complete_ms;
            groups[gateway.number as usize] = gateway.group().map(Box::from);
        }
        Ok(Self {
            laden: crossing::laden(&s.crossings),
            pending_bytes: s.pending.iter().map(|(_, pending)| pending.crossed_bytes()).sum(),
            crossings_due_ms: crossing::due_ms(&s.crossings),
            boot: s.boot,
            lsn: s.lsn,
            clock_ms: s.clock_ms,
            config: s.config,
            gateways: s.gateways,
            sessions: s.sessions,
            cursor: s.cursor,
            quiet: 0,
            spoilt: s.spoilt,
            rounds_windows: s.rounds_windows,
            series: Catalogue::new(s.series),
            windows: Windows::new(store),
            rounds: Rounds::new(s.due, s.due_long, s.waiting, s.budget),
            spans: Spans::new(s.spans),
            set_back: s.set_back,
            lacking: s.lacking,
            names: s.names,
            complete_ms,
            groups,
            sources: s.sources,
            swept: s.swept,
            pending: s.pending,
            alarms,
            crossings: s.crossings,
        })
    }
}

fn read(bytes: &[u8]) -> Result<Saved, DecodeError> {
    let plain = pack::decompress(bytes, STATE_BYTES_MAX)?;
    let saved: Saved = cbor::from_slice(&plain, STATE_BYTES_MAX)?;
    if saved.format != FORMAT {
        return Err(DecodeError::Invalid("snapshot format"));
    }
    let known = |number: u32| (number as usize) < saved.names.len();
    if !saved.gateways.values().all(|g| known(g.number)) || !saved.sources.iter().all(|(gateway, _)| known(*gateway)) {
        return Err(DecodeError::Invalid("a gateway without its name"));
    }
    Ok(saved)
}
