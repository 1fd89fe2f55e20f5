//! `[[bridge]]` → which ordinary messages cross, and what they are called on the other side.

use crate::config::{Direction, PlainBridge};
use replica::alert::is_gateways_own;
use schemas::limits::TOPIC_BYTES_MAX;
use schemas::message::Wanted;
use telemetry::source::matches;

/// The place of the topic in a template.
const TOPIC: &str = "{topic}";

struct Rule {
    filter: String,
    direction: Direction,
    /// What stands before and behind the topic at the cloud; none for one fixed topic there.
    around: Option<(String, String)>,
    fixed: String,
    qos: u8,
    lane: u8,
    ttl_ms: i64,
}

/// How a message goes up.
#[derive(Debug, PartialEq, Eq)]
pub struct Out {
    /// Its topic at the cloud.
    pub remote: String,
    /// 0 urgent, 1 normal, 2 bulk.
    pub lane: u8,
    /// How long it may wait, 0 for ever.
    pub ttl_ms: u64,
    /// The most that its QoS may be.
    pub qos: u8,
}

/// Whether what is published on a topic here is the gateway's own word, or has the name of the bridge's: whoever
/// reads there may believe it, so nothing of elsewhere is shown there.
pub fn is_published_here(topic: &str) -> bool {
    is_gateways_own(topic) || ["gateways/", "merged/", "bridge/"].iter().any(|own| topic.starts_with(own))
}

/// All `[[bridge]]` of a gateway, in order: the first that matches wins.
#[derive(Default)]
pub struct Rules {
    list: Vec<Rule>,
}

impl Rules {
    /// From a config that was checked.
    pub fn new(gateway: &str, bridges: &[PlainBridge]) -> Self {
        let rule = |b: &PlainBridge| {
            let template = b.remote.replace("{gateway}", gateway);
            let around = template.split_once(TOPIC).map(|(before, behind)| (before.to_owned(), behind.to_owned()));
            Rule {
                filter: b.filter.clone(),
                direction: b.direction,
                around,
                fixed: template,
                qos: b.qos,
                lane: b.priority as u8,
                ttl_ms: b.ttl_ms.unwrap_or(0),
            }
        };
        Self { list: bridges.iter().map(rule).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How a client's message goes up, if it does; an error when its name there is too long.
    ///
    /// # Errors
    /// Nothing but that.
    pub fn out(&self, topic: &str) -> Option<Result<Out, ()>> {
        let rule = self.list.iter().find(|r| r.direction != Direction::In && matches(&r.filter, topic))?;
        let remote = match &rule.around {
            Some((before, behind)) => format!("{before}{topic}{behind}"),
            None => rule.fixed.clone(),
        };
        if remote.len() > TOPIC_BYTES_MAX {
            return Some(Err(()));
        }
        Some(Ok(Out { remote, lane: rule.lane, ttl_ms: rule.ttl_ms.unsigned_abs(), qos: rule.qos }))
    }

    /// What a message on that topic at the cloud is called here, and the most that its QoS may be.
    pub fn local(&self, remote: &str) -> Option<(String, u8)> {
        self.list.iter().filter(|r| r.direction != Direction::Out).find_map(|r| {
            let topic = match &r.around {
                Some((before, behind)) => remote.strip_prefix(before.as_str())?.strip_suffix(behind.as_str())?,
                None => (remote == r.fixed).then_some(r.filter.as_str())?,
            };
            (!topic.is_empty() && matches(&r.filter, topic)).then(|| (topic.to_owned(), r.qos))
        })
    }

    /// What is asked of the cloud's broker.
    pub fn wanted(&self) -> Vec<Wanted> {
        let inwards = self.list.iter().filter(|r| r.direction != Direction::Out);
        let filter = |r: &Rule| match &r.around {
            Some((before, behind)) => format!("{before}{}{behind}", r.filter),
            None => r.fixed.clone(),
        };
        inwards.map(|r| Wanted { filter: filter(r), ttl_ms: r.ttl_ms }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Priority;

    fn rules(list: &[(&str, Direction, &str)]) -> Rules {
        let bridge = |(filter, direction, remote): &(&str, Direction, &str)| PlainBridge {
            filter: (*filter).into(),
            direction: *direction,
            remote: (*remote).into(),
            qos: 1,
            priority: Priority::Bulk,
            ttl_ms: Some(5_000),
            delivery: Default::default(),
        };
        Rules::new("plant-a", &list.iter().map(bridge).collect::<Vec<_>>())
    }

    #[test]
    fn topics_are_mapped_there_and_back() {
        let r = rules(&[
            ("events/#", Direction::Both, "plants/{gateway}/{topic}"),
            ("events/x", Direction::Out, "never/{topic}"),
            ("log/+", Direction::Out, "all/{topic}/of/{gateway}"),
            ("orders", Direction::In, "orders/{gateway}"),
        ]);
        let out = |topic: &str| r.out(topic).map(|o| o.unwrap().remote);
        assert_eq!(out("events/x").as_deref(), Some("plants/plant-a/events/x"), "the first that matches");
        assert_eq!(out("log/a").as_deref(), Some("all/log/a/of/plant-a"));
        assert_eq!((out("orders"), out("log/a/b"), out("other")), (None, None, None));
        assert_eq!(r.out("log/a"), Some(Ok(Out { remote: "all/log/a/of/plant-a".into(), lane: 2, ttl_ms: 5_000, qos: 1 })));
        let local = |topic: &str| r.local(topic).map(|(topic, _)| topic);
        assert_eq!(local("plants/plant-a/events/x").as_deref(), Some("events/x"));
        assert_eq!(local("orders/plant-a").as_deref(), Some("orders"));
        for stranger in ["plants/plant-b/events/x", "plants/plant-a/other", "plants/plant-a/", "all/log/a/of/plant-a", "orders/plant-b"] {
            assert_eq!(local(stranger), None, "{stranger}");
        }
        let wanted: Vec<_> = r.wanted().into_iter().map(|w| w.filter).collect();
        assert_eq!(wanted, ["plants/plant-a/events/#", "orders/plant-a"]);
        assert!(rules(&[("#", Direction::Out, "p/{topic}")]).out(&"t".repeat(65_534)).unwrap().is_err());
    }
}
