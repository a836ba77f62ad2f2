//! A caller with full control of its socket: slow, torn, half-closed, vanishing.
//!
//! It does not keep to any protocol by itself. All waiting ends after [`PATIENCE`] by failing the test.

use crate::PATIENCE;
use crate::http1::{self, ChunkedDecoder, Framing, HEADERS_MAX, Piece};
use bytes::{Buf, BytesMut};
use serde_json::Value;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One TCP connection as a test drives it.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    unread: BytesMut,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    /// Status code.
    pub status: u16,
    /// Header lines in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

impl RawReply {
    /// The value of the first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the response body is JSON")
    }
}

impl RawClient {
    /// Connects to a server on loopback.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::open(addr, None).await
    }

    /// Connects with a receive buffer of about this many bytes, so that a server that sends without end
    /// soon stands still. The system rounds the number up and may double it.
    pub async fn connect_with_receive_buffer(addr: SocketAddr, bytes: u32) -> Self {
        Self::open(addr, Some(bytes)).await
    }

    async fn open(addr: SocketAddr, receive_buffer: Option<u32>) -> Self {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.expect("a socket");
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("the system takes a receive buffer size");
        }
        let stream = in_time(socket.connect(addr)).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
        Self { stream, unread: BytesMut::new() }
    }

    /// Sends these bytes; fails if the server has gone away.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        in_time(self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends a whole `POST` with a JSON body.
    pub async fn post(&mut self, path: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(head + &body).await
    }

    /// Reads once, at most `limit` bytes; empty at the end of the stream.
    pub async fn read_some(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() && !self.fill(limit).await? {
            return Ok(Vec::new());
        }
        let count = self.unread.len().min(limit);
        Ok(self.unread.split_to(count).to_vec())
    }

    /// Reads until `needle` has come and returns all up to its end. What follows is kept for later reads.
    /// An end of the stream before that is an error of the kind `UnexpectedEof`.
    pub async fn read_until(&mut self, needle: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        let needle = needle.as_ref();
        loop {
            if let Some(at) = http1::find(&self.unread, needle) {
                return Ok(self.unread.split_to(at + needle.len()).to_vec());
            }
            self.fill_or_eof().await?;
        }
    }

    /// Reads until the server closes; `Err` holds a reset, and what had come before it is lost.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill(usize::MAX).await? {}
        Ok(self.unread.split().to_vec())
    }

    /// Reads one whole response (interim ones are skipped), as its framing says.
    pub async fn read_reply(&mut self) -> io::Result<RawReply> {
        let (mut reply, framing) = loop {
            match self.parse_head()? {
                Some((reply, _)) if reply.status < 200 => {}
                Some(head) => break head,
                None => self.fill_or_eof().await?,
            }
        };
        match framing {
            Framing::UntilClose => reply.body = self.read_to_end().await?,
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                while self.unread.len() < length {
                    self.fill_or_eof().await?;
                }
                reply.body = self.unread.split_to(length).to_vec();
            }
            Framing::Chunked => {
                let mut decoder = ChunkedDecoder::new();
                loop {
                    match decoder.next(&mut self.unread).map_err(io::Error::other)? {
                        Piece::Data(data) => reply.body.extend_from_slice(&data),
                        Piece::NeedMore => self.fill_or_eof().await?,
                        Piece::End => break,
                    }
                }
            }
        }
        Ok(reply)
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Leaves with a reset (RST). Dropping the client leaves with FIN.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a connected socket takes SO_LINGER");
    }

    fn parse_head(&mut self) -> io::Result<Option<(RawReply, Framing)>> {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        let httparse::Status::Complete(used) = parsed.parse(&self.unread).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let status = parsed.code.unwrap_or_default();
        let without = if matches!(status, 100..=199 | 204 | 304) { Framing::Length(0) } else { Framing::UntilClose };
        let framing = http1::framing(parsed.headers, without).map_err(io::Error::other)?;
        let headers = parsed
            .headers
            .iter()
            .map(|line| (line.name.to_ascii_lowercase(), String::from_utf8_lossy(line.value).into_owned()))
            .collect();
        self.unread.advance(used);
        Ok(Some((RawReply { status, headers, body: Vec::new() }, framing)))
    }

    /// Reads some more; false at the end of the stream.
    async fn fill(&mut self, limit: usize) -> io::Result<bool> {
        let mut room = vec![0; limit.clamp(1, 64 * 1024)];
        let count = in_time(self.stream.read(&mut room)).await?;
        self.unread.extend_from_slice(&room[..count]);
        Ok(count > 0)
    }

    async fn fill_or_eof(&mut self) -> io::Result<()> {
        if self.fill(usize::MAX).await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("the server neither answered nor closed")
}
