//! The model that the benchmark measures everything against: answers at once with bytes made beforehand.
//!
//! It reads each request whole and looks for one thing in it, whether it asks for a stream. It checks
//! nothing, logs nothing and knows no fault; for those there is `ScriptedUpstream`.

mod answers;

use answers::Answers;
use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use clap::Parser;
use std::net::SocketAddr;
use std::sync::Arc;
use testkit::http1::{ChunkedDecoder, Framing, HEADERS_MAX, Piece, find, framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves fixed answers on loopback; prints its address and the facts of its answers as one JSON line.
#[derive(Parser)]
struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Document,
    Stream,
    Probe,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut runtime = if options.threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    runtime.worker_threads(options.threads.max(1)).enable_io().build()?.block_on(serve(options.listen))
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let answers = Arc::new(Answers::render());
    println!("{}", answers.facts(listener.local_addr()?));
    loop {
        let (stream, _) = listener.accept().await?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // Callers come and go; what goes wrong with one is seen at its end, by the load generator.
            let _ = answer_all(stream, &answers).await;
        });
    }
}

async fn answer_all(mut stream: TcpStream, answers: &Answers) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = BytesMut::with_capacity(16 * 1024);
    while let Some(asked) = read_request(&mut stream, &mut unread).await? {
        match asked {
            Asked::Document => stream.write_all(&answers.document).await?,
            Asked::Probe => stream.write_all(&answers.models).await?,
            Asked::Stream => {
                // One write a frame, as a model sends them: what stands between may not rely on more.
                for frame in &answers.frames {
                    stream.write_all(frame).await?;
                }
            }
        }
    }
    Ok(())
}

/// Reads one request to its end; `None` when the peer closed between two.
async fn read_request(stream: &mut TcpStream, unread: &mut BytesMut) -> anyhow::Result<Option<Asked>> {
    let (is_probe, framing) = loop {
        if let Some(head) = take_head(unread)? {
            break head;
        }
        if stream.read_buf(unread).await? == 0 {
            return if unread.is_empty() { Ok(None) } else { bail!("the peer left within a head") };
        }
    };
    let mut asked = if is_probe { Asked::Probe } else { Asked::Document };
    let mut look = |body: &[u8]| {
        if find(body, br#""stream":true"#).is_some() || find(body, br#""stream": true"#).is_some() {
            asked = Asked::Stream;
        }
    };
    match framing {
        Framing::Length(length) => {
            let length = usize::try_from(length)?;
            while unread.len() < length {
                read_some(stream, unread).await?;
            }
            look(&unread[..length]);
            unread.advance(length);
        }
        Framing::Chunked | Framing::UntilClose => {
            let mut decoder = ChunkedDecoder::new();
            let mut body = BytesMut::new();
            loop {
                match decoder.next(unread)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::NeedMore => read_some(stream, unread).await?,
                    Piece::End => break,
                }
            }
            look(&body);
        }
    }
    Ok(Some(asked))
}

async fn read_some(stream: &mut TcpStream, unread: &mut BytesMut) -> anyhow::Result<()> {
    if stream.read_buf(unread).await? == 0 {
        bail!("the peer left within a body");
    }
    Ok(())
}

/// Takes a complete head off `unread`: whether it is a `GET`, and how its body is framed.
fn take_head(unread: &mut BytesMut) -> anyhow::Result<Option<(bool, Framing)>> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(used) = head.parse(unread)? else { return Ok(None) };
    let facts = (head.method == Some("GET"), framing(head.headers, Framing::Length(0))?);
    unread.advance(used);
    Ok(Some(facts))
}
