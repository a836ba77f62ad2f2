//! An upstream that is gone for a while: connections to it are refused, and its port stays its own.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::{Listener, ScriptedUpstream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

impl ScriptedUpstream {
    /// Takes a free port of 127.0.0.1 and refuses connections to it until [`Self::come_back`].
    pub async fn start_down() -> Self {
        let reserved = socket((Ipv4Addr::LOCALHOST, 0).into());
        let addr = reserved.local_addr().expect("a bound socket has an address");
        Self::idle(Some(addr), Some(reserved))
    }

    /// From now on connections are refused; those that are open are closed.
    pub async fn go_down(&self) {
        let mut accepting: JoinSet<()> = std::mem::take(&mut *self.accepting.lock().expect("no holder panics"));
        accepting.shutdown().await;
        self.shared.log.send_modify(|log| log.connections_open = 0);
    }

    /// Listens again, on the same port and with the same script.
    ///
    /// # Panics
    /// When it listens already, and on a Unix socket.
    pub async fn come_back(&self) {
        let listener = socket(self.addr()).listen(BACKLOG).expect("a port that is kept for it");
        self.accept(Listener::Tcp(listener));
    }
}

/// Bound; two such sockets may share an address as long as neither listens.
fn socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option that every socket has");
    socket.bind(addr).expect("a port on loopback");
    socket
}
