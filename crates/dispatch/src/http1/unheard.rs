//! A request that was sent and of which the target has said nothing yet.
//!
//! An engine takes up a request some time after it was written, and finds out that nobody reads the answer when it has
//! something to write. A connection that is closed before leaves open whether the request will still be worked on, and when;
//! so it is kept until the first word, where somebody has to know.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::link::Link;

/// Longest wait for the first word.
const HEARD_MAX: Duration = Duration::from_secs(30);

/// Whether a request sent with it is unheard. Clones are of the same request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unheard(Arc<Mutex<()>>);

impl Unheard {
    /// Waits until the target has said something to the request, or its connection has ended; at once where none was sent.
    pub(crate) async fn heard(&self) {
        drop(self.0.lock().await);
    }
}

/// A connection on which a request was sent. Dropped before the link was taken back, it is closed: at once, or at the first word.
pub(super) struct Asked {
    pub(super) link: Option<Link>,
    unheard: Option<OwnedMutexGuard<()>>,
}

impl Asked {
    pub(super) fn new(link: Link, unheard: Option<&Unheard>) -> Self {
        let unheard = unheard.and_then(|unheard| Arc::clone(&unheard.0).try_lock_owned().ok());
        Self { link: Some(link), unheard }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // A request of which a part is still here was taken up by nobody.
        if let (Some(mut link), Some(unheard)) = (self.link.take_if(|link| link.has_sent()), self.unheard.take())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = timeout(HEARD_MAX, link.fill()).await;
                drop((link, unheard));
            });
        }
    }
}
