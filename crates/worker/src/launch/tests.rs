//! The command line and what is refused before a process exists.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::*;

struct Place {
    _folder: tempfile::TempDir,
    config: WorkerConfig,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let executable = folder.path().join("llama-server");
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(&executable).unwrap();
    let model = folder.path().join("m.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let config = WorkerConfig::new("local", executable, model, folder.path().join("run"), folder.path().join("log"));
    Place { _folder: folder, config }
}

fn words(config: &WorkerConfig) -> Vec<String> {
    let launch = prepare(config, 7).unwrap();
    launch.command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect()
}

fn value_of<'a>(words: &'a [String], flag: &str) -> &'a str {
    &words[words.iter().position(|word| word == flag).unwrap() + 1]
}

#[test]
fn gives_each_slot_its_context() {
    let mut place = place();
    place.config.context_tokens = 1000;
    place.config.slots = 3;
    let words = words(&place.config);
    assert_eq!(value_of(&words, "--ctx-size"), "3000");
    assert_eq!(value_of(&words, "--parallel"), "3");
    assert!(words.iter().any(|word| word == "--no-kv-unified"));
    assert!(!words.iter().any(|word| word == "--threads" || word == "--n-gpu-layers"));
}

#[test]
fn reads_prompts_in_small_batches_on_processors_and_in_large_ones_on_a_gpu() {
    let check = |batch_tokens, gpu_layers, expected: &str| {
        let mut place = place();
        place.config.batch_tokens = batch_tokens;
        place.config.gpu_layers = gpu_layers;
        let words = words(&place.config);
        assert_eq!([value_of(&words, "--batch-size"), value_of(&words, "--ubatch-size")], [expected; 2]);
    };
    check(None, None, "6");
    check(None, Some(0), "6");
    check(None, Some(99), "2048");
    check(Some(512), None, "512");
    check(Some(64), Some(99), "64");
    let attention = |gpu_layers, extra_args: &[&str]| {
        let mut place = place();
        place.config.gpu_layers = gpu_layers;
        place.config.extra_args = extra_args.iter().map(|word| (*word).to_owned()).collect();
        let words = words(&place.config);
        words.iter().rposition(|word| word == "--flash-attn").map(|at| words[at + 1].clone())
    };
    assert_eq!(attention(None, &[]).as_deref(), Some("off"));
    assert_eq!(attention(Some(99), &[]), None);
    assert_eq!(attention(None, &["--flash-attn", "on"]).as_deref(), Some("on"));
    assert_eq!(attention(None, &["-ctv", "q8_0"]), None, "it needs flash attention");
    assert_eq!(attention(None, &["--cache-type-v=q8_0"]), None);
    let mut place = place();
    place.config.slots = 8;
    assert_eq!(value_of(&words(&place.config), "--batch-size"), "11");
    place.config.batch_tokens = Some(8);
    assert!(prepare(&place.config, 7).unwrap_err().contains("batch_tokens"));
}

#[test]
fn puts_extra_args_before_its_own() {
    let mut place = place();
    place.config.threads = Some(5);
    place.config.gpu_layers = Some(0);
    place.config.extra_args = vec!["--flash-attn".into(), "on".into()];
    let words = words(&place.config);
    assert_eq!(&words[..2], ["--flash-attn", "on"]);
    assert_eq!(value_of(&words, "--threads"), "5");
    assert_eq!(value_of(&words, "--n-gpu-layers"), "0");
    assert_eq!(value_of(&words, "--alias"), "local");
}

#[test]
fn listens_on_a_socket_or_on_the_given_port() {
    let mut place = place();
    let words_unix = words(&place.config);
    assert!(value_of(&words_unix, "--host").ends_with("-7.sock"), "{words_unix:?}");
    place.config.loopback_port = Some(4321);
    let words_tcp = words(&place.config);
    assert_eq!((value_of(&words_tcp, "--host"), value_of(&words_tcp, "--port")), ("127.0.0.1", "4321"));
}

#[test]
fn clears_the_environment() {
    let place = place();
    let launch = prepare(&place.config, 1).unwrap();
    assert!(launch.command.get_envs().all(|(name, _)| name != "CARGO_MANIFEST_DIR"));
    assert!(launch.command.get_envs().any(|(name, _)| name == "PATH"));
}

#[test]
fn refuses_what_cannot_work() {
    type Change = fn(&mut WorkerConfig);
    let cases: &[(Change, &str)] = &[
        (|config| config.name = String::new(), "worker name"),
        (|config| config.name = "../x".into(), "worker name"),
        (|config| config.name = "x".repeat(41), "worker name"),
        (|config| config.model_alias = "a,b".into(), "model_alias"),
        (|config| config.slots = 0, "slots"),
        (|config| config.context_tokens = u32::MAX, "too many"),
        (|config| config.backoff.factor = 0, "backoff"),
        (|config| config.liveness.interval = Duration::ZERO, "liveness"),
        (|config| config.extra_args = vec!["--host".into(), "0.0.0.0".into()], "--host"),
        (|config| config.extra_args = vec!["-v".into()], "prompts"),
        (|config| config.extra_args = vec!["--ctx-size=5".into()], "context_tokens"),
        (|config| config.executable = PathBuf::from("/nonexistent/llama-server"), "/nonexistent/llama-server"),
        (|config| config.executable = config.model.clone(), "not an executable"),
        (|config| config.model = PathBuf::from("/nonexistent/m.gguf"), "/nonexistent/m.gguf"),
        (|config| config.model = std::env::temp_dir(), "not a file"),
        (|config| std::fs::write(&config.model, "").unwrap(), "empty"),
    ];
    for (change, expected) in cases {
        let mut place = place();
        change(&mut place.config);
        let refusal = prepare(&place.config, 1).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn a_refused_flag_is_refused_in_every_spelling() {
    for spelling in ["--log-prompts-dir", "--log_prompts_dir", "--log_prompts-dir=/x", "--LOG", "--api_key"] {
        let refused = check_extra_args(&[spelling.to_owned()]).is_err();
        assert_eq!(refused, spelling != "--LOG", "{spelling}");
    }
}
