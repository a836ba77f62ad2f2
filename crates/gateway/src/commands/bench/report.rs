//! What was measured, as it is written to JSON and drawn: machine, settings, and for each target and case median and quartiles, with the single
//! measurements they were made of.
//!
//! Prompt tokens a second are llama-server's own figure where every answer brought one (`source: engine`), else counted at the client over the
//! time to first token (`source: client`), which holds queue, network and the first token and so says less than the truth. Tokens of the
//! answer a second are measured at the client for every target alike: after the first content, until the last.

use serde::Serialize;

use super::machine::{LocalModel, Machine};
use super::plan::Plan;
use super::run::{Measured, MeasuredTarget, Sample};
use super::stats::Spread;
use crate::config::{ProviderConfig, TargetConfig};

/// The form of the JSON.
const FORMAT: u32 = 1;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub format: u32,
    /// When it ended, in UTC.
    pub ended_at: String,
    pub tidegate: Tidegate,
    /// What llama-server says of its version; absent where none is here.
    pub llama_server: Option<String>,
    pub machine: Machine,
    /// Most tokens of an answer, and requests before each case that do not count.
    pub max_tokens: u64,
    pub warm_up: usize,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    pub targets: Vec<TargetReport>,
}

/// This program.
#[derive(Debug, Serialize)]
pub(super) struct Tidegate {
    pub version: &'static str,
    /// `release` or `debug`.
    pub build: &'static str,
}

/// One target.
#[derive(Debug, Serialize)]
pub(super) struct TargetReport {
    pub id: String,
    pub locality: &'static str,
    /// What an OpenAI-compatible target calls its model.
    pub model: Option<String>,
    pub local: Option<Local>,
    /// What the answers cost in US dollars by the tokens that were reported; absent where price or tokens are not known.
    pub cost_usd: Option<f64>,
    pub cases: Vec<CaseReport>,
    /// Why not all of it was measured.
    pub given_up: Option<String>,
}

/// A worker on this device.
#[derive(Debug, Serialize)]
pub(super) struct Local {
    #[serde(flatten)]
    pub model: LocalModel,
    /// From starting the worker until it was ready.
    pub load_ms: Option<f64>,
    pub slots: u32,
    pub context_tokens: u32,
    /// As configured; llama-server or the gateway choose where absent.
    pub threads: Option<u32>,
    pub batch_tokens: Option<u32>,
    pub gpu_layers: Option<u32>,
}

/// One length of prompts at one concurrency.
#[derive(Debug, Serialize)]
pub(super) struct CaseReport {
    /// `short` or `long`.
    pub prompt: &'static str,
    pub prompt_words: usize,
    pub at_once: usize,
    pub requests: usize,
    pub answered: usize,
    pub failures: Vec<Failures>,
    /// How long all of it took.
    pub took_ms: f64,
    pub prompt_tokens: Option<Spread>,
    /// Those of them that a cache held: 0 where the prompts did what they are for.
    pub cached_prompt_tokens: Option<Spread>,
    pub answer_tokens: Option<Spread>,
    pub ttft_ms: Option<Spread>,
    pub prefill_tokens_per_s: Option<Rate>,
    pub decode_tokens_per_s: Option<Rate>,
    /// Tokens of all answers together over the time of the case.
    pub all_answer_tokens_per_s: Option<f64>,
    pub samples: Vec<Sample>,
}

/// How often one thing went wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failures {
    pub reason: String,
    pub count: usize,
}

/// A speed, and by whose clock.
#[derive(Debug, Serialize)]
pub(super) struct Rate {
    /// `engine`: llama-server's own figures. `client`: seen from here.
    pub source: &'static str,
    #[serde(flatten)]
    pub spread: Spread,
    /// The other figure of the same, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Spread>,
}

impl Report {
    pub(super) fn new(
        machine: Machine,
        llama_server: Option<String>,
        plan: &Plan,
        measured: Vec<MeasuredTarget>,
        interrupted: bool,
    ) -> Self {
        let target = |of: MeasuredTarget| {
            let planned = plan.targets.get(of.planned)?;
            Some(TargetReport::new(&planned.target, of))
        };
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            format: FORMAT,
            ended_at: chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            tidegate: Tidegate { version: env!("CARGO_PKG_VERSION"), build },
            llama_server,
            machine,
            max_tokens: plan.max_tokens,
            warm_up: plan.warm_up,
            interrupted,
            targets: measured.into_iter().filter_map(target).collect(),
        }
    }

    /// Answers in all.
    pub(super) fn answered(&self) -> usize {
        self.targets.iter().flat_map(|target| &target.cases).map(|case| case.answered).sum()
    }
}

impl TargetReport {
    fn new(target: &TargetConfig, of: MeasuredTarget) -> Self {
        let (model, local) = match &target.provider {
            ProviderConfig::OpenAi(openai) => (Some(openai.model.clone()), None),
            ProviderConfig::LlamaCpp(local) => {
                let local = of.model.map(|model| Local {
                    model,
                    load_ms: of.load.map(|load| load.as_secs_f64() * 1000.0),
                    slots: local.slots,
                    context_tokens: local.context_tokens,
                    threads: local.threads,
                    batch_tokens: local.batch_tokens,
                    gpu_layers: local.gpu_layers,
                });
                (None, local)
            }
        };
        let samples = of.cases.iter().flat_map(|case| &case.samples);
        let cost = samples.map(|sample| {
            let (price, tokens) = (target.profile.price?, sample.tokens?);
            Some(price.cost_usd(tokens.prompt as f64, tokens.cached as f64, tokens.answer as f64))
        });
        Self {
            id: target.id().as_str().to_owned(),
            locality: target.profile.locality.as_str(),
            model,
            local,
            cost_usd: cost.sum(),
            cases: of.cases.into_iter().map(CaseReport::new).collect(),
            given_up: of.given_up,
        }
    }

    /// What runs there, in a few words.
    pub(super) fn model_words(&self) -> String {
        let Some(local) = &self.local else { return self.model.clone().unwrap_or_default() };
        let LocalModel { file, bytes, told } = &local.model;
        let size = bytes.map(|bytes| format!("{} MB", bytes / 1_000_000));
        // A file's name mostly says how it is quantised.
        let quantisation = told.quantisation.clone().filter(|kind| !file.as_deref().unwrap_or_default().contains(kind));
        [file.clone(), quantisation, size].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl CaseReport {
    fn new(measured: Measured) -> Self {
        let Measured { case, samples, failures, took } = measured;
        let spread = |of: &dyn Fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(of));
        let tokens = |of: fn(&super::run::Tokens) -> u64| {
            Spread::of(samples.iter().filter_map(|sample| sample.tokens.as_ref()).map(|tokens| of(tokens) as f64))
        };
        let (engine, client) = (spread(&Sample::engine_prefill), spread(&Sample::client_prefill));
        let prefill_tokens_per_s = match engine.filter(|engine| engine.count == samples.len()) {
            Some(spread) => Some(Rate { source: "engine", spread, client, engine: None }),
            None => client.map(|spread| Rate { source: "client", spread, client: None, engine }),
        };
        let decode = spread(&Sample::decode);
        let written: Option<u64> = samples.iter().map(|sample| sample.tokens.map(|tokens| tokens.answer)).sum();
        let took_s = took.as_secs_f64();
        Self {
            prompt: case.shape.name,
            prompt_words: case.shape.words,
            at_once: case.at_once,
            requests: case.requests,
            answered: samples.len(),
            failures: failures.into_iter().map(|(reason, count)| Failures { reason, count }).collect(),
            took_ms: took_s * 1000.0,
            prompt_tokens: tokens(|tokens| tokens.prompt),
            cached_prompt_tokens: tokens(|tokens| tokens.cached),
            answer_tokens: tokens(|tokens| tokens.answer),
            ttft_ms: spread(&|sample| Some(sample.ttft_ms)),
            prefill_tokens_per_s,
            decode_tokens_per_s: decode.map(|spread| Rate {
                source: "client",
                spread,
                client: None,
                engine: self::engine_decode(&samples),
            }),
            all_answer_tokens_per_s: written
                .filter(|written| *written > 0 && took_s > 0.0)
                .map(|written| written as f64 / took_s),
            samples,
        }
    }
}

fn engine_decode(samples: &[Sample]) -> Option<Spread> {
    Spread::of(samples.iter().filter_map(Sample::engine_decode))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::gguf::Model;
    use super::super::plan::{Case, Planned, Shape};
    use super::super::run::{Engine, Tokens};
    use super::*;
    use crate::config::Config;

    const CONFIG: &str = "
targets:
  - {id: local/smol, provider: llama_cpp, model_path: /m.gguf, slots: 4}
  - {id: cloud/<b>, provider: openai, model: big & bold, base_url: 'http://127.0.0.1:9/v1', price: {input_usd_per_mtok: 1, output_usd_per_mtok: 10}}
";

    fn sample(n: usize, has_engine: bool) -> Sample {
        let ms = 100.0 * (n + 1) as f64;
        let engine = Engine { prompt_tokens: 100, prompt_ms: ms / 2.0, answer_tokens: 11, answer_ms: 500.0 };
        Sample {
            ttft_ms: ms,
            decode_ms: Some(250.0),
            total_ms: ms + 250.0,
            tokens: Some(Tokens { prompt: 100, cached: 0, answer: 11, reasoning: 0 }),
            engine: has_engine.then_some(engine),
        }
    }

    /// A report of two targets: a local one with two cases, and one in the cloud of whose requests one failed, given up before its second case.
    pub(in super::super) fn report() -> Report {
        let config = Config::parse("t.yaml", &CONFIG.replace("<b>", "b"), &|_| None).unwrap();
        let case = |name, at_once| Case { shape: Shape { name, words: 30 }, at_once, requests: 5 };
        let measured = |case, count, engine: bool, failures: &[(&str, usize)]| Measured {
            case,
            samples: (0..count).map(|n| sample(n, engine)).collect(),
            failures: failures.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect::<BTreeMap<_, _>>(),
            took: Duration::from_secs(2),
        };
        let planned = config.targets.iter().map(|target| Planned { target: target.clone(), cases: Vec::new() });
        let plan = Plan { targets: planned.collect(), warm_up: 1, max_tokens: 64 };
        let told = Model { quantisation: Some("Q4_1".to_owned()), ..Model::default() };
        let model = LocalModel { file: Some("smol.gguf".to_owned()), bytes: Some(98_362_432), told };
        let local = MeasuredTarget {
            planned: 0,
            model: Some(model),
            load: Some(Duration::from_millis(750)),
            cases: vec![measured(case("short", 1), 5, true, &[]), measured(case("short", 4), 5, true, &[])],
            given_up: None,
        };
        let cloud = MeasuredTarget {
            planned: 1,
            model: None,
            load: None,
            cases: vec![
                measured(case("short", 1), 4, false, &[("status 503", 1)]),
                measured(case("long", 1), 0, false, &[]),
            ],
            given_up: Some("status 503".to_owned()),
        };
        let machine = Machine {
            cpu: Some("A <fast> CPU".to_owned()),
            cores: 2,
            memory_bytes: Some(8 << 30),
            os: "Debian GNU/Linux 12".to_owned(),
            arch: "x86_64",
            load_average: Some(0.1),
        };
        Report::new(machine, Some("10359 (abc)".to_owned()), &plan, vec![local, cloud], false)
    }

    #[test]
    fn figures_are_of_what_was_answered_and_say_whose_clock_it_was() {
        let report = report();
        let [local, cloud] = &report.targets[..] else { panic!("{report:?}") };
        assert_eq!((report.answered(), local.model_words().as_str()), (14, "smol.gguf, Q4_1, 98 MB"));
        let case = &local.cases[0];
        assert_eq!(case.ttft_ms.unwrap().median, 300.0);
        let prefill = case.prefill_tokens_per_s.as_ref().unwrap();
        assert_eq!((prefill.source, prefill.spread.median.round()), ("engine", 667.0));
        assert_eq!(prefill.client.unwrap().median.round(), 333.0);
        let decode = case.decode_tokens_per_s.as_ref().unwrap();
        assert_eq!((decode.source, decode.spread.median, decode.engine.unwrap().median), ("client", 40.0, 22.0));
        assert_eq!(case.all_answer_tokens_per_s, Some(27.5));
        assert_eq!((local.cost_usd, cloud.model_words().as_str()), (Some(0.0), "big & bold"));
        let case = &cloud.cases[0];
        assert_eq!((case.requests, case.answered, case.failures[0].count), (5, 4, 1));
        assert_eq!(case.prefill_tokens_per_s.as_ref().unwrap().source, "client");
        assert!((cloud.cost_usd.unwrap() - 4.0 * (100.0 + 110.0) * 1e-6).abs() < 1e-12);
        assert!(cloud.cases[1].ttft_ms.is_none() && cloud.cases[1].all_answer_tokens_per_s.is_none());
    }
}
