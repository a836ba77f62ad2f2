//! What is accepted, what is refused, and that every error of a file comes in one run with its line.

use std::collections::HashMap;

use policy::{Capabilities, Prediction, Price};

use super::*;

fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::parse("t.yaml", text, &|name| env.get(name).cloned())
}

fn errors(text: &str) -> Vec<String> {
    parse_with(text, &[]).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_default_has_the_local_model_and_the_cloud_where_a_key_is_set() {
    let without = parse_with(DEFAULT_YAML, &[]).unwrap();
    let ids: Vec<_> = without.targets.iter().map(|t| t.id().as_str()).collect();
    assert_eq!(ids, ["local/smollm2-135m-instruct"]);
    assert_eq!(without.disabled, [("openai/gpt-4o-mini".to_owned(), "OPENAI_API_KEY".to_owned())]);
    assert_eq!(without.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(without.admin_listen.to_string(), "127.0.0.1:8788");

    let env = [("OPENAI_API_KEY", "sk-test"), ("OPENAI_BASE_URL", "http://10.0.0.1/v1")];
    let with = parse_with(DEFAULT_YAML, &env).unwrap();
    let ProviderConfig::OpenAi(openai) = &with.targets[1].provider else { panic!("not openai") };
    assert_eq!(openai.base_url, "http://10.0.0.1/v1");
    assert_eq!(openai.api_key.as_ref().unwrap().expose(), "sk-test");
    assert_eq!(openai.locality, Locality::Cloud);
}

#[test]
fn the_default_text_states_the_defaults_of_the_code() {
    let minimal = "targets:\n  - {id: a/b, provider: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}\n";
    let minimal = parse_with(minimal, &[]).unwrap();
    let written = parse_with(DEFAULT_YAML, &[]).unwrap();
    assert_eq!(minimal.limits, written.limits);
    assert_eq!(minimal.log, written.log);
    assert_eq!((minimal.mode, minimal.privacy), (written.mode, written.privacy));
    assert_eq!(minimal.trust, written.trust);
    assert_eq!((minimal.listen, minimal.admin_listen), (written.listen, written.admin_listen));
}

#[test]
fn secrets_never_show() {
    let env = [("OPENAI_API_KEY", "sk-very-secret")];
    let config = parse_with(DEFAULT_YAML, &env).unwrap();
    assert!(!format!("{config:?}").contains("very-secret"));
}

#[test]
fn every_error_comes_in_one_run_with_its_line() {
    let text = "\
listen: nowhere
colour: blue
defaults: {mode: on_device, privacy: secret}
limits:
  in_flight_max: many
  body_bytes_max: 1
targets:
  - id: bad id/x
    provider: openai
    model: m
    base_url: ftp://example.com
    api_key: sk-literal
  - provider: llama
    typo: 1
  - id: local/a
    provider: llama_cpp
    base_url: http://127.0.0.1/v1
    extra_args: [--host, 0.0.0.0]
  - id: local/a
    provider: openai
    model: m
    base_url: https://example.com/v1
    locality: device
    eager: yes-please
";
    let found = errors(text);
    let expected = [
        "t.yaml:1:9: listen: \"nowhere\" is not an address and port such as 127.0.0.1:8787",
        "t.yaml:2:1: colour: unknown key \"colour\"; known here: ",
        "t.yaml:3:18: defaults.mode: \"on_device\" is not one of prefer_on_device, ",
        "t.yaml:3:38: defaults.privacy: \"secret\" is not one of public, internal, ",
        "t.yaml:5:18: limits.in_flight_max: expected a whole number within range",
        "t.yaml:6:19: limits.body_bytes_max: 1 is out of range; allowed are 1024 to 1073741824",
        "t.yaml:8:9: targets[0].id: target id \"bad id/x\" holds ' '",
        "t.yaml:11:15: targets[0].base_url: base_url is not an absolute http:// or https:// address",
        "t.yaml:12:14: targets[0].api_key: is a secret; give it as {env: NAME} or {file: PATH}",
        "t.yaml:13:5: targets[1].id: is missing",
        "t.yaml:13:15: targets[1].provider: \"llama\" is not one of llama_cpp, openai",
        "t.yaml:14:5: targets[1].typo: unknown key \"typo\"",
        "t.yaml:15:5: targets[2].artifact: is missing (or model_path)",
        "t.yaml:17:15: targets[2].base_url: has no meaning for provider llama_cpp",
        "t.yaml:18:18: targets[2].extra_args[0]: extra_args holds --host, which is refused",
        "t.yaml:19:9: targets[3].id: \"local/a\" is used by an earlier target",
        "t.yaml:22:15: targets[3].base_url: host \"example.com\" is not a loopback address",
        "t.yaml:24:12: targets[3].eager: expected true or false",
    ];
    for line in expected {
        assert!(found.iter().any(|error| error.starts_with(line)), "missing {line:?} in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[test]
fn trust_names_claims_and_none_twice() {
    let targets = "targets: [{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}]\n";
    let trust = |text: &str| format!("trust: {{anonymous: {{may_set: {text}}}}}\n{targets}");
    let config = parse_with(&trust("[privacy]"), &[]).unwrap();
    assert_eq!(config.trust.anonymous.may_set, [Claim::Privacy]);
    assert_eq!(parse_with(&trust("[]"), &[]).unwrap().trust.anonymous.may_set, []);
    assert_eq!(parse_with(targets, &[]).unwrap().trust.anonymous.may_set, Claim::ALL);
    let found = errors(&trust("[mode, modes, mode]"));
    assert!(found[0].starts_with("t.yaml:1:37: trust.anonymous.may_set[1]: \"modes\" is not one of mode"), "{found:?}");
    assert_eq!(found[1], "t.yaml:1:44: trust.anonymous.may_set[2]: \"mode\" is given twice");
    let found = errors(&format!("trust: {{everybody: {{may_set: []}}}}\n{targets}"));
    assert!(found[0].starts_with("t.yaml:1:9: trust.everybody: unknown key"), "{found:?}");
}

#[test]
fn defaults_that_leave_no_place_are_refused() {
    let text = "defaults: {mode: only_in_cloud, privacy: restricted}\ntargets: [{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}]\n";
    assert_eq!(
        errors(text),
        ["t.yaml:1:18: defaults.mode: excludes defaults.privacy restricted: nothing could answer"]
    );
}

#[test]
fn a_key_that_stands_twice_hides_no_other_mistake() {
    let text = "listen: 127.0.0.1:1\nlisten: nowhere\nlimits: {in_flight_max: 0, 'in_flight_max': 1, in_flight_max: 2}\nlgo: {}\ntargets: [{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}]\n";
    let expected = [
        "t.yaml:2:1: key \"listen\" is given twice; first in line 1",
        "t.yaml:3:25: limits.in_flight_max: 0 is out of range",
        "t.yaml:3:28: key \"in_flight_max\" is given twice; first in line 3",
        "t.yaml:3:48: key \"in_flight_max\" is given twice; first in line 3",
        "t.yaml:4:1: lgo: unknown key",
    ];
    let found = errors(text);
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
    for line in expected {
        assert!(found.iter().any(|error| error.starts_with(line)), "missing {line:?} in\n{}", found.join("\n"));
    }
}

#[test]
fn what_is_no_mapping_is_said_to_be_none() {
    for (text, expected) in [
        ("- a\n- b\n", "t.yaml:1:1: expected a mapping of keys at the top"),
        ("listen: [\n", "t.yaml:2:1: not valid YAML: "),
        ("listen: 127.0.0.1:1\n---\ndefaults: {privacy: restricted}\n", "t.yaml:2:1: a second document begins here"),
        ("listen: 127.0.0.1:1\n...\n{{{\n", "t.yaml:2:1: a second document begins here"),
        ("", "t.yaml: targets: is empty; at least one target is needed"),
        ("# only a comment\n", "t.yaml: targets: is empty; at least one target is needed"),
    ] {
        let found = errors(text);
        assert!(found[0].starts_with(expected), "{text:?} gave {found:?}");
    }
}

#[test]
fn one_document_may_have_its_marks() {
    let text = format!(
        "# first\n---\n{}\n...\n# last\n",
        "targets: [{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}]"
    );
    assert!(parse_with(&text, &[]).is_ok());
}

#[test]
fn secrets_come_from_files_too_and_missing_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sk-from-file\n").unwrap();
    let target = |key: &str| {
        format!(
            "targets:\n  - {{id: a/b, provider: openai, model: m, base_url: 'https://x.test/v1', api_key: {key}}}\n"
        )
    };
    let config = parse_with(&target(&format!("{{file: {}}}", file.display())), &[]).unwrap();
    let ProviderConfig::OpenAi(openai) = &config.targets[0].provider else { panic!("not openai") };
    assert_eq!(openai.api_key.as_ref().unwrap().expose(), "sk-from-file");

    let missing = errors(&target("{env: NOT_SET}"));
    assert!(missing[0].contains("targets[0].api_key: environment variable NOT_SET is not set"), "{missing:?}");
    let both = errors(&target("{env: A, file: /b}"));
    assert!(both[0].contains("expected {env: NAME}"), "{both:?}");
}

#[test]
fn headers_that_look_secret_or_belong_to_the_connection_are_refused() {
    let text = "\
targets:
  - id: a/b
    provider: openai
    model: m
    base_url: https://x.test/v1
    headers:
      X-Team: blue
      X-Api-Key: literal
      Host: elsewhere
";
    let found = errors(text);
    assert!(found[0].starts_with("t.yaml:8:18: targets[0].headers.X-Api-Key: is a secret"), "{found:?}");
    assert!(found[1].starts_with("t.yaml:9:13: targets[0].headers.Host: is not a header that can be set"), "{found:?}");
}

#[test]
fn a_loopback_address_may_be_declared_on_device() {
    for host in ["127.0.0.1:11434", "localhost:11434", "[::1]:11434"] {
        let text = format!(
            "targets:\n  - {{id: ollama/m, provider: openai, model: m, base_url: 'http://{host}/v1', locality: device}}\n"
        );
        assert!(parse_with(&text, &[]).is_ok(), "{host}");
    }
    for host in ["10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "user@127.0.0.1"] {
        let text = format!(
            "targets:\n  - {{id: ollama/m, provider: openai, model: m, base_url: 'http://{host}/v1', locality: device}}\n"
        );
        assert!(parse_with(&text, &[]).is_err(), "{host}");
    }
}

fn target(keys: &str) -> String {
    format!("targets:\n  - id: a/b\n    provider: openai\n    model: m\n    base_url: https://x.test/v1\n{keys}")
}

#[test]
fn a_target_says_what_a_policy_may_know_of_it() {
    let keys = "    tags: [fast, eu.west, fast]
    region: eu
    capabilities: {vision: false}
    context_tokens: 128000
    price: {input_usd_per_mtok: 2, output_usd_per_mtok: 0.5}
    quality: 0.75
    latency: {ttft_ms: 300, ttft_spread_ms: 50, tokens_per_s: 80}
";
    let config = parse_with(&target(keys), &[]).unwrap();
    let profile = &config.targets[0].profile;
    assert_eq!((profile.locality, profile.provider.as_str()), (Locality::Cloud, "a"));
    assert_eq!(
        (profile.tags.as_slice(), profile.region.as_deref()),
        (["eu.west", "fast"].map(String::from).as_slice(), Some("eu"))
    );
    assert_eq!(profile.capabilities, Capabilities { vision: false, ..Capabilities::ALL });
    assert_eq!((profile.context_tokens, profile.quality), (Some(128_000), Some(0.75)));
    let price = Price { input_usd_per_mtok: 2.0, cached_input_usd_per_mtok: 2.0, output_usd_per_mtok: 0.5 };
    assert_eq!(profile.price, Some(price));
    let latency = profile.latency.unwrap();
    assert_eq!((latency.ttft_ms, latency.tokens_per_s.mean), (Prediction { mean: 300.0, spread: 50.0 }, 80.0));
}

#[test]
fn what_is_not_said_of_a_target_is_not_known_and_what_is_ones_own_is_free() {
    let profile = |text: &str| Arc::clone(&parse_with(text, &[]).unwrap().targets[0].profile);
    let cloud = profile(&target(""));
    assert_eq!((cloud.price, cloud.context_tokens, cloud.quality, cloud.latency), (None, None, None, None));
    assert_eq!(cloud.capabilities, Capabilities::ALL);
    let network = target("    locality: network\n").replace("https://x.test", "http://10.1.2.3:8080");
    assert_eq!((profile(&network).locality, profile(&network).price), (Locality::Network, Some(Price::FREE)));
    let local = |extra: &str| {
        profile(&format!(
            "targets: [{{id: l/m, provider: llama_cpp, model_path: /m.gguf, context_tokens: 512{extra}}}]"
        ))
    };
    assert_eq!((local("").price, local("").context_tokens), (Some(Price::FREE), Some(512)));
    assert_eq!(local("").capabilities, Capabilities { vision: false, ..Capabilities::ALL });
    assert!(local(", extra_args: [--mmproj, /p.gguf]").capabilities.vision);
    assert!(!local(", capabilities: {tools: false}").capabilities.tools);
}

#[test]
fn the_price_of_a_known_model_is_looked_up_where_none_is_stated() {
    let of = |id: &str, model: &str, keys: &str| {
        let text = target(keys).replace("a/b", id).replace("model: m", &format!("model: {model}"));
        Arc::clone(&parse_with(&text, &[]).unwrap().targets[0].profile)
    };
    let known = of("openai/mini", "gpt-4o-mini", "");
    let price = Price { input_usd_per_mtok: 0.15, cached_input_usd_per_mtok: 0.075, output_usd_per_mtok: 0.6 };
    assert_eq!((known.price, known.context_tokens), (Some(price), Some(128_000)));
    let stated = of("openai/mini", "gpt-4o-mini", "    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}\n");
    assert_eq!(stated.price.map(|price| price.cached_input_usd_per_mtok), Some(1.0));
    assert_eq!(of("openai/mini", "gpt-4o-mini", "    context_tokens: 9000\n").context_tokens, Some(9000));
    assert!(!of("deepseek/pro", "deepseek-v4-pro", "").capabilities.vision);
    assert!(of("deepseek/pro", "deepseek-v4-pro", "    capabilities: {vision: true}\n").capabilities.vision);
    for (id, model) in [("openai/mini", "gpt-4o-mini-of-mine"), ("proxy/mini", "gpt-4o-mini")] {
        assert_eq!((of(id, model, "").price, of(id, model, "").context_tokens), (None, None), "{id}");
    }
}

#[test]
fn what_is_wrong_with_a_profile_is_said_with_its_line() {
    let keys = "    tags: [Fast, ok]
    region: Europe
    capabilities: {tools: maybe, hearing: true}
    context_tokens: 1
    price: {input_usd_per_mtok: -1, cached_input_usd_per_mtok: nan}
    quality: 1.5
    latency: {ttft_ms: soon, tokens_per_s: 0}
";
    let expected = [
        "t.yaml:6:12: targets[0].tags[0]: a tag is 1 to 64 lower-case letters",
        "t.yaml:7:13: targets[0].region: a region is 1 to 64 lower-case letters",
        "t.yaml:8:27: targets[0].capabilities.tools: expected true or false",
        "t.yaml:8:34: targets[0].capabilities.hearing: unknown key",
        "t.yaml:9:21: targets[0].context_tokens: 1 is out of range; allowed are 128 to 16777216",
        "t.yaml:10:13: targets[0].price.output_usd_per_mtok: is missing",
        "t.yaml:10:33: targets[0].price.input_usd_per_mtok: -1 is out of range; allowed are 0 to 100000",
        "t.yaml:10:64: targets[0].price.cached_input_usd_per_mtok: NaN is out of range",
        "t.yaml:11:14: targets[0].quality: 1.5 is out of range; allowed are 0 to 1",
        "t.yaml:12:24: targets[0].latency.ttft_ms: expected a number",
        "t.yaml:12:44: targets[0].latency.tokens_per_s: 0 is out of range; allowed are 0.001 to 1000000",
    ];
    let found = errors(&target(keys));
    for line in expected {
        assert!(found.iter().any(|error| error.starts_with(line)), "missing {line:?} in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[test]
fn a_public_address_is_no_network_of_ones_own() {
    let network = |host: &str| target("    locality: network\n").replace("https://x.test", &format!("http://{host}"));
    let own = [
        "10.0.0.1",
        "172.31.0.1:8080",
        "192.168.1.2",
        "169.254.3.4",
        "100.100.1.1",
        "127.0.0.1",
        "[::1]",
        "[fd00::1]:8080",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "box.lan",
        "gpu",
    ];
    for host in own {
        assert!(parse_with(&network(host), &[]).is_ok(), "{host}");
    }
    for host in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]", "134744072", "0.0.0.0"] {
        let found = errors(&network(host));
        assert!(found[0].starts_with("t.yaml:5:15: targets[0].base_url: "), "{found:?}");
        assert!(
            found[0].ends_with("is no address of a private network, so its locality cannot be network"),
            "{found:?}"
        );
    }
}

#[test]
fn breakers_and_the_network_are_as_the_code_says_unless_they_are_told() {
    let targets = "targets: [{id: a/b, provider: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}]\n";
    let config = parse_with(targets, &[]).unwrap();
    assert_eq!(config.breaker, Some(policy::BreakerLimits::default()));
    let network = &config.network;
    assert_eq!((network.metered, network.limits.probing, network.probe.addresses.len()), (None, true, 0));
    assert!(network.probe.captive.is_none());

    let told = "breaker: {consecutive_failures: 3, open_ms: 9000}
network: {metered: true, probe: {addresses: ['https://a.example'], captive_url: 'http://c.example/204', retry_max_ms: 100, idle_ms: 1000}}\n";
    let config = parse_with(&format!("{told}{targets}"), &[]).unwrap();
    let breaker = config.breaker.unwrap();
    assert_eq!((breaker.consecutive_failures, breaker.open_first), (3, Duration::from_secs(9)));
    assert_eq!(breaker.open_max, breaker.open_first, "what is not said is not shorter than what is");
    let NetworkConfig { metered, limits, probe } = config.network;
    assert_eq!(
        (metered, limits.retry_first, limits.idle_max),
        (Some(true), Duration::from_millis(100), Duration::from_secs(20))
    );
    assert_eq!((probe.addresses.len(), probe.captive.unwrap().status), (1, 204));
    let off = parse_with(&format!("breaker: {{enabled: false}}\n{targets}"), &[]).unwrap();
    assert_eq!(off.breaker, None);
}

#[test]
fn what_breakers_and_probes_cannot_be_is_refused() {
    let text = "\
breaker: {consecutive_failures: 0, failure_rate: 1.5, open_ms: 5000, open_max_ms: 100}
network:
  probe:
    addresses: ['ftp://a.example', 'https://user:pass@b.example']
    captive_url: https://c.example
    captive_status: 99
targets: [{id: a/b, provider: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}]
";
    let found = errors(text);
    for expected in [
        "breaker.consecutive_failures: 0 is out of range; allowed are 1 to 1000",
        "breaker.failure_rate: 1.5 is out of range; allowed is above 0 to 1",
        "breaker.open_max_ms: is shorter than breaker.open_ms",
        "network.probe.addresses[0]: has to begin with https:// or http://",
        "network.probe.addresses[1]: holds credentials; a probe needs none",
        "network.probe.captive_url: has to begin with http://",
        "network.probe.captive_status: 99 is out of range; allowed are 100 to 599",
    ] {
        assert!(found.iter().any(|line| line.contains(expected)), "{expected} in {found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}
