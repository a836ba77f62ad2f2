//! What a policy may know of a target: the keys that every provider has.

use std::sync::Arc;

use policy::{Capabilities, Latency, Locality, Prediction, Price, TargetId, TargetProfile};

use super::ProviderConfig;
use super::compile::Check;
use super::prices::{Row, known};
use super::raw::{RawCapabilities, RawLatency, RawPrice, RawTarget};
use crate::tags;

/// Smallest and largest context window in tokens.
pub(super) const CONTEXT_TOKENS: (u64, u64) = (128, 16 << 20);
/// Highest price in US dollars per million tokens; more is a price per token in the wrong place.
const USD_PER_MTOK_MAX: f64 = 100_000.0;
/// Highest time to first token, in milliseconds: an hour.
const TTFT_MS_MAX: f64 = 3_600_000.0;
/// Highest speed, in tokens per second.
const TOKENS_PER_S_MAX: f64 = 1_000_000.0;
/// Flags of llama-server that load a vision projector.
const PROJECTOR_FLAGS: [&str; 4] = ["--mmproj", "--mmproj-url", "-mm", "-mmu"];

/// The keys of one target that are the same for every provider, checked.
pub(super) struct CommonKeys {
    tags: Vec<String>,
    region: Option<String>,
    price: Option<Price>,
    quality: Option<f64>,
    latency: Option<Latency>,
    context_tokens: Option<u64>,
}

pub(super) fn common_keys(check: &mut Check<'_>, path: &str, raw: &RawTarget) -> CommonKeys {
    let words = raw.tags.as_deref().unwrap_or_default();
    for (n, word) in words.iter().enumerate() {
        check.ok(&format!("{path}.tags[{n}]"), tags::check(word));
    }
    let tags = check.ok(&format!("{path}.tags"), tags::ordered(words.to_vec())).unwrap_or_default();
    if let Some(region) = &raw.region {
        check.ok(&format!("{path}.region"), tags::check(region).map_err(|what| what.replace("a tag", "a region")));
    }
    let window = |check: &mut Check<'_>, n| check.number(&format!("{path}.context_tokens"), Some(n), n, CONTEXT_TOKENS);
    CommonKeys {
        tags,
        region: raw.region.clone(),
        price: raw.price.as_ref().and_then(|raw| price(check, &format!("{path}.price"), raw)),
        quality: real(check, &format!("{path}.quality"), raw.quality, (0.0, 1.0)),
        latency: raw.latency.as_ref().and_then(|raw| latency(check, &format!("{path}.latency"), raw)),
        context_tokens: raw.context_tokens.map(|tokens| window(check, tokens.into())),
    }
}

/// What a target that is left out would charge, from its own keys or the table; nothing else of it is looked at.
pub(super) fn price_of_disabled(raw: &RawTarget) -> Option<(TargetId, Price)> {
    let id = TargetId::new(raw.id.as_deref()?).ok()?;
    let locality = raw.locality.as_deref().map_or(Some(Locality::Cloud), |word| Locality::parse(word).ok())?;
    let plain = TargetProfile::new(id.clone(), locality);
    let stated = raw.price.as_ref().and_then(price_of);
    let known = || known(&plain.provider, raw.model.as_deref()?).and_then(Row::price);
    stated.or(plain.price).or_else(known).map(|price| (id, price))
}

/// The profile of a target whose keys are all well.
pub(super) fn profile(
    id: TargetId,
    common: CommonKeys,
    stated: &RawCapabilities,
    provider: &ProviderConfig,
) -> Arc<TargetProfile> {
    let (locality, offered) = match provider {
        ProviderConfig::LlamaCpp(local) => (Locality::Device, offered_by_llama_server(&local.extra_args)),
        ProviderConfig::OpenAi(openai) => (openai.locality, Capabilities::ALL),
    };
    let plain = TargetProfile::new(id, locality);
    let known = match provider {
        ProviderConfig::OpenAi(openai) if locality == Locality::Cloud => known(&plain.provider, &openai.model),
        _ => None,
    };
    let context_tokens = match provider {
        ProviderConfig::LlamaCpp(local) => Some(local.context_tokens.into()),
        ProviderConfig::OpenAi(_) => common.context_tokens.or(known.and_then(|row| row.context_tokens)),
    };
    let offered = known.map_or(offered, |row| capabilities(&row.capabilities, offered));
    Arc::new(TargetProfile {
        region: common.region,
        tags: common.tags,
        price: common.price.or(plain.price).or_else(|| known.and_then(Row::price)),
        context_tokens,
        capabilities: capabilities(stated, offered),
        quality: common.quality,
        latency: common.latency,
        ..plain
    })
}

/// What llama-server offers as it is started (`--jinja`): tools through the model's template, JSON schemas through
/// grammars, log probabilities; images only with a projector.
fn offered_by_llama_server(extra_args: &[String]) -> Capabilities {
    let flag = |argument: &String| argument.split('=').next().unwrap_or_default().replace('_', "-");
    let vision = extra_args.iter().any(|argument| PROJECTOR_FLAGS.contains(&flag(argument).as_str()));
    Capabilities { vision, ..Capabilities::ALL }
}

fn capabilities(stated: &RawCapabilities, offered: Capabilities) -> Capabilities {
    Capabilities {
        tools: stated.tools.unwrap_or(offered.tools),
        vision: stated.vision.unwrap_or(offered.vision),
        json_schema: stated.json_schema.unwrap_or(offered.json_schema),
        logprobs: stated.logprobs.unwrap_or(offered.logprobs),
    }
}

fn price(check: &mut Check<'_>, path: &str, raw: &RawPrice) -> Option<Price> {
    let mut usd = |key: &str, value| real(check, &format!("{path}.{key}"), value, (0.0, USD_PER_MTOK_MAX));
    let input = usd("input_usd_per_mtok", raw.input_usd_per_mtok);
    let output = usd("output_usd_per_mtok", raw.output_usd_per_mtok);
    let cached = usd("cached_input_usd_per_mtok", raw.cached_input_usd_per_mtok);
    required(check, path, "input_usd_per_mtok", raw.input_usd_per_mtok);
    required(check, path, "output_usd_per_mtok", raw.output_usd_per_mtok);
    price_of(&RawPrice { input_usd_per_mtok: input, cached_input_usd_per_mtok: cached, output_usd_per_mtok: output })
}

/// A price whose figures are all well; what is cached costs as much as the rest where nothing else is said.
pub(super) fn price_of(raw: &RawPrice) -> Option<Price> {
    let (input_usd_per_mtok, output_usd_per_mtok) = (raw.input_usd_per_mtok?, raw.output_usd_per_mtok?);
    let cached_input_usd_per_mtok = raw.cached_input_usd_per_mtok.unwrap_or(input_usd_per_mtok);
    Some(Price { input_usd_per_mtok, cached_input_usd_per_mtok, output_usd_per_mtok })
}

fn latency(check: &mut Check<'_>, path: &str, raw: &RawLatency) -> Option<Latency> {
    let mut number = |key: &str, value, range| real(check, &format!("{path}.{key}"), value, range);
    let ttft = number("ttft_ms", raw.ttft_ms, (0.0, TTFT_MS_MAX));
    let ttft_spread = number("ttft_spread_ms", raw.ttft_spread_ms, (0.0, TTFT_MS_MAX));
    let speed = number("tokens_per_s", raw.tokens_per_s, (0.001, TOKENS_PER_S_MAX));
    let speed_spread = number("tokens_per_s_spread", raw.tokens_per_s_spread, (0.0, TOKENS_PER_S_MAX));
    required(check, path, "ttft_ms", raw.ttft_ms);
    required(check, path, "tokens_per_s", raw.tokens_per_s);
    Some(Latency {
        ttft_ms: Prediction { mean: ttft?, spread: ttft_spread.unwrap_or(0.0) },
        tokens_per_s: Prediction { mean: speed?, spread: speed_spread.unwrap_or(0.0) },
    })
}

fn required(check: &mut Check<'_>, path: &str, key: &str, value: Option<f64>) {
    if value.is_none() {
        check.problem(&format!("{path}.{key}"), "is missing");
    }
}

/// A real number within a range; `None` when there is none, or one outside, which is noted.
pub(super) fn real(check: &mut Check<'_>, path: &str, value: Option<f64>, range: (f64, f64)) -> Option<f64> {
    let (least, most) = range;
    let value = value?;
    if (least..=most).contains(&value) {
        return Some(value);
    }
    check.problem(path, format!("{value} is out of range; allowed are {least} to {most}"));
    None
}
