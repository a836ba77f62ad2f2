//! Asks what the plan says, one target after the other, and notes what each request took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use artifacts::{Progress, Stage, Unit, progress_for_stderr};
use dispatch::Journal;
use futures_util::StreamExt;
use policy::TargetId;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::asking::{Answered, Unanswered, ask_once};
use super::machine::LocalModel;
use super::plan::{Case, Plan, Planned};
use super::prompt;
use crate::config::ProviderConfig;
use crate::gateway::Gateway;

/// A target is given up after so many requests in a row without an answer.
const FAILURES_IN_A_ROW_MAX: usize = 5;
/// Longest reason of a failure that is kept, in characters.
const REASON_CHARS_MAX: usize = 200;

/// The wish to stop: Ctrl-C or SIGTERM.
pub(super) struct Interrupt {
    signals: [Signal; 2],
}

impl Interrupt {
    /// From now on they end the process no longer.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
    }

    /// Returns when one came. Nothing is lost when this is dropped before.
    pub(super) async fn came(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// What one answered request took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// From handing over the prompt, decision included, to the first content.
    pub ttft_ms: f64,
    /// From the first content to the last; `None` where all came at once.
    pub decode_ms: Option<f64>,
    /// To the end.
    pub total_ms: f64,
    /// What the target counted; `None` where it counts nothing.
    pub tokens: Option<Tokens>,
    /// What llama-server measured itself.
    pub engine: Option<Engine>,
}

/// Tokens as a target counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tokens {
    pub prompt: u64,
    /// Those of the prompt that were in a cache.
    pub cached: u64,
    pub answer: u64,
    /// Those of the answer that were thought and not said.
    pub reasoning: u64,
}

/// llama-server's `timings`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Engine {
    /// Tokens of the prompt that were read, without those in its cache.
    pub prompt_tokens: u64,
    pub prompt_ms: f64,
    pub answer_tokens: u64,
    pub answer_ms: f64,
}

/// One case, as far as it was measured.
pub(super) struct Measured {
    pub case: Case,
    pub samples: Vec<Sample>,
    /// How many failed, by reason.
    pub failures: BTreeMap<String, usize>,
    /// How long all of it took.
    pub took: Duration,
}

/// One target.
pub(super) struct MeasuredTarget {
    pub planned: usize,
    pub model: Option<LocalModel>,
    /// How long its worker took to start.
    pub load: Option<Duration>,
    pub cases: Vec<Measured>,
    /// Why not all of it was measured.
    pub given_up: Option<String>,
}

/// A run on its way.
pub(super) struct Run<'a> {
    gateway: &'a Gateway,
    plan: &'a Plan,
    progress: Box<dyn Progress>,
    done: Vec<MeasuredTarget>,
}

/// Why a target is not measured further.
enum Stop {
    Interrupted,
    GivenUp(String),
}

impl<'a> Run<'a> {
    pub(super) fn new(gateway: &'a Gateway, plan: &'a Plan) -> Self {
        Self { gateway, plan, progress: progress_for_stderr(), done: Vec::new() }
    }

    /// Everything; `false` when it was interrupted. What was measured until then stays.
    pub(super) async fn all(&mut self, interrupt: &mut Interrupt) -> bool {
        for (number, planned) in self.plan.targets.iter().enumerate() {
            let stopped = self.target(number, planned, interrupt).await;
            self.progress.finished();
            let id = planned.target.id();
            for (_, worker) in self.gateway.workers.all().iter().filter(|(of, _)| of == id) {
                worker.stop().await;
            }
            match stopped {
                Ok(()) => {}
                Err(Stop::Interrupted) => return false,
                Err(Stop::GivenUp(reason)) => {
                    self.progress.note(&format!("{id} is given up: {reason}"));
                    self.done.iter_mut().for_each(|done| {
                        if done.planned == number {
                            done.given_up = Some(reason.clone());
                        }
                    });
                }
            }
        }
        true
    }

    /// What was measured.
    pub(super) fn finish(self) -> Vec<MeasuredTarget> {
        self.done
    }

    async fn target(&mut self, number: usize, planned: &Planned, interrupt: &mut Interrupt) -> Result<(), Stop> {
        let id = planned.target.id();
        let model = match &planned.target.provider {
            ProviderConfig::LlamaCpp(local) => Some(LocalModel::of(local, &self.gateway.config)),
            ProviderConfig::OpenAi(_) => None,
        };
        self.done.push(MeasuredTarget { planned: number, model, load: None, cases: Vec::new(), given_up: None });
        let ready = tokio::select! {
            ready = self.gateway.dispatcher.prepare(id) => ready,
            () = interrupt.came() => return Err(Stop::Interrupted),
        };
        ready.map_err(Stop::GivenUp)?;
        let load = self.load_time(id);
        if let Some(done) = self.done.last_mut() {
            done.load = load;
        }
        let mut in_a_row = 0;
        for case in &planned.cases {
            let stage = Stage {
                what: format!("{id}: {} prompts, {} at once", case.shape.name, case.at_once).into(),
                unit: Unit::Steps,
                total: Some((case.requests + self.plan.warm_up) as u64),
                already: 0,
            };
            self.progress.began(&stage);
            self.case(planned, case, &mut in_a_row, interrupt).await?;
            self.progress.finished();
        }
        Ok(())
    }

    fn load_time(&self, id: &TargetId) -> Option<Duration> {
        self.gateway.workers.all().iter().find(|(of, _)| of == id).and_then(|(_, worker)| worker.status().load_time)
    }

    async fn case(
        &mut self,
        planned: &Planned,
        case: &Case,
        in_a_row: &mut usize,
        interrupt: &mut Interrupt,
    ) -> Result<(), Stop> {
        let warm_up = Case { requests: self.plan.warm_up, ..*case };
        self.requests(planned, &warm_up, in_a_row, interrupt, |_, _| {}).await?;
        let measured = Measured { case: *case, samples: Vec::new(), failures: BTreeMap::new(), took: Duration::ZERO };
        let place = self.done.last_mut().map(|done| {
            done.cases.push(measured);
            done.cases.len() - 1
        });
        let begun = Instant::now();
        self.requests(planned, case, in_a_row, interrupt, |done, result| {
            let Some(measured) = place.and_then(|place| done.cases.get_mut(place)) else { return };
            measured.took = begun.elapsed();
            match result {
                Ok(sample) => measured.samples.push(sample),
                Err(reason) => *measured.failures.entry(reason).or_default() += 1,
            }
        })
        .await
    }

    /// The requests of one case, as many at once as it says, each handed to `note` when it is over.
    async fn requests(
        &mut self,
        planned: &Planned,
        case: &Case,
        in_a_row: &mut usize,
        interrupt: &mut Interrupt,
        mut note: impl FnMut(&mut MeasuredTarget, Result<Sample, String>),
    ) -> Result<(), Stop> {
        let (gateway, max_tokens, words) = (self.gateway, self.plan.max_tokens, case.shape.words);
        let to_the_end = matches!(planned.target.provider, ProviderConfig::LlamaCpp(_));
        let id = planned.target.id();
        let one = |_| async move {
            let request = prompt::request(id.as_str(), words, max_tokens, to_the_end)
                .map_err(|error| Unanswered::Failed(error.to_string()))?;
            let journal = Journal::default();
            let answered = ask_once(gateway, &request, &journal).await.map_err(|(why, _)| why)?;
            match journal.len() {
                1 => Ok(sample(&answered)),
                // Its time is that of two.
                tries => Err(Unanswered::Failed(format!("answered at try {tries} only"))),
            }
        };
        let mut asked = futures_util::stream::iter(0..case.requests).map(one).buffer_unordered(case.at_once);
        loop {
            let result = tokio::select! {
                result = asked.next() => result,
                () = interrupt.came() => return Err(Stop::Interrupted),
            };
            let Some(result) = result else { return Ok(()) };
            self.progress.advanced(1);
            let (result, is_refused) = match result {
                Ok(Some(sample)) => (Ok(sample), false),
                Ok(None) => (Err("its answer had no content".to_owned()), false),
                Err(Unanswered::Refused(reason)) => (Err(short(&reason)), true),
                Err(Unanswered::Failed(reason)) => (Err(short(&reason)), false),
            };
            *in_a_row = if result.is_ok() { 0 } else { *in_a_row + 1 };
            let failed = result.as_ref().err().cloned();
            if let Some(done) = self.done.last_mut() {
                note(done, result);
            }
            if let Some(reason) = failed.filter(|_| is_refused || *in_a_row >= FAILURES_IN_A_ROW_MAX) {
                return Err(Stop::GivenUp(reason));
            }
        }
    }
}

/// What an answer took; `None` for one without content.
fn sample(answered: &Answered) -> Option<Sample> {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Some(Sample {
        ttft_ms: ms(answered.ttft?),
        decode_ms: answered.decoding.map(ms),
        total_ms: ms(answered.duration),
        tokens: answered.usage.map(|usage| Tokens {
            prompt: usage.prompt_tokens,
            cached: usage.cached_prompt_tokens.or(answered.timings.map(|timings| timings.cache_n)).unwrap_or_default(),
            answer: usage.completion_tokens,
            reasoning: usage.reasoning_tokens.unwrap_or_default(),
        }),
        engine: answered.timings.map(|timings| Engine {
            prompt_tokens: timings.prompt_n,
            prompt_ms: timings.prompt_ms,
            answer_tokens: timings.predicted_n,
            answer_ms: timings.predicted_ms,
        }),
    })
}

/// A reason without line ends and of a bounded length.
fn short(reason: &str) -> String {
    let mut text: String = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = text.char_indices().nth(REASON_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

impl Sample {
    /// Prompt tokens a second by llama-server's own clock.
    pub(super) fn engine_prefill(&self) -> Option<f64> {
        let engine = self.engine?;
        per_second(engine.prompt_tokens as f64, engine.prompt_ms)
    }

    /// Prompt tokens that were read, over the time to the first content: with queue, network and first token, so a lower bound.
    pub(super) fn client_prefill(&self) -> Option<f64> {
        let tokens = self.tokens?;
        per_second(tokens.prompt.saturating_sub(tokens.cached) as f64, self.ttft_ms)
    }

    /// Tokens of the answer a second, after the first one. Unknown where some of them were thought and not said: nobody saw when.
    pub(super) fn decode(&self) -> Option<f64> {
        let tokens = self.tokens.filter(|tokens| tokens.reasoning == 0)?;
        per_second(tokens.answer.saturating_sub(1) as f64, self.decode_ms?)
    }

    /// The same by llama-server's own clock.
    pub(super) fn engine_decode(&self) -> Option<f64> {
        let engine = self.engine?;
        per_second(engine.answer_tokens as f64, engine.answer_ms)
    }
}

fn per_second(tokens: f64, ms: f64) -> Option<f64> {
    (tokens > 0.0 && ms > 0.0).then(|| tokens / ms * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_was_read_and_written_in_the_time_it_took() {
        let sample = Sample {
            ttft_ms: 500.0,
            decode_ms: Some(1000.0),
            total_ms: 1500.0,
            tokens: Some(Tokens { prompt: 110, cached: 10, answer: 41, reasoning: 0 }),
            engine: Some(Engine { prompt_tokens: 100, prompt_ms: 400.0, answer_tokens: 41, answer_ms: 1025.0 }),
        };
        assert_eq!((sample.client_prefill(), sample.engine_prefill()), (Some(200.0), Some(250.0)));
        assert_eq!((sample.decode(), sample.engine_decode()), (Some(40.0), Some(40.0)));
        let blank = Sample { tokens: None, engine: None, ..sample };
        assert_eq!((blank.client_prefill(), blank.engine_prefill(), blank.decode()), (None, None, None));
        assert_eq!(Sample { decode_ms: None, ..sample }.decode(), None);
        let thought = Sample { tokens: Some(Tokens { prompt: 1, cached: 0, answer: 41, reasoning: 40 }), ..sample };
        assert_eq!(thought.decode(), None);
        let cached = Sample { tokens: Some(Tokens { prompt: 5, cached: 9, answer: 1, reasoning: 0 }), ..sample };
        assert_eq!((cached.client_prefill(), cached.decode()), (None, None));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(short("a\n  b"), "a b");
        assert_eq!(short(&"é".repeat(300)).chars().count(), REASON_CHARS_MAX + 1);
    }
}
