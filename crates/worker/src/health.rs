//! One `GET /health` over a child's socket, as small as HTTP/1.1 gets. Reads the status line and nothing else.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::machine::ProbeOutcome;
use crate::status::Endpoint;

/// Longest status line that is read, in bytes.
const STATUS_LINE_BYTES_MAX: usize = 256;

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n";

/// Asks once; an answer after `limit` counts as none.
pub(crate) async fn probe(endpoint: &Endpoint, limit: Duration) -> ProbeOutcome {
    timeout(limit, ask(endpoint)).await.unwrap_or(ProbeOutcome::Silent)
}

async fn ask(endpoint: &Endpoint) -> ProbeOutcome {
    let answer = match endpoint {
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => status_of(stream).await,
            Err(error) => return unreachable_because(&error),
        },
        Endpoint::Tcp(address) => match TcpStream::connect(address).await {
            Ok(stream) => status_of(stream).await,
            Err(error) => return unreachable_because(&error),
        },
    };
    match answer {
        Some(200) => ProbeOutcome::Healthy,
        Some(_) => ProbeOutcome::Unready,
        None => ProbeOutcome::Silent,
    }
}

fn unreachable_because(error: &std::io::Error) -> ProbeOutcome {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => ProbeOutcome::Refused,
        _ => ProbeOutcome::Silent,
    }
}

async fn status_of(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<u16> {
    stream.write_all(REQUEST).await.ok()?;
    let mut line = Vec::with_capacity(STATUS_LINE_BYTES_MAX);
    let mut limited = stream.take(STATUS_LINE_BYTES_MAX as u64);
    while !line.contains(&b'\n') {
        if limited.read_buf(&mut line).await.ok()? == 0 {
            return None;
        }
    }
    parse_status(&line)
}

fn parse_status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<u16>) {
        assert_eq!(parse_status(line.as_bytes()), expected, "{line:?}");
    }

    #[test]
    fn reads_status_lines() {
        check("HTTP/1.1 200 OK\r\nServer: llama.cpp\r\n", Some(200));
        check("HTTP/1.1 503\r\n", Some(503));
        check("HTTP/1.1 \r\n", None);
        check("SSH-2.0-OpenSSH\r\n", None);
        check("200 OK\r\n", None);
        check("", None);
    }

    #[tokio::test]
    async fn nobody_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(folder.path().join("none.sock"));
        assert_eq!(probe(&endpoint, Duration::from_secs(5)).await, ProbeOutcome::Refused);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_said_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mute.sock");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert_eq!(probe(&Endpoint::Unix(path), Duration::from_secs(5)).await, ProbeOutcome::Silent);
    }
}
