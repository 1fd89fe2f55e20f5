//! Columns → entries. The bytes may come from anyone: every number is checked before it is
//! used, and nothing is allocated that the bytes at hand do not pay for.

use super::double::{Residual, ZEROS_MAX, at};
use super::{Before, DIGEST, FLOAT, FULL_SKETCH, Level, SINGLE, WIDE};
use crate::aggregate::{Aggregate, MANTISSA_MAX, Moments, SCALES, SQUARES_MAX, mantissa};
use crate::entry::Entry;
use crate::limits::{BLOCK_BYTES_MAX, ENTRY_BYTES_MAX, ENTRY_READINGS_MAX, SKETCH_BUCKETS_MAX};
use crate::sketch::{Sketch, key};
use schemas::wire::Reader;
use schemas::{DecodeError, pack};

/// An entry while its columns are read.
struct Row {
    series: u32,
    size_ms: i64,
    start_ms: i64,
    born: u64,
    version: u64,
    count: u64,
    shape: u8,
    /// Low bits that its numbers lack.
    zeros: u8,
    /// First, min, max, last.
    numbers: [i64; 4],
    values: [f64; 4],
    d1: i64,
    moments: Option<Moments>,
    first_ms: i64,
    last_ms: i64,
    sketch: Vec<(i32, u32)>,
    digest: Option<u64>,
}

impl Row {
    fn single(&self) -> bool {
        self.shape & SINGLE != 0
    }

    fn form(&self) -> u8 {
        self.shape & (SINGLE - 1)
    }

    /// Its scale; doubles have none.
    fn scale(&self) -> Option<u8> {
        Some(self.form()).filter(|form| usize::from(*form) < SCALES.len())
    }

    /// A number of it, within the bound of mantissas.
    fn number(&self, number: i64) -> Result<i64, DecodeError> {
        let fits = self.scale().is_none() || number.unsigned_abs() < MANTISSA_MAX.unsigned_abs();
        if fits { Ok(number) } else { Err(invalid("mantissa")) }
    }
}

fn invalid(what: &'static str) -> DecodeError {
    DecodeError::Invalid(what)
}

pub(super) fn block(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let bytes_max = entries_max.saturating_mul(ENTRY_BYTES_MAX).saturating_add(16).min(BLOCK_BYTES_MAX);
    let plain = pack::decompress(bytes, bytes_max)?;
    let mut r = Reader::new(&plain);
    let count = r.varint()?;
    // Each entry takes at least eight bytes: those of its name, count, shape and first time.
    let possible = entries_max.min(r.remaining() / 8);
    if count == 0 || count > possible as u64 {
        return Err(DecodeError::TooLong { length: count, max: possible });
    }
    let mut rows = names(&mut r, count as usize)?;
    counts(&mut r, &mut rows)?;
    values(&mut r, &mut rows)?;
    sums(&mut r, &mut rows)?;
    residuals(&mut r, &mut rows)?;
    wide(&mut r, &mut rows)?;
    times(&mut r, &mut rows)?;
    sketches(&mut r, &mut rows)?;
    full_sketches(&mut r, &mut rows)?;
    for row in rows.iter_mut().filter(|row| row.shape & DIGEST != 0 && !row.single()) {
        row.digest = Some(r.u64()?);
    }
    r.finish()?;
    rows.into_iter().map(entry).collect()
}

fn names(r: &mut Reader<'_>, count: usize) -> Result<Vec<Row>, DecodeError> {
    let mut rows = Vec::with_capacity(count);
    let mut before = Before::default();
    for _ in 0..count {
        let step = u32::try_from(r.varint()?).map_err(|_| invalid("series"))?;
        before.series = before.series.checked_add(step).ok_or(invalid("series"))?;
        rows.push(Row {
            series: before.series,
            size_ms: 0,
            start_ms: 0,
            born: 0,
            version: 0,
            count: 0,
            shape: 0,
            zeros: 0,
            numbers: [0; 4],
            values: [0.0; 4],
            d1: 0,
            moments: None,
            first_ms: 0,
            last_ms: 0,
            sketch: Vec::new(),
            digest: None,
        });
    }
    for row in &mut rows {
        before.size_ms = before.size_ms.wrapping_add(r.zigzag()?);
        row.size_ms = before.size_ms;
    }
    for row in &mut rows {
        before.start_ms = before.start_ms.wrapping_add(r.zigzag()?);
        row.start_ms = before.start_ms;
        if row.size_ms <= 0 || row.start_ms.checked_add(row.size_ms).is_none() {
            return Err(invalid("window"));
        }
    }
    for row in &mut rows {
        before.born = before.born.wrapping_add(r.zigzag()? as u64);
        row.born = before.born;
    }
    for row in &mut rows {
        before.span = before.span.wrapping_add(r.zigzag()? as u64);
        row.version = row.born.checked_add(before.span).ok_or(invalid("version"))?;
    }
    Ok(rows)
}

fn counts(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    for row in rows.iter_mut() {
        row.count = r.varint()?.checked_add(1).filter(|n| *n <= ENTRY_READINGS_MAX).ok_or(invalid("count"))?;
    }
    for row in rows {
        row.shape = r.u8()?;
        let known = row.scale().is_some() || row.form() == FLOAT || row.form() == WIDE;
        let single = row.count == 1 && row.form() != WIDE && row.shape & FULL_SKETCH == 0;
        if !known || (row.single() && !single) || row.shape >= DIGEST << 1 {
            return Err(invalid("shape"));
        }
    }
    Ok(())
}

fn values(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    for row in rows.iter_mut().filter(|row| row.scale().is_none()) {
        row.zeros = r.u8()?;
        if u32::from(row.zeros) > ZEROS_MAX {
            return Err(invalid("zero bits"));
        }
    }
    let mut level = Level::default();
    for row in rows.iter_mut() {
        let (series, scale) = (row.series, row.scale());
        let first = (level.expected(series, scale) >> row.zeros).wrapping_add(r.zigzag()?);
        row.numbers = [row.number(first)?; 4];
        level = Level { series, scale, number: first << row.zeros };
    }
    for row in rows.iter_mut().filter(|row| !row.single()) {
        row.numbers[1] = row.number(row.numbers[0].wrapping_sub(r.varint()? as i64))?;
    }
    for row in rows.iter_mut().filter(|row| !row.single()) {
        row.numbers[2] = row.number(row.numbers[0].wrapping_add(r.varint()? as i64))?;
    }
    for row in rows.iter_mut().filter(|row| !row.single()) {
        row.numbers[3] = row.number(row.numbers[0].wrapping_add(r.zigzag()?))?;
    }
    // Min's and max's keys are the ends of the sketch: they are looked at from here on.
    for row in rows {
        row.values = match row.scale() {
            Some(scale) => row.numbers.map(|m| m as f64 / SCALES[usize::from(scale)]),
            None => row.numbers.map(|p| at(p << row.zeros)),
        };
        let [first, min, max, last] = row.values;
        let within = |v: f64| min.total_cmp(&v).is_le() && v.total_cmp(&max).is_le();
        if !row.values.iter().all(|v| v.is_finite()) || !within(first) || !within(last) {
            return Err(invalid("value"));
        }
    }
    Ok(())
}

/// Moments that are integers.
fn sums(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    let mut many: Vec<&mut Row> = rows.iter_mut().filter(|row| row.scale().is_some() && !row.single()).collect();
    for row in &mut many {
        row.d1 = r.zigzag()?;
    }
    for row in &mut many {
        // With count up to 2^40 and mantissas up to 2^50 none of these leaves 128 bits.
        let (n, f, d1) = (i128::from(row.count), i128::from(row.numbers[0]), i128::from(row.d1));
        let s1 = n * f + d1;
        let d2 = d1 * d1 / n + i128::from(r.varint()?);
        let s2 = f.checked_mul(s1 + d1).and_then(|product| d2.checked_add(product)).ok_or(invalid("moments"))?;
        row.moments = Some(Moments::Exact { scale: row.form(), s1, s2 });
    }
    Ok(())
}

/// Moments that are doubles.
fn residuals(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    let mut many: Vec<(&mut Row, Residual)> =
        rows.iter_mut().filter(|row| row.form() == FLOAT && !row.single()).map(|row| (row, Residual::default())).collect();
    for (_, residual) in &mut many {
        residual.zeros = r.u8()?;
    }
    let columns: [fn(&mut Residual) -> &mut i64; 5] = [|s| &mut s.high, |s| &mut s.low.0, |s| &mut s.low.1, |s| &mut s.mean, |s| &mut s.m2];
    for column in columns {
        for (_, residual) in &mut many {
            *column(residual) = r.zigzag()?;
        }
    }
    for (row, residual) in many {
        let [high, low, mean, m2] = residual.moments(row.count, row.values[1], row.values[2])?;
        row.moments = Some(Moments::Float { high, low, mean, m2 });
    }
    Ok(())
}

/// Moments that are integers too long for varints.
fn wide(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    for row in rows.iter_mut().filter(|row| row.form() == WIDE) {
        let scale = r.u8()?;
        let mut sum = || -> Result<i128, DecodeError> {
            let mut fixed = [0; 16];
            fixed.copy_from_slice(r.take(16)?);
            Ok(i128::from_le_bytes(fixed))
        };
        row.moments = Some(Moments::Exact { scale, s1: sum()?, s2: sum()? });
    }
    Ok(())
}

fn times(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    for row in rows.iter_mut() {
        row.first_ms = row.start_ms.wrapping_add(r.zigzag()?);
    }
    for row in rows.iter_mut().filter(|row| !row.single()) {
        row.last_ms = row.start_ms.wrapping_add(row.size_ms).wrapping_sub(r.zigzag()?);
    }
    Ok(())
}

/// Buckets of a sketch, zero's included.
const BUCKETS_MAX: u64 = SKETCH_BUCKETS_MAX as u64 + 1;

fn sketches(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    let mut several = Vec::new();
    for row in rows.iter_mut().filter(|row| !row.single() && row.shape & FULL_SKETCH == 0) {
        let (low, high) = (key(row.values[1]), key(row.values[2]));
        if low == high {
            row.sketch.push((low, u32::try_from(row.count).map_err(|_| invalid("count"))?));
        } else {
            several.push((row, low, high, 0));
        }
    }
    for (_, _, _, inner) in &mut several {
        *inner = r.varint()?;
        if *inner > BUCKETS_MAX - 2 {
            return Err(invalid("buckets"));
        }
    }
    for (row, low, high, inner) in &mut several {
        if *inner > r.remaining() as u64 {
            return Err(invalid("buckets"));
        }
        row.sketch.reserve_exact(*inner as usize + 2);
        row.sketch.push((*low, 0));
        let mut at = i64::from(*low);
        for _ in 0..*inner {
            let gap = i64::try_from(r.varint()?).map_err(|_| invalid("gap"))?;
            at = at.checked_add(gap).map(|k| k + 1).filter(|k| *k < i64::from(*high)).ok_or(invalid("gap"))?;
            row.sketch.push((at as i32, 0));
        }
        row.sketch.push((*high, 0));
    }
    for (row, ..) in &mut several {
        let mut left = row.count;
        let Some((end, head)) = row.sketch.split_last_mut() else {
            return Err(invalid("buckets"));
        };
        for (_, count) in head {
            *count = u32::try_from(r.varint()?).ok().and_then(|n| n.checked_add(1)).ok_or(invalid("count"))?;
            left = left.checked_sub(u64::from(*count)).ok_or(invalid("count"))?;
        }
        end.1 = u32::try_from(left).ok().filter(|n| *n > 0).ok_or(invalid("count"))?;
    }
    Ok(())
}

fn full_sketches(r: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), DecodeError> {
    for row in rows.iter_mut().filter(|row| row.shape & FULL_SKETCH != 0) {
        let buckets = r.varint()?;
        if buckets == 0 || buckets > BUCKETS_MAX || buckets > r.remaining() as u64 {
            return Err(invalid("buckets"));
        }
        let mut at = 0i64;
        for i in 0..buckets {
            let gap = r.zigzag()?;
            let ends = i64::from(key(f64::MIN))..=i64::from(key(f64::MAX));
            at = at.checked_add(gap).filter(|k| (gap > 0 || i == 0) && ends.contains(k)).ok_or(invalid("key"))?;
            let count = u32::try_from(r.varint()?).ok().filter(|n| *n > 0).ok_or(invalid("count"))?;
            row.sketch.push((at as i32, count));
        }
    }
    Ok(())
}

fn entry(row: Row) -> Result<Entry, DecodeError> {
    let Row { series, size_ms, start_ms, born, version, count, values: [first, min, max, last], .. } = row;
    let aggregate = match row.moments {
        None if row.shape & DIGEST != 0 => Aggregate::digested(row.first_ms, first),
        None => Aggregate::new(row.first_ms, first),
        Some(moments) => {
            consistent(&moments, count, min, max)?;
            Aggregate {
                count,
                moments,
                min,
                max,
                first: (row.first_ms, first),
                last: (row.last_ms, last),
                sketch: Sketch::from_sorted(row.sketch),
                digest: row.digest,
            }
        }
    };
    Ok(Entry { series, size_ms, start_ms, born, version, aggregate })
}

/// Moments that can be those of `count` values from `min` to `max`: what follows is computed
/// from them without a thought of overflow.
fn consistent(moments: &Moments, count: u64, min: f64, max: f64) -> Result<(), DecodeError> {
    let possible = match *moments {
        Moments::Float { high, low, mean, m2 } => [high, low, mean].iter().all(|v| v.is_finite()) && m2 >= 0.0,
        Moments::Exact { scale, s1, s2 } => {
            let n = i128::from(count);
            let m = |v| {
                if usize::from(scale) < SCALES.len() { mantissa(v, scale).map(i128::from) } else { None }
            };
            // (Σm)² ≤ n·Σm², with room for the rounding of the doubles.
            let squares = |s1: f64, s2: f64| s1 * s1 <= count as f64 * s2 * (1.0 + 1e-9);
            m(min).zip(m(max)).is_some_and(|(min, max)| n * min <= s1 && s1 <= n * max)
                && (0..SQUARES_MAX).contains(&s2)
                && squares(s1 as f64, s2 as f64)
        }
    };
    if possible { Ok(()) } else { Err(invalid("moments")) }
}
