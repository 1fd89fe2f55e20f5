//! Which series a rule is for: `*` is exactly one level, `**` zero or more.

use serde::{Deserialize, Serialize};

/// A pattern of levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern as written.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a series' name matches.
    pub fn matches(&self, series: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let levels: Vec<&str> = series.split('/').collect();
        // Two pointers with the last "**" to come back to: linear in practice, never exponential.
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
                    let Some((star, from)) = back else { return false };
                    back = Some((star, from + 1));
                    p = star + 1;
                    l = from + 1;
                }
            }
        }
        pattern[p..].iter().all(|part| *part == "**")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_levels() {
        let yes = [("a/*/c", "a/b/c"), ("**", "a/b"), ("a/**", "a"), ("**/t", "x/y/t"), ("a/**/t", "a/t"), ("a/**/b/**/c", "a/b/x/b/c")];
        let no = [("a/*", "a"), ("a/*", "a/b/c"), ("**/t", "t/x"), ("a", "b")];
        assert!(yes.iter().all(|(p, s)| Pattern::new(p).matches(s)));
        assert!(no.iter().all(|(p, s)| !Pattern::new(p).matches(s)));
    }
}
