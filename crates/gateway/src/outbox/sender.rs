//! The task that sends: takes what is due, a few at a time, behind live requests, and lets what is over expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use account::OutboxResult;
use account::outbox::{EntryId, EntryState, OutboxError, OutboxStore};
use policy::TargetId;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{error, info, warn};

use super::envelope::Told;
use super::queue::Hangs;
use super::sending::{Ended, send};
use super::{Outbox, now_ms, until};
use crate::gateway::Gateway;
use wire::ApiError;

/// How often the states of the targets, and the file, are looked at while something waits.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is tried whether the outbox can be written again.
const CHECK: Duration = Duration::from_secs(1);
/// Longest sleep of a sender that has nothing to wait for but the passing of time.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// How long an entry waits whose sending panicked.
const PANIC_PAUSE: Duration = Duration::from_secs(60);

/// Sends until the gateway is cut off; takes up nothing new once it drains. Returns at once where there is no outbox.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let Ok(outbox) = gateway.outbox.clone() else { return };
    tokio::select! {
        biased;
        // What is being sent is dropped with its task; its entry is sent again by the next gateway.
        () = gateway.is_cut_off() => {}
        () = send_on(Arc::clone(&gateway), outbox) => {}
    }
}

async fn send_on(gateway: Arc<Gateway>, outbox: Arc<Outbox>) {
    let mut changes = gateway.dispatcher.network().subscribe();
    let (sends, names, could, checked) = (JoinSet::new(), HashMap::new(), HashMap::new(), Instant::now());
    let mut sender = Sender { gateway, outbox, sends, names, could, checked };
    loop {
        if let Err(failed) = sender.keep_house().await {
            warn!(error = %failed, "the outbox cannot be looked after");
        }
        sender.take_up();
        let sleep = sender.sleep();
        tokio::select! {
            Some(ended) = sender.sends.join_next_with_id() => sender.ended(ended),
            () = sender.outbox.changed.notified() => {}
            Ok(()) = changes.changed() => sender.targets_changed(),
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

struct Sender {
    gateway: Arc<Gateway>,
    outbox: Arc<Outbox>,
    sends: JoinSet<Ended>,
    /// What each task sends.
    names: HashMap<Id, (i64, EntryId)>,
    /// Which targets could answer when the network or a breaker changed last.
    could: HashMap<TargetId, bool>,
    /// When it was last tried whether the outbox can be written again.
    checked: Instant,
}

impl Sender {
    /// Begins as many sends as may run.
    fn take_up(&mut self) {
        let concurrency_max = self.outbox.config.concurrency;
        while self.sends.len() < concurrency_max && !self.gateway.is_draining() && !self.live_requests_come_first() {
            let generation = self.gateway.policies.in_force().generation;
            let targets = self.gateway.dispatcher.facts(None);
            let next = self.outbox.queue().next(Instant::now(), &targets, generation);
            let Some((seq, id)) = next else { return };
            let (keep, deleted) = oneshot::channel();
            self.outbox.running().insert(id, keep);
            let (gateway, outbox) = (Arc::clone(&self.gateway), Arc::clone(&self.outbox));
            let served = gateway.serving();
            let task = self.sends.spawn(async move {
                let _served = served;
                send(&gateway, &outbox, id, deleted).await
            });
            self.names.insert(task.id(), (seq, id));
        }
    }

    /// The network or a breaker changed: a target that can answer again is not spared any longer.
    fn targets_changed(&mut self) {
        for target in self.gateway.dispatcher.facts(None) {
            let can_answer = target.state.can_answer();
            if self.could.insert(target.id().clone(), can_answer) == Some(false) && can_answer {
                self.outbox.is_back(target.id());
            }
        }
    }

    /// Whether more than half of the live requests that may run do: what waits can wait longer.
    fn live_requests_come_first(&self) -> bool {
        let free = self.gateway.in_flight.available_permits();
        free < self.gateway.config.limits.in_flight_max.div_ceil(2)
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (task, ended) = match ended {
            Ok((task, ended)) => (task, ended),
            Err(panic) => {
                error!("sending a request of the outbox panicked; it is tried again later");
                let not_before = Instant::now() + PANIC_PAUSE;
                (panic.id(), Ended::Waits { not_before, hangs: Hangs::No })
            }
        };
        let Some((seq, id)) = self.names.remove(&task) else { return };
        let was_kept = self.outbox.running().remove(&id).is_some();
        // What was deleted while it was sent does not come back.
        if let (Ended::Waits { not_before, hangs }, true) = (ended, was_kept) {
            self.outbox.queue().add(seq, id, not_before, hangs);
        }
    }

    /// Finds out whether the outbox can be written again, lets expire what is over, and takes notice of what another process
    /// deleted.
    async fn keep_house(&mut self) -> Result<(), OutboxError> {
        if self.outbox.store.failure().is_some() && self.checked.elapsed() >= CHECK {
            let checked = self.outbox.blocking(OutboxStore::check).await;
            self.checked = Instant::now();
            if checked.is_ok() {
                info!("the outbox can be written again");
            }
        }
        let stats = self.outbox.store.stats();
        if stats.entries.iter().all(|count| *count == 0) {
            return Ok(());
        }
        let now_ms = now_ms();
        if stats.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
            let expire = move |store: &OutboxStore| store.expire(told_of_the_expired, now_ms);
            let expired = self.outbox.blocking(expire).await?.expired;
            self.outbox.queue().retain(|id| !expired.contains(&id));
            for _ in &expired {
                self.gateway.metrics.outbox_result(OutboxResult::Finished(EntryState::Expired));
            }
            if !expired.is_empty() {
                info!(count = expired.len(), "requests of the outbox expired");
            }
        }
        if self.outbox.blocking(OutboxStore::changed_elsewhere).await? {
            let kept = self.outbox.blocking(OutboxStore::unfinished).await?;
            self.outbox.queue().retain(|id| kept.contains(&id));
            self.outbox.running().retain(|id, _| kept.contains(id));
        }
        Ok(())
    }

    fn sleep(&self) -> Duration {
        if self.outbox.store.failure().is_some() {
            return CHECK;
        }
        if !self.outbox.queue().is_empty() || !self.sends.is_empty() {
            return LOOK;
        }
        let next = self.outbox.store.stats().next_ms.map(|next_ms| until(next_ms, now_ms()));
        // Past the moment, so that it is over then.
        next.map_or(SLEEP_MAX, |next| (next + Duration::from_millis(1)).min(SLEEP_MAX))
    }
}

/// What is told of an entry that expired, by what was told of it last.
fn told_of_the_expired(last: &str) -> String {
    let last = Told::read(last).message().unwrap_or_else(|| "nobody could answer".to_owned());
    Told::never(&ApiError::outbox_expired(&last)).to_json()
}
