//! Checks one target of the configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use dispatch::{Destination, Timeouts};
use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{Locality, TargetId};

use super::compile::Check;
use super::raw::{RawTarget, RawTimeouts, RawValue};
use super::size_class::{SIZE_CLASSES, classified_as};
use super::{LlamaCppConfig, ModelSource, OpenAiConfig, ProviderConfig, Secret, TargetConfig, profile};

/// How long a request waits for a slot of a worker.
const QUEUE_WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Parts of header names whose values have to come from the environment or a file.
const SECRET_HEADER_WORDS: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];
/// Headers that belong to the gateway and the connection.
const RESERVED_HEADERS: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    "traceparent",
    "tracestate",
];

/// `None` when something is wrong; it has been noted then.
pub(super) fn compile_target(check: &mut Check<'_>, path: &str, raw: RawTarget) -> Option<TargetConfig> {
    let before = check.problems.len();
    let id = match &raw.id {
        Some(id) => check.ok(&format!("{path}.id"), TargetId::new(id)),
        None => {
            check.problem(&format!("{path}.id"), "is missing");
            None
        }
    };
    let (timeouts, provider) = match raw.provider.as_deref() {
        Some("llama_cpp") => {
            refuse_keys(check, path, "llama_cpp", openai_keys(&raw));
            (Timeouts::local(), llama_cpp(check, path, &raw).map(ProviderConfig::LlamaCpp))
        }
        Some("openai") => {
            refuse_keys(check, path, "openai", llama_cpp_keys(&raw));
            (Timeouts::remote(), openai(check, path, &raw).map(ProviderConfig::OpenAi))
        }
        other => {
            let found = other.map_or("is missing; it is".to_owned(), |word| format!("{word:?} is not"));
            check.problem(&format!("{path}.provider"), format!("{found} one of llama_cpp, openai"));
            (Timeouts::remote(), None)
        }
    };
    let timeouts = compile_timeouts(check, path, &raw.timeouts, timeouts);
    let common = profile::common_keys(check, path, &raw);
    let (id, provider) = (id?, provider?);
    let profile = profile::profile(id, common, &raw.capabilities, &provider);
    let mut classified_as = classified_as(&profile.provider, &provider);
    if let Some(word) = &raw.size_class {
        classified_as.size_class = SIZE_CLASSES.into_iter().find(|class| class == word);
        if classified_as.size_class.is_none() {
            check.problem(&format!("{path}.size_class"), format!("{word:?} is not one of {}", SIZE_CLASSES.join(", ")));
        }
    }
    let continues_prefix = raw.continues_prefix.unwrap_or_default();
    (check.problems.len() == before).then_some(TargetConfig {
        profile,
        timeouts,
        classified_as,
        continues_prefix,
        provider,
    })
}

fn compile_timeouts(check: &mut Check<'_>, path: &str, raw: &RawTimeouts, default: Timeouts) -> Timeouts {
    let mut millis = |key: &str, value, default| check.millis(&format!("{path}.timeouts.{key}"), value, default);
    Timeouts {
        connect: millis("connect_ms", raw.connect_ms, default.connect),
        first_token: millis("first_token_ms", raw.first_token_ms, default.first_token),
        idle: millis("idle_ms", raw.idle_ms, default.idle),
        total: millis("total_ms", raw.total_ms, default.total),
    }
}

fn openai_keys(raw: &RawTarget) -> [(&'static str, bool); 5] {
    [
        ("model", raw.model.is_some()),
        ("base_url", raw.base_url.is_some()),
        ("api_key", raw.api_key.is_some()),
        ("headers", raw.headers.is_some()),
        ("locality", raw.locality.is_some()),
    ]
}

fn llama_cpp_keys(raw: &RawTarget) -> [(&'static str, bool); 10] {
    [
        ("artifact", raw.artifact.is_some()),
        ("model_path", raw.model_path.is_some()),
        ("slots", raw.slots.is_some()),
        ("queue_max", raw.queue_max.is_some()),
        ("queue_wait_ms", raw.queue_wait_ms.is_some()),
        ("batch_tokens", raw.batch_tokens.is_some()),
        ("threads", raw.threads.is_some()),
        ("gpu_layers", raw.gpu_layers.is_some()),
        ("extra_args", raw.extra_args.is_some()),
        ("eager", raw.eager.is_some()),
    ]
}

/// A key of another provider would be ignored; no key is.
fn refuse_keys<const N: usize>(check: &mut Check<'_>, path: &str, provider: &str, keys: [(&str, bool); N]) {
    for (key, _) in keys.into_iter().filter(|(_, present)| *present) {
        check.problem(&format!("{path}.{key}"), format!("has no meaning for provider {provider}"));
    }
}

fn llama_cpp(check: &mut Check<'_>, path: &str, raw: &RawTarget) -> Option<LlamaCppConfig> {
    let model = match (&raw.artifact, &raw.model_path) {
        (Some(name), None) => Some(ModelSource::Artifact(name.clone())),
        (None, Some(file)) => Some(ModelSource::Path(PathBuf::from(file))),
        (Some(_), Some(_)) => {
            check.problem(&format!("{path}.model_path"), "is given beside artifact; give one of them");
            None
        }
        (None, None) => {
            check.problem(&format!("{path}.artifact"), "is missing (or model_path)");
            None
        }
    };
    let mut count = |key: &str, value: Option<u32>, default: u64, range| {
        let number = check.number(&format!("{path}.{key}"), value.map(u64::from), default, range);
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let context_tokens = count("context_tokens", raw.context_tokens, 4096, profile::CONTEXT_TOKENS);
    let slots = count("slots", raw.slots, 4, (1, 256));
    let queue_max = count("queue_max", raw.queue_max, 64, (0, 10_000));
    let batch_tokens = raw.batch_tokens.map(|n| count("batch_tokens", Some(n), 1, (2, 16_384)));
    let threads = raw.threads.map(|n| count("threads", Some(n), 1, (1, 1024)));
    let gpu_layers = raw.gpu_layers.map(|n| count("gpu_layers", Some(n), 0, (0, 10_000)));
    let extra_args = raw.extra_args.clone().unwrap_or_default();
    for (n, argument) in extra_args.iter().enumerate() {
        check.ok(&format!("{path}.extra_args[{n}]"), worker::check_extra_args(std::slice::from_ref(argument)));
    }
    if context_tokens.checked_mul(slots).is_none_or(|total| i32::try_from(total).is_err()) {
        check.problem(
            &format!("{path}.context_tokens"),
            format!("{slots} slots of {context_tokens} tokens are too many"),
        );
    }
    if let Some(batch_tokens) = batch_tokens.filter(|tokens| *tokens <= slots) {
        let message =
            format!("{batch_tokens} is not more than slots ({slots}): no prompt would be read while all answer");
        check.problem(&format!("{path}.batch_tokens"), message);
    }
    let queue_wait = check.millis(&format!("{path}.queue_wait_ms"), raw.queue_wait_ms, QUEUE_WAIT_DEFAULT);
    let eager = raw.eager.unwrap_or(false);
    Some(LlamaCppConfig {
        model: model?,
        context_tokens,
        slots,
        queue_max,
        queue_wait,
        batch_tokens,
        threads,
        gpu_layers,
        extra_args,
        eager,
    })
}

fn openai(check: &mut Check<'_>, path: &str, raw: &RawTarget) -> Option<OpenAiConfig> {
    let key = |name: &str| format!("{path}.{name}");
    let model = match raw.model.as_deref() {
        Some("") | None => {
            check.problem(&key("model"), "is missing");
            None
        }
        Some(model) => Some(model.to_owned()),
    };
    let base_url = match &raw.base_url {
        None => {
            check.problem(&key("base_url"), "is missing");
            None
        }
        Some(value) => resolve(check, &key("base_url"), value),
    };
    let api_key = raw.api_key.as_ref().and_then(|value| secret(check, &key("api_key"), value));
    let headers = raw.headers.iter().flatten().filter_map(|(name, value)| header(check, path, name, value)).collect();
    let locality = match raw.locality.as_deref() {
        None | Some("cloud") => Locality::Cloud,
        Some("device") => Locality::Device,
        Some("network") => Locality::Network,
        Some(other) => {
            check.problem(&key("locality"), format!("{other:?} is not one of device, network, cloud"));
            return None;
        }
    };
    if let Some(address) = base_url.as_deref().filter(|_| locality == Locality::Network).and_then(strange_address) {
        let message = format!("{address} is no address of a private network, so its locality cannot be network");
        check.problem(&key("base_url"), message);
    }
    let config = OpenAiConfig { model: model?, base_url: base_url?, api_key, headers, locality };
    // Built once more when the gateway starts; here it shows what is wrong with it.
    check.ok(&key("base_url"), config.destination(Timeouts::remote().connect))?;
    Some(config)
}

/// The address in `base_url` when it is a literal that does not belong to this machine or a private network: loopback,
/// RFC 1918, RFC 6598 (overlay networks use it), link-local and unique local addresses do. A host name says nothing
/// about where it leads, so that it is in a network of one's own is the operator's statement.
fn strange_address(base_url: &str) -> Option<IpAddr> {
    let url = url::Url::parse(base_url).ok()?;
    let address = match url.host()? {
        url::Host::Domain(_) => return None,
        url::Host::Ipv4(address) => address.into(),
        url::Host::Ipv6(address) => IpAddr::from(address).to_canonical(),
    };
    let is_own = match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    (!is_own).then_some(address)
}

impl OpenAiConfig {
    /// Where this target is reached.
    ///
    /// # Errors
    /// When address, locality or key do not fit.
    pub(crate) fn destination(&self, connect: std::time::Duration) -> Result<Destination, dispatch::DestinationError> {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.as_str()).ok()?, value))
        });
        let api_key = self.api_key.as_ref().map(Secret::expose);
        Destination::openai(&self.base_url, api_key, headers.collect::<HeaderMap>(), self.locality, connect)
    }
}

/// A header of a target or a collector, in lower case.
pub(super) fn header(check: &mut Check<'_>, path: &str, name: &str, value: &RawValue) -> Option<(String, Secret)> {
    let path = format!("{path}.headers.{name}");
    let lower = name.to_ascii_lowercase();
    if HeaderName::try_from(name).is_err() || RESERVED_HEADERS.contains(&lower.as_str()) {
        check.problem(&path, "is not a header that can be set");
        return None;
    }
    let is_secret = SECRET_HEADER_WORDS.iter().any(|word| lower.contains(word));
    let value = if is_secret { secret(check, &path, value)? } else { Secret::new(&resolve(check, &path, value)?) };
    if HeaderValue::from_str(value.expose()).is_err() {
        check.problem(&path, "its value holds characters that cannot stand in a header");
        return None;
    }
    Some((lower, value))
}

fn secret(check: &mut Check<'_>, path: &str, value: &RawValue) -> Option<Secret> {
    if let RawValue::Text(_) = value {
        check.problem(path, "is a secret; give it as {env: NAME} or {file: PATH}");
        return None;
    }
    let secret = Secret::new(&resolve(check, path, value)?);
    if secret.expose().is_empty() {
        check.problem(path, "is empty");
        return None;
    }
    Some(secret)
}

/// What a value stands for.
pub(super) fn resolve(check: &mut Check<'_>, path: &str, value: &RawValue) -> Option<String> {
    let from = match value {
        RawValue::Text(text) => return Some(text.clone()),
        RawValue::From(from) => from,
    };
    let resolved = match (&from.env, &from.file) {
        (Some(name), None) => {
            let value = (check.env)(name).or_else(|| from.default.clone());
            value.ok_or_else(|| format!("environment variable {name} is not set"))
        }
        (None, Some(file)) if from.default.is_none() => {
            std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))
        }
        _ => Err("expected {env: NAME}, {env: NAME, default: text} or {file: PATH}".to_owned()),
    };
    check.ok(path, resolved).map(|text| text.trim().to_owned())
}
