//! `tidegate status`: what a running gateway or bridge is doing, for a person.
//!
//! One GET over a plain socket: an HTTP client crate would be the largest dependency of the program.

use crate::outcome::{Failure, print};
use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// A role answers its status from memory; one that takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer; a thousand gateways need a hundredth of it.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// `--url http://H:P [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role's HTTP address; run.json in its data dir names it.
    #[arg(long, value_name = "http://HOST:PORT")]
    url: String,

    /// Print the JSON of /api/v1/status as it is.
    #[arg(long)]
    json: bool,
}

/// Prints the status.
///
/// # Errors
/// [`Failure::Usage`] for a URL that is none, [`Failure::Running`] when the role does not answer well.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let host = host_of(&arguments.url).map_err(Failure::Usage)?;
    let body = get(&host, "/api/v1/status").with_context(|| format!("no status from {}", arguments.url))?;
    let status = serde_json::from_slice::<Value>(&body).with_context(|| format!("the answer of {} is no JSON", arguments.url))?;
    match arguments.json {
        true => print(&serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?),
        false => print(human(&status).trim_end()),
    }
}

/// The status of a role at `host:port`.
///
/// # Errors
/// When it does not answer well.
pub fn of(host: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&get(host, "/api/v1/status")?)?)
}

fn host_of(url: &str) -> anyhow::Result<String> {
    let wrong = || anyhow!("--url {url:?} is no HTTP address; write http://HOST:PORT, such as http://127.0.0.1:8080");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control()) {
        return Err(wrong());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { host.to_owned() } else { format!("{host}:80") })
}

fn get(host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut last = anyhow!("the name stands for no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return ask(stream, host, path),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    body_of(&answer)
}

/// The body of a whole HTTP/1.1 response with status 200 (RFC 9112, 6).
fn body_of(answer: &[u8]) -> anyhow::Result<Vec<u8>> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the answer is no HTTP response")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer is no HTTP response")?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).context("the answer is no HTTP response")?;
    if code != "200" {
        bail!("it answered {first:?}: {}", String::from_utf8_lossy(body).trim());
    }
    let header = |name: &str| {
        lines.clone().filter_map(|line| line.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return unchunk(body).context("the answer broke off");
    }
    match header("content-length") {
        Some(length) => {
            let length = length.parse::<usize>().context("the answer has no valid length")?;
            Ok(body.get(..length).context("the answer broke off")?.to_vec())
        }
        None => Ok(body.to_vec()),
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

/// The JSON as indented lines, names with spaces, times and sizes in units a person reads.
fn human(status: &Value) -> String {
    let mut out = String::new();
    lines(status, 0, &mut out);
    out
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(fields) = value else {
        let _ = writeln!(out, "{:indent$}{}", "", plain("", value), indent = depth * 2);
        return;
    };
    let is_group = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    let width = fields.iter().filter(|(_, value)| !is_group(value)).map(|(name, _)| label(name).chars().count()).max().unwrap_or(0);
    // Single values first: a group's lines would push them out of sight.
    for (name, value) in fields.iter().filter(|(_, value)| !is_group(value)) {
        let _ = writeln!(out, "{:indent$}{:width$}  {}", "", label(name), plain(name, value), indent = depth * 2);
    }
    for (name, value) in fields.iter().filter(|(_, value)| is_group(value)) {
        let _ = writeln!(out, "{:indent$}{}", "", label(name), indent = depth * 2);
        match value {
            Value::Array(items) => items.iter().for_each(|item| lines(item, depth + 1, out)),
            _ => lines(value, depth + 1, out),
        }
    }
}

fn label(name: &str) -> String {
    let base = ["_bytes", "_ms", "_s"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    base.replace('_', " ")
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => items.iter().map(|item| plain(name, item)).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "none".to_owned(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => whole(name, number),
            None => number.to_string(),
        },
    }
}

/// A whole number by the unit that its name ends in.
fn whole(name: &str, number: i64) -> String {
    let is_moment = |ms: i64| (1_000_000_000_000..100_000_000_000_000).contains(&ms);
    let moment = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string());
    if name.contains("bytes") {
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let (mut size, mut unit) = (number as f64, "B");
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if size.abs() < 1024.0 {
                break;
            }
            (size, unit) = (size / 1024.0, next);
        }
        return if unit == "B" { format!("{number} B") } else { format!("{size:.1} {unit}") };
    }
    if is_moment(number) && (name.ends_with("_ms") || ["seen", "frontier", "time", "since", "clock"].contains(&name)) {
        return moment(number);
    }
    if name.ends_with("_ms") {
        return settings::unit::duration_text(number);
    }
    if name.ends_with("_s") {
        let (days, rest) = (number / 86_400, number % 86_400);
        let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
        return match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, _) => format!("{minutes} min {seconds} s"),
            (0, _, _) => format!("{hours} h {minutes} min"),
            _ => format!("{days} d {hours} h"),
        };
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_whole_or_not_at_all() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap(), b"{}");
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap(), b"{}");
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n").unwrap(), b"{}");
        for bad in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
            b"",
            b"SSH-2.0\r\n\r\n",
        ] {
            assert!(body_of(bad).is_err());
        }
        let error = body_of(b"HTTP/1.1 503 Service Unavailable\r\n\r\nno room\n").unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("no room"), "{error}");
    }

    #[test]
    fn urls_that_are_none_are_refused() {
        assert_eq!(host_of("http://127.0.0.1:8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(host_of("http://[::1]:8080/x").unwrap(), "[::1]:8080");
        assert_eq!(host_of("http://h").unwrap(), "h:80");
        for bad in ["127.0.0.1:8080", "https://h", "http://", "http://a b"] {
            assert!(host_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_person_sees_units() {
        let status = serde_json::json!({"gateway":"plant-a","room_s":90_061,"log_bytes":3_145_728,"connected":true,
            "ledger":{"accepted":5,"refused":{}},"seen":1_700_000_000_000i64});
        let text = human(&status);
        for part in ["gateway", "plant-a", "1 d 1 h", "3.0 MiB", "yes", "  accepted  5", "2023-11-14T22:13:20Z"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
