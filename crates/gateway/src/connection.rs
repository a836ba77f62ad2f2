//! One accepted TCP connection as pingora's session wants it: reads straight through, small writes put together, and a
//! watch that tells when the caller has left.
//!
//! Pingora gives its own streams a write buffer only inside its own listener; without one, the header and the body of
//! every response cost a system call and a packet each. And pingora notices a caller that leaves by reading, which costs
//! a system call for every piece of a stream and ends with the first byte that a caller sends too much.

use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::{fmt, io};

use async_trait::async_trait;
use futures_util::FutureExt;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Bytes put together before they are written; a response's flush comes earlier.
const WRITE_BUFFER_BYTES: usize = 8 << 10;

/// A connection with a write buffer.
pub(crate) struct Connection {
    stream: BufWriter<TcpStream>,
    /// Whether the next flush is put off.
    is_flush_held: AtomicBool,
    /// The same socket under a second descriptor, with readiness of its own.
    #[cfg(not(target_os = "linux"))]
    twin: TcpStream,
}

impl Connection {
    /// Takes an accepted stream.
    ///
    /// # Errors
    /// When the process has no file descriptor left, where a second one is needed.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Self {
            #[cfg(not(target_os = "linux"))]
            twin: TcpStream::from_std(std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned()?.into())?,
            stream: BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream),
            is_flush_held: AtomicBool::new(false),
        })
    }

    /// Puts the next flush off to the one behind it: to be called where more is written at once, which pingora, flushing
    /// behind each piece, cannot know. That saves a packet and a system call, for the caller too.
    pub(crate) fn hold_flush(&self) {
        self.is_flush_held.store(true, Ordering::Relaxed);
    }

    /// That of a session of HTTP/1.1; streams of HTTP/2 share theirs.
    pub(crate) fn of(session: &ServerSession) -> Option<&Self> {
        session.stream()?.as_any().downcast_ref()
    }

    /// Resolves when `stream` has something to read, or its end. Reads nothing.
    pub(crate) async fn comes(stream: &Stream) {
        let Some(connection) = stream.as_any().downcast_ref::<Self>() else { return };
        let socket = connection.stream.get_ref();
        // What is left of the readiness for what was read last is no news, and gone when it was looked at. That costs no more than
        // reading in vain would.
        if socket.peek(&mut [0]).now_or_never().is_none() {
            // Fails as reading will.
            let _ = socket.readable().await;
        }
    }

    /// Resolves when the caller has closed its side, also behind bytes that nobody has read. Reads nothing. Cancel-safe.
    pub(crate) async fn closed(&self) {
        let (stream, interest) = self.watched();
        while let Ok(ready) = stream.ready(interest).await {
            if ready.is_read_closed() {
                return;
            }
            // Bytes are none of our business: forget that they are there and wait for the next event.
            let _ = stream.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Waiting for urgent data is waiting for the end as well, and no other bytes end it. None are ever asked for.
    #[cfg(target_os = "linux")]
    fn watched(&self) -> (&TcpStream, Interest) {
        (self.stream.get_ref(), Interest::PRIORITY)
    }

    #[cfg(not(target_os = "linux"))]
    fn watched(&self) -> (&TcpStream, Interest) {
        (&self.twin, Interest::READABLE)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(..)")
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(self.is_flush_held.get_mut()) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // The peer may be gone already.
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().as_raw_fd()
    }
}

// Nothing here uses TLS, PROXY headers or pingora's digests; the preface of HTTP/2 is looked at before.
impl Ssl for Connection {}
impl Peek for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
