//! The way to a target while something is awaited from it: whether there still is one.
//!
//! A network that goes away takes no connection down: what is awaited on one would be missed only when its own limit has passed. Whether
//! there is a network is said by [`Network`]; here it is asked, and only for a connection that has been silent for a while, as one on
//! which bytes arrive is there whatever else is found. For targets that need no network it is never asked.

use std::pin::Pin;
use std::time::Duration;

use policy::Evidence;
use tokio::time::{Instant, sleep, timeout_at};

use crate::Network;

/// What is said of a try that was cut with the network.
pub(crate) const NETWORK_WENT: &str = "the network went away while an answer was awaited";
/// How long a connection has been silent before it goes with the network.
const QUIET: Duration = Duration::from_secs(1);
/// After such a silence the network is looked for; doubled each time, as a target may only be thinking.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// The way to one target; the network that it needs, if any.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a>(Option<&'a Network>);

/// Why something was not awaited any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It did not come in time.
    Late,
    /// There is no network, over which it would have come.
    NetworkGone,
}

impl<'a> Way<'a> {
    /// `network` where the target is reached by it.
    pub(crate) fn new(network: Option<&'a Network>) -> Self {
        Self(network)
    }

    /// Whether the target cannot be reached.
    pub(crate) fn is_gone(self) -> bool {
        self.0.is_some_and(Network::is_away)
    }

    /// Waits for the next word of the target, until `due` at most.
    ///
    /// # Errors
    /// [`Cut`], when nothing came.
    pub(crate) async fn within<T>(self, due: Instant, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, Cut> {
        if let Some(network) = self.0 {
            let quiet = Instant::now() + QUIET;
            if quiet < due {
                if let Ok(done) = timeout_at(quiet, work.as_mut()).await {
                    return Ok(done);
                }
                // Rare, and so not to be a part of every future.
                let gone = Box::pin(gone(network));
                return tokio::select! {
                    biased;
                    done = timeout_at(due, work) => done.map_err(|_| Cut::Late),
                    () = gone => Err(Cut::NetworkGone),
                };
            }
        }
        timeout_at(due, work).await.map_err(|_| Cut::Late)
    }
}

/// Ends once there is no network; tells it now and then that there is silence.
async fn gone(network: &Network) {
    let mut changes = network.subscribe();
    let (mut pause, mut look_at) = (LOOK_AFTER, Instant::now() + (LOOK_AFTER - QUIET));
    while !network.is_away() {
        tokio::select! {
            // Only the network itself could close it.
            _ = changes.changed() => {}
            () = sleep(look_at.saturating_duration_since(Instant::now())) => {
                network.notice(Evidence::Silent);
                pause = pause.saturating_mul(2);
                look_at = Instant::now() + pause;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use policy::ConnectivityLimits;
    use tokio::time::timeout;

    use super::*;
    use crate::ProbeConfig;

    const MS: Duration = Duration::from_millis(1);

    fn network() -> Network {
        let probe = ProbeConfig { addresses: Vec::new(), captive: None, timeout: Duration::from_secs(1) };
        Network::new(vec!["http://127.0.0.1:1".to_owned()], ConnectivityLimits::default(), probe, None).unwrap()
    }

    /// What is awaited for a minute on `way`, and after how many milliseconds it is known.
    async fn awaited(way: Way<'_>, work: impl Future<Output = ()>) -> (Result<(), Cut>, u128) {
        let begun = Instant::now();
        let got = way.within(begun + 60_000 * MS, pin!(work)).await;
        (got, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_goes_with_the_network_and_one_that_speaks_does_not() {
        let network = network();
        let way = Way::new(Some(&network));
        let leaves = async {
            sleep(10_000 * MS).await;
            network.force_offline(Some(true));
        };
        let (got, ()) = tokio::join!(awaited(way, std::future::pending()), leaves);
        assert!(got.0 == Err(Cut::NetworkGone) && (10_000..10_010).contains(&got.1), "{got:?}");
        assert!(way.is_gone());
        // Silent for a moment only, and then for too long.
        assert_eq!(awaited(way, sleep(990 * MS)).await.0, Ok(()));
        let got = awaited(way, sleep(1500 * MS)).await;
        assert!(got.0 == Err(Cut::NetworkGone) && (1000..1010).contains(&got.1), "{got:?}");
        // Its own limit comes first.
        let short = way.within(Instant::now() + 500 * MS, pin!(std::future::pending::<()>())).await;
        assert_eq!(short, Err(Cut::Late));
        network.force_offline(Some(false));
        assert_eq!(awaited(way, sleep(1500 * MS)).await.0, Ok(()));
        let got = awaited(way, std::future::pending()).await;
        assert!(got.0 == Err(Cut::Late) && got.1 >= 60_000, "{got:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_no_network_is_not_cut_off_with_it() {
        let network = network();
        network.force_offline(Some(true));
        assert!(!Way::new(None).is_gone());
        assert_eq!(awaited(Way::new(None), sleep(30_000 * MS)).await.0, Ok(()));
    }

    /// Nothing else may happen on this machine by which it would be noticed that the network is gone.
    #[tokio::test(start_paused = true)]
    async fn silence_lets_the_network_be_looked_for() {
        let network = network();
        // Somebody was reached, so that no look is due for half a minute.
        network.notice(Evidence::Reached(0));
        let begun = Instant::now();
        let looked = timeout(60_000 * MS, async {
            while !network.is_round_due() {
                sleep(10 * MS).await;
            }
            begun.elapsed()
        });
        let (got, looked) = tokio::join!(awaited(Way::new(Some(&network)), sleep(20_000 * MS)), looked);
        assert_eq!(got.0, Ok(()));
        let looked = looked.unwrap();
        assert!((LOOK_AFTER..LOOK_AFTER + 50 * MS).contains(&looked), "{looked:?}");
    }
}
