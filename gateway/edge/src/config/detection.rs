//! `[[maintenance]]`, `[[suppress]]`, `[[shadow]]` and `[[group]]`: what is not shown by design,
//! what is tried, and what is watched together.

use super::DAY_MS;
use super::limit::pattern;
use detect::settings::MAINTENANCE_MAX;
use detect::{GroupRule, Kind, Maintenance, Pattern, Shadow, Suppression};
use settings::Table;
use settings::nearest::nearest;

/// From one window to the next: below, it would be no window; above, nobody plans.
const EVERY_MS: (i64, i64) = (60_000, 10 * 366 * DAY_MS);
/// Bytes of a reason: one readable line, with what is said around it.
const REASON_BYTES_MAX: usize = 120;

pub(super) fn maintenance(root: &mut Table) -> Vec<Maintenance> {
    let tables = root.tables("maintenance");
    if tables.len() > MAINTENANCE_MAX {
        root.problem(
            "maintenance",
            format!("there are {}; write at most {MAINTENANCE_MAX}, and use every for those that come again", tables.len()),
        );
    }
    tables.into_iter().filter_map(window).collect()
}

fn moment(text: &str) -> Result<i64, String> {
    telemetry::reading::rfc3339_ms(text)
        .map_err(|_| format!("\"{}\" is no time; write it with its zone, such as 2026-02-01T06:00:00Z", text.escape_debug()))
}

fn window(mut table: Table) -> Option<Maintenance> {
    let series = table.text("series", pattern);
    let series = table.required("series", series, "\"line1/press3/**\"");
    let from_ms = table.text("from", moment);
    let from_ms = table.required("from", from_ms, "\"2026-02-01T06:00:00Z\"");
    let until_ms = table.text("until", moment);
    let until_ms = table.required("until", until_ms, "\"2026-02-01T14:00:00Z\"");
    let every_ms = table.duration("every", EVERY_MS.0, EVERY_MS.1);
    let reason = table.text("reason", |text| match text.len() {
        1..=REASON_BYTES_MAX => Ok(text.to_owned()),
        len => Err(format!("the reason has {len} bytes; write 1 to {REASON_BYTES_MAX}, such as \"gearbox change\"")),
    });
    let reason = table.required("reason", reason, "\"gearbox change\"");
    if let (Some(from), Some(until)) = (from_ms, until_ms) {
        if until <= from {
            table.problem("until", "this is not after from");
        } else if every_ms.is_some_and(|every| until.saturating_sub(from) >= every) {
            table.problem("every", "the window is not shorter than this, so it would never end; write a longer time, or an earlier until");
        }
    }
    table.finish();
    Some(Maintenance { series: series?, from_ms: from_ms?, until_ms: until_ms?, every_ms, reason: reason? })
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::as_str);
        let hint = nearest(text, names).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        format!("\"{}\" is no kind of alert{hint}; there are {}", text.escape_debug(), names.join(", "))
    })
}

/// A list of texts, each read; all that is wrong is reported, an empty list too where `empty` says why.
fn list<T>(table: &mut Table, key: &'static str, empty: Option<&str>, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
    let texts = table.texts(key)?;
    if let Some(why) = empty.filter(|_| texts.is_empty()) {
        table.problem(key, why);
    }
    let mut good = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match read(text) {
            Ok(one) => good.push(one),
            Err(why) => table.problem(&format!("{key}[{at}]"), why),
        }
    }
    Some(good)
}

pub(super) fn suppress(mut table: Table) -> Option<Suppression> {
    let by = table.text("by", |text| match telemetry::source::valid_series(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{}\" is no name of a series", text.escape_debug())),
    });
    let by = table.required("by", by, "\"line1/press3/power\"");
    let by_kind = table.text("by_kind", kind);
    let by_kind = table.required("by_kind", by_kind, "\"low-low\"");
    let series = table.text("series", pattern);
    let series = table.required("series", series, "\"line1/press3/**\"");
    let kinds = list(&mut table, "kinds", None, kind).unwrap_or_default();
    table.finish();
    let rule = Suppression { by: by?, by_kind: by_kind?, series: series?, kinds };
    if rule.is_idle() {
        table.problem(
            "series",
            "this is about the alarm that suppresses alone, and none suppresses itself; write whose alarms are not to be shown",
        );
    }
    Some(rule)
}

pub(super) fn shadow(mut table: Table) -> Option<Shadow> {
    let series = table.text("series", pattern).unwrap_or_else(|| Pattern::new("**"));
    let kinds = list(&mut table, "kinds", Some("name at least one kind of alert, such as [\"drift\"]"), kind);
    let kinds = table.required("kinds", kinds, "[\"drift\"]");
    table.finish();
    Some(Shadow { series, kinds: kinds? })
}

pub(super) fn groups(root: &mut Table) -> Vec<GroupRule> {
    let mut all: Vec<GroupRule> = Vec::new();
    for mut table in root.tables("group") {
        let Some(rule) = group(&mut table) else { continue };
        if let Some(first) = all.iter().position(|other| other.name == rule.name) {
            table.problem("name", format!("group[{first}] has this name, too; write another, or all series in one of them"));
        }
        all.push(rule);
    }
    all
}

fn group(table: &mut Table) -> Option<GroupRule> {
    let name = table.text("name", |text| match telemetry::source::valid_series(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{}\" cannot stand in a topic; write it as a series is named", text.escape_debug())),
    });
    let name = table.required("name", name, "\"line1/press3\"");
    let series = list(table, "series", Some("no series is in this group; name at least one, such as [\"line1/press3/*\"]"), pattern);
    let series = table.required("series", series, "[\"line1/press3/*\", \"line1/coolant/flow\"]");
    table.finish();
    Some(GroupRule { name: name?, series: series? })
}
