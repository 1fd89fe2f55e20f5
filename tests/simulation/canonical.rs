//! A state as a hash of what decides how it goes on, so that states which differ in nothing
//! else meet: told as text, from which is left out what only measures time and amounts, and in
//! which sequence numbers are replaced by their order.
//!
//! Nothing in the machines looks at more of a seq than how it compares with others, and at the
//! one before the record of a reading (`to` is cut below a birth): whether that one is told too is
//! therefore kept, and how far other records lie apart is not. So it does not matter how many
//! records of bookkeeping lie between two readings.

use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Records of a boot are numbered from its number times this on, so that a number in the text
/// tells what it counts: a boot's seqs, or the log's records.
pub const SEQS: u64 = 1_000_000;
/// Numbers from here on are something else: times, boots.
const SEQS_END: u64 = 100 * SEQS;

/// Whether a field measures time or amounts on the link, says of a message only which one it is,
/// or is told in another way. Timers all ring when time passes, whenever they were set.
fn is_left_out(field: &str, value: u8) -> bool {
    match field {
        "settings" | "config" | "shelf" | "by_name" => true,
        // Hashes tell the way here, and with one machine there is nobody to tell apart. Which interval
        // follows which is told with their numbers.
        "hash" | "hash_from" | "hash_to" | "hash_applied" | "before_hash" | "chain" | "proofs" | "after" | "followed" => true,
        "meter" | "rtt" | "share" | "number" | "entry_bytes" | "chance" | "bytes" | "aim" | "answers" | "times" => true,
        "sent_ms" | "deadline_ms" | "heard_ms" | "turn_ms" | "since_ms" | "due_ms" | "next_ms" | "look_ms" | "retell_ms" => true,
        // Of a window's being complete nothing is asked here.
        "frontier_ms" | "complete_ms" | "seen_ms" | "arrival_ms" => true,
        // Names that the cloud is known to hold have no order; those of an alarm's note are a number.
        "held" => value == b'(',
        _ => false,
    }
}

/// Text without its seqs, as a hash, and the seqs apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    hash: u64,
    seqs: Vec<u64>,
}

impl Told {
    /// Values as their `Debug` tells them.
    pub fn of(values: &[&dyn Debug]) -> Self {
        let mut text = String::new();
        for value in values {
            if write!(text, "{value:?};").is_err() {
                unreachable!("a string takes all");
            }
        }
        Self::text(&text)
    }

    /// Text that `Debug` wrote.
    pub fn text(text: &str) -> Self {
        let (mut hasher, mut seqs) = (DefaultHasher::new(), Vec::new());
        scan(text, &mut hasher, &mut seqs);
        Self { hash: hasher.finish(), seqs }
    }
}

/// The hash of all that was told; `readings` are the seqs of readings.
pub fn digest(told: &[&Told], readings: &[u64]) -> u64 {
    let mut distinct: Vec<u64> = told.iter().flat_map(|t| t.seqs.iter().copied()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut ranks: Vec<u64> = Vec::with_capacity(distinct.len());
    for (at, &seq) in distinct.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| distinct[at]);
        ranks.push(match before.filter(|last| last / SEQS == seq / SEQS) {
            Some(last) if last + 1 == seq && readings.contains(&seq) => ranks[at - 1] + 1,
            Some(_) => ranks[at - 1] + 2,
            None => seq / SEQS * SEQS,
        });
    }
    let mut hasher = DefaultHasher::new();
    for part in told {
        part.hash.hash(&mut hasher);
        for seq in &part.seqs {
            distinct.binary_search(seq).ok().map(|at| ranks[at]).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn scan(whole: &str, hasher: &mut DefaultHasher, seqs: &mut Vec<u64>) {
    let text = whole.as_bytes();
    let (mut at, mut told) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at = string_end(text, at),
            b'0'..=b'9' => {
                let (start, mut number) = (at, 0u64);
                while at < text.len() && text[at].is_ascii_digit() {
                    number = number.wrapping_mul(10).wrapping_add(u64::from(text[at] - b'0'));
                    at += 1;
                }
                let is_whole = text.get(at) != Some(&b'.') && at - start < 10;
                if is_whole && (SEQS..SEQS_END).contains(&number) {
                    hasher.write(&text[told..start]);
                    seqs.push(number);
                    told = at;
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let start = at;
                while at < text.len() && (text[at].is_ascii_alphanumeric() || text[at] == b'_') {
                    at += 1;
                }
                if text.get(at) == Some(&b':')
                    && let Some(value) = text.get(at + 2)
                    && is_left_out(&whole[start..at], *value)
                {
                    hasher.write(&text[told..start]);
                    at = value_end(text, at + 2);
                    told = at;
                }
            }
            _ => at += 1,
        }
    }
    hasher.write(&text[told..]);
}

/// Behind the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Behind the value that begins at `at`.
pub fn value_end(text: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0i32);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at,
            b')' | b']' | b'}' => depth -= 1,
            b',' | b';' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}
