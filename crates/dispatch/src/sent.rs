//! How much of a prompt has left this process, counted where it is handed to the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http1::Unheard;

/// Bytes of one body that were written out so far. Clones share it, so that it outlives a send that is dropped half way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    bytes: Arc<AtomicU64>,
    /// Where somebody has to know whether the target has said anything yet; it is given the time for it then.
    pub(crate) unheard: Option<Unheard>,
}

impl Sent {
    /// So many are out by now.
    pub(crate) fn set(&self, bytes: usize) {
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// How many are out.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A body in one piece that counts as sent when a connection takes it: nothing has left before there is one.
pub(crate) struct CountedBody {
    body: Option<Bytes>,
    sent: Sent,
}

impl CountedBody {
    pub(crate) fn new(body: Bytes, sent: Sent) -> Self {
        Self { body: Some(body), sent }
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let body = self.body.take().filter(|body| !body.is_empty());
        Poll::Ready(body.map(|body| {
            self.sent.set(body.len());
            Ok(Frame::data(body))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, Bytes::len) as u64)
    }
}
