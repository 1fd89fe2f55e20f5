//! One request over a plain socket: an HTTP client crate would be the largest dependency of the program.

use anyhow::{Context as _, anyhow, bail};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// A role answers from memory, or after one commit; one that takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer; a thousand gateways need a hundredth of it.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a role answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Host and port of an `http://` URL.
///
/// # Errors
/// For a URL that is none, with how to write it.
pub fn host_of(url: &str) -> anyhow::Result<String> {
    let wrong = || anyhow!("--url {url:?} is no HTTP address; write http://HOST:PORT, such as http://127.0.0.1:8080");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control()) {
        return Err(wrong());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { host.to_owned() } else { format!("{host}:80") })
}

/// Percent-encoded but for what a path may hold (RFC 3986, 3.3).
pub fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Asks a role at `host:port`; an empty body is none.
///
/// # Errors
/// When nobody answers, or no HTTP.
pub fn request(host: &str, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
    let mut last = anyhow!("the name stands for no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return ask(stream, host, method, path, body),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, host: &str, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n")?;
    if !body.is_empty() {
        write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n{body}")?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("it has not answered for {} s", TIMEOUT.as_secs())
        }
        read => read?,
    };
    read(&answer)
}

/// A whole HTTP/1.1 response (RFC 9112, 6).
fn read(answer: &[u8]) -> anyhow::Result<Answer> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the answer is no HTTP response")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer is no HTTP response")?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let code = code.context("the answer is no HTTP response")?;
    let header = |name: &str| {
        lines.clone().filter_map(|line| line.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunk(body).context("the answer broke off")?
    } else if let Some(length) = header("content-length") {
        let length = length.parse::<usize>().context("the answer has no valid length")?;
        body.get(..length).context("the answer broke off")?.to_vec()
    } else {
        body.to_vec()
    };
    Ok(Answer { code, body })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_whole_or_not_at_all() {
        let body = |answer: &[u8]| read(answer).map(|answer| (answer.code, answer.body)).unwrap();
        assert_eq!(body(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), (200, b"{}".to_vec()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n{}"), (200, b"{}".to_vec()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), (200, b"{}".to_vec()));
        assert_eq!(body(b"HTTP/1.1 503 Service Unavailable\r\n\r\nno room\n"), (503, b"no room\n".to_vec()));
        for bad in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
            b"HTTP/1.1 OK\r\n\r\n{}",
            b"",
            b"SSH-2.0\r\n\r\n",
        ] {
            assert!(read(bad).is_err());
        }
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
}
