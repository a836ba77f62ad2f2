//! The key `traces`: whether traces are exported and where to, and which targets are told of them.
//!
//! Of the environment variables of OpenTelemetry it takes those named here and no others; what the file says comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use policy::Locality;
use traces::{Collector, CollectorError, Resource, TraceLimits};
use url::Url;

use super::Secret;
use super::compile::Check;
use super::profile::real;
use super::raw::{RawTraces, RawValue};
use super::target::{header, resolve};

/// Where a collector is when nothing is said.
const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:4318";
/// What is added to the address of a collector.
const TRACES_PATH: &str = "v1/traces";
const SERVICE_NAME_DEFAULT: &str = "tidegate";
/// Pairs in one environment variable, and attributes of the process, at most.
const PAIRS_MAX: usize = 64;
/// Longest name of an attribute of the process, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest value of one.
const VALUE_BYTES_MAX: usize = 256;

/// A trace id is no prompt, but it ties requests together that a provider could not tell to be of one application or person, and
/// `tracestate` may name more: strangers are told of neither unless the operator says so.
const TOLD_TO_DEFAULT: Locality = Locality::Network;

const DISABLED_ENV: &str = "OTEL_SDK_DISABLED";
const SERVICE_NAME_ENV: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ENV: &str = "OTEL_RESOURCE_ATTRIBUTES";
const TRACES_ENDPOINT_ENV: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT_ENV: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS_ENV: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Traces as configured.
#[derive(Clone, Debug)]
pub(crate) struct TracesConfig {
    /// Where they go; `None` where none are exported.
    pub export: Option<TraceExport>,
    /// Share of the traces that begin here which are recorded.
    pub sample: f64,
    /// The furthest targets that are told of a trace; `None`: no target is.
    pub told_to: Option<Locality>,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) struct TraceExport {
    address: Url,
    headers: BTreeMap<String, Secret>,
    /// What all spans say of the process.
    pub resource: Resource,
    /// How much waits, and how it is sent.
    pub limits: TraceLimits,
}

impl TraceExport {
    /// The collector.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub(crate) fn collector(&self) -> Result<Collector, CollectorError> {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.as_str()).ok()?, value))
        });
        Collector::new(self.address.clone(), headers.collect::<HeaderMap>(), self.limits.timeout)
    }
}

/// What the environment says, where traces are exported.
struct OfEnv {
    whole: Option<String>,
    base: Option<String>,
    headers: Option<(&'static str, String)>,
    service_name: Option<String>,
    resource: Option<String>,
}

pub(super) fn compile_traces(check: &mut Check<'_>, raw: &RawTraces) -> TracesConfig {
    let sample = real(check, "traces.sample", raw.sample, (0.0, 1.0)).unwrap_or(1.0);
    let told_to = match raw.propagate.as_deref() {
        None => Some(TOLD_TO_DEFAULT),
        Some("none") => None,
        Some(word) => Locality::parse(word).ok().or_else(|| {
            check.problem("traces.propagate", format!("{word:?} is not one of none, device, network, cloud"));
            None
        }),
    };
    let is_disabled = (check.env)(DISABLED_ENV).is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let is_on = raw.enabled.unwrap_or(false) && !is_disabled;
    // What is wrong with variables that nobody asked for keeps no gateway from starting.
    let env = |name: &str| (check.env)(name).filter(|_| is_on);
    let of_env = OfEnv {
        whole: env(TRACES_ENDPOINT_ENV),
        base: env(ENDPOINT_ENV),
        headers: HEADERS_ENV.into_iter().find_map(|variable| Some((variable, env(variable)?))),
        service_name: env(SERVICE_NAME_ENV),
        resource: env(RESOURCE_ENV),
    };
    let address = address(check, raw.endpoint.as_ref(), &of_env);
    let headers = headers(check, raw.headers.as_ref(), &of_env);
    let (resource, limits) = (resource(check, raw, of_env), limits(check, raw));
    let export = address.filter(|_| is_on).map(|address| TraceExport { address, headers, resource, limits });
    TracesConfig { export, sample, told_to }
}

fn limits(check: &mut Check<'_>, raw: &RawTraces) -> TraceLimits {
    let default = TraceLimits::default();
    let mut count = |key: &str, value, default: usize, range| {
        let number = check.number(&format!("traces.{key}"), value, default as u64, range);
        usize::try_from(number).unwrap_or(default)
    };
    let queue_max = count("queue_max", raw.queue_max, default.queue_max, (64, 1 << 20));
    let batch_max = count("batch_max", raw.batch_max, default.batch_max.min(queue_max), (1, 8192));
    if batch_max > queue_max {
        check.problem("traces.batch_max", format!("{batch_max} is more than traces.queue_max ({queue_max})"));
    }
    let flush_ms = u64::try_from(default.flush_every.as_millis()).unwrap_or_default();
    let flush_ms = check.number("traces.flush_ms", raw.flush_ms, flush_ms, (1, 60_000));
    let timeout = check.millis("traces.timeout_ms", raw.timeout_ms, default.timeout);
    TraceLimits { queue_max, batch_max, flush_every: Duration::from_millis(flush_ms), timeout }
}

/// Where messages are sent.
fn address(check: &mut Check<'_>, said: Option<&RawValue>, of_env: &OfEnv) -> Option<Url> {
    const PATH: &str = "traces.endpoint";
    let (from, text, is_base) = match said {
        Some(value) => (None, resolve(check, PATH, value)?, true),
        None => match (&of_env.whole, &of_env.base) {
            (Some(whole), _) => (Some(TRACES_ENDPOINT_ENV), whole.clone(), false),
            (None, Some(base)) => (Some(ENDPOINT_ENV), base.clone(), true),
            (None, None) => (None, ENDPOINT_DEFAULT.to_owned(), true),
        },
    };
    let address = parsed(&text, is_base).map_err(|what| match from {
        Some(variable) => format!("{variable} {what}"),
        None => what.to_owned(),
    });
    check.ok(PATH, address)
}

/// The errors do not repeat the address: it may hold credentials.
fn parsed(text: &str, is_base: bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let mut url = url.ok_or("is not an absolute http:// or https:// address")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials; give them as headers");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or fragment; only scheme, host, port and path are used");
    }
    if is_base {
        let base = url.path().trim_end_matches('/').to_owned();
        if base.ends_with(TRACES_PATH) {
            return Err("ends in /v1/traces; give it without");
        }
        url.set_path(&format!("{base}/{TRACES_PATH}"));
    }
    Ok(url)
}

fn headers(
    check: &mut Check<'_>,
    said: Option<&BTreeMap<String, RawValue>>,
    of_env: &OfEnv,
) -> BTreeMap<String, Secret> {
    if let Some(said) = said {
        return said.iter().filter_map(|(name, value)| header(check, "traces", name, value)).collect();
    }
    let Some((variable, text)) = &of_env.headers else { return BTreeMap::new() };
    let read = pairs(text).filter(|pairs| {
        pairs.iter().all(|(name, value)| HeaderName::try_from(name).is_ok() && HeaderValue::from_str(value).is_ok())
    });
    let wrong = || format!("{variable} is no list of headers such as name=value,other=value");
    let read = check.ok("traces.headers", read.ok_or_else(wrong)).unwrap_or_default();
    read.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), Secret::new(&value))).collect()
}

/// What all spans say of this process.
fn resource(check: &mut Check<'_>, raw: &RawTraces, of_env: OfEnv) -> Resource {
    const PATH: &str = "traces.resource";
    let from_env = match of_env.resource {
        None => Vec::new(),
        Some(text) => {
            let wrong = || format!("{RESOURCE_ENV} is no list of attributes such as name=value,other=value");
            check.ok(PATH, pairs(&text).ok_or_else(wrong)).unwrap_or_default()
        }
    };
    let mut attributes: BTreeMap<String, String> = from_env.into_iter().collect();
    attributes.extend(raw.resource.iter().map(|(name, value)| (name.clone(), value.clone())));
    if raw.resource.contains_key("service.name") {
        check.problem(PATH, "holds service.name; give it as traces.service_name");
    }
    let is_fit = |(name, value): (&String, &String)| {
        (1..=NAME_BYTES_MAX).contains(&name.len()) && value.len() <= VALUE_BYTES_MAX
    };
    if attributes.len() > PAIRS_MAX || !attributes.iter().all(is_fit) {
        let limits = format!("{PAIRS_MAX} attributes, {NAME_BYTES_MAX} bytes of a name, {VALUE_BYTES_MAX} of a value");
        check.problem(PATH, format!("is too large; the limits are {limits}"));
    }
    let named = attributes.remove("service.name");
    attributes.remove("service.version");
    let service_name = raw.service_name.clone().or(of_env.service_name).or(named);
    let service_name = service_name.unwrap_or_else(|| SERVICE_NAME_DEFAULT.to_owned());
    if !(1..=VALUE_BYTES_MAX).contains(&service_name.len()) {
        check.problem("traces.service_name", format!("has to have 1 to {VALUE_BYTES_MAX} bytes"));
    }
    Resource { service_name, version: env!("CARGO_PKG_VERSION"), attributes: attributes.into_iter().collect() }
}

/// `name=value` pairs with commas between them, the values percent-encoded; `None` for what is none.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let pairs = members.map(|member| {
        let (name, value) = member.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    });
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    (pairs.len() <= PAIRS_MAX && pairs.iter().all(|(name, _)| !name.is_empty())).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(traces: &str, env: &[(&str, &str)]) -> Result<TracesConfig, String> {
        let text =
            format!("targets: [{{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}}]\ntraces: {traces}\n");
        let look_up = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::parse("t.yaml", &text, &look_up).map(|config| config.traces).map_err(|errors| errors.to_string())
    }

    fn export(traces: &str, env: &[(&str, &str)]) -> TraceExport {
        parse(traces, env).unwrap().export.unwrap()
    }

    #[test]
    fn nothing_is_exported_unless_the_file_says_so() {
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318")];
        let traces = parse("{}", &env).unwrap();
        assert!(parse("{}", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense")]).is_ok(), "nobody asked for it");
        assert!(traces.export.is_none());
        assert_eq!((traces.sample, traces.told_to), (1.0, Some(Locality::Network)));
        assert!(parse("{enabled: true}", &[("OTEL_SDK_DISABLED", "TRUE")]).unwrap().export.is_none());
        let export = export("{enabled: true}", &[]);
        assert_eq!(export.address.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!((export.limits, export.resource.service_name.as_str()), (TraceLimits::default(), "tidegate"));
    }

    #[test]
    fn the_file_comes_before_the_environment() {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://env.org:1/otlp/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%20b, other=c"),
            ("OTEL_SERVICE_NAME", "from-env"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=ignored,a.b=1,c=%2C"),
            ("TOKEN", "s3cret"),
        ];
        let of_env = export("{enabled: true}", &env);
        assert_eq!(of_env.address.as_str(), "https://env.org:1/otlp/v1/traces");
        assert_eq!(
            of_env.headers.iter().map(|(name, value)| (&**name, value.expose())).collect::<Vec<_>>(),
            [("other", "c"), ("x-key", "a b")]
        );
        let attributes = [("a.b", "1"), ("c", ",")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            (of_env.resource.service_name.as_str(), of_env.resource.attributes),
            ("from-env", attributes.into())
        );

        let of_file = export(
            "{enabled: true, endpoint: 'http://file.org:9', headers: {authorization: {env: TOKEN}}, service_name: mine, \
             resource: {c: d}, sample: 0.25, queue_max: 64, batch_max: 8, flush_ms: 5, timeout_ms: 7}",
            &env,
        );
        assert_eq!(of_file.address.as_str(), "http://file.org:9/v1/traces");
        assert_eq!(of_file.headers.keys().collect::<Vec<_>>(), ["authorization"]);
        assert!(!format!("{of_file:?}").contains("s3cret"));
        assert_eq!(of_file.resource.service_name, "mine");
        assert_eq!(of_file.resource.attributes, [("a.b".to_owned(), "1".to_owned()), ("c".to_owned(), "d".to_owned())]);
        assert_eq!((of_file.limits.queue_max, of_file.limits.batch_max), (64, 8));
        assert_eq!((of_file.limits.flush_every.as_millis(), of_file.limits.timeout.as_millis()), (5, 7));
        let whole = export("{enabled: true}", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/x")]);
        assert_eq!(whole.address.as_str(), "http://h/x", "as it is");
    }

    #[test]
    fn how_far_targets_are_told_is_a_word() {
        let told_to = |word: &str| parse(&format!("{{propagate: {word}}}"), &[]).unwrap().told_to;
        assert_eq!(told_to("none"), None);
        assert_eq!(told_to("cloud"), Some(Locality::Cloud));
        assert_eq!(told_to("device"), Some(Locality::Device));
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let errors = parse(
            "{sample: 2, propagate: everywhere, endpoint: 'ftp://user:pw@h', headers: {x-token: literal, host: a, 'a b': c}, service_name: '', \
             resource: {service.name: x}, queue_max: 1, batch_max: 9000, flush_ms: 0, timeout_ms: 0, protocol: grpc}",
            &[],
        )
        .unwrap_err();
        for part in [
            "t.yaml:2:18: traces.sample: 2 is out of range",
            "traces.propagate: \"everywhere\" is not one of none, device, network, cloud",
            "traces.endpoint: is not an absolute http:// or https:// address",
            "traces.headers.x-token: is a secret; give it as {env: NAME} or {file: PATH}",
            "traces.headers.host: is not a header that can be set",
            "traces.headers.a b: is not a header that can be set",
            "traces.service_name: has to have 1 to 256 bytes",
            "traces.resource: holds service.name",
            "traces.queue_max: 1 is out of range; allowed are 64 to 1048576",
            "traces.batch_max: 9000 is out of range; allowed are 1 to 8192",
            "traces.flush_ms: 0 is out of range",
            "traces.timeout_ms: 0 is out of range",
            "traces.protocol: unknown key \"protocol\"",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
        assert!(!errors.contains("pw"), "{errors}");
        for (endpoint, part) in [
            ("http://user:pw@h", "holds credentials"),
            ("http://h/?a=b", "holds a query"),
            ("http://h/v1/traces/", "ends in /v1/traces"),
        ] {
            let errors = parse(&format!("{{endpoint: '{endpoint}'}}"), &[]).unwrap_err();
            assert!(errors.contains(part) && !errors.contains("pw"), "{errors}");
        }
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=%0d%0ax"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "h:4318"),
        ] {
            let errors = parse("{enabled: true}", &[(variable, value)]).unwrap_err();
            assert!(errors.contains(variable), "{errors}");
        }
    }
}
