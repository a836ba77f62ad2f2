//! Under what an answer is kept: who asks, how private it is, which rule decided, and what the body says; and what a caller says of
//! the cache itself.

use std::path::Path;
use std::time::Duration;

use account::responses::ResponseKey;
use blake3::Hasher;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use policy::{Mode, Privacy};
use wire::ChatRequest;

use crate::config::{ModelSource, ProviderConfig, TargetConfig};

/// Another one where what goes into a name changes.
const CONTEXT: &str = "tidegate response cache 2026-11-28 v1";

/// Who asks, as far as answers are kept apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The caller's key; callers without one are all the same.
    pub tenant: Option<String>,
    /// The class that holds, of request and conversation.
    pub class: Privacy,
    /// Where it would like to run.
    pub mode: Mode,
}

/// The name of the answer. `rule` is the route that decided: another one prefers other targets.
pub(super) fn of(asker: &Asker, rule: &str, request: &ChatRequest) -> ResponseKey {
    let mut hasher = Hasher::new_derive_key(CONTEXT);
    let mut put = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    put(&[u8::from(asker.tenant.is_some())]);
    put(asker.tenant.as_deref().unwrap_or_default().as_bytes());
    put(asker.class.as_str().as_bytes());
    put(asker.mode.as_str().as_bytes());
    put(rule.as_bytes());
    put(request.answer_key().as_bytes());
    *hasher.finalize().as_bytes()
}

/// A name for what a target is, as far as its answers depend on it. Not its key, which may be a new one.
pub(super) fn version(target: &TargetConfig) -> [u8; 32] {
    let mut hasher = Hasher::new_derive_key(CONTEXT);
    let mut put = |part: &str| {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    };
    put(target.id().as_str());
    put(target.profile.locality.as_str());
    match &target.provider {
        ProviderConfig::OpenAi(openai) => {
            put("openai");
            put(&openai.model);
            put(&openai.base_url);
            for (name, value) in &openai.headers {
                put(name);
                put(value.expose());
            }
        }
        ProviderConfig::LlamaCpp(local) => {
            put("llama_cpp");
            match &local.model {
                ModelSource::Artifact(name) => put(name),
                ModelSource::Path(path) => {
                    put(&path.to_string_lossy());
                    put(&state(path));
                }
            }
            put(&local.context_tokens.to_string());
            local.extra_args.iter().for_each(|argument| put(argument));
        }
    }
    *hasher.finalize().as_bytes()
}

/// Tells a file from another one that was put in its place. One that is not there has none; it answers nobody either.
fn state(path: &Path) -> String {
    let of = std::fs::metadata(path).ok().map(|file| (file.len(), file.modified().ok()));
    format!("{of:?}")
}

/// What a request says in `Cache-Control` (RFC 9111, section 5.2.1), as far as it is acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheControl {
    /// A new answer, which may be kept.
    pub no_cache: bool,
    /// Neither an answer that is kept, nor is the new one.
    pub no_store: bool,
    /// How old an answer may be.
    pub max_age: Option<Duration>,
}

impl CacheControl {
    /// What is not understood is passed over, but for an age that is no number: as RFC 9111 has it, nothing is young enough then.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in lines.flat_map(|line| line.split(',')).map(str::trim) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => control.no_cache = true,
                "no-store" => control.no_store = true,
                "max-age" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    let age = Duration::from_secs(seconds);
                    control.max_age = Some(control.max_age.map_or(age, |earlier| earlier.min(age)));
                }
                _ => {}
            }
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn tenants_classes_modes_and_routes_share_nothing() {
        let request = ChatRequest::parse(
            br#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":0}"#.as_slice().into(),
        )
        .unwrap();
        let asker = |tenant: Option<&str>, class, mode| Asker { tenant: tenant.map(str::to_owned), class, mode };
        let base = asker(None, Privacy::Public, Mode::PreferOnDevice);
        let mut keys = vec![of(&base, "a", &request), of(&base, "b", &request)];
        for tenant in ["", "one", "two"] {
            keys.push(of(&asker(Some(tenant), base.class, base.mode), "a", &request));
        }
        for class in [Privacy::Internal, Privacy::Confidential, Privacy::Restricted] {
            keys.push(of(&asker(None, class, base.mode), "a", &request));
        }
        for mode in Mode::ALL.into_iter().filter(|mode| *mode != base.mode) {
            keys.push(of(&asker(None, base.class, mode), "a", &request));
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert_eq!(of(&base, "a", &request), of(&base.clone(), "a", &request));
    }

    #[test]
    fn a_target_that_is_another_one_has_another_version() {
        let version = |target: &str| {
            let text = format!("targets: [{{id: a/b, provider: openai, {target}}}]");
            let config = Config::parse("t.yaml", &text, &|name| Some(format!("secret of {name}"))).unwrap();
            super::version(&config.targets[0])
        };
        let one = version("model: m, base_url: 'http://h/v1'");
        assert_eq!(one, version("model: m, base_url: 'http://h/v1', api_key: {env: KEY}, tags: [fast]"));
        for other in [
            "model: n, base_url: 'http://h/v1'",
            "model: m, base_url: 'http://i/v1'",
            "model: m, base_url: 'http://h/v1', headers: {x-version: '1'}",
        ] {
            assert_ne!(one, version(other), "{other}");
        }
    }

    #[test]
    fn a_model_file_that_was_replaced_is_another_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let version = || {
            let path = path.display();
            let text =
                format!("targets: [{{id: a/b, provider: llama_cpp, model_path: '{path}', context_tokens: 512}}]");
            super::version(&Config::parse("t.yaml", &text, &|_| None).unwrap().targets[0])
        };
        std::fs::write(&path, "one").unwrap();
        let one = version();
        assert_eq!(one, version());
        std::fs::write(&path, "another").unwrap();
        assert_ne!(one, version());
    }

    #[test]
    fn cache_control_is_read_as_written() {
        let read = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, http::HeaderValue::from_static(line));
            }
            let CacheControl { no_cache, no_store, max_age } = CacheControl::read(&headers);
            (no_cache, no_store, max_age.map(|age| age.as_secs()))
        };
        assert_eq!(read(&[]), (false, false, None));
        assert_eq!(read(&["no-cache"]), (true, false, None));
        assert_eq!(read(&["No-Store, max-age = \"30\""]), (false, true, Some(30)));
        assert_eq!(read(&["max-age=60, x", "MAX-AGE=5"]), (false, false, Some(5)));
        assert_eq!(read(&["max-age=soon"]), (false, false, Some(0)));
        assert_eq!(read(&["only-if-cached, no-cachet"]), (false, false, None));
    }
}
