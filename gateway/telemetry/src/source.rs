//! Topic → series: which topics are readings, and what they are called.

use crate::error::SourceError;
use crate::limits::SERIES_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// What of a source's readings may leave the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Nothing.
    None,
    /// Windows of them.
    #[default]
    Aggregates,
}

/// What happens to a payload that is no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInvalid {
    /// It is refused.
    #[default]
    Refuse,
    /// It is routed as an ordinary message.
    Pass,
}

/// One `[[source]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// MQTT topic filter.
    pub filter: String,
    /// Series template: `{rest}`, `{1}`…, `{gateway}`, `{topic}`.
    pub series: String,
    /// What may leave.
    pub share: Share,
    /// What happens to other payloads.
    pub on_invalid: OnInvalid,
}

impl Default for Source {
    fn default() -> Self {
        Self { filter: "sensors/#".into(), series: "{rest}".into(), share: Share::default(), on_invalid: OnInvalid::default() }
    }
}

/// All sources of a gateway, in order: the first that matches wins.
#[derive(Debug, Clone)]
pub struct Sources {
    list: Vec<(Source, Vec<Part>)>,
}

/// A piece of a series template.
#[derive(Debug, Clone)]
enum Part {
    /// As it stands; the gateway's name is one too.
    Literal(String),
    /// What the filter's `#` matched.
    Rest,
    /// What the filter's `+` with this index matched.
    Level(usize),
    /// The whole topic.
    Topic,
}

impl Sources {
    /// Checks filters and templates; none at all is the default source.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(gateway: &str, list: Vec<Source>) -> Result<Self, SourceError> {
        let list = if list.is_empty() { vec![Source::default()] } else { list };
        let compile = |source: Source| template(&source, gateway).map(|parts| (source, parts));
        Ok(Self { list: list.into_iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// The index of a topic's source and the series it names there. Whether the name is
    /// valid is [`valid_series`]'s to say.
    pub fn resolve(&self, topic: &str) -> Option<(usize, String)> {
        self.list.iter().enumerate().find_map(|(index, (source, parts))| {
            let caught = catch(&source.filter, topic)?;
            // Parts, not replacements in turn: a topic may itself hold "{1}".
            let text = |part: &'_ Part| match part {
                Part::Literal(text) => text.clone(),
                Part::Rest => caught.rest.to_owned(),
                Part::Level(n) => caught.levels.get(*n).copied().unwrap_or_default().to_owned(),
                Part::Topic => topic.to_owned(),
            };
            Some((index, parts.iter().map(text).collect()))
        })
    }

    /// The source with this index.
    ///
    /// # Panics
    /// For an index that [`Sources::resolve`] did not give.
    pub fn get(&self, index: usize) -> &Source {
        &self.list[index].0
    }
}

/// Whether a name can be a series' (contract §3).
pub fn valid_series(name: &str) -> bool {
    (1..=SERIES_BYTES_MAX).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

/// Whether a filter matches a topic (MQTT 5, 4.7).
pub fn matches(filter: &str, topic: &str) -> bool {
    catch(filter, topic).is_some()
}

struct Caught<'t> {
    levels: Vec<&'t str>,
    rest: &'t str,
}

/// What a filter's wildcards match in a topic; topics that begin with '$' only match literally (MQTT 5, 4.7.2).
fn catch<'t>(filter: &str, topic: &'t str) -> Option<Caught<'t>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut caught = Caught { levels: Vec::new(), rest: "" };
    let mut left = Some(topic);
    for part in filter.split('/') {
        if part == "#" {
            caught.rest = left.unwrap_or("");
            return Some(caught);
        }
        let now = left?;
        let (level, tail) = now.split_once('/').map_or((now, None), |(a, b)| (a, Some(b)));
        match part {
            "+" => caught.levels.push(level),
            literal if literal == level => {}
            _ => return None,
        }
        left = tail;
    }
    left.is_none().then_some(caught)
}

/// The parts of a source's template, once filter and template are known to be usable.
fn template(source: &Source, gateway: &str) -> Result<Vec<Part>, SourceError> {
    let levels: Vec<&str> = source.filter.split('/').collect();
    let allowed = |(i, level): (usize, &&str)| match *level {
        "#" => i + 1 == levels.len(),
        "+" => true,
        level => !level.contains(['+', '#', '\0']),
    };
    if source.filter.is_empty() || !levels.iter().enumerate().all(allowed) {
        return Err(SourceError::Filter(source.filter.clone()));
    }
    let single = levels.iter().filter(|level| **level == "+").count();
    let mut parts = Vec::new();
    let mut left = source.series.as_str();
    while let Some((before, tail)) = left.split_once('{') {
        // Without its '}' a placeholder has no name that is known.
        let (name, after) = tail.split_once('}').unwrap_or((tail, ""));
        let closed = name.len() < tail.len();
        let part = match name {
            _ if !closed => None,
            "gateway" => Some(Part::Literal(gateway.to_owned())),
            "topic" => Some(Part::Topic),
            "rest" => (levels.last() == Some(&"#")).then_some(Part::Rest),
            n => n.parse().ok().filter(|n| (1..=single).contains(n)).map(|n| Part::Level(n - 1)),
        };
        let unknown = || SourceError::Template { template: source.series.clone(), name: name.to_owned(), filter: source.filter.clone() };
        parts.push(Part::Literal(before.to_owned()));
        parts.push(part.ok_or_else(unknown)?);
        left = after;
    }
    parts.push(Part::Literal(left.to_owned()));
    parts.retain(|part| !matches!(part, Part::Literal(text) if text.is_empty()));
    let literal: String = parts.iter().filter_map(|p| if let Part::Literal(text) = p { Some(text.as_str()) } else { None }).collect();
    if parts.is_empty() || !(literal.is_empty() || valid_series(&literal)) {
        return Err(SourceError::Series(source.series.clone()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_names_the_series() {
        let source = |filter: &str, series: &str| Source { filter: filter.into(), series: series.into(), ..Source::default() };
        let sources = Sources::new("g", vec![source("a/+/b/#", "{1}/{rest}"), source("#", "{gateway}:{topic}")]).unwrap();
        assert_eq!(sources.resolve("a/x/b/c/d"), Some((0, "x/c/d".into())));
        assert_eq!(sources.resolve("a/x"), Some((1, "g:a/x".into())));
        assert_eq!(sources.resolve("$SYS/x"), None);
        assert_eq!(Sources::new("g", vec![]).unwrap().resolve("sensors/l/t"), Some((0, "l/t".into())));
        assert!(Sources::new("g", vec![source("a/#/b", "x")]).is_err());
        assert!(Sources::new("g", vec![source("a/+", "{2}")]).is_err());
    }

    #[test]
    fn a_topic_is_never_a_template() {
        let source = Source { filter: "a/+/#".into(), series: "{rest}/{1}".into(), ..Source::default() };
        let sources = Sources::new("g", vec![source]).unwrap();
        assert_eq!(sources.resolve("a/{rest}/{1}{gateway}"), Some((0, "{1}{gateway}/{rest}".into())));
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, rest) in [
            ("#", "a", Some("a")),
            ("#", "/", Some("/")),
            ("a/#", "a", Some("")),
            ("a/#", "a/", Some("")),
            ("a/#", "a/b/c", Some("b/c")),
            ("a/#", "ab", None),
            ("+/#", "/x", Some("x")),
            ("#", "$SYS/x", None),
            ("+/x", "$SYS/x", None),
            ("$SYS/#", "$SYS/x", Some("x")),
            ("a/+", "a/", Some("")),
            ("a/+", "a", None),
            ("a/+", "a/b/c", None),
            ("a", "a", Some("")),
        ] {
            assert_eq!(catch(filter, topic).map(|c| c.rest), rest, "{filter} {topic}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let new = |filter: &str, series: &str| {
            Sources::new("g", vec![Source { filter: filter.into(), series: series.into(), ..Source::default() }])
        };
        for filter in ["", "a#", "a/#/b", "a+/b", "a/\0"] {
            assert!(matches!(new(filter, "{topic}"), Err(SourceError::Filter(_))), "{filter:?}");
        }
        for series in ["{0}", "{2}", "{rest}", "{}", "{1", "{1}{Gateway}", "{-1}"] {
            assert!(matches!(new("a/+", series), Err(SourceError::Template { .. })), "{series}");
        }
        for series in ["", "a+{1}", "{1}#", &"x".repeat(257)] {
            assert!(matches!(new("a/+", series), Err(SourceError::Series(_))), "{series}");
        }
        assert!(new("a/+", "x}{01}").is_ok());
    }

    #[test]
    fn series_names_are_bounded() {
        assert!(valid_series("a/b") && valid_series("°") && valid_series(&"x".repeat(256)));
        for bad in ["", "a+b", "#", "\0", &"x".repeat(257)] {
            assert!(!valid_series(bad), "{bad:?}");
        }
    }
}
