//! Looks at which slots of a worker are busy, and at what it counts, on connections of its own. Sends nothing of a request.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::Mutex;
use wire::EngineCounts;
use worker::Endpoint;

use crate::http1::{self, Address};

const SLOTS_PATH: &str = "/slots";
const METRICS_PATH: &str = "/metrics";
const JSON: &str = "application/json";
/// A connection has to stand within this time.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// The whole look.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Longest list of slots, in bytes; each takes about 2 KB.
const LIST_BYTES_MAX: usize = 4 << 20;

/// The slots of one run of a worker. One look at a time, so that it takes one of the worker's threads; who waits meanwhile
/// shares the next one.
pub(crate) struct WorkerSlots {
    client: http1::Client,
    counts: http1::Client,
    last: Mutex<Option<(Instant, Seen)>>,
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Whether each slot is busy.
    Busy(Vec<bool>),
    /// There is no worker any more.
    Gone,
    /// It said nothing that can be read, in time.
    Nothing,
}

impl WorkerSlots {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let (address, host) = match endpoint {
            Endpoint::Unix(path) => (Address::Unix(path.clone()), "worker".to_owned()),
            Endpoint::Tcp(address) => {
                (Address::Tcp { host: address.ip().to_string(), port: address.port() }, address.to_string())
            }
        };
        let client = http1::Client::getting(address.clone(), &host, SLOTS_PATH, CONNECT_MAX);
        let counts = http1::Client::getting(address, &host, METRICS_PATH, CONNECT_MAX);
        Self { client, counts, last: Mutex::new(None) }
    }

    /// The slots as they are at some moment after this call.
    pub(crate) async fn look(&self) -> Seen {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((_, seen)) = last.as_ref().filter(|(begun, _)| *begun >= asked) {
            return seen.clone();
        }
        let begun = Instant::now();
        let seen = match tokio::time::timeout(LOOK_MAX, list(&self.client, JSON)).await {
            Ok(Ok(list)) => wire::busy_slots(&list).map_or(Seen::Nothing, Seen::Busy),
            Ok(Err(http1::Error::Connect(_))) => Seen::Gone,
            Ok(Err(_)) | Err(_) => Seen::Nothing,
        };
        *last = Some((begun, seen.clone()));
        seen
    }
}

impl WorkerSlots {
    /// What the worker counts; `None` where it does not say, in time.
    pub(crate) async fn counts(&self) -> Option<EngineCounts> {
        let looked = async { (list(&self.counts, "text/plain").await, list(&self.client, JSON).await) };
        let (metrics, slots) = tokio::time::timeout(LOOK_MAX, looked).await.ok()?;
        EngineCounts::read(std::str::from_utf8(&metrics.ok()?).ok()?, &slots.ok()?)
    }
}

async fn list(client: &http1::Client, accept: &str) -> Result<BytesMut, http1::Error> {
    let mut response = client.get(accept).await?;
    let mut body = BytesMut::new();
    while response.read(&mut body).await? && body.len() <= LIST_BYTES_MAX {}
    Ok(body)
}
