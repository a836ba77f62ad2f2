//! The threads that serve the data port. Each has a runtime of its own, on which a connection stays with all work for its
//! requests: nothing is stolen, and no other thread is woken for an answer. What else the process does runs beside them.

use std::sync::Arc;
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::warn;

/// How often each thread wakes of its own accord. Tokio wakes its driver, by a system call, for each timer that is due before all
/// others: none of a request is due sooner than this.
const TICK: Duration = Duration::from_secs(1);
/// How long it may take to drop what a thread still serves.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Where connections are served.
#[derive(Clone)]
pub(crate) struct Place {
    handle: Handle,
    /// Held by each of its connections.
    connections: Arc<()>,
}

impl Place {
    /// The runtime of the caller.
    pub(crate) fn here() -> Self {
        Self { handle: Handle::current(), connections: Arc::default() }
    }

    /// Runs what serves one connection, where the fewest are served.
    pub(crate) fn spawn(places: &[Self], connection: impl Future<Output = ()> + Send + 'static) {
        let Some(place) = places.iter().min_by_key(|place| Arc::strong_count(&place.connections)) else { return };
        let counted = Arc::clone(&place.connections);
        place.handle.spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

/// One thread for each processor that the process may use.
pub(crate) struct ServingThreads(Vec<ServingThread>);

struct ServingThread {
    place: Place,
    /// Dropped to stop it.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ServingThreads {
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub(crate) fn start() -> std::io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from);
        (0..count).map(ServingThread::start).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.0.iter().map(|thread| thread.place.clone()).collect()
    }

    /// Drops everything that is still served, and waits until that is done.
    pub(crate) async fn stop(self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.0.into_iter().map(|thread| (thread.stop, thread.thread)).unzip();
        drop(stops);
        // A panic of a task does not end its thread.
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            warn!("requests do not end, and are not recorded");
        }
    }
}

async fn tick() {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
    }
}

impl ServingThread {
    fn start(n: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let place = Place { handle: runtime.handle().clone(), connections: Arc::default() };
        let (stop, stopped) = oneshot::channel();
        place.handle.spawn(tick());
        let thread = thread::Builder::new().name(format!("serving-{n}")).spawn(move || {
            // Always an error: the sender is dropped.
            let _: Result<(), _> = runtime.block_on(stopped);
            // Drops the tasks; blocking reads that nobody waits for any more do not hold it up.
            runtime.shutdown_background();
        })?;
        Ok(Self { place, stop, thread })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Tells when it is dropped.
    struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[tokio::test]
    async fn a_connection_comes_to_the_thread_that_has_the_fewest() {
        let threads = ServingThreads((0..3).map(|n| ServingThread::start(n).unwrap()).collect());
        let places = threads.places();
        let (served, mut names) = unbounded_channel();
        let mut ends = Vec::new();
        let mut serve = async || {
            let (end, ended) = oneshot::channel::<()>();
            let served = served.clone();
            Place::spawn(&places, async move {
                served.send(thread::current().name().unwrap().to_owned()).unwrap();
                let _ = ended.await;
            });
            (end, names.recv().await.unwrap())
        };
        for _ in 0..6 {
            ends.push(serve().await);
        }
        let on: Vec<_> = ends.iter().map(|(_, thread)| thread.as_str()).collect();
        assert_eq!(on, ["serving-0", "serving-1", "serving-2"].repeat(2));
        // The fifth leaves: its place is taken first.
        let (end, _) = ends.remove(4);
        drop(end);
        while Arc::strong_count(&places[1].connections) > Arc::strong_count(&places[0].connections) - 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(serve().await.1, "serving-1");
        threads.stop().await;
    }

    #[tokio::test]
    async fn what_is_still_served_at_a_stop_is_dropped_before_it_is_over() {
        let threads = ServingThreads::start().unwrap();
        let (tell, mut told) = unbounded_channel();
        let dropped = Dropped(tell);
        Place::spawn(&threads.places(), async move {
            let _dropped = dropped;
            // A task of its own goes with it.
            tokio::spawn(std::future::pending::<()>()).await.unwrap();
        });
        threads.stop().await;
        assert!(told.try_recv().is_ok());
    }
}
