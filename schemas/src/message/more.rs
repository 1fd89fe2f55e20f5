//! What an interval carries in a shorter form, for a cloud that says it reads it: alerts and marks
//! packed, and alerts that are only named.
//!
//! Marks are columns of varints: how many, then series, size, start, birth and the record that
//! gave up (zigzag, differences to the mark before), version − birth, readings. Names of alerts:
//! how many, then seq (zigzag, difference to the one before) and ordinal of each.

use super::{AlertBody, Check, Delta, ShedMark, ensure};
use crate::error::DecodeError;
use crate::limits::{ALERTS_MAX, MARKS_MAX, MESSAGE_BYTES_MAX};
use crate::wire::{self, Reader};
use crate::{cbor, pack};
use serde::{Deserialize, Serialize};

/// What a cloud reads beyond the first format: 1, [`Delta::more`] and [`super::Beat`].
pub const READS: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
struct More {
    #[serde(deserialize_with = "cbor::list::<_, _, ALERTS_MAX>")]
    alerts: Vec<AlertBody>,
    #[serde(with = "cbor::bytes")]
    marks: Vec<u8>,
    #[serde(with = "cbor::bytes")]
    named: Vec<u8>,
}

impl Delta {
    /// As it goes on the line: alerts, marks and names packed, if the receiver reads that.
    pub(super) fn packed(&self) -> Delta {
        let mut message = self.clone();
        if !(self.alerts.is_empty() && self.marks.is_empty() && self.named.is_empty()) {
            let alerts = std::mem::take(&mut message.alerts);
            let more = More { alerts, marks: put_marks(&self.marks), named: put_names(&self.named) };
            message.marks.clear();
            message.more = pack::compress(&cbor::to_vec(&more));
        }
        message
    }

    /// Alerts, marks and names where they belong.
    pub(super) fn unpack(&mut self) -> Result<(), DecodeError> {
        if self.more.is_empty() {
            return Ok(());
        }
        let plain = pack::decompress(&std::mem::take(&mut self.more), MESSAGE_BYTES_MAX)?;
        let more: More = cbor::from_slice(&plain, MESSAGE_BYTES_MAX)?;
        more.alerts.iter().try_for_each(AlertBody::check)?;
        self.alerts.extend(more.alerts);
        self.marks.extend(get_marks(&more.marks)?);
        self.named = get_names(&more.named)?;
        self.packs = true;
        self.marks.iter().try_for_each(|mark| ensure(mark.size_ms > 0, "the window size of a shed mark"))
    }
}

/// The columns of whole numbers, each with the difference to the one before.
fn put_column(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut last = 0i64;
    for number in numbers {
        wire::put_zigzag(out, number.wrapping_sub(last));
        last = number;
    }
}

fn get_column(r: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, DecodeError> {
    let (mut out, mut last) = (Vec::with_capacity(count), 0i64);
    for _ in 0..count {
        last = last.wrapping_add(r.zigzag()?);
        out.push(last);
    }
    Ok(out)
}

/// How many there are; each takes a byte at least.
fn get_count(r: &mut Reader<'_>, bytes: usize, max: usize) -> Result<usize, DecodeError> {
    let count = r.varint()?;
    ensure(count <= bytes as u64 && count <= max as u64, "more than there are bytes for")?;
    Ok(count as usize)
}

fn put_marks(marks: &[ShedMark]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, marks.len() as u64);
    put_column(&mut out, marks.iter().map(|m| i64::from(m.series)));
    put_column(&mut out, marks.iter().map(|m| m.size_ms));
    put_column(&mut out, marks.iter().map(|m| m.start_ms));
    put_column(&mut out, marks.iter().map(|m| m.born.cast_signed()));
    put_column(&mut out, marks.iter().map(|m| m.shed_seq.cast_signed()));
    marks.iter().for_each(|m| wire::put_varint(&mut out, m.version.wrapping_sub(m.born)));
    marks.iter().for_each(|m| wire::put_varint(&mut out, m.count));
    out
}

fn get_marks(bytes: &[u8]) -> Result<Vec<ShedMark>, DecodeError> {
    let mut r = Reader::new(bytes);
    let count = get_count(&mut r, bytes.len(), MARKS_MAX)?;
    let [series, sizes, starts, births, sheds] = {
        let mut columns: [Vec<i64>; 5] = Default::default();
        for column in &mut columns {
            *column = get_column(&mut r, count)?;
        }
        columns
    };
    let mut marks = Vec::with_capacity(count);
    for ((((series, size_ms), start_ms), born), shed_seq) in series.into_iter().zip(sizes).zip(starts).zip(births).zip(sheds) {
        let series = u32::try_from(series).map_err(|_| DecodeError::Invalid("a series' number"))?;
        let (born, shed_seq) = (born.cast_unsigned(), shed_seq.cast_unsigned());
        marks.push(ShedMark { series, size_ms, start_ms, born, shed_seq, version: 0, count: 0 });
    }
    for mark in &mut marks {
        mark.version = mark.born.wrapping_add(r.varint()?);
    }
    for mark in &mut marks {
        mark.count = r.varint()?;
    }
    Ok(marks)
}

fn put_names(names: &[(u64, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, names.len() as u64);
    put_column(&mut out, names.iter().map(|(seq, _)| seq.cast_signed()));
    put_column(&mut out, names.iter().map(|(_, ordinal)| i64::from(*ordinal)));
    out
}

fn get_names(bytes: &[u8]) -> Result<Vec<(u64, u32)>, DecodeError> {
    let mut r = Reader::new(bytes);
    let count = get_count(&mut r, bytes.len(), ALERTS_MAX)?;
    let (seqs, ordinals) = (get_column(&mut r, count)?, get_column(&mut r, count)?);
    let name = |(seq, ordinal): (i64, i64)| {
        let ordinal = u32::try_from(ordinal).map_err(|_| DecodeError::Invalid("an alert's ordinal"))?;
        Ok((seq.cast_unsigned(), ordinal))
    };
    seqs.into_iter().zip(ordinals).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_names_read_back_and_strangers_bytes_do_no_harm() {
        let mut x = 7u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x
        };
        let marks: Vec<ShedMark> = (0..300)
            .map(|_| ShedMark {
                series: next() as u32,
                size_ms: (next() >> 1).cast_signed().max(1),
                start_ms: next().cast_signed(),
                born: next(),
                shed_seq: next(),
                version: next(),
                count: next(),
            })
            .collect();
        assert_eq!(get_marks(&put_marks(&marks)), Ok(marks.clone()));
        let names: Vec<(u64, u32)> = (0..300).map(|_| (next(), next() as u32)).collect();
        assert_eq!(get_names(&put_names(&names)), Ok(names.clone()));
        for cut in 0..200 {
            let bytes = put_marks(&marks);
            assert!(get_marks(&bytes[..cut * 7]).is_err());
            drop(get_names(&bytes[cut..]));
        }
        assert!(get_marks(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(), "a count that nothing is behind");
    }

    #[test]
    fn an_interval_says_the_same_packed_and_plain() {
        let mark = ShedMark { series: 3, size_ms: 1_000, start_ms: 5_000, born: 7, shed_seq: 90, version: 8, count: 2 };
        let plain = Delta { format: 1, to: 90, marks: vec![mark; 40], ..Delta::default() };
        let packs = Delta { packs: true, named: vec![(12, 0), (12, 1), (80, 0)], ..plain.clone() };
        assert_eq!(Delta::decode(&plain.encode()), Ok(plain.clone()));
        assert_eq!(Delta::decode(&packs.encode()), Ok(packs.clone()));
        assert!(packs.encode().len() * 3 < plain.encode().len());
    }
}
