//! Entries ↔ columns of varints, compressed: what an interval carries.
//!
//! Layout, after unpacking: entry count, then one column after the other, each in the
//! entries' order (series, size, start, born):
//!
//! | column | value |
//! |---|---|
//! | series | difference to the entry before |
//! | size | ms |
//! | start | difference to the entry before, in sizes, when the size is the same; else absolute |
//! | born, version − born | zigzag difference to the entry before |
//! | count | − 1 |
//! | scale | 0–9: decimals, integer columns follow; 15: doubles |
//! | first | mantissa, zigzag difference to the entry before; or 8 bytes |
//! | min, max, last | distance to first at the scale; or 8 bytes each |
//! | moments | origin − first, Σd, Σd²; or four doubles |
//! | first time | from the window's start |
//! | last time | to the window's end |
//! | sketch | buckets between min's and max's: gap and count; the last count follows from the others |

use crate::aggregate::{Aggregate, Moments, SCALES, mantissa};
use crate::entry::Entry;
use crate::limits::{BLOCK_BYTES_MAX, SKETCH_BUCKETS_MAX};
use crate::sketch::{Sketch, key};
use schemas::wire::{self, Reader};
use schemas::{DecodeError, pack};

const COLUMNS: usize = 13;
const DOUBLES: u8 = 15;

/// Encodes entries, in any order; none is no bytes.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|e| (e.series, e.size_ms, e.start_ms, e.born));
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let mut before = Before::default();
    for e in order {
        put_entry(&mut columns, &mut before, e);
    }
    let mut out = Vec::new();
    wire::put_varint(&mut out, entries.len() as u64);
    for column in &columns {
        wire::put_bytes(&mut out, column);
    }
    pack::compress(&out)
}

/// What columns are differences to.
#[derive(Default)]
struct Before {
    series: u32,
    size_ms: i64,
    start_ms: i64,
    born: u64,
    span: u64,
    first: i64,
}

/// All values of an entry at one decimal scale, if there is one.
fn decimals(a: &Aggregate) -> Option<(u8, i64, i64, [i64; 4], i128, i128)> {
    let Moments::Exact { scale, origin, d1, d2 } = a.moments else { return None };
    let m = |v| mantissa(v, scale);
    Some((scale, m(a.first.1)?, origin, [m(a.min)?, m(a.max)?, m(a.last.1)?, 0], d1, d2))
}

fn put_entry(columns: &mut [Vec<u8>; COLUMNS], before: &mut Before, e: &Entry) {
    let a = &e.aggregate;
    wire::put_varint(&mut columns[0], u64::from(e.series - before.series));
    wire::put_zigzag(&mut columns[1], e.size_ms.wrapping_sub(before.size_ms));
    wire::put_zigzag(&mut columns[2], e.start_ms.wrapping_sub(before.start_ms));
    wire::put_zigzag(&mut columns[3], e.born.wrapping_sub(before.born) as i64);
    let span = e.version.wrapping_sub(e.born);
    wire::put_zigzag(&mut columns[4], span.wrapping_sub(before.span) as i64);
    wire::put_varint(&mut columns[5], a.count - 1);
    let short = decimals(a).filter(|(_, _, _, _, d1, d2)| i64::try_from(*d1).is_ok() && u64::try_from(*d2).is_ok());
    match short {
        Some((scale, first, origin, [min, max, last, _], d1, d2)) => {
            columns[6].push(scale);
            wire::put_zigzag(&mut columns[7], first.wrapping_sub(before.first));
            before.first = first;
            wire::put_varint(&mut columns[8], first.abs_diff(min));
            wire::put_varint(&mut columns[8], max.abs_diff(first));
            wire::put_zigzag(&mut columns[8], last - first);
            wire::put_zigzag(&mut columns[9], origin - first);
            wire::put_zigzag(&mut columns[9], d1 as i64);
            wire::put_varint(&mut columns[9], d2 as u64);
        }
        None => {
            columns[6].push(DOUBLES);
            wire::put_f64(&mut columns[7], a.first.1);
            for v in [a.min, a.max, a.last.1] {
                wire::put_f64(&mut columns[8], v);
            }
            match &a.moments {
                Moments::Float { high, low, mean, m2 } => {
                    columns[9].push(0);
                    for v in [high, low, mean, m2] {
                        wire::put_f64(&mut columns[9], *v);
                    }
                }
                Moments::Exact { scale, origin, d1, d2 } => {
                    columns[9].push(1);
                    columns[9].push(*scale);
                    wire::put_zigzag(&mut columns[9], *origin);
                    columns[9].extend_from_slice(&d1.to_le_bytes());
                    columns[9].extend_from_slice(&d2.to_le_bytes());
                }
            }
        }
    }
    wire::put_zigzag(&mut columns[10], a.first.0.wrapping_sub(e.start_ms));
    wire::put_zigzag(&mut columns[11], e.start_ms.wrapping_add(e.size_ms).wrapping_sub(a.last.0));
    put_sketch(&mut columns[12], a);
    (before.series, before.size_ms, before.start_ms, before.born, before.span) = (e.series, e.size_ms, e.start_ms, e.born, span);
}

/// One bucket costs one byte; of more, the keys follow from min's and the gaps, the last count from the sum.
fn put_sketch(out: &mut Vec<u8>, a: &Aggregate) {
    let buckets = a.sketch.buckets();
    // A sketch that was collapsed at its bound no longer begins at min's bucket, and may count more than a bucket holds.
    let derived = buckets.first().is_some_and(|b| b.0 == key(a.min)) && buckets.iter().map(|b| u64::from(b.1)).sum::<u64>() == a.count;
    wire::put_varint(out, (buckets.len() as u64) << 1 | u64::from(!derived));
    let mut last = if derived { key(a.min) } else { 0 };
    for (i, (k, count)) in buckets.iter().enumerate() {
        if !(derived && i == 0) {
            wire::put_zigzag(out, i64::from(*k) - i64::from(last));
        }
        last = *k;
        if !(derived && i + 1 == buckets.len()) {
            wire::put_varint(out, u64::from(*count));
        }
    }
}

/// Decodes at most `entries_max` entries, sorted by (series, size, start, born).
///
/// # Errors
/// For whatever [`encode`] does not write; never panics, never allocates beyond its bounds.
pub fn decode(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let plain = pack::decompress(bytes, BLOCK_BYTES_MAX)?;
    let mut r = Reader::new(&plain);
    let count = r.varint()?;
    // Each entry takes at least a byte in the series column.
    if count > entries_max as u64 || count > r.remaining() as u64 {
        return Err(DecodeError::TooLong { length: count, max: entries_max });
    }
    let mut columns = Vec::with_capacity(COLUMNS);
    for _ in 0..COLUMNS {
        columns.push(Reader::new(r.bytes(plain.len())?));
    }
    r.finish()?;
    let mut before = Before::default();
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        entries.push(get_entry(&mut columns, &mut before)?);
    }
    columns.iter().try_for_each(Reader::finish)?;
    Ok(entries)
}

fn get_entry(columns: &mut [Reader<'_>], before: &mut Before) -> Result<Entry, DecodeError> {
    let bad = DecodeError::Invalid("entry");
    let step = u32::try_from(columns[0].varint()?).map_err(|_| bad.clone())?;
    let series = before.series.checked_add(step).ok_or(bad.clone())?;
    let size_ms = before.size_ms.wrapping_add(columns[1].zigzag()?);
    let start_ms = before.start_ms.wrapping_add(columns[2].zigzag()?);
    if size_ms <= 0 || start_ms.checked_add(size_ms).is_none() {
        return Err(DecodeError::Invalid("window"));
    }
    let born = before.born.wrapping_add(columns[3].zigzag()? as u64);
    let span = before.span.wrapping_add(columns[4].zigzag()? as u64);
    let version = born.checked_add(span).ok_or(bad.clone())?;
    let count = columns[5].varint()?.checked_add(1).ok_or(bad.clone())?;
    let scale = columns[6].u8()?;
    let (first, min, max, last, moments);
    if scale == DOUBLES {
        first = columns[7].f64()?;
        (min, max, last) = (columns[8].f64()?, columns[8].f64()?, columns[8].f64()?);
        let c = &mut columns[9];
        moments = match c.u8()? {
            0 => Moments::Float { high: c.f64()?, low: c.f64()?, mean: c.f64()?, m2: c.f64()? },
            1 => {
                let scale = c.u8()?;
                let origin = c.zigzag()?;
                let mut wide = || -> Result<i128, DecodeError> {
                    let mut fixed = [0; 16];
                    fixed.copy_from_slice(c.take(16)?);
                    Ok(i128::from_le_bytes(fixed))
                };
                Moments::Exact { scale, origin, d1: wide()?, d2: wide()? }
            }
            _ => return Err(bad),
        };
    } else {
        let factor = *SCALES.get(scale as usize).ok_or(bad.clone())?;
        let f = before.first.wrapping_add(columns[7].zigzag()?);
        before.first = f;
        let c = &mut columns[8];
        let low = f.checked_sub_unsigned(c.varint()?).ok_or(bad.clone())?;
        let high = f.checked_add_unsigned(c.varint()?).ok_or(bad.clone())?;
        let l = f.checked_add(c.zigzag()?).ok_or(bad.clone())?;
        let c = &mut columns[9];
        let origin = f.checked_add(c.zigzag()?).ok_or(bad.clone())?;
        moments = Moments::Exact { scale, origin, d1: i128::from(c.zigzag()?), d2: i128::from(c.varint()?) };
        let value = |m: i64| m as f64 / factor;
        (first, min, max, last) = (value(f), value(low), value(high), value(l));
    }
    if let Moments::Exact { scale, origin, d2, d1 } = &moments {
        let long = d1.unsigned_abs() >= 1 << 112 || !(0..1 << 112).contains(d2) || origin.unsigned_abs() > 1 << 53;
        if *scale as usize >= SCALES.len() || long {
            return Err(DecodeError::Invalid("moments"));
        }
    }
    if ![first, min, max, last].iter().all(|v| v.is_finite()) || min > max {
        return Err(DecodeError::Invalid("value"));
    }
    let first_ms = start_ms.wrapping_add(columns[10].zigzag()?);
    let last_ms = start_ms.wrapping_add(size_ms).wrapping_sub(columns[11].zigzag()?);
    let sketch = get_sketch(&mut columns[12], count, min)?;
    *before = Before { series, size_ms, start_ms, born, span, first: before.first };
    let aggregate = Aggregate { count, moments, min, max, first: (first_ms, first), last: (last_ms, last), sketch };
    Ok(Entry { series, size_ms, start_ms, born, version, aggregate })
}

fn get_sketch(r: &mut Reader<'_>, count: u64, min: f64) -> Result<Sketch, DecodeError> {
    let bad = DecodeError::Invalid("sketch");
    let head = r.varint()?;
    let (buckets, derived) = (head >> 1, head & 1 == 0);
    if buckets == 0 || buckets > SKETCH_BUCKETS_MAX as u64 {
        return Err(bad);
    }
    let mut sketch = Sketch::default();
    let mut k = if derived { key(min) } else { 0 };
    let mut left = count;
    for i in 0..buckets {
        if !(derived && i == 0) {
            let gap = i32::try_from(r.zigzag()?).map_err(|_| bad.clone())?;
            k = k.checked_add(gap).filter(|k| k.unsigned_abs() < 1 << 20).ok_or(bad.clone())?;
        }
        let n = if derived && i + 1 == buckets { left } else { r.varint()? };
        let n = u32::try_from(n).map_err(|_| bad.clone())?;
        if derived {
            left = left.checked_sub(u64::from(n)).ok_or(bad.clone())?;
        }
        sketch.add_key(k, n);
    }
    Ok(sketch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let value = prop_oneof![(-9_999i64..9_999).prop_map(|m| m as f64 / 10.0), any::<f64>().prop_filter("finite", |v| v.is_finite())];
        let entry = (0u32..5, 0i64..100, 0u64..1_000, 0u64..1_000, prop::collection::vec((0i64..10_000, value), 1..30));
        prop::collection::vec(entry, 0..30).prop_map(|list| {
            let mut out: Vec<Entry> = list
                .into_iter()
                .map(|(series, w, born, span, readings)| {
                    let start_ms = w * 10_000;
                    let mut aggregate = Aggregate::new(start_ms + readings[0].0, readings[0].1);
                    readings[1..].iter().for_each(|(t, v)| aggregate.add(start_ms + t, *v));
                    Entry { series, size_ms: 10_000, start_ms, born, version: born + span, aggregate }
                })
                .collect();
            out.sort_by_key(|e| (e.series, e.size_ms, e.start_ms, e.born));
            out
        })
    }

    proptest! {
        #[test]
        fn a_block_reads_back(entries in entries()) {
            let back = decode(&encode(&entries), 100).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{entries:?}"));
        }

        #[test]
        fn damaged_blocks_never_panic(entries in entries(), at: prop::sample::Index, byte: u8) {
            let mut bytes = vec![0];
            bytes.extend(pack::decompress(&encode(&entries), 1 << 20).unwrap_or_default());
            if bytes.len() > 1 {
                let i = 1 + at.index(bytes.len() - 1);
                bytes[i] = byte;
            }
            let _ = decode(&bytes, 1_000);
        }
    }

    #[test]
    fn a_minute_of_a_sensor_takes_few_bytes() {
        let mut seed = 7u64;
        let mut noise = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as i64
        };
        let entries: Vec<Entry> = (0..200u32)
            .map(|series| {
                let level = 200 + i64::from(series) * 3;
                let mut at = |i: i64| (i * 1_000 + noise() % 50, (level + noise() % 9) as f64 / 10.0);
                let first = at(0);
                let mut aggregate = Aggregate::new(first.0, first.1);
                (1..60).for_each(|i| {
                    let (t, v) = at(i);
                    aggregate.add(t, v);
                });
                Entry { series, size_ms: 60_000, start_ms: 0, born: u64::from(series), version: u64::from(series) + 11_800, aggregate }
            })
            .collect();
        let bytes = encode(&entries).len();
        assert!(bytes < 200 * 20, "{bytes} bytes for 200 windows");
    }
}
