//! `[[limit]]`, and patterns of series.

use super::DELAY_MS;
use detect::{LimitRule, Pattern, PatternError, RuleError};
use settings::Table;

/// Which series a pattern matches.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|why| match why {
        // What is so long is not said again.
        PatternError::TooLong { .. } => format!("{why}; write its levels, with * for exactly one level and ** for any number"),
        why => format!("\"{}\" matches no series: {why}", text.escape_debug()),
    })
}

pub(super) fn limit(mut table: Table) -> Option<LimitRule> {
    let series = table.text("series", pattern);
    let series = table.required("series", series, "\"line1/*/temperature\"");
    let [low_low, low, high, high_high] = ["low_low", "low", "high", "high_high"].map(|key| table.number(key).map(|value| (key, value)));
    let given = [low_low, low, high, high_high].into_iter().flatten().collect::<Vec<_>>();
    let [above_usual, below_usual] = ["above_usual", "below_usual"].map(|key| {
        let by = table.number(key);
        if by.is_some_and(|by| by <= 0.0) {
            table.problem(key, "write by how much more than usual is too much, above 0");
        }
        by
    });
    if given.is_empty() && above_usual.is_none() && below_usual.is_none() {
        table.problem("series", "this limit has no bound; write at least one of low_low, low, high, high_high, above_usual, below_usual");
    }
    for pair in given.windows(2) {
        let [(lower, below), (upper, above)] = [pair[0], pair[1]];
        if below > above {
            table.problem(
                lower,
                format!("{lower} = {below} is above {upper} = {above}; write them in the order low_low, low, high, high_high"),
            );
        } else if below >= above && lower.starts_with("low") && upper.starts_with("high") {
            table.problem(lower, format!("{lower} and {upper} are both {below}, so every value would be an alarm"));
        }
    }
    let deadband = table.number("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        table.problem(
            "deadband",
            format!("{deadband} is negative; write by how much a value must return before the alarm clears, 0 or more"),
        );
    }
    let on_delay_ms = table.duration("on_delay", DELAY_MS.0, DELAY_MS.1).unwrap_or(0);
    let off_delay_ms = table.duration("off_delay", DELAY_MS.0, DELAY_MS.1).unwrap_or(0);
    table.finish();
    let [low_low, low, high, high_high] = [low_low, low, high, high_high].map(|bound| bound.map(|(_, value)| value));
    let rule = LimitRule { series: series?, high_high, high, low, low_low, deadband, on_delay_ms, off_delay_ms, above_usual, below_usual };
    // What else is wrong with a rule was said above, key by key.
    if let Err(why @ (RuleError::Deadband { .. } | RuleError::DeadbandUsual { .. })) = rule.check() {
        table.problem("deadband", format!("{why}; write a smaller one"));
    }
    Some(rule)
}
