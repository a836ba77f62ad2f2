//! One accepted connection: it can write while it watches whether the peer is still there.
//!
//! It knows bytes only; requests are read in `request.rs`.

use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Most bytes kept of what a peer sends while it is being answered; beyond that nothing is read, and a
/// closing peer is seen only when a write fails.
const INBOX_BYTES_MAX: usize = 1024 * 1024;

/// The peer closed or reset the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerLeft;

/// What a write tells of itself while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The socket took this many bytes.
    Sent(usize),
    /// The socket takes nothing for now: the peer does not read as fast.
    Blocked,
}

/// A connection of either family.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection and what was read from it but not used yet.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    pub(super) inbox: BytesMut,
}

impl Link {
    pub(super) fn new(socket: Socket) -> Self {
        if let Socket::Tcp(tcp) = &socket {
            // Each write shall be a segment of its own: behaviours are about where the bytes are cut.
            let _ = tcp.set_nodelay(true);
        }
        Self { socket, inbox: BytesMut::with_capacity(16 * 1024) }
    }

    /// Reads some more into the inbox.
    pub(super) async fn read_more(&mut self) -> Result<(), PeerLeft> {
        std::future::poll_fn(|context| self.poll_inbox(context)).await
    }

    /// Returns when the peer has left, and otherwise never.
    pub(super) async fn peer_left(&mut self) {
        while self.inbox.len() < INBOX_BYTES_MAX {
            if self.read_more().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Writes all of `bytes`, telling `progress` how that goes, and gives up as soon as the peer leaves,
    /// even while the socket takes nothing.
    pub(super) async fn send(&mut self, mut bytes: &[u8], mut progress: impl FnMut(Progress)) -> Result<(), PeerLeft> {
        std::future::poll_fn(|context| {
            while self.inbox.len() < INBOX_BYTES_MAX {
                match self.poll_inbox(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(left)) => return Poll::Ready(Err(left)),
                    Poll::Pending => break,
                }
            }
            while !bytes.is_empty() {
                match self.socket.poll_write(context, bytes) {
                    Poll::Pending => {
                        progress(Progress::Blocked);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(PeerLeft)),
                    Poll::Ready(Ok(count)) => {
                        progress(Progress::Sent(count));
                        bytes = &bytes[count..];
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Closes in order (FIN).
    pub(super) async fn close(mut self) {
        let _ = match &mut self.socket {
            Socket::Tcp(tcp) => tcp.shutdown().await,
            Socket::Unix(unix) => unix.shutdown().await,
        };
    }

    /// Closes with RST. A Unix socket knows no reset and is just closed.
    pub(super) fn reset(self) {
        if let Socket::Tcp(tcp) = &self.socket {
            tcp.set_zero_linger().expect("a connected socket takes SO_LINGER");
        }
    }

    fn poll_inbox(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PeerLeft>> {
        let mut room = [0; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut room);
        let outcome = ready!(self.socket.poll_read(context, &mut buffer));
        if outcome.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Err(PeerLeft));
        }
        self.inbox.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(context, buffer),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
        }
    }
}
