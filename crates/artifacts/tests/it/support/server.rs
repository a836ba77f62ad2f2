//! A small HTTP file server that can misbehave on purpose, and remembers what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How one request is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// As it should be: whole, or the range asked for.
    Good,
    /// As it should be, once told to go on.
    GoodAfter(Arc<Notify>),
    /// The whole file with 200, whatever range was asked for.
    IgnoringRange,
    /// The right head, this many bytes of the body, then the connection is closed.
    CutAfter(usize),
    /// No length in the head, this many bytes of the file, then a clean end.
    ShortWithoutLength(usize),
    /// The right head, this many bytes, then silence until the client leaves.
    StallAfter(usize),
    /// Another file.
    Other(Vec<u8>),
    /// Another file without a length in the head.
    OtherWithoutLength(Vec<u8>),
    /// 206 with a range that begins elsewhere.
    WrongRange,
    /// A status without body.
    Status(u16),
    /// To this address.
    Redirect(String),
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
}

/// The server; it stops when dropped.
pub(crate) struct FileServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Told of each request.
    pub(crate) asked: Arc<Notify>,
    task: JoinHandle<()>,
}

struct Script {
    body: Vec<u8>,
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    asked: Arc<Notify>,
}

impl FileServer {
    /// Serves `body` under every path; each path's replies are used in order, the last one again and
    /// again. A path that is not listed is answered with 404.
    pub(crate) async fn start<const N: usize>(body: &[u8], replies: [(&str, Vec<Reply>); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, asked) = (Arc::default(), Arc::default());
        let script = Arc::new(Script {
            body: body.to_vec(),
            replies: Mutex::new(replies.into_iter().map(|(path, replies)| (path.to_owned(), replies)).collect()),
            seen: Arc::clone(&seen),
            asked: Arc::clone(&asked),
        });
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&script)));
            }
        });
        Self { address, seen, asked, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The ranges asked for, in order.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        self.seen().into_iter().map(|seen| seen.range).collect()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    fn next(&self, path: &str) -> Reply {
        match self.replies.lock().unwrap().get_mut(path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
            None => Reply::Status(404),
        }
    }
}

async fn answer(mut stream: TcpStream, script: Arc<Script>) {
    let Some(seen) = read_request(&mut stream).await else { return };
    script.seen.lock().unwrap().push(seen.clone());
    let reply = script.next(&seen.path);
    script.asked.notify_one();
    // A client that has left is what some tests are about.
    let _ = send(&mut stream, reply, &seen, &script.body).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
        // A TLS handshake begins with no letter; closing is the plain server's answer to it.
        bytes[0].is_ascii_uppercase().then_some(())?;
    }
    let text = String::from_utf8(bytes).ok()?;
    let header = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let path = text.split(' ').nth(1)?.to_owned();
    Some(Seen { path, range: header("range"), if_range: header("if-range") })
}

async fn send(stream: &mut TcpStream, reply: Reply, seen: &Seen, body: &[u8]) -> std::io::Result<()> {
    let first = seen.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = first.unwrap_or(0);
    match reply {
        Reply::GoodAfter(go) => {
            go.notified().await;
            good(stream, body, from, body.len()).await
        }
        Reply::Good => good(stream, body, from, body.len()).await,
        Reply::CutAfter(count) => good(stream, body, from, count).await,
        Reply::StallAfter(count) => {
            good(stream, body, from, count).await?;
            stream.read_u8().await.map(|_| ())
        }
        Reply::IgnoringRange => good(stream, body, 0, body.len()).await,
        Reply::ShortWithoutLength(count) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            stream.write_all(&body[..count]).await
        }
        Reply::Other(other) => good(stream, &other, 0, other.len()).await,
        Reply::OtherWithoutLength(other) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            stream.write_all(&other).await
        }
        Reply::WrongRange => {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 1-2/{}\r\ncontent-length: 2\r\n\r\nxx",
                body.len()
            );
            stream.write_all(head.as_bytes()).await
        }
        Reply::Status(status) => {
            stream
                .write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
                .await
        }
        Reply::Redirect(to) => {
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
    }
}

/// The right head, and at most `count` bytes of the body.
async fn good(stream: &mut TcpStream, body: &[u8], from: usize, count: usize) -> std::io::Result<()> {
    let rest = &body[from..];
    let head = match from {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => {
            format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len())
        }
    };
    let head = format!("{head}etag: \"v1\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&rest[..count.min(rest.len())]).await?;
    stream.flush().await
}
