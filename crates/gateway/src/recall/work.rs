//! What is done for all callers of one answer: the plan is executed, its pieces handed out as they are wanted, and the answer kept when it
//! is one that may be given again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use account::responses::{ResponseForm, StoredResponse};
use bytes::Bytes;
use dispatch::{Answer, Asking, Content, Journal, Relay, StreamEnd};
use policy::{Outcome, Plan, TargetId};
use wire::chat::{ends_by_itself, whole_of_stream, without_comments};
use wire::{ChatCompletion, ChatRequest, Usage};

use super::flight::{End, Flight, Head};
use super::{Miss, now_ms};
use crate::decision::Decision;
use crate::gateway::Gateway;

/// Everything that the work needs. Owned: it outlives each of its callers.
struct Working {
    gateway: Arc<Gateway>,
    plan: Arc<Plan>,
    request: ChatRequest,
    asking: Asking,
    journal: Arc<Journal>,
    miss: Miss,
    /// Whose answer may be kept: one that stands in for another does not outlast that.
    first_choice: Option<TargetId>,
}

/// The work for a request that was decided, to be done by `due`.
pub(super) fn run(
    gateway: &Arc<Gateway>,
    request: &ChatRequest,
    decision: &Decision,
    miss: Miss,
    flight: &Arc<Flight>,
    due: Instant,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let working = Working {
        gateway: Arc::clone(gateway),
        plan: Arc::clone(&decision.plan),
        // A valid request stays one; as it is, the stream would be shared by who wants the same of it.
        request: request.asking_for_usage().unwrap_or_else(|_| request.clone()),
        asking: decision.asking_worker().clone(),
        journal: Arc::clone(&flight.journal),
        miss,
        first_choice: decision.first_choice(),
    };
    // The flight holds the work: one that held the flight in turn would never end.
    let flight = Arc::downgrade(flight);
    Box::pin(async move {
        let Working { gateway, plan, request, asking, journal, .. } = &working;
        let executed = gateway.dispatcher.execute(plan, request, asking, journal, due.into()).await;
        // There is one as long as somebody drives this.
        let Some(flight) = flight.upgrade() else { return };
        match executed {
            Err(failure) => flight.begin(Head::Failed(Arc::new(failure)), None, None),
            Ok(Answer { target, locality, content }) => match content {
                Content::Rejected { status, error } => {
                    flight.begin(Head::Rejected { status, error }, Some((target, locality)), None);
                }
                Content::Whole { body, usage, is_usage_estimated } => {
                    let counted = (!is_usage_estimated).then_some(usage);
                    if working.keep(&target, ResponseForm::Whole, counted, || Some(body.clone())) {
                        flight.kept();
                    }
                    flight.begin(Head::Whole { body, usage, is_usage_estimated }, Some((target, locality)), None);
                }
                Content::Stream(relay) => {
                    flight.begin(Head::Stream, Some((target, locality)), relay.first_content_at());
                    working.relay(&flight, *relay).await;
                }
            },
        }
    })
}

impl Working {
    async fn relay(&self, flight: &Flight, mut relay: Relay<'_>) {
        loop {
            flight.wanted().await;
            let piece = relay.next().await;
            let end = relay.end().map(|how| End {
                how: how.clone(),
                usage: relay.usage(),
                is_usage_estimated: relay.is_usage_estimated(),
            });
            let Some(piece) = piece else {
                let how = StreamEnd::Interrupted { detail: "the gateway lost the stream".to_owned(), stalled: false };
                return flight.end(end.unwrap_or(End { how, usage: None, is_usage_estimated: false }));
            };
            let complete = end.filter(|end| end.how == StreamEnd::Complete);
            if complete.is_some() {
                // Before any caller has its last byte: it may ask again at once.
                let counted = relay.usage().filter(|_| !relay.is_usage_estimated());
                let all = || {
                    let mut all = flight.so_far()?;
                    all.extend_from_slice(&piece);
                    without_comments(&all)
                };
                if self.keep(&relay.target().0, ResponseForm::Stream, counted, all) {
                    flight.kept();
                }
            }
            let is_over = complete.is_some();
            flight.push(piece, relay.target(), complete);
            if is_over {
                return;
            }
        }
    }

    /// Keeps an answer for callers to come, where it is whole, ended by itself, counted, of one try, and of whom was wanted most.
    fn keep(
        &self,
        target: &TargetId,
        form: ResponseForm,
        usage: Option<Usage>,
        body: impl FnOnce() -> Option<Bytes>,
    ) -> bool {
        let (Some(recall), Some(usage)) = (&self.gateway.recall, usage) else { return false };
        let was_joined = self.journal.records().iter().any(|record| record.outcome == Outcome::Interrupted);
        if was_joined || self.first_choice.as_ref() != Some(target) {
            return false;
        }
        let (Some(body), Some(target_version)) = (body(), recall.version(target)) else { return false };
        let whole = if form == ResponseForm::Whole { Some(body.clone()) } else { whole_of_stream(&body) };
        let answer = whole.and_then(|whole| ChatCompletion::parse(whole).ok());
        if !answer.is_some_and(|answer| ends_by_itself(&answer, self.request.n())) {
            return false;
        }
        let (stored_ms, target) = (now_ms(), target.clone());
        let ttl_ms = i64::try_from(self.miss.rule.ttl.as_millis()).unwrap_or(i64::MAX);
        let (input_tokens, output_tokens) = (usage.prompt_tokens, usage.completion_tokens);
        let expires_ms = stored_ms.saturating_add(ttl_ms);
        let response =
            StoredResponse { body, form, target, target_version, input_tokens, output_tokens, stored_ms, expires_ms };
        recall.store.put(self.miss.key, response)
    }
}
