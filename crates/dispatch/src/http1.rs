//! HTTP/1.1 over a plain socket, driven by the task of the request itself: no task beside it, no channel between them.
//!
//! That is half of what a request costs against a general client (`bench/README.md`), and it gives what the relay
//! promises without further care: dropping a response closes its connection in that moment, nothing is read that was
//! not asked for, and all that one read brings comes out together.
//!
//! Only what a completion needs, and a look at a worker: POST with a body, GET, one exchange at a time on a connection. No TLS, no proxy, no redirect,
//! no upgrade, no content coding, no pipelining; other targets take the general client (`egress`).

mod body;
mod head;
mod link;
mod pool;
mod unheard;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue};
use wire::TraceContext;

use crate::sent::Sent;
use crate::trace::{TRACEPARENT, TRACESTATE};
use body::Body;
pub(crate) use head::Head;
pub(crate) use link::Address;
use link::Link;
use pool::Pool;
pub(crate) use pool::{IDLE_CONNECTIONS_MAX, IDLE_MAX};
use unheard::Asked;
pub(crate) use unheard::Unheard;

/// Interim responses (1xx) before the final one.
const INTERIM_MAX: usize = 8;

/// What came is not HTTP/1.1 as it is accepted here. Quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(&'static str);

/// Why an exchange failed. The messages hold neither address nor prompt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection; nothing was sent.
    #[error("{0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The target closed the connection before the end of its response.
    #[error("connection closed before message completed")]
    Closed,
    /// The response cannot be read.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// A target that is asked in plain HTTP/1.1. Clones share their idle connections.
#[derive(Clone)]
pub(crate) struct Client {
    address: Address,
    connect: Duration,
    /// The request up to what differs between two of them.
    head: Bytes,
    /// It says that each connection is closed after its exchange.
    closes: bool,
    pool: Arc<Pool>,
}

impl Client {
    /// Posts to `path` at `address` with these `headers`; a connection has to stand within `connect`.
    pub(crate) fn new(address: Address, host: &str, path: &str, headers: &HeaderMap, connect: Duration) -> Self {
        Self::asking("POST", address, host, path, headers, connect)
    }

    /// Gets `path`, each time on a connection that is closed behind it: a worker keeps a thread for each that is open. Else as [`Self::new`].
    pub(crate) fn getting(address: Address, host: &str, path: &str, connect: Duration) -> Self {
        let headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
        Self::asking("GET", address, host, path, &headers, connect)
    }

    fn asking(method: &str, address: Address, host: &str, path: &str, headers: &HeaderMap, connect: Duration) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\n{HOST}: {host}\r\n").into_bytes();
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        let closes = headers.get(CONNECTION).is_some_and(|value| value == "close");
        Self { address, connect, head: head.into(), closes, pool: Arc::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The response to a request without a body; else as [`Self::post`].
    pub(crate) async fn get(&self, accept: &str) -> Result<Response, Error> {
        self.post(accept, None, Bytes::new(), &Sent::default()).await
    }

    /// Sends `body` and waits for the head of the response, on an idle connection if there is one. Dropping the future
    /// closes the connection, at the first word of the target where somebody has to know of it ([`Sent::unheard`]).
    pub(crate) async fn post(
        &self,
        accept: &str,
        trace: Option<&TraceContext>,
        body: Bytes,
        sent: &Sent,
    ) -> Result<Response, Error> {
        let rest = rest_of_head(accept, trace, body.len());
        if let Some(link) = self.pool.take() {
            let response = self.exchange(link, &rest, body, sent).await;
            if response.is_err() {
                self.pool.clear();
            }
            return response;
        }
        let link = self.address.connect(self.connect).await.map_err(Error::Connect)?;
        self.exchange(link, &rest, body, sent).await
    }

    async fn exchange(&self, mut link: Link, rest: &str, body: Bytes, sent: &Sent) -> Result<Response, Error> {
        let mut request = BytesMut::with_capacity(self.head.len() + rest.len());
        request.extend_from_slice(&self.head);
        request.extend_from_slice(rest.as_bytes());
        link.send(request.freeze(), body, sent.clone());
        let mut asked = Asked::new(link, sent.unheard.as_ref());
        let mut interim = 0;
        while let Some(link) = &mut asked.link {
            if let Some((mut head, length)) = Head::parse(&link.inbox)? {
                // Not every target repeats it, and one that closes a moment later loses the next request.
                head.keeps_alive &= !self.closes;
                link.inbox.advance(length);
                if let Some(link) = asked.link.take_if(|_| !head.is_interim()) {
                    let (body, pool) = (Body::new(head.framing), Arc::clone(&self.pool));
                    return Ok(Response { head, body, state: State::Reading(link), pool });
                }
                interim += 1;
                if head.status == 101 || interim > INTERIM_MAX {
                    return Err(Malformed("interim responses that were not asked for").into());
                }
            } else if link.fill().await? == 0 {
                break;
            }
        }
        Err(Error::Closed)
    }
}

/// What differs between two requests. A context holds nothing that could end a line.
fn rest_of_head(accept: &str, trace: Option<&TraceContext>, length: usize) -> String {
    let told = match trace.map(|trace| (trace, trace.state())) {
        None => String::new(),
        Some((trace, None)) => format!("{TRACEPARENT}: {trace}\r\n"),
        Some((trace, Some(state))) => format!("{TRACEPARENT}: {trace}\r\n{TRACESTATE}: {state}\r\n"),
    };
    ["accept: ", accept, "\r\n", &told, "content-length: ", &length.to_string(), "\r\n\r\n"].concat()
}

/// A response whose head has come. Dropped before its end, it closes its connection.
pub(crate) struct Response {
    head: Head,
    body: Body,
    state: State,
    pool: Arc<Pool>,
}

enum State {
    Reading(Link),
    Ended,
    Broken(Malformed),
}

impl Response {
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Appends what came of the body to `out`, waiting for one read where nothing is there; false at its end, with
    /// nothing appended. Cancel-safe. After an error there are only errors.
    pub(crate) async fn read(&mut self, out: &mut BytesMut) -> Result<bool, Error> {
        loop {
            if self.take(out)? {
                return Ok(true);
            }
            let State::Reading(link) = &mut self.state else { return Ok(false) };
            match link.fill().await {
                Ok(1..) => {}
                Ok(0) if self.body.may_end() => self.state = State::Ended,
                Ok(0) => return Err(self.broken(Error::Closed)),
                Err(error) => return Err(self.broken(error.into())),
            }
        }
    }

    /// Whether the body has been read to its end, as far as that has come already.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut rest = BytesMut::new();
        matches!(self.take(&mut rest), Ok(false)) && matches!(self.state, State::Ended)
    }

    /// Takes what is there; whether it was anything. Gives the connection back at the end.
    fn take(&mut self, out: &mut BytesMut) -> Result<bool, Error> {
        let before = out.len();
        match &mut self.state {
            State::Ended => return Ok(false),
            State::Broken(malformed) => return Err((*malformed).into()),
            State::Reading(link) => {
                if let Err(malformed) = self.body.take(&mut link.inbox, out) {
                    self.state = State::Broken(malformed);
                    // What came before it is good.
                    return if out.len() > before { Ok(true) } else { Err(malformed.into()) };
                }
            }
        }
        if self.body.is_whole()
            && let State::Reading(link) = std::mem::replace(&mut self.state, State::Ended)
            && self.head.keeps_alive
            && link.is_clear()
        {
            self.pool.put(link);
        }
        Ok(out.len() > before)
    }

    /// Closes the connection.
    fn broken(&mut self, error: Error) -> Error {
        self.state = State::Broken(Malformed("the connection broke before"));
        error
    }
}
