//! The primary is gone for a while under steady load: the fallback serves meanwhile, few requests find out whether it is back, and
//! it is used again soon after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::{Behaviour, Gateway, ScriptedUpstream};
use tokio::task::JoinSet;

use crate::support::{BARE, Reply, chat, hello, hello_stream, push_clouds};

/// Callers that ask again as soon as they are answered.
const CALLERS: usize = 8;

/// Requests answered by each target, and those that were not answered.
#[derive(Default)]
struct Count {
    primary: AtomicU64,
    fallback: AtomicU64,
    failed: AtomicU64,
}

struct Load {
    count: Arc<Count>,
    is_over: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    fn begin(gateway: &Arc<Gateway>) -> Self {
        let (count, is_over) = (Arc::new(Count::default()), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for n in 0..CALLERS {
            let (gateway, count, is_over) = (Arc::clone(gateway), Arc::clone(&count), Arc::clone(&is_over));
            callers.spawn(async move {
                let body = if n % 2 == 0 { hello() } else { hello_stream() };
                while !is_over.load(Ordering::Relaxed) {
                    let reply = Reply::of(chat(&gateway, &body)).await;
                    let is_whole = reply.status == 200 && (n % 2 == 0 || reply.text.ends_with("data: [DONE]\n\n"));
                    let counter = match reply.header("x-tidegate-target") {
                        "cloud/a" if is_whole => &count.primary,
                        "cloud/b" if is_whole => &count.fallback,
                        _ => &count.failed,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { count, is_over, callers }
    }

    /// Waits until this many more were answered by the target that `of` names.
    async fn answered(&self, of: impl Fn(&Count) -> &AtomicU64, more: u64) {
        let goal = of(&self.count).load(Ordering::Relaxed) + more;
        let reached = async {
            while of(&self.count).load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, reached).await.unwrap();
    }

    async fn end(mut self) -> Arc<Count> {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        self.count
    }
}

/// How the primary is gone.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Its port refuses connections.
    Refused,
    /// It answers 503.
    Status,
    /// It takes the request and says nothing.
    Silent,
}

/// One outage, which ends when `is_over` says so. The time from its end to the first answer of the primary, the requests that
/// asked it meanwhile, and those that anybody answered.
async fn outage(kind: Outage, breaker: &str, is_over: impl AsyncFnOnce(&Gateway)) -> (Duration, usize, u64) {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut config = format!("{BARE}{breaker}\ntargets:\n");
    push_clouds(&mut config, &[&a, &b]);
    let gateway = Arc::new(Gateway::start(&config).await);
    let load = Load::begin(&gateway);
    load.answered(|count| &count.primary, 50).await;
    assert_eq!(load.count.fallback.load(Ordering::Relaxed), 0);

    match kind {
        Outage::Refused => a.go_down().await,
        Outage::Status => a.set_default(Behaviour::status(503)),
        Outage::Silent => a.set_default(Behaviour::StallBeforeHeaders),
    }
    load.answered(|count| &count.fallback, 50).await;
    let asked = a.attempts().len();
    let begun = load.count.fallback.load(Ordering::Relaxed);
    is_over(&gateway).await;
    let served = load.count.fallback.load(Ordering::Relaxed) - begun;
    let asked = a.attempts().len() - asked;
    match kind {
        Outage::Refused => a.come_back().await,
        Outage::Status | Outage::Silent => a.set_default(Behaviour::answer("again")),
    }
    let back = Instant::now();
    load.answered(|count| &count.primary, 1).await;
    let took = back.elapsed();
    // And stays in use.
    load.answered(|count| &count.primary, 50).await;
    let count = load.end().await;
    assert_eq!(count.failed.load(Ordering::Relaxed), 0, "{kind:?}: every request is answered whole");
    (took, asked, served)
}

/// Compressed: the outage lasts until some probes have found that the primary is still gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fallback_serves_meanwhile_and_the_primary_is_used_again_soon() {
    const PROBES: f64 = 4.0;
    for kind in [Outage::Refused, Outage::Status] {
        let breaker = "breaker: {open_ms: 50, open_max_ms: 200}";
        let several_probes = async |gateway: &Gateway| {
            while gateway.metric("tidegate_breaker_probes_total", &[("target", "cloud/a")]).await < Some(PROBES) {
                tokio::task::yield_now().await;
            }
        };
        let (took, asked, served) = outage(kind, breaker, several_probes).await;
        assert!(took < Duration::from_secs(5), "{kind:?}: {took:?}");
        // Refused connections are none that it could count.
        assert!(asked <= 8 && served > asked as u64, "{kind:?}: asked {asked} times while {served} were served");
    }
}

/// 20 seconds of each kind with the breakers that are built in; prints what it takes. About 70 s:
/// `cargo test -p gateway --test it outage -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute"]
async fn twenty_seconds() {
    for kind in [Outage::Refused, Outage::Status, Outage::Silent] {
        let pause = async |_: &Gateway| tokio::time::sleep(Duration::from_secs(20)).await;
        let (took, asked, served) = outage(kind, "", pause).await;
        println!(
            "{kind:?}: down for 20 s, {served} served by the fallback, {asked} asked the primary, used again after {took:?}"
        );
        assert!(took < Duration::from_secs(5), "{kind:?}: {took:?}");
        assert!(asked <= 12, "{kind:?}: {asked}");
    }
}
