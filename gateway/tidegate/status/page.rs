//! What both pages are made of.

use crate::words;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A page under construction. It remembers which keys it has shown, so that what a newer role
/// tells is shown, too.
pub(super) struct Page<'a> {
    status: &'a Value,
    shown: BTreeSet<&'static str>,
    out: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(status: &'a Value) -> Self {
        Self { status, shown: BTreeSet::new(), out: String::new() }
    }

    /// The value of a key, which counts as shown; null where there is none.
    pub(super) fn get(&mut self, key: &'static str) -> &'a Value {
        self.shown.insert(key);
        &self.status[key]
    }

    pub(super) fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// A title and its rows; rows without a value, and sections without rows, are left out.
    pub(super) fn section(&mut self, title: &str, rows: &[(&str, Option<String>)]) {
        let rows = rows.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))).collect::<Vec<_>>();
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(self.out, "\n{title}");
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in rows {
            let _ = writeln!(self.out, "  {name:width$}  {value}");
        }
    }

    /// A title and a table: the first column to the left, the others to the right.
    pub(super) fn table(&mut self, title: &str, rows: &[Vec<String>]) {
        let _ = writeln!(self.out, "\n{title}");
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths = (0..columns).map(width).collect::<Vec<_>>();
        for row in rows {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if at == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            }
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    /// The page, with what was not shown at its end.
    pub(super) fn end(mut self) -> String {
        let rest = self.status.as_object().into_iter().flatten().filter(|(key, _)| !self.shown.contains(key.as_str()));
        let rest = rest.map(|(key, value)| (key.clone(), plain(value))).collect::<Vec<_>>();
        let rows = rest.iter().map(|(key, value)| (key.as_str(), Some(value.clone()))).collect::<Vec<_>>();
        self.section("more", &rows);
        self.out
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A count with its thousands apart.
pub(super) fn count(value: &Value) -> Option<String> {
    value.as_u64().map(words::count)
}

/// The same, where it is above nothing.
pub(super) fn some(value: &Value) -> Option<String> {
    value.as_u64().filter(|n| *n > 0).map(words::count)
}

pub(super) fn size(value: &Value) -> Option<String> {
    value.as_u64().map(words::size)
}

pub(super) fn lasts(value: &Value) -> Option<String> {
    value.as_u64().map(words::lasts)
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// `{"reason": count}` as words, the largest first; none where all are nothing.
pub(super) fn reasons(value: &Value) -> Option<String> {
    let mut all = value.as_object()?.iter().filter_map(|(why, n)| Some((n.as_u64().filter(|n| *n > 0)?, why))).collect::<Vec<_>>();
    all.sort_by(|a, b| b.cmp(a));
    let all = all.iter().map(|(n, why)| format!("{} {why}", words::count(*n))).collect::<Vec<_>>();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The first line: who, which version, since when, whether it can work.
pub(super) fn head(page: &mut Page<'_>, who: &str) {
    let version = text(page.get("version")).map_or(String::new(), |version| format!(", version {version}"));
    let up = lasts(page.get("uptime_s")).map_or(String::new(), |up| format!(", up {up}"));
    let ready = match page.get("unready") {
        Value::String(why) => format!("NOT READY: {why}"),
        _ => "ready".to_owned(),
    };
    page.get("role");
    page.line(&format!("{who}{version}{up}: {ready}"));
}

/// A wall clock in words: how good it is, and how far from the bridge's.
pub(super) fn clock(word: &Value, skew_ms: &Value) -> Option<String> {
    let word = word.as_str()?;
    Some(match skew_ms.as_i64() {
        None => word.to_owned(),
        Some(ms) => {
            format!("{word}, {:.3} s {} the bridge's", ms.unsigned_abs() as f64 / 1_000.0, if ms < 0 { "behind" } else { "ahead of" })
        }
    })
}
