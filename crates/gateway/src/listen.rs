//! The listeners: accept within the limit of connections, tell HTTP/1.1 from HTTP/2, hand over to the app.
//!
//! Pingora's own `Service` accepts without a limit, waits for a full HTTP/2 preface without a deadline and does not
//! tell its port; its connection handling (`ServerApp`) is used as it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::app::{App, Port};
use crate::connection::Connection;
use crate::gateway::Gateway;
use crate::threads::Place;

/// Connections on the admin port at most.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Time to begin a request on the admin port, so that silent connections do not keep probes out.
const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause between two looks at a part of HTTP/2's preface.
const PREFACE_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));
/// Pause after the system refused to accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How every HTTP/2 connection with prior knowledge begins (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A bound port.
pub(crate) struct Listener {
    listener: TcpListener,
    /// Where it really listens.
    pub address: SocketAddr,
}

impl Listener {
    /// Binds `address`.
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Accepts until `shutdown` turns true. Connections go on by themselves, in one of `places`.
    pub(crate) async fn serve(
        self,
        gateway: Arc<Gateway>,
        port: Port,
        places: Vec<Place>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let connections_max = match port {
            Port::Data => gateway.config.limits.connections_max,
            Port::Admin => ADMIN_CONNECTIONS_MAX,
        };
        let connections = Arc::new(Semaphore::new(connections_max));
        let http1 = Arc::new(App::new(Arc::clone(&gateway), port, false));
        let http2 = Arc::new(App::new(gateway, port, true));
        loop {
            // The permit comes first: past the limit, callers wait in the backlog of the socket.
            let next = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            let (http1, http2, shutdown) = (Arc::clone(&http1), Arc::clone(&http2), shutdown.clone());
            // The place has a driver of its own, which the socket has to be known to.
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => Place::spawn(&places, async move {
                    serve_connection(stream, &http1, &http2, &shutdown).await;
                    drop(permit);
                }),
                Err(error) => {
                    warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: std::net::TcpStream,
    http1: &Arc<App>,
    http2: &Arc<App>,
    shutdown: &watch::Receiver<bool>,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return warn!("connection dropped: it cannot be waited for") };
    let limit = match http1.port {
        Port::Data => http1.gateway.config.limits.header_timeout,
        Port::Admin => http1.gateway.config.limits.header_timeout.min(ADMIN_HEADER_TIMEOUT),
    };
    let Ok(Some(is_http2)) = timeout(limit, begins_with_preface(&stream)).await else { return };
    // Fails only on a socket that is gone already.
    let _ = stream.set_nodelay(true);
    let app = if is_http2 { http2 } else { http1 };
    let Ok(connection) = Connection::new(stream) else { return warn!("connection dropped: no file descriptor left") };
    let mut connection = Some(Box::new(connection) as pingora_core::protocols::Stream);
    while let Some(stream) = connection {
        connection = app.process_new(stream, shutdown).await;
    }
}

/// Looks at the first bytes without taking them; `None` when the caller left.
async fn begins_with_preface(stream: &TcpStream) -> Option<bool> {
    let mut seen = [0; H2_PREFACE.len()];
    let (mut pause, longest) = PREFACE_PAUSE;
    loop {
        let count = stream.peek(&mut seen).await.ok()?;
        if count == 0 {
            return None;
        }
        if seen[..count] != H2_PREFACE[..count] {
            return Some(false);
        }
        if count == H2_PREFACE.len() {
            return Some(true);
        }
        // A part of the preface: peek returns at once while nothing is taken, so wait a moment for the rest.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}
