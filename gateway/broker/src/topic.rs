//! Topic names and filters (MQTT 5, 4.7).

use crate::limits::FILTER_LEVELS_MAX;

/// Whether a name can be published to: not empty, no wildcard, no NUL.
pub fn valid_name(topic: &str) -> bool {
    // Without an early exit the compiler compares many bytes at once; names are short.
    let bad = topic.bytes().fold(false, |bad, b| bad | (b == b'+') | (b == b'#') | (b == 0));
    !topic.is_empty() && !bad
}

/// Whether a filter can be subscribed to: wildcards fill a level, `#` is the last one, and it
/// has at most [`FILTER_LEVELS_MAX`] levels.
pub fn valid_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').take(FILTER_LEVELS_MAX + 1).peekable();
    let mut count = 0;
    while let Some(level) = levels.next() {
        count += 1;
        let fits = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['+', '#', '\0']),
        };
        if !fits {
            return false;
        }
    }
    !filter.is_empty() && count <= FILTER_LEVELS_MAX
}

/// Whether a filter asks for a shared subscription.
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// Whether a filter's levels match those of a topic or of another filter; `plus` says what a `+` matches.
fn fits(filter: &str, other: &str, plus: impl Fn(&str) -> bool) -> bool {
    if other.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = other.split('/');
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == level || (part == "+" && plus(level)) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether a filter matches a topic; a leading wildcard does not match `$` topics.
pub fn matches(filter: &str, topic: &str) -> bool {
    fits(filter, topic, |_| true)
}

/// Whether a filter matches every topic that another does.
fn covers(filter: &str, other: &str) -> bool {
    fits(filter, other, |level| level != "#")
}

/// Those of some filters that match what all of them do. Where subscriptions overlap a broker may send a message once
/// for each (MQTT 3.1.1, 3.3.5; MQTT 5, 3.3.4): to be subscribed to in place of all, these overlap in part at most.
pub fn cover<'a>(filters: impl Iterator<Item = &'a str> + Clone) -> impl Iterator<Item = &'a str> {
    filters.clone().filter(move |filter| !filters.clone().any(|other| other != *filter && covers(other, filter)))
}

/// What every topic that a filter matches begins with.
pub fn literal_prefix(filter: &str) -> &str {
    match filter.find(['+', '#']) {
        None => filter,
        // `a/#` matches `a` too, so the separator is not part of what they share.
        Some(at) if filter[at..].starts_with('#') => filter[..at].strip_suffix('/').unwrap_or(&filter[..at]),
        Some(at) => &filter[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let yes = [
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("+/b", "a/b"),
            ("#", "a"),
            ("/+", "/a"),
            ("+/+", "/a"),
            ("$SYS/#", "$SYS/x"),
            ("$SYS/+", "$SYS/x"),
            ("a//b", "a//b"),
        ];
        let no = [("a/+", "a"), ("+", "a/b"), ("+", "/a"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("a", "a/b"), ("a/b", "a"), ("a/#", "ab")];
        assert!(yes.iter().all(|(f, t)| matches(f, t)));
        assert!(no.iter().all(|(f, t)| !matches(f, t)));
    }

    #[test]
    fn filters_and_names_are_checked() {
        assert!(valid_filter("a/+/#") && valid_filter("#") && valid_filter("/"));
        assert!(!valid_filter("a/#/b") && !valid_filter("a+") && !valid_filter("") && !valid_filter("a/b#"));
        assert!(valid_filter(&"a/".repeat(FILTER_LEVELS_MAX - 1)));
        assert!(!valid_filter(&"a/".repeat(FILTER_LEVELS_MAX)));
        assert!(valid_name("a/b") && !valid_name("") && !valid_name("a/+") && !valid_name("a\0"));
    }

    proptest! {
        #[test]
        fn a_match_begins_with_the_literal_prefix(filter in "[ab+#/]{1,6}", topic in "[ab/]{1,6}") {
            if valid_filter(&filter) && matches(&filter, &topic) {
                prop_assert!(topic.starts_with(literal_prefix(&filter)));
            }
        }
    }

    #[test]
    fn a_cover_matches_the_same_with_fewer_filters() {
        let of = |filters: &[&'static str]| cover(filters.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&["ev/#", "ev/urgent/#", "ev/urgent/x/#", "ev"]), ["ev/#"]);
        assert_eq!(of(&["a/+/c", "a/b/c", "a/b/+", "a/+"]), ["a/+/c", "a/b/+", "a/+"], "those overlap in part");
        assert_eq!(of(&["#", "$SYS/x", "+/#", "+"]), ["#", "$SYS/x"]);
        assert_eq!(of(&["+/x", "+/#"]), ["+/#"]);
        let topics = ["a", "a/b", "a/b/c", "$SYS/x", "b", "a//c", "/"];
        for filter in ["#", "+/#", "a/#", "a/+", "a/+/c", "+", "a/b", "$SYS/#", "+/+/c"] {
            for other in ["#", "+/#", "a/#", "a/+", "a/+/c", "+", "a/b", "$SYS/#", "+/+/c"] {
                let all = topics.iter().all(|topic| !matches(other, topic) || matches(filter, topic));
                assert!(all || !covers(filter, other), "{filter} does not cover {other}");
            }
        }
    }
}
