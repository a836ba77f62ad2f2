//! Reads one whole HTTP/1.1 request off a connection.
//!
//! It judges nothing about the request beyond its framing: tests want to see what really came.

use super::link::{Link, PeerLeft};
use crate::http1::{self, ChunkedDecoder, Framing, HEADERS_MAX, Piece};
use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;

/// Most bytes of a request head.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a request body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request, read completely.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) wants_close: bool,
}

/// What the answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) model: String,
}

/// Why no request could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// The peer left, between requests or within one.
    PeerLeft,
    /// What came is no HTTP/1.1 request.
    Malformed(String),
}

impl From<PeerLeft> for NoRequest {
    fn from(_: PeerLeft) -> Self {
        Self::PeerLeft
    }
}

impl From<http1::Malformed> for NoRequest {
    fn from(error: http1::Malformed) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Request {
    /// Waits for the next request on the connection and reads it to its end.
    pub(super) async fn read(link: &mut Link) -> Result<Self, NoRequest> {
        let (mut request, framing) = loop {
            if let Some(head) = parse_head(&mut link.inbox)? {
                break head;
            }
            if link.inbox.len() > HEAD_BYTES_MAX {
                return Err(NoRequest::Malformed("head too large".to_owned()));
            }
            link.read_more().await?;
        };
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            link.send(b"HTTP/1.1 100 Continue\r\n\r\n", |_| ()).await?;
        }
        request.body = read_body(link, framing).await?;
        Ok(request)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_probe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// What the body asks for; a body that is not JSON asks for nothing special.
    pub(super) fn ask(&self) -> Ask {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        Ask {
            stream: body["stream"].as_bool().unwrap_or(false),
            include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
            model: body["model"].as_str().unwrap_or("scripted").to_owned(),
        }
    }
}

fn parse_head(inbox: &mut BytesMut) -> Result<Option<(Request, Framing)>, NoRequest> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut lines);
    let used = match parsed.parse(inbox) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(NoRequest::Malformed(error.to_string())),
    };
    let framing = http1::framing(parsed.headers, Framing::Length(0))?;
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|line| (line.name.to_ascii_lowercase(), String::from_utf8_lossy(line.value).into_owned()))
        .collect();
    let wants_close = headers.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: Bytes::new(),
        wants_close: wants_close || parsed.version == Some(0),
    };
    inbox.advance(used);
    Ok(Some((request, framing)))
}

async fn read_body(link: &mut Link, framing: Framing) -> Result<Bytes, NoRequest> {
    let mut body = BytesMut::new();
    let mut decoder = ChunkedDecoder::new();
    loop {
        match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > BODY_BYTES_MAX {
                    return Err(NoRequest::Malformed("body too large".to_owned()));
                }
                if link.inbox.len() >= length {
                    return Ok(link.inbox.split_to(length).freeze());
                }
            }
            Framing::Chunked | Framing::UntilClose => match decoder.next(&mut link.inbox)? {
                Piece::End => return Ok(body.freeze()),
                Piece::Data(_) if body.len() > BODY_BYTES_MAX => {
                    return Err(NoRequest::Malformed("body too large".to_owned()));
                }
                Piece::Data(data) => {
                    body.extend_from_slice(&data);
                    continue;
                }
                Piece::NeedMore => {}
            },
        }
        link.read_more().await?;
    }
}
