//! Topic names and filters (MQTT 5, 4.7).

/// Whether a name can be published to.
pub fn valid_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// Whether a filter can be subscribed to.
pub fn valid_filter(filter: &str) -> bool {
    let last = filter.split('/').count() - 1;
    !filter.is_empty()
        && !filter.contains('\0')
        && filter.split('/').enumerate().all(|(i, level)| match level {
            "#" => i == last,
            "+" => true,
            _ => !level.contains(['+', '#']),
        })
}

/// Whether a filter matches a topic; a leading wildcard does not match `$` topics.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == "+" || part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let yes = [("a/#", "a"), ("a/#", "a/b/c"), ("+/b", "a/b"), ("#", "a"), ("/+", "/a"), ("$SYS/#", "$SYS/x")];
        let no = [("a/+", "a"), ("+", "a/b"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("a", "a/b"), ("a/b", "a")];
        assert!(yes.iter().all(|(f, t)| matches(f, t)));
        assert!(no.iter().all(|(f, t)| !matches(f, t)));
        assert!(valid_filter("a/+/#") && !valid_filter("a/#/b") && !valid_filter("a+") && !valid_filter(""));
    }
}
