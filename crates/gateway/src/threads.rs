//! The threads that serve the data port. Each has a runtime of its own, on which a connection stays with all work for its
//! requests: nothing is stolen, and no other thread is woken for an answer. What else the process does runs beside them.

use std::sync::{Arc, mpsc};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tracing::warn;

/// How often each thread wakes of its own accord. Tokio wakes its driver, by a system call, for each timer that is due before all
/// others: none of a request is due sooner than this.
const TICK: Duration = Duration::from_secs(1);
/// How often a thread that is told to stop first goes on with what can: an answer that is over for its request may not be written yet.
const LAST_TURNS: usize = 16;
/// How long the threads may take to come to a stop.
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
pub(crate) struct ServingThreads {
    threads: Vec<ServingThread>,
    /// What they ran, once they have stopped.
    stopped: mpsc::Receiver<Runtime>,
}

struct ServingThread {
    place: Place,
    /// Dropped to stop it.
    #[expect(dead_code, reason = "it is dropped")]
    stop: oneshot::Sender<()>,
}

impl ServingThreads {
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub(crate) fn start() -> std::io::Result<Self> {
        Self::start_so_many(available_parallelism().map_or(1, usize::from))
    }

    fn start_so_many(count: usize) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let threads = (0..count).map(|n| ServingThread::start(n, stop.clone())).collect::<Result<_, _>>()?;
        Ok(Self { threads, stopped })
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.threads.iter().map(|thread| thread.place.clone()).collect()
    }

    /// Drops everything that is still served, and waits until that is done.
    ///
    /// Nothing is dropped before all threads have stopped: who shares an answer with a connection of another thread uses
    /// that one's timers and sockets, and would take their end for a failure of the target.
    pub(crate) async fn stop(self) {
        let Self { threads, stopped } = self;
        let count = threads.len();
        drop(threads);
        let due = Instant::now() + STOP_MAX;
        let ended = tokio::task::spawn_blocking(move || {
            let next = |_| stopped.recv_timeout(due.saturating_duration_since(Instant::now())).ok();
            let runtimes: Vec<_> = (0..count).map_while(next).collect();
            let have_stopped = runtimes.len() == count;
            // Drops the tasks; blocking reads that nobody waits for any more do not hold it up.
            runtimes.into_iter().for_each(Runtime::shutdown_background);
            have_stopped
        });
        if !matches!(tokio::time::timeout(STOP_MAX * 2, ended).await, Ok(Ok(true))) {
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
    fn start(n: usize, stopped: mpsc::Sender<Runtime>) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let place = Place { handle: runtime.handle().clone(), connections: Arc::default() };
        let (stop, told) = oneshot::channel();
        place.handle.spawn(tick());
        // A panic of a task does not end its thread.
        thread::Builder::new().name(format!("serving-{n}")).spawn(move || {
            runtime.block_on(async {
                // Always an error: the sender is dropped.
                let _: Result<(), _> = told.await;
                for _ in 0..LAST_TURNS {
                    tokio::task::yield_now().await;
                }
            });
            // Fails only where it took too long: it is dropped here then.
            if let Err(mpsc::SendError(runtime)) = stopped.send(runtime) {
                runtime.shutdown_background();
            }
        })?;
        Ok(Self { place, stop })
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
        let threads = ServingThreads::start_so_many(3).unwrap();
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

    #[tokio::test]
    async fn nothing_is_dropped_while_another_thread_still_runs() {
        let threads = ServingThreads::start_so_many(2).unwrap();
        let (is_busy, mut busy) = unbounded_channel();
        let (gone, mut is_gone) = unbounded_channel();
        let gone = Dropped(gone);
        let (tell, dropped_first) = oneshot::channel();
        Place::spawn(&threads.places(), async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        Place::spawn(&threads.places(), async move {
            is_busy.send(()).unwrap();
            // What must not come is waited for so long, and the thread is busy with it.
            let since = Instant::now();
            let mut is_dropped = false;
            while !is_dropped && since.elapsed() < Duration::from_millis(100) {
                is_dropped = is_gone.try_recv().is_ok();
            }
            tell.send(is_dropped).unwrap();
        });
        busy.recv().await.unwrap();
        threads.stop().await;
        assert!(!dropped_first.await.unwrap());
    }

    #[tokio::test]
    async fn what_can_go_on_at_a_stop_does() {
        let threads = ServingThreads::start_so_many(1).unwrap();
        let ((go_on, may_go_on), (tell, told)) = (mpsc::channel::<()>(), oneshot::channel());
        Place::spawn(&threads.places(), async move { assert!(may_go_on.recv().is_err()) });
        Place::spawn(&threads.places(), async move { tell.send(()).unwrap() });
        let stopping = threads.stop();
        let released = async move { drop(go_on) };
        // The stop is told first, as it is asked first.
        tokio::join!(biased; stopping, released);
        told.await.unwrap();
    }
}
