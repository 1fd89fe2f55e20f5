//! Key path → where its value was written.

use crate::error::Place;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Where every key of one config was written.
#[derive(Debug)]
pub(crate) struct Places {
    file: String,
    lines: BTreeMap<String, usize>,
    oversized: Vec<(String, String)>,
    overrides: Vec<(String, Place)>,
}

impl Places {
    /// Notes the line of every key in the file.
    pub(crate) fn of(file: &str, text: &str, table: &DeTable<'_>) -> Self {
        let starts = line_starts(text);
        let mut places = Self { file: file.to_owned(), lines: BTreeMap::new(), oversized: Vec::new(), overrides: Vec::new() };
        places.note_table("", table, &starts);
        places
    }

    /// Numbers of the file that fit no 64 bits, which a parser keeps as text: path and number.
    pub(crate) fn oversized(&self) -> &[(String, String)] {
        &self.oversized
    }

    fn note_table(&mut self, path: &str, table: &DeTable<'_>, starts: &[usize]) {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            self.note_value(path, key.span(), value.get_ref(), starts);
        }
    }

    fn note_value(&mut self, path: String, span: Range<usize>, value: &DeValue<'_>, starts: &[usize]) {
        match value {
            DeValue::Table(table) => self.note_table(&path, table, starts),
            DeValue::Array(array) => {
                for (index, item) in array.iter().enumerate() {
                    self.note_value(format!("{path}[{index}]"), item.span(), item.get_ref(), starts);
                }
            }
            DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
                self.oversized.push((path.clone(), number.to_string()));
            }
            DeValue::Float(number) if !number.as_str().contains("inf") && number.as_str().parse().is_ok_and(f64::is_infinite) => {
                self.oversized.push((path.clone(), number.to_string()));
            }
            _ => {}
        }
        self.lines.insert(path, line_at(starts, span.start));
    }

    /// Notes that `path` was set again, from `place`.
    pub(crate) fn overridden(&mut self, path: &str, place: Place) {
        self.overrides.push((path.to_owned(), place));
    }

    /// Where the value at `path` was written; for a key that is nowhere, where the section is that lacks it.
    pub(crate) fn of_key(&self, path: &str) -> Place {
        let mut at = path;
        loop {
            // The last override wins, as in the merged tree.
            if let Some((_, place)) = self.overrides.iter().rev().find(|(set, _)| set == at) {
                return place.clone();
            }
            if let Some(line) = self.lines.get(at) {
                return Place::File { file: self.file.clone(), line: Some(*line) };
            }
            let Some(cut) = at.rfind(['.', '[']) else { break };
            let is_index = at[cut..].starts_with('[');
            at = &at[..cut];
            // An element that the file does not have is there because of an override of it or of one behind it.
            if is_index && let Some(place) = self.overridden_below(at) {
                return place;
            }
        }
        self.overridden_below(at).unwrap_or(Place::File { file: self.file.clone(), line: Some(1) })
    }

    /// The last override of something within `path`.
    fn overridden_below(&self, path: &str) -> Option<Place> {
        let is_below = |set: &str| set.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.overrides.iter().rev().find(|(set, _)| is_below(set)).map(|(_, place)| place.clone())
    }

    /// Whether `path` itself has a value from the environment or `--set`.
    pub(crate) fn is_overridden(&self, path: &str) -> bool {
        self.overrides.iter().any(|(set, _)| set == path)
    }
}

/// The line, from 1, of a byte offset in `text`.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    line_at(&line_starts(text), offset)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)).collect()
}

fn line_at(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).max(1)
}
