//! What will be asked of which targets, and what that costs at most. Pure.

use anyhow::ensure;
use policy::{Locality, Price};

use super::super::asking::{self, CONCURRENCY_MAX};
use super::prompt;
use crate::cli::BenchArgs;
use crate::config::{Config, TargetConfig};

/// Prompts at once, where nothing is said and the target has no slots.
const CONCURRENCY_DEFAULT: usize = 4;
/// Most requests of one case.
const REQUESTS_MAX: usize = 10_000;
/// Most requests of one case before it is measured.
const WARM_UP_MAX: usize = 100;
/// Longest prompt, in words.
const WORDS_MAX: usize = 100_000;
/// Fewest tokens of an answer: a speed needs two.
const ANSWER_TOKENS_MIN: u64 = 2;
/// Most tokens of an answer.
const ANSWER_TOKENS_MAX: u64 = 100_000;
/// How often the dispatcher sends one request to one target at most.
const TRIES_MAX: f64 = policy::TRIES_PER_TARGET_MAX as f64;

/// A length of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Words of a prompt.
    pub words: usize,
}

/// One length at one concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub shape: Shape,
    /// Requests that run at the same time.
    pub at_once: usize,
    /// Requests that are measured.
    pub requests: usize,
}

/// A target and what it is asked.
pub(super) struct Planned {
    pub target: TargetConfig,
    pub cases: Vec<Case>,
}

/// Everything that will be asked.
pub(super) struct Plan {
    pub targets: Vec<Planned>,
    /// Requests before each case that are not measured.
    pub warm_up: usize,
    /// Most tokens of an answer.
    pub max_tokens: u64,
}

/// What one target may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expense {
    pub requests: usize,
    /// Tokens of all prompts at most.
    pub prompt_tokens: u64,
    /// Tokens of all answers at most.
    pub answer_tokens: u64,
    /// US dollars at most when every request is sent once; `None` where the price is not known.
    pub usd: Option<f64>,
}

impl Plan {
    /// Of what was asked for; without a target, all on this device.
    ///
    /// # Errors
    /// An unknown target, a number out of range, nothing to measure.
    pub(super) fn of(args: &BenchArgs, config: &Config) -> anyhow::Result<Self> {
        within("--requests", args.requests, REQUESTS_MAX)?;
        within("--short", args.short, WORDS_MAX)?;
        within("--long", args.long, WORDS_MAX)?;
        ensure!(args.warm_up <= WARM_UP_MAX, "--warm-up is 0 to {WARM_UP_MAX}");
        let answers = ANSWER_TOKENS_MIN..=ANSWER_TOKENS_MAX;
        ensure!(answers.contains(&args.max_tokens), "--max-tokens is {ANSWER_TOKENS_MIN} to {ANSWER_TOKENS_MAX}");
        if let Some(at_once) = args.concurrency {
            within("--concurrency", at_once, CONCURRENCY_MAX)?;
        }
        let mut targets: Vec<&TargetConfig> = Vec::new();
        for name in &args.targets {
            let target = asking::known_target(config, name)?;
            if !targets.iter().any(|known| known.id() == target.id()) {
                targets.push(target);
            }
        }
        if args.targets.is_empty() {
            let on_device = |target: &&TargetConfig| target.profile.locality == Locality::Device && !may_cost(target);
            targets.extend(config.targets.iter().filter(on_device));
        }
        ensure!(!targets.is_empty(), "no target on this device is configured; name the ones to measure");
        let shapes = [Shape { name: "short", words: args.short }, Shape { name: "long", words: args.long }];
        let planned = |target: &TargetConfig| Planned { cases: cases(args, &shapes, target), target: target.clone() };
        Ok(Self {
            targets: targets.into_iter().map(planned).collect(),
            warm_up: args.warm_up,
            max_tokens: args.max_tokens,
        })
    }

    /// What each target may cost that may cost anything.
    pub(super) fn expenses(&self) -> impl Iterator<Item = (&TargetConfig, Expense)> {
        let paid = self.targets.iter().filter(|planned| may_cost(&planned.target));
        paid.map(|planned| (&planned.target, self.expense(planned)))
    }

    fn expense(&self, planned: &Planned) -> Expense {
        let (mut requests, mut prompt_tokens) = (0, 0);
        for case in &planned.cases {
            let of_case = case.requests + self.warm_up;
            requests += of_case;
            prompt_tokens += of_case as u64 * prompt::tokens_max(case.shape.words);
        }
        let answer_tokens = requests as u64 * self.max_tokens;
        let usd =
            planned.target.profile.price.map(|price| price.cost_usd(prompt_tokens as f64, 0.0, answer_tokens as f64));
        Expense { requests, prompt_tokens, answer_tokens, usd }
    }
}

impl Expense {
    /// The same where every request has to be sent again.
    pub(super) fn usd_with_repeats(&self) -> Option<f64> {
        self.usd.map(|usd| usd * TRIES_MAX)
    }
}

/// Whether it is not known that a target costs nothing.
fn may_cost(target: &TargetConfig) -> bool {
    target.profile.price != Some(Price::FREE)
}

/// One at once, then several, for each length.
fn cases(args: &BenchArgs, shapes: &[Shape], target: &TargetConfig) -> Vec<Case> {
    let many = args.concurrency.or(asking::slots(target)).unwrap_or(CONCURRENCY_DEFAULT).min(CONCURRENCY_MAX);
    let at_once = if many > 1 { vec![1, many] } else { vec![1] };
    let case = |shape: &Shape, at_once: usize| Case { shape: *shape, at_once, requests: args.requests.max(at_once) };
    shapes.iter().flat_map(|shape| at_once.iter().map(move |at_once| case(shape, *at_once))).collect()
}

fn within(option: &str, number: usize, most: usize) -> anyhow::Result<()> {
    ensure!((1..=most).contains(&number), "{option} is 1 to {most}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
targets:
  - {id: local/m, provider: llama_cpp, model_path: /m.gguf, slots: 3}
  - {id: lan/m, provider: openai, model: m, base_url: 'http://192.168.1.2/v1', locality: network}
  - {id: openai/gpt-4o-mini, provider: openai, model: gpt-4o-mini, base_url: 'http://127.0.0.1:9/v1'}
  - {id: cloud/unknown, provider: openai, model: x, base_url: 'http://127.0.0.1:9/v1'}
";

    fn args(targets: &[&str]) -> BenchArgs {
        BenchArgs {
            targets: targets.iter().map(|name| (*name).to_owned()).collect(),
            requests: 10,
            concurrency: None,
            max_tokens: 64,
            short: 30,
            long: 500,
            warm_up: 1,
            json: None,
            svg: None,
            yes: false,
            config: None,
        }
    }

    fn plan(args: &BenchArgs) -> anyhow::Result<Plan> {
        Plan::of(args, &Config::parse("t.yaml", CONFIG, &|_| None).unwrap())
    }

    #[test]
    fn without_a_target_it_is_those_on_the_device_and_they_cost_nothing() {
        let plan = plan(&args(&[])).unwrap();
        let ids: Vec<_> = plan.targets.iter().map(|planned| planned.target.id().as_str()).collect();
        assert_eq!(ids, ["local/m"]);
        assert_eq!(plan.expenses().count(), 0);
        let cases: Vec<_> =
            plan.targets[0].cases.iter().map(|case| (case.shape.name, case.at_once, case.requests)).collect();
        assert_eq!(cases, [("short", 1, 10), ("short", 3, 10), ("long", 1, 10), ("long", 3, 10)]);
    }

    #[test]
    fn what_may_cost_is_counted_warm_up_included_and_an_unknown_price_stays_unknown() {
        let plan = plan(&args(&["lan/m", "openai/gpt-4o-mini", "cloud/unknown", "openai/gpt-4o-mini"])).unwrap();
        assert_eq!(plan.targets.len(), 3, "each once");
        let expenses: Vec<_> = plan.expenses().map(|(target, expense)| (target.id().as_str(), expense)).collect();
        assert_eq!(expenses.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["openai/gpt-4o-mini", "cloud/unknown"]);
        let known = expenses[0].1;
        assert_eq!((known.requests, known.answer_tokens), (44, 44 * 64));
        assert_eq!(known.prompt_tokens, 22 * (prompt::tokens_max(30) + prompt::tokens_max(500)));
        let usd = known.prompt_tokens as f64 * 0.15e-6 + known.answer_tokens as f64 * 0.6e-6;
        assert!((known.usd.unwrap() - usd).abs() < 1e-12);
        assert_eq!(known.usd_with_repeats(), known.usd.map(|usd| usd * 2.0));
        assert_eq!((expenses[1].1.usd, expenses[1].1.usd_with_repeats()), (None, None));
    }

    #[test]
    fn more_at_once_than_requests_are_more_requests_and_one_at_once_is_one_case() {
        let of = |concurrency| plan(&BenchArgs { concurrency: Some(concurrency), requests: 4, ..args(&[]) }).unwrap();
        assert_eq!(of(16).targets[0].cases.iter().map(|case| case.requests).collect::<Vec<_>>(), [4, 16, 4, 16]);
        assert_eq!(of(1).targets[0].cases.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let error = |args: BenchArgs| plan(&args).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(args(&["nosuch/x"])).contains("there is no target \"nosuch/x\"; configured are local/m"));
        assert!(error(BenchArgs { requests: 0, ..args(&[]) }).contains("--requests"));
        assert!(error(BenchArgs { concurrency: Some(257), ..args(&[]) }).contains("--concurrency"));
        assert!(error(BenchArgs { max_tokens: 1, ..args(&[]) }).contains("--max-tokens"));
        assert!(error(BenchArgs { long: 0, ..args(&[]) }).contains("--long"));
        let only_cloud = Config::parse(
            "t.yaml",
            "targets: [{id: c/x, provider: openai, model: x, base_url: 'http://127.0.0.1:9/v1'}]",
            &|_| None,
        );
        let error = Plan::of(&args(&[]), &only_cloud.unwrap()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("name the ones to measure"), "{error}");
    }
}
