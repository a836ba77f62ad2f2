//! One keep-alive connection: send the fixed request, read the answer to its end, check it.

use super::answer::{Body, Shape};
use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::http1::{ChunkedDecoder, Framing, HEADERS_MAX, Piece, framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Longest time for one answer; a run is bounded even if the target hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to send what, and what must come back.
pub(crate) struct Destination {
    addr: SocketAddr,
    request: Bytes,
    stream: bool,
    expected: Option<Shape>,
}

/// A complete and correct answer.
pub(crate) struct Answered {
    /// When the first event, or the first byte of a document, was read.
    pub(crate) first_at: Instant,
    /// When the last byte was read.
    pub(crate) ended_at: Instant,
    pub(crate) shape: Shape,
}

pub(crate) struct Connection {
    stream: TcpStream,
    unread: BytesMut,
}

impl Destination {
    pub(crate) fn new(url: &str, body: &[u8], stream: bool) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("only http:// URLs are measured")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let addr: SocketAddr = authority.parse().context("the URL needs an IP address and a port")?;
        ensure!(addr.ip().is_loopback(), "only loopback is measured");
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            if path.is_empty() { "/" } else { path },
            body.len()
        );
        Ok(Self { addr, request: [head.as_bytes(), body].concat().into(), stream, expected: None })
    }

    /// The same, with every answer checked against this shape.
    pub(crate) fn expecting(self, expected: Shape) -> Self {
        Self { expected: Some(expected), ..self }
    }
}

impl Connection {
    pub(crate) async fn open(destination: &Destination) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(destination.addr).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: BytesMut::with_capacity(64 * 1024) })
    }

    /// One request and its answer. After an error the connection must not be used again.
    pub(crate) async fn exchange(&mut self, destination: &Destination) -> anyhow::Result<Answered> {
        self.stream.write_all(&destination.request).await.context("cannot send")?;
        tokio::time::timeout(ANSWER_TIMEOUT, self.read_answer(destination)).await.context("no answer in time")?
    }

    async fn read_answer(&mut self, destination: &Destination) -> anyhow::Result<Answered> {
        let framing = loop {
            if let Some((status, framing)) = take_head(&mut self.unread)? {
                ensure!(status == 200, "status {status}");
                break framing;
            }
            self.fill().await?;
        };
        let mut body = Body::new(destination.stream);
        let mut first_at = None;
        let mut decoder = ChunkedDecoder::new();
        loop {
            let is_complete = match framing {
                Framing::UntilClose => bail!("an answer without framing cannot be checked"),
                Framing::Length(length) => {
                    let missing = usize::try_from(length)?.saturating_sub(body.len());
                    let part = self.unread.len().min(missing);
                    body.push(&self.unread.split_to(part));
                    missing == part
                }
                Framing::Chunked => loop {
                    match decoder.next(&mut self.unread)? {
                        Piece::Data(data) => body.push(&data),
                        Piece::NeedMore => break false,
                        Piece::End => break true,
                    }
                },
            };
            if first_at.is_none() && body.has_begun() {
                first_at = Some(Instant::now());
            }
            if is_complete {
                break;
            }
            self.fill().await?;
        }
        let ended_at = Instant::now();
        ensure!(self.unread.is_empty(), "{} bytes more than the answer", self.unread.len());
        let shape = body.check(destination.expected.as_ref())?;
        Ok(Answered { first_at: first_at.unwrap_or(ended_at), ended_at, shape })
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.unread.reserve(16 * 1024);
        ensure!(self.stream.read_buf(&mut self.unread).await? > 0, "the answer was cut short");
        Ok(())
    }
}

/// Takes a complete head off `unread`: status and framing.
fn take_head(unread: &mut BytesMut) -> anyhow::Result<Option<(u16, Framing)>> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(used) = head.parse(unread)? else { return Ok(None) };
    let facts = (head.code.unwrap_or_default(), framing(head.headers, Framing::UntilClose)?);
    unread.advance(used);
    Ok(Some(facts))
}
