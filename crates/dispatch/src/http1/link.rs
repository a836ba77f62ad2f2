//! One connection to a target: what is still to be sent, and what came and was not yet used.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Handle, Id};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use crate::sent::Sent;

/// Bytes read at once, which is what may have come from a target and not yet gone to the caller.
pub(super) const READ_BYTES: usize = 16 << 10;
/// A silent peer is asked after this time, and again as often as [`PROBES_MAX`], whether it is still there.
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 3;
/// Sent bytes are acknowledged within this time, or the connection is lost.
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;

/// Where a link leads.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// A name may stand for several addresses.
    Tcp {
        host: String,
        port: u16,
    },
}

impl Address {
    /// Connects, to the first address that answers.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Link> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let socket = match self {
            Self::Unix(path) => Socket::Unix(timeout(limit, UnixStream::connect(path)).await.map_err(late)??),
            Self::Tcp { host, port } => {
                let tcp = match host.parse::<IpAddr>() {
                    Ok(ip) => timeout(limit, TcpStream::connect((ip, *port))).await.map_err(late)??,
                    Err(_) => timeout(limit, connect_by_name(host, *port, limit)).await.map_err(late)??,
                };
                set_options(&tcp)?;
                Socket::Tcp(tcp)
            }
        };
        Ok(Link {
            socket,
            runtime: Handle::current().id(),
            unsent: Bytes::new().chain(Bytes::new()),
            sent: (Sent::default(), 0),
            inbox: BytesMut::new(),
        })
    }
}

/// Tries the addresses of a name in turn, each for its share of the time.
async fn connect_by_name(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Small writes go out at once, and a peer that vanished without a word is noticed.
fn set_options(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, PROBE_EVERY)?;
    sockopt::set_tcp_keepintvl(tcp, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(tcp, PROBES_MAX)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(tcp, UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
}

/// An open connection. Closed when dropped.
pub(super) struct Link {
    socket: Socket,
    /// Whose driver watches the socket.
    pub(super) runtime: Id,
    unsent: Chain<Bytes, Bytes>,
    /// How much of the body is out, and how long it is.
    sent: (Sent, usize),
    pub(super) inbox: BytesMut,
}

impl Link {
    /// Sets what goes out next; [`Self::fill`] sends it, and tells `sent` how much of the body is out.
    pub(super) fn send(&mut self, head: Bytes, body: Bytes, sent: Sent) {
        self.sent = (sent, body.len());
        self.unsent = head.chain(body);
    }

    /// Sends what is unsent and reads some more into the inbox, whichever can go on: a target may answer before it has
    /// taken all. 0 when the target has closed. Cancel-safe.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.unsent.has_remaining() {
            match pin!(self.socket.write_buf(&mut self.unsent)).poll(context) {
                Poll::Ready(Ok(1..)) => self.sent.0.set(self.sent.1.saturating_sub(self.unsent.remaining())),
                // Takes no more; what it has to say of that may already be on its way.
                Poll::Ready(Ok(0) | Err(_)) => break,
                Poll::Pending => break,
            }
        }
        self.inbox.reserve(READ_BYTES);
        pin!(self.socket.read_buf(&mut (&mut self.inbox).limit(READ_BYTES))).poll(context)
    }

    /// Whether everything was sent.
    pub(super) fn has_sent(&self) -> bool {
        !self.unsent.has_remaining()
    }

    /// Whether everything was sent and everything that came was used.
    pub(super) fn is_clear(&self) -> bool {
        self.has_sent() && self.inbox.is_empty()
    }

    /// Whether the target neither closed the connection nor sent anything unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.is_clear() {
            return false;
        }
        // A task that has done much at once is otherwise told to wait, without a look.
        let looked = pin!(unconstrained(poll_fn(|context| self.poll_fill(context))));
        looked.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
        }
    }
}
