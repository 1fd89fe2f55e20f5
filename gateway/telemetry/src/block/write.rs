//! Entries → columns.

use super::double::{Residual, place, zeros};
use super::{Before, DIGEST, FLOAT, FULL_SKETCH, Level, SINGLE, WIDE};
use crate::aggregate::{Aggregate, Moments, mantissa};
use crate::entry::Entry;
use crate::sketch::key;
use schemas::{pack, wire};

#[derive(Default)]
struct Columns {
    series: Vec<u8>,
    size: Vec<u8>,
    start: Vec<u8>,
    born: Vec<u8>,
    span: Vec<u8>,
    count: Vec<u8>,
    shape: Vec<u8>,
    zeros: Vec<u8>,
    first: Vec<u8>,
    min: Vec<u8>,
    max: Vec<u8>,
    last: Vec<u8>,
    d1: Vec<u8>,
    d2: Vec<u8>,
    sum_zeros: Vec<u8>,
    sum: Vec<u8>,
    low: Vec<u8>,
    exponent: Vec<u8>,
    mean: Vec<u8>,
    m2: Vec<u8>,
    wide: Vec<u8>,
    first_time: Vec<u8>,
    last_time: Vec<u8>,
    buckets: Vec<u8>,
    gaps: Vec<u8>,
    counts: Vec<u8>,
    full: Vec<u8>,
    digest: Vec<u8>,
}

/// The numbers of an aggregate that are written at its scale, in mantissas.
struct Decimal {
    scale: u8,
    first: i64,
    min: i64,
    max: i64,
    last: i64,
    d1: i64,
    excess: u64,
}

impl Decimal {
    /// `None` for doubles, and for sums that are too long.
    fn of(a: &Aggregate) -> Option<Self> {
        let Moments::Exact { scale, s1, s2 } = a.moments else {
            return None;
        };
        let m = |v| mantissa(v, scale);
        let (first, min, max, last) = (m(a.first.1)?, m(a.min)?, m(a.max)?, m(a.last.1)?);
        let (n, f) = (i128::from(a.count), i128::from(first));
        // Σ(m − f)² = Σm² − 2f·Σm + n·f² = Σm² − f·(Σm + Σ(m − f)).
        let d1 = s1.checked_sub(n.checked_mul(f)?)?;
        let d2 = s2.checked_sub(f.checked_mul(s1.checked_add(d1)?)?)?;
        let d1 = i64::try_from(d1).ok()?;
        let least = i128::from(d1).pow(2) / n;
        let excess = u64::try_from(d2.checked_sub(least)?).ok()?;
        Some(Self { scale, first, min, max, last, d1, excess })
    }
}

pub(super) fn block(entries: &[Entry]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|e| (e.series, e.size_ms, e.start_ms, e.born));
    let mut columns = Columns::default();
    let (mut before, mut level) = (Before::default(), Level::default());
    for entry in order {
        columns.name(entry, &mut before);
        columns.values(entry, &mut level);
    }
    pack::compress(&columns.joined(entries.len()))
}

impl Columns {
    fn joined(self, entries: usize) -> Vec<u8> {
        let columns = [
            self.series,
            self.size,
            self.start,
            self.born,
            self.span,
            self.count,
            self.shape,
            self.zeros,
            self.first,
            self.min,
            self.max,
            self.last,
            self.d1,
            self.d2,
            self.sum_zeros,
            self.sum,
            self.low,
            self.exponent,
            self.mean,
            self.m2,
            self.wide,
            self.first_time,
            self.last_time,
            self.buckets,
            self.gaps,
            self.counts,
            self.full,
            self.digest,
        ];
        let mut out = Vec::with_capacity(columns.iter().map(Vec::len).sum::<usize>() + 8);
        wire::put_varint(&mut out, entries as u64);
        columns.iter().for_each(|column| out.extend_from_slice(column));
        out
    }

    fn name(&mut self, e: &Entry, before: &mut Before) {
        let span = e.version.wrapping_sub(e.born);
        wire::put_varint(&mut self.series, u64::from(e.series - before.series));
        wire::put_zigzag(&mut self.size, e.size_ms.wrapping_sub(before.size_ms));
        wire::put_zigzag(&mut self.start, e.start_ms.wrapping_sub(before.start_ms));
        wire::put_zigzag(&mut self.born, e.born.wrapping_sub(before.born) as i64);
        wire::put_zigzag(&mut self.span, span.wrapping_sub(before.span) as i64);
        *before = Before { series: e.series, size_ms: e.size_ms, start_ms: e.start_ms, born: e.born, span };
    }

    fn values(&mut self, e: &Entry, level: &mut Level) {
        let a = &e.aggregate;
        let alone = if a.digest.is_some() { Aggregate::digested } else { Aggregate::new };
        let single = *a == alone(a.first.0, a.first.1);
        let derived = single || counts_follow(a);
        let decimal = Decimal::of(a);
        wire::put_varint(&mut self.count, a.count - 1);
        let form = match (&decimal, &a.moments) {
            (Some(d), _) => d.scale,
            (None, Moments::Exact { .. }) => WIDE,
            (None, Moments::Float { .. }) => FLOAT,
        };
        let flags = if single { SINGLE } else { 0 } | if derived { 0 } else { FULL_SKETCH } | if a.digest.is_some() { DIGEST } else { 0 };
        self.shape.push(form | flags);
        match decimal {
            Some(d) => self.decimal(&d, e.series, single, level),
            None => self.doubles(a, e.series, single, level),
        }
        wire::put_zigzag(&mut self.first_time, a.first.0.wrapping_sub(e.start_ms));
        if single {
            return;
        }
        wire::put_zigzag(&mut self.last_time, e.start_ms.wrapping_add(e.size_ms).wrapping_sub(a.last.0));
        if derived {
            self.sketch(a.sketch.buckets());
        } else {
            self.full_sketch(a.sketch.buckets());
        }
        if let Some(digest) = a.digest {
            wire::put_u64(&mut self.digest, digest);
        }
    }

    fn decimal(&mut self, d: &Decimal, series: u32, single: bool, level: &mut Level) {
        let scale = Some(d.scale);
        wire::put_zigzag(&mut self.first, d.first.wrapping_sub(level.expected(series, scale)));
        *level = Level { series, scale, number: d.first };
        if single {
            return;
        }
        self.distances([d.first, d.min, d.max, d.last]);
        wire::put_zigzag(&mut self.d1, d.d1);
        wire::put_varint(&mut self.d2, d.excess);
    }

    /// Of the first number to min, max and last.
    fn distances(&mut self, [first, min, max, last]: [i64; 4]) {
        wire::put_varint(&mut self.min, first.wrapping_sub(min) as u64);
        wire::put_varint(&mut self.max, max.wrapping_sub(first) as u64);
        wire::put_zigzag(&mut self.last, last.wrapping_sub(first));
    }

    fn doubles(&mut self, a: &Aggregate, series: u32, single: bool, level: &mut Level) {
        let places = [a.first.1, a.min, a.max, a.last.1].map(place);
        let zeros = zeros(&places);
        self.zeros.push(zeros as u8);
        let expected = level.expected(series, None) >> zeros;
        *level = Level { series, scale: None, number: places[0] };
        let numbers = places.map(|p| p >> zeros);
        wire::put_zigzag(&mut self.first, numbers[0].wrapping_sub(expected));
        if single {
            return;
        }
        self.distances(numbers);
        match a.moments {
            Moments::Float { high, low, mean, m2 } => {
                let residual = Residual::of([high, low, mean, m2], a.count, a.min, a.max);
                self.sum_zeros.push(residual.zeros);
                wire::put_zigzag(&mut self.sum, residual.high);
                wire::put_zigzag(&mut self.low, residual.low.0);
                wire::put_zigzag(&mut self.exponent, residual.low.1);
                wire::put_zigzag(&mut self.mean, residual.mean);
                wire::put_zigzag(&mut self.m2, residual.m2);
            }
            Moments::Exact { scale, s1, s2 } => {
                self.wide.push(scale);
                self.wide.extend_from_slice(&s1.to_le_bytes());
                self.wide.extend_from_slice(&s2.to_le_bytes());
            }
        }
    }

    fn sketch(&mut self, buckets: &[(i32, u32)]) {
        let [head @ .., _] = buckets else { return };
        if head.is_empty() {
            return;
        }
        wire::put_varint(&mut self.buckets, head.len() as u64 - 1);
        for pair in head.windows(2) {
            wire::put_varint(&mut self.gaps, u64::from(pair[0].0.abs_diff(pair[1].0)) - 1);
        }
        for (_, count) in head {
            wire::put_varint(&mut self.counts, u64::from(*count) - 1);
        }
    }

    fn full_sketch(&mut self, buckets: &[(i32, u32)]) {
        wire::put_varint(&mut self.full, buckets.len() as u64);
        let mut last = 0;
        for (key, count) in buckets {
            wire::put_zigzag(&mut self.full, i64::from(*key) - last);
            wire::put_varint(&mut self.full, u64::from(*count));
            last = i64::from(*key);
        }
    }
}

/// Whether the sketch begins at min's bucket, ends at max's and counts every reading.
fn counts_follow(a: &Aggregate) -> bool {
    let buckets = a.sketch.buckets();
    buckets.first().is_some_and(|b| b.0 == key(a.min))
        && buckets.last().is_some_and(|b| b.0 == key(a.max))
        && buckets.iter().map(|b| u64::from(b.1)).sum::<u64>() == a.count
}
