//! As much HTTP/1.1 as the fake needs: one request in, one answer out. No limits but one: it talks to tests.

use std::io;

use serde_json::{Value, json};

use crate::Stream;

/// Longest request, head and body, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request, read completely.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// Whether the peer wants the connection closed.
    pub(crate) closes: bool,
}

/// The next request of the connection; `None` when the peer has closed it.
pub(crate) fn read_request(stream: &mut dyn Stream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let head_length = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if read_more(stream, &mut bytes)? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase()))
    };
    let body_length: usize = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while bytes.len() < head_length + body_length {
        if read_more(stream, &mut bytes)? == 0 {
            return Ok(None);
        }
    }
    let mut first_line = head.lines().next().unwrap_or_default().split(' ');
    let method = first_line.next().unwrap_or_default().to_owned();
    let target = first_line.next().unwrap_or_default();
    Ok(Some(Request {
        method,
        path: target.split('?').next().unwrap_or_default().to_owned(),
        body: bytes[head_length..head_length + body_length].to_vec(),
        closes: header("connection").is_some_and(|value| value == "close"),
    }))
}

fn read_more(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(io::Error::other("request is too large"));
    }
    let mut part = [0; 16 * 1024];
    let length = stream.read(&mut part)?;
    bytes.extend_from_slice(&part[..length]);
    Ok(length)
}

/// Answers with a JSON body.
pub(crate) fn write_json(stream: &mut dyn Stream, status: u16, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Fake\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())
}

/// Begins a streamed answer.
pub(crate) fn begin_events(stream: &mut dyn Stream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 Fake\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\n\
          Transfer-Encoding: chunked\r\n\r\n",
    )
}

/// One SSE event in one HTTP chunk.
pub(crate) fn write_event(stream: &mut dyn Stream, data: &str) -> io::Result<()> {
    let event = format!("data: {data}\n\n");
    stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
}

/// Ends a streamed answer.
pub(crate) fn end_events(stream: &mut dyn Stream) -> io::Result<()> {
    stream.write_all(b"0\r\n\r\n")
}

/// Says nothing until the peer leaves.
pub(crate) fn wait_for_close(mut stream: &mut dyn Stream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink())?;
    Err(io::Error::from(io::ErrorKind::ConnectionAborted))
}

/// An error body of `llama-server`.
pub(crate) fn error(code: u16, kind: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code}})
}
