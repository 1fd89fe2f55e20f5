//! The alerts of one boot that `applied` does not cover: the young ones as they are, the others in
//! pages.
//!
//! Invariants: they are in order of place, the pages' before the young ones; what is in a page is
//! never changed; a page is cut from the oldest by a rule that sees nothing but the log; an alert
//! at or below `applied` counts as gone wherever it still lies.
//!
//! Layout of a page, packed: CBOR, a list of alerts, each with where the log stood before its record.

#[cfg(test)]
mod tests;

use super::Before;
use super::shelf::{Paged, Shelf};
use schemas::message::AlertBody;
use schemas::{cbor, pack};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// An alert's place within its boot: seq and ordinal.
pub type Place = (u64, u32);

/// An alert, and where the log stood before its record.
pub type Waiting = (AlertBody, Before);

/// What is known of a page of alerts without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPage {
    /// Its number, as pages of entries have one.
    pub id: u64,
    /// Alerts in it.
    pub alerts: u32,
    /// Bytes that it takes.
    pub bytes: u32,
    /// Bytes of it unpacked.
    pub plain_bytes: u32,
    /// The first alert in it.
    pub first: Place,
    /// The last one.
    pub last: Place,
}

impl Paged for AlertPage {
    fn id(&self) -> u64 {
        self.id
    }
}

/// The alerts of one boot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Alerts {
    pub(crate) tail: VecDeque<Waiting>,
    /// By number.
    pub(crate) pages: Vec<AlertPage>,
}

/// The page that was read last: whoever asks in order reads each page once.
#[derive(Clone, Default)]
pub struct LastRead {
    id: u64,
    alerts: Vec<Waiting>,
}

/// What it holds is said by its page.
impl fmt::Debug for LastRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastRead")
    }
}

fn place(alert: &AlertBody) -> Place {
    (alert.seq, alert.ordinal)
}

/// The alerts of a page; none where its bytes are gone, or those of another.
fn read(page: &AlertPage, shelf: &Shelf) -> Option<Vec<Waiting>> {
    let bytes = shelf.get(page.id).filter(|bytes| bytes.len() == page.bytes as usize)?;
    let plain = pack::decompress(&bytes, page.plain_bytes as usize).ok()?;
    let alerts: Vec<Waiting> = cbor::from_slice(&plain, plain.len()).ok()?;
    let ends = alerts.first().map(|(a, _)| place(a)).zip(alerts.last().map(|(a, _)| place(a)));
    (alerts.len() == page.alerts as usize && ends == Some((page.first, page.last))).then_some(alerts)
}

impl Alerts {
    /// Alerts, those included that lie in a page some of which is gone.
    pub fn len(&self) -> usize {
        self.tail.len() + self.pages.iter().map(|p| p.alerts as usize).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.pages.is_empty()
    }

    /// Its pages, by number.
    pub fn pages(&self) -> &[AlertPage] {
        &self.pages
    }

    /// Bytes of its pages.
    pub fn bytes(&self) -> u64 {
        self.pages.iter().map(|p| u64::from(p.bytes)).sum()
    }

    /// Takes the next one.
    pub(crate) fn push(&mut self, alert: AlertBody, before: Before, shelf: &mut Shelf) {
        self.tail.push_back((alert, before));
        if shelf.page_alerts > 0 && self.tail.len() >= shelf.page_alerts.saturating_mul(2) {
            self.cut(shelf);
        }
    }

    /// Puts all into pages, where there are any: no alert will follow.
    pub(crate) fn finish(&mut self, shelf: &mut Shelf) {
        while shelf.page_alerts > 0 && !self.tail.is_empty() {
            self.cut(shelf);
        }
    }

    /// Makes a page of the oldest.
    fn cut(&mut self, shelf: &mut Shelf) {
        let count = shelf.page_alerts.min(self.tail.len());
        let alerts: Vec<Waiting> = self.tail.drain(..count).collect();
        let (Some((first, _)), Some((last, _))) = (alerts.first(), alerts.last()) else { return };
        let plain = cbor::to_vec(&alerts);
        let bytes = pack::compress(&plain);
        let (id, alerts) = (shelf.last + 1, count as u32);
        let (first, last) = (place(first), place(last));
        self.pages.push(AlertPage { id, alerts, bytes: bytes.len() as u32, plain_bytes: plain.len() as u32, first, last });
        shelf.put(id, bytes);
    }

    /// Lets go of all at or below `applied`, as far as they need no rewriting.
    pub(crate) fn trim(&mut self, applied: u64, shelf: &mut Shelf) {
        while self.tail.front().is_some_and(|(a, _)| a.seq <= applied) {
            self.tail.pop_front();
        }
        shelf.retain(&mut self.pages, |page| page.last.0 > applied);
    }

    /// The page of this number is lost.
    pub(crate) fn lose(&mut self, id: u64, shelf: &mut Shelf) -> Option<AlertPage> {
        shelf.lose(&mut self.pages, id)
    }

    /// Those of records beyond `seq`, in order, pages read as their turn comes; those that cannot be
    /// read are passed over, and told.
    pub fn beyond<'a>(&'a self, shelf: &'a Shelf, seq: u64, unreadable: &'a mut Vec<u64>) -> impl Iterator<Item = Waiting> + 'a {
        let paged = self.pages.iter().filter(move |page| page.last.0 > seq).flat_map(|page| {
            read(page, shelf).unwrap_or_else(|| {
                unreadable.push(page.id);
                Vec::new()
            })
        });
        let young = self.tail.range(self.tail.partition_point(|(a, _)| a.seq <= seq)..).cloned();
        paged.filter(move |(a, _)| a.seq > seq).chain(young)
    }

    /// Those of records beyond `seq`, the newest first, as far as they can be read.
    pub fn newest<'a>(&'a self, shelf: &'a Shelf, seq: u64) -> impl Iterator<Item = AlertBody> + 'a {
        let paged = self.pages.iter().rev().flat_map(|page| read(page, shelf).unwrap_or_default().into_iter().rev());
        self.tail.iter().rev().cloned().chain(paged).map(|(alert, _)| alert).take_while(move |alert| alert.seq > seq)
    }

    /// Whether there is one of a record beyond `from`, up to `to`. Of a page that reaches over both
    /// it is taken for granted: `to` goes on, and then it is told.
    pub fn has(&self, from: u64, to: u64) -> bool {
        let is_young = || self.tail.get(self.tail.partition_point(|(a, _)| a.seq <= from)).is_some_and(|(a, _)| a.seq <= to);
        from < to && (self.pages.iter().any(|page| page.last.0 > from && page.first.0 <= to) || is_young())
    }

    /// The one at that place.
    pub fn find(&self, shelf: &Shelf, wanted: Place, last: &mut LastRead) -> Option<AlertBody> {
        if let Ok(at) = self.tail.binary_search_by_key(&wanted, |(a, _)| place(a)) {
            return self.tail.get(at).map(|(alert, _)| alert.clone());
        }
        let page = self.pages.get(self.pages.partition_point(|page| page.last < wanted)).filter(|page| page.first <= wanted)?;
        if last.id != page.id {
            *last = LastRead { alerts: read(page, shelf)?, id: page.id };
        }
        let at = last.alerts.binary_search_by_key(&wanted, |(a, _)| place(a)).ok()?;
        last.alerts.get(at).map(|(alert, _)| alert.clone())
    }

    /// Hands on all, those of records beyond `seq` one by one, and of pages that cannot be read how
    /// many they are.
    pub(crate) fn hand_on(self, seq: u64, shelf: &mut Shelf, mut each: impl FnMut(&mut Shelf, Result<AlertBody, u32>)) {
        for page in &self.pages {
            let alerts = if page.last.0 > seq { read(page, shelf) } else { Some(Vec::new()) };
            shelf.release(page.id);
            match alerts {
                Some(alerts) => alerts.into_iter().filter(|(a, _)| a.seq > seq).for_each(|(alert, _)| each(shelf, Ok(alert))),
                None => each(shelf, Err(page.alerts)),
            }
        }
        self.tail.into_iter().filter(|(a, _)| a.seq > seq).for_each(|(alert, _)| each(shelf, Ok(alert)));
    }
}
