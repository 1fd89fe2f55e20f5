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
    gateway: String,
    list: Vec<Source>,
}

impl Sources {
    /// Checks filters and templates; none at all is the default source.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(gateway: &str, list: Vec<Source>) -> Result<Self, SourceError> {
        let list = if list.is_empty() { vec![Source::default()] } else { list };
        for source in &list {
            check(source)?;
        }
        Ok(Self { gateway: gateway.to_owned(), list })
    }

    /// The source of a topic and the series it names there. Whether the name is valid is
    /// [`valid_series`]'s to say.
    pub fn resolve(&self, topic: &str) -> Option<(usize, String)> {
        self.list.iter().enumerate().find_map(|(i, source)| {
            let caught = catch(&source.filter, topic)?;
            let mut name = source.series.replace("{gateway}", &self.gateway).replace("{topic}", topic);
            name = name.replace("{rest}", caught.rest);
            for (n, level) in caught.levels.iter().enumerate() {
                name = name.replace(&format!("{{{}}}", n + 1), level);
            }
            Some((i, name))
        })
    }

    /// The source with this index.
    ///
    /// # Panics
    /// For an index that [`Sources::resolve`] did not give.
    pub fn get(&self, index: usize) -> &Source {
        &self.list[index]
    }
}

/// Whether a name can be a series' (contract §3).
pub fn valid_series(name: &str) -> bool {
    (1..=SERIES_BYTES_MAX).contains(&name.len()) && !name.contains(['+', '#', '\0'])
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

fn check(source: &Source) -> Result<(), SourceError> {
    let parts: Vec<&str> = source.filter.split('/').collect();
    let whole = |(i, p): (usize, &&str)| match *p {
        "#" => i + 1 == parts.len(),
        "+" => true,
        p => !p.contains(['+', '#', '\0']),
    };
    if source.filter.is_empty() || !parts.iter().enumerate().all(whole) {
        return Err(SourceError::Filter(source.filter.clone()));
    }
    let levels = parts.iter().filter(|p| **p == "+").count();
    let mut rest = source.series.as_str();
    while let Some((_, tail)) = rest.split_once('{') {
        let name = tail.split_once('}').map_or(tail, |(name, _)| name);
        let known = match name {
            "gateway" | "topic" => true,
            "rest" => parts.last() == Some(&"#"),
            n => n.parse().is_ok_and(|n: usize| (1..=levels).contains(&n)),
        };
        if !known {
            return Err(SourceError::Template { template: source.series.clone(), name: name.to_owned(), filter: source.filter.clone() });
        }
        rest = &tail[name.len()..];
    }
    Ok(())
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
        assert!(!valid_series("") && !valid_series("a+b") && valid_series("a/b"));
    }
}
