//! Which series a rule is for: `*` is exactly one level, `**` zero or more.

use crate::error::PatternError;
use crate::limits::PATTERN_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A pattern of levels, as text in configs and in snapshots; the default one matches nothing. What
/// stands in a log is taken as it is: a log that was written must open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// A pattern as written, from a source that was checked before. One that [`Pattern::parse`]
    /// would refuse is harmless: it matches no series, or a star within a level only itself.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// A pattern as written.
    ///
    /// # Errors
    /// [`PatternError`] when no series' name could match, or a star is not a level of its own.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        if let Some(character) = text.chars().find(|c| matches!(c, '+' | '#' | '\0')) {
            return Err(PatternError::Character { character });
        }
        let mixed = |level: &&str| level.contains('*') && !matches!(*level, "*" | "**");
        if let Some(level) = text.split('/').find(mixed) {
            return Err(PatternError::Mixed { level: level.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a series' name matches. Takes time in proportion to the product of both lengths
    /// at worst; asked once for each series, not for each reading.
    pub fn matches(&self, series: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let levels: Vec<&str> = series.split('/').collect();
        // Two pointers; after a mismatch the last "**" takes one level more. Only the last one
        // needs to be remembered: what an earlier one could take, the last can take as well.
        let (mut p, mut l, mut back) = (0, 0, None);
        while l < levels.len() {
            match pattern.get(p) {
                Some(&"**") => {
                    back = Some((p, l));
                    p += 1;
                }
                Some(part) if *part == "*" || *part == levels[l] => {
                    p += 1;
                    l += 1;
                }
                _ => {
                    let Some((star, from)) = back else {
                        return false;
                    };
                    back = Some((star, from + 1));
                    p = star + 1;
                    l = from + 1;
                }
            }
        }
        pattern[p..].iter().all(|part| *part == "**")
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, series: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(series)
    }

    #[test]
    fn stars_stand_for_levels() {
        for (pattern, series) in [
            ("a/*/c", "a/b/c"),
            ("**", "a/b"),
            ("a/**", "a"),
            ("a/**", "a/b/c"),
            ("**/t", "t"),
            ("**/t", "x/y/t"),
            ("a/**/t", "a/t"),
            ("a/**/b/**/c", "a/b/x/b/c"),
            ("**/**", "a"),
            ("a//b", "a//b"),
            ("a/*/b", "a//b"),
        ] {
            assert!(matches(pattern, series), "{pattern} {series}");
        }
        for (pattern, series) in [("a/*", "a"), ("a/*", "a/b/c"), ("**/t", "t/x"), ("a", "b"), ("a", "a/b"), ("a/b", "a")] {
            assert!(!matches(pattern, series), "{pattern} {series}");
        }
    }

    #[test]
    fn what_no_series_could_match_is_refused() {
        for text in ["", "a/+", "a/#", "a\0", "a/b*", "***"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        assert!(Pattern::parse(&"x".repeat(257)).is_err());
    }

    #[test]
    fn what_was_written_is_read_again_even_if_no_series_could_match() {
        for text in ["".to_owned(), "a/+".to_owned(), "***".to_owned(), "x".repeat(257)] {
            let written = schemas::cbor::to_vec(&Pattern::new(&text));
            assert_eq!(schemas::cbor::from_slice::<Pattern>(&written, written.len()).unwrap().as_str(), text);
        }
    }

    /// The definition, spelled out: what the fast way must agree with.
    fn slow(pattern: &[&str], levels: &[&str]) -> bool {
        match (pattern.split_first(), levels.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), level) => slow(rest, levels) || level.is_some_and(|(_, after)| slow(pattern, after)),
            (Some((part, rest)), Some((level, after))) => (*part == "*" || part == level) && slow(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..7),
            levels in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..8),
        ) {
            prop_assert_eq!(matches(&pattern.join("/"), &levels.join("/")), slow(&pattern, &levels));
        }
    }
}
