//! Work on long texts, beside the threads that serve: each of these has other connections, which would wait for it.

use tokio::sync::Semaphore;

/// Texts of at most this many bytes are worked on where they are: that holds others up for a millisecond or two.
pub(crate) const SERVED_BYTES_MAX: usize = 256 << 10;

/// Where long texts are worked on, as many at a time as there are processors, so that they do not crowd out what is being relayed.
pub(crate) struct Aside(Semaphore);

impl Aside {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
    }

    /// Does `work`, behind what is worked on already; `None` in a panic.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed.
        let _permit = self.0.acquire().await;
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// The same for a text of so many bytes, which is worked on here unless it is long.
    pub(crate) async fn run_long<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if bytes <= SERVED_BYTES_MAX { Some(work()) } else { self.run(work).await }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_what_is_long_leaves_the_thread() {
        let (aside, here) = (Aside::new(), thread::current().id());
        let on = async |bytes| aside.run_long(bytes, || thread::current().id()).await.unwrap();
        assert_eq!(on(SERVED_BYTES_MAX).await, here);
        assert_ne!(on(SERVED_BYTES_MAX + 1).await, here);
    }
}
