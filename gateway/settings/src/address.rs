//! Addresses: where to listen, which broker to speak to, which topics to take.

use crate::limits::FILTER_BYTES_MAX;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of MQTT without TLS, where a URL names none (IANA).
const MQTT_PORT: u16 = 1883;

/// A broker elsewhere: `mqtt://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "mqtt://[{}]:{}", self.host, self.port),
            false => write!(f, "mqtt://{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads `mqtt://host:port`; without a port it is 1883.
///
/// # Errors
/// A sentence that says what is wrong with the text and how to write it.
pub fn broker_url(text: &str) -> Result<BrokerUrl, String> {
    let url = "write mqtt://host:port";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{text}\" is no URL; {url}"));
    };
    match scheme {
        "mqtt" | "tcp" => {}
        "mqtts" | "ssl" | "tls" => {
            return Err(format!("\"{text}\" asks for TLS, which this version does not speak; {url}"));
        }
        _ => {
            return Err(format!("\"{text}\" has the unknown scheme \"{scheme}\"; {url}"));
        }
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(format!("the URL names a user, which this version does not support; {url}"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| format!("\"{text}\" lacks the closing ']'; {url}"))?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("")) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace() || c.is_control()) {
        return Err(format!("\"{text}\" has no valid host; {url}"));
    }
    let port = match port {
        None => MQTT_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("\"{text}\" has no valid port (1 to 65535); {url}")),
        },
    };
    Ok(BrokerUrl { host: host.to_owned(), port })
}

/// Reads an address to listen at: `127.0.0.1:1883`, `[::1]:1883`, `localhost:1883`; port 0 asks for a free one.
///
/// # Errors
/// A sentence that says what is wrong with the text and how to write it.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| format!("\"{text}\" is no address to listen at; write address:port, such as 127.0.0.1:1883 or 0.0.0.0:1883"))
}

/// Whether two cannot be listened at by one machine at once; port 0 is a free one, and no other's.
pub fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

impl BrokerUrl {
    /// Whether it leads to who listens there on this machine, as far as the host's name tells.
    pub fn leads_to(&self, listen: SocketAddr) -> bool {
        // An address of another machine is not ours, whatever we listen at; 0.0.0.0 is this one.
        let at = |ip: IpAddr| {
            let is_here = ip == listen.ip() || ip.is_loopback() || ip.is_unspecified() && listen.ip().is_loopback();
            is_here && overlap(SocketAddr::new(ip, self.port), listen)
        };
        match self.host.parse::<IpAddr>() {
            Ok(ip) => at(ip),
            Err(_) => self.host.eq_ignore_ascii_case("localhost") && (at(Ipv4Addr::LOCALHOST.into()) || at(Ipv6Addr::LOCALHOST.into())),
        }
    }
}

/// Checks an MQTT topic filter (MQTT 5, 4.7.1): `+` and `#` stand for whole levels, `#` only for the last.
///
/// # Errors
/// A sentence that says what is wrong with the filter.
pub fn topic_filter(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an empty topic filter matches nothing; write one such as sensors/#".to_owned());
    }
    if text.len() > FILTER_BYTES_MAX || text.contains('\0') {
        return Err("the topic filter is longer than 65535 bytes or contains NUL".to_owned());
    }
    let levels = text.split('/').collect::<Vec<_>>();
    for (index, level) in levels.iter().enumerate() {
        if level.contains(['+', '#']) && level.len() > 1 {
            return Err(format!("\"{text}\": + and # stand alone between slashes, as in sensors/+/temperature"));
        }
        if *level == "#" && index + 1 < levels.len() {
            return Err(format!("\"{text}\": # is only allowed at the end"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broker_urls_are_read_and_written_alike() {
        for (text, host, port) in
            [("mqtt://127.0.0.1:1884", "127.0.0.1", 1884), ("mqtt://plant-broker:1883", "plant-broker", 1883), ("mqtt://[::1]:7", "::1", 7)]
        {
            let url = broker_url(text).unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port));
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(broker_url("mqtt://h/").unwrap().port, 1883);
        for bad in [
            "h:1883",
            "mqtt://",
            "mqtt://:1",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://h:70000",
            "http://h",
            "mqtt://u:p@h",
            "mqtt://[::1",
            "mqtt://a/b",
        ] {
            assert!(broker_url(bad).is_err(), "{bad}");
        }
        assert!(broker_url("mqtts://h:8883").unwrap_err().contains("TLS"));
        assert!(!broker_url("mqtt://u:secret@h").unwrap_err().contains("secret"), "no password in a message");
    }

    #[test]
    fn filters_follow_the_standard() {
        for good in ["#", "+", "sensors/#", "a/+/b", "/", "a//b"] {
            assert_eq!(topic_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "a+/b", "a\0"] {
            assert!(topic_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(listen("127.0.0.1:0").unwrap().port(), 0);
        assert!(listen("localhost:1883").unwrap().ip().is_loopback());
        assert!(listen("[::1]:1883").unwrap().ip().is_loopback());
        assert!(listen("1883").is_err() && listen("plant:1883").is_err());
    }

    #[test]
    fn one_address_is_told_under_its_names() {
        let leads = |url: &str, at: &str| broker_url(url).unwrap().leads_to(at.parse().unwrap());
        for (url, at) in [
            ("mqtt://127.0.0.1", "127.0.0.1:1883"),
            ("mqtt://LOCALHOST:7", "0.0.0.0:7"),
            ("mqtt://localhost:7", "[::1]:7"),
            ("mqtt://0.0.0.0:7", "127.0.0.1:7"),
            ("mqtt://10.0.0.1:7", "10.0.0.1:7"),
        ] {
            assert!(leads(url, at), "{url} {at}");
        }
        for (url, at) in [
            ("mqtt://127.0.0.1:7", "127.0.0.1:8"),
            ("mqtt://127.0.0.2:7", "127.0.0.1:7"),
            ("mqtt://10.0.0.2:7", "0.0.0.0:7"),
            ("mqtt://plant:7", "0.0.0.0:7"),
        ] {
            assert!(!leads(url, at), "{url} {at}");
        }
        let overlap = |a: &str, b: &str| super::overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("127.0.0.1:7", "0.0.0.0:7") && overlap("127.0.0.1:7", "127.0.0.1:7"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0") && !overlap("127.0.0.1:7", "127.0.0.2:7"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}", url in "mqtt://\\PC{0,16}") {
            let _ = (broker_url(&text), broker_url(&url), listen(&text), topic_filter(&text));
        }
    }
}
