//! `[[bridge]]`: what is checked of each, and of all together.

use super::RETAIN_MS;
use super::{Delivery, Direction, PlainBridge, Priority};
use crate::crossing::rules::{Rules, is_published_here};
use crate::limits::CROSS_PACKET_BYTES_MAX;
use schemas::limits::{MESSAGE_BYTES_MAX, TOPIC_BYTES_MAX, WANTED_MAX};
use settings::{Table, address};

/// Bytes of a template: a topic at the cloud is a little longer than the topic here.
const REMOTE_BYTES_MAX: usize = 1_024;
/// Bytes of all filters of what comes in, at the cloud: each hello names them all.
const WANTED_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;
/// What the cloud itself publishes, or listens to: nobody else may.
const RESERVED: [&str; 7] = ["bridge/", "merged/", "alerts/", "alarms/", "gateways/", "state/", "$"];

pub(super) fn read(mut table: Table) -> Option<PlainBridge> {
    let filter = table.text("filter", |text| address::topic_filter(text).map(|()| text.to_owned()));
    let filter = table.required("filter", filter, "\"events/#\"");
    let words = [("out", Direction::Out), ("in", Direction::In), ("both", Direction::Both)];
    let direction = table.word("direction", &words).unwrap_or(Direction::Out);
    let inwards = direction != Direction::Out;
    if inwards && filter.as_deref().is_some_and(is_published_here) {
        let why = "what begins with alerts/, alarms/, gateways/ or merged/ only the gateway itself publishes here; write another filter, or direction = \"out\"";
        table.problem("filter", why);
    }
    let remote = table.text("remote", |text| remote(text, inwards, filter.as_deref())).unwrap_or_else(|| "plants/{gateway}/{topic}".into());
    let qos = table.whole("qos", 0, 2).unwrap_or(1) as u8;
    let priorities = [("urgent", Priority::Urgent), ("normal", Priority::Normal), ("bulk", Priority::Bulk)];
    let priority = table.word("priority", &priorities).unwrap_or(Priority::Normal);
    let ttl_ms = table.duration("ttl", 1, RETAIN_MS.1);
    let delivery = table.word("delivery", &[("bridge", Delivery::Bridge), ("broker", Delivery::Broker)]).unwrap_or_default();
    table.finish();
    Some(PlainBridge { filter: filter?, direction, remote, qos, priority, ttl_ms, delivery })
}

/// What holds of all of them and the rest of the config.
pub(super) fn together(root: &Table, gateway: &str, bridges: &[PlainBridge], has_cloud: bool, max_packet: u64) {
    let Some(first) = bridges.first() else { return };
    if !has_cloud {
        root.problem("bridge", "there is nowhere to carry messages to without a [cloud] section");
    }
    if max_packet > CROSS_PACKET_BYTES_MAX {
        let most = settings::unit::size_text(CROSS_PACKET_BYTES_MAX);
        root.problem("bridge", format!("messages that cross the link are bounded: write [mqtt] max_packet = \"{most}\" or less"));
    }
    if bridges.iter().any(|b| b.delivery != first.delivery) {
        root.problem("bridge", "all bridges share one connection; write the same delivery for each, bridge or broker");
    }
    if bridges.iter().filter(|b| b.direction != Direction::Out).count() > WANTED_MAX {
        root.problem("bridge", format!("at most {WANTED_MAX} bridges may carry messages in"));
    }
    // What is too long for the cloud to read would be refused with every hello.
    let wanted = Rules::new(gateway, bridges).wanted();
    if let Some(long) = wanted.iter().map(|wanted| wanted.filter.len()).find(|len| *len > TOPIC_BYTES_MAX) {
        root.problem("bridge", format!("with remote a filter has {long} bytes at the cloud; write at most {TOPIC_BYTES_MAX}"));
    }
    if wanted.iter().map(|wanted| wanted.filter.len()).sum::<usize>() > WANTED_BYTES_MAX {
        root.problem(
            "bridge",
            format!("the filters of what comes in have more than {WANTED_BYTES_MAX} bytes together; write fewer, or shorter ones"),
        );
    }
}

/// Checks a template of topics at the cloud.
fn remote(text: &str, inwards: bool, filter: Option<&str>) -> Result<String, String> {
    let bare = text.replacen("{topic}", "", 1).replace("{gateway}", "");
    let quoted = text.escape_debug();
    if text.is_empty() || text.len() > REMOTE_BYTES_MAX || bare.contains(['+', '#', '\0', '{', '}']) {
        return Err(format!(
            "\"{quoted}\" names no topics; write levels, {{gateway}}, and once {{topic}}, such as plants/{{gateway}}/{{topic}}"
        ));
    }
    if let Some(reserved) = RESERVED.iter().find(|r| text.starts_with(**r) || text == r.trim_end_matches('/')) {
        return Err(format!("topics that begin with {reserved} are the cloud's own; write another first level, such as plants"));
    }
    if text.starts_with("{topic}") && filter.is_some_and(|f| RESERVED.iter().any(|r| f.starts_with(r)) || f.starts_with(['+', '#'])) {
        return Err(format!(
            "\"{quoted}\" could name the cloud's own topics; put a level before {{topic}}, such as plants/{{gateway}}/{{topic}}"
        ));
    }
    let open = filter.is_some_and(|f| f.contains(['+', '#']));
    if inwards && !text.contains("{topic}") && open {
        return Err("what comes in needs its topic: write {topic}, or a filter without + and #".to_owned());
    }
    if inwards && filter.is_some_and(|f| f.ends_with('#')) && text.contains("{topic}") && !text.ends_with("{topic}") {
        return Err("nothing can follow {topic} in what comes in, as the filter ends in #".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, read};
    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        let text = format!("gateway = \"plant-a\"\ndata_dir = \"d\"\n{text}");
        read(Table::parse("edge.toml", &text, &[], &[]).unwrap()).map_err(|errors| errors.to_string())
    }

    const CLOUD: &str = "[cloud]\nurl = \"mqtt://h\"\n";

    #[test]
    fn bridges_have_defaults() {
        let config = read_text(&format!("{CLOUD}[[bridge]]\nfilter = \"events/#\"\n")).unwrap();
        let b = &config.bridges[0];
        assert_eq!((b.direction, b.remote.as_str(), b.qos, b.priority), (Direction::Out, "plants/{gateway}/{topic}", 1, Priority::Normal));
        assert_eq!((b.ttl_ms, b.delivery), (None, Delivery::Bridge));
        let all = "[[bridge]]\nfilter = \"a/+\"\ndirection = \"both\"\nremote = \"{topic}\"\nqos = 2\npriority = \"bulk\"\nttl = \"1d\"\ndelivery = \"broker\"\n";
        let config = read_text(&format!("{CLOUD}{all}")).unwrap();
        assert_eq!((config.bridges[0].ttl_ms, config.bridges[0].delivery), (Some(86_400_000), Delivery::Broker));
    }

    #[test]
    fn what_cannot_cross_is_refused_with_its_line() {
        let bridge = |lines: &str| format!("{CLOUD}[[bridge]]\nfilter = \"a/#\"\n{lines}\n");
        for (text, expected) in [
            (bridge("remote = \"merged/{topic}\""), "edge.toml:7: bridge[0].remote: topics that begin with merged/ are the cloud's own"),
            (bridge("remote = \"x/{topic}/{topic}\""), "bridge[0].remote: \"x/{topic}/{topic}\" names no topics"),
            (bridge("remote = \"x/{rest}\""), "names no topics"),
            (bridge("remote = \"x/#\""), "names no topics"),
            (bridge("direction = \"in\"\nremote = \"x\""), "what comes in needs its topic"),
            (bridge("direction = \"both\"\nremote = \"{topic}/x\""), "nothing can follow {topic}"),
            (
                format!("{CLOUD}[[bridge]]\nfilter = \"alerts/#\"\ndirection = \"both\"\n"),
                "edge.toml:6: bridge[0].filter: what begins with alerts/",
            ),
            (format!("{CLOUD}[[bridge]]\nfilter = \"gateways/+/status\"\ndirection = \"in\"\n"), "bridge[0].filter: what begins with"),
            (bridge("direction = \"up\""), "edge.toml:7: bridge[0].direction: \"up\" is not one of"),
            (bridge("qos = 3"), "bridge[0].qos: 3 is out of range"),
            (bridge("ttl = \"0s\""), "bridge[0].ttl: \"0s\" is out of range"),
            (bridge("[mqtt]\nmax_packet = \"4MiB\""), "max_packet = \"3MiB\" or less"),
            (bridge("[[bridge]]\nfilter = \"b\"\ndelivery = \"broker\""), "the same delivery"),
            (format!("{CLOUD}[[bridge]]\nfilter = \"#\"\nremote = \"{{topic}}\"\n"), "could name the cloud's own topics"),
            ("[[bridge]]\nfilter = \"a\"\n".to_owned(), "without a [cloud] section"),
            (
                format!("{CLOUD}[[bridge]]\ndirection = \"in\"\nfilter = \"{}\"\n", "a".repeat(65_535)),
                "a filter has 65550 bytes at the cloud",
            ),
            (
                format!("{CLOUD}{}", format!("[[bridge]]\ndirection = \"in\"\nfilter = \"{}\"\n", "a".repeat(60_000)).repeat(18)),
                "more than 1048576 bytes together",
            ),
        ] {
            let error = read_text(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
