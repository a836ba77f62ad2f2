//! From a configuration to a command line that can work: checks, flags, the place to listen. Starts nothing.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::WorkerConfig;
use crate::environment;
use crate::socket;
use crate::status::Endpoint;

/// Longest `name`, in bytes; it is part of the socket path.
const NAME_BYTES_MAX: usize = 40;

/// Threads of the child's HTTP server beside those for requests.
const HTTP_THREADS_BESIDE: u32 = 4;

/// Flags that `extra_args` may not hold, each with what to do instead.
const REFUSED_FLAGS: &[(&[&str], &str)] = &[
    (&["-m", "--model"], "set `model`"),
    (&["-a", "--alias"], "set `model_alias`"),
    (&["-c", "--ctx-size"], "set `context_tokens`"),
    (&["-np", "--parallel"], "set `slots`"),
    (&["-b", "--batch-size", "-ub", "--ubatch-size"], "set `batch_tokens`"),
    (&["--threads-http"], "the gateway chooses it by the slots"),
    (&["-t", "--threads"], "set `threads`"),
    (&["-ngl", "--gpu-layers", "--n-gpu-layers"], "set `gpu_layers`"),
    (&["-cram", "--cache-ram"], "set `prompt_cache_mib`"),
    (&["-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"], "each slot has its own context here"),
    (&["--host", "--port", "--reuse-port", "--api-prefix"], "the gateway chooses where the worker listens"),
    (&["--api-key", "--api-key-file"], "only the gateway can reach the worker's socket"),
    (&["--ssl-key-file", "--ssl-cert-file"], "the worker's socket does not leave this machine"),
    (&["--slots", "--no-slots", "--metrics"], "the gateway reads /slots and /metrics"),
    (&["--models-dir", "--models-preset"], "a worker serves one model"),
    (&["--log-disable", "--log-file"], "the gateway keeps the worker's log"),
    (&["--slot-save-path", "-lcd", "--lookup-cache-dynamic"], "it would put prompts into files"),
    (&["--rpc"], "it would send prompts to another machine"),
    (
        &["--tools", "--mcp-servers-config", "--mcp-servers", "--ui-mcp-proxy", "--webui-mcp-proxy"],
        "it would let the worker act on its own",
    ),
    (
        &[
            "-mu",
            "--model-url",
            "-hf",
            "-hfr",
            "--hf-repo",
            "-hff",
            "--hf-file",
            "-hfv",
            "--hf-repo-v",
            "-dr",
            "--docker-repo",
        ],
        "models come from `model_path` or `artifact`",
    ),
    (
        &["-v", "--verbose", "--log-verbose", "-lv", "--verbosity", "--log-verbosity", "--log-prompts-dir"],
        "it would put prompts into logs",
    ),
];

/// A command line ready to be spawned, and where the child will listen.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The command; its output is not wired up yet.
    pub(crate) command: Command,
    /// Where the child will listen.
    pub(crate) endpoint: Endpoint,
}

/// Checks everything that can be checked before a process exists, and makes the socket's folder.
///
/// # Errors
/// One sentence for the person who must act, naming the file or the setting.
pub(crate) fn prepare(config: &WorkerConfig, generation: u64) -> Result<Launch, String> {
    check_values(config)?;
    check_extra_args(&config.extra_args)?;
    check_executable(&config.executable)?;
    check_model(&config.model)?;
    let executable = absolute(&config.executable)?;
    let endpoint = match config.loopback_port {
        Some(port) => Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => Endpoint::Unix(socket::prepare(&config.run_dir, &config.name, generation)?),
    };
    let mut command = Command::new(executable);
    command
        .args(arguments(config, &endpoint)?)
        .stdin(Stdio::null())
        .env_clear()
        .envs(environment::allowed(std::env::vars_os()));
    Ok(Launch { command, endpoint })
}

fn check_values(config: &WorkerConfig) -> Result<(), String> {
    let name = &config.name;
    let well_formed = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|each| each.is_ascii_alphanumeric() || "._-".contains(each));
    if !well_formed || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "the worker name {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits, dots, underscores or hyphens, \
             beginning with a letter or digit"
        ));
    }
    if config.model_alias.is_empty() || config.model_alias.contains(',') {
        return Err(format!("model_alias {:?} is empty or holds a comma", config.model_alias));
    }
    if config.slots == 0 || config.context_tokens == 0 {
        return Err("slots and context_tokens must be at least 1".to_owned());
    }
    if config.batch_tokens() <= config.slots {
        return Err(format!(
            "batch_tokens {} is not more than slots {}: no prompt would be read while all slots answer",
            config.batch_tokens(),
            config.slots
        ));
    }
    let pauses = [config.health_interval, config.liveness.interval, config.backoff.initial, config.backoff.max];
    if pauses.iter().any(Duration::is_zero) || config.backoff.factor == 0 {
        return Err("intervals of health and liveness, backoff pauses and backoff factor must not be 0".to_owned());
    }
    Ok(())
}

/// Checks further flags for llama-server without starting anything.
///
/// # Errors
/// The flag that may not be given, and what to do instead. Underscores count as hyphens, as they do for llama-server.
pub fn check_extra_args(extra_args: &[String]) -> Result<(), String> {
    for argument in extra_args {
        let flag = argument.split('=').next().unwrap_or(argument).replace('_', "-");
        if let Some((_, instead)) = REFUSED_FLAGS.iter().find(|(flags, _)| flags.contains(&flag.as_str())) {
            return Err(format!("extra_args holds {flag}, which is refused: {instead}"));
        }
    }
    Ok(())
}

fn check_executable(path: &Path) -> Result<(), String> {
    let metadata =
        path.metadata().map_err(|error| format!("cannot find llama-server at {}: {error}", path.display()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok(())
}

fn check_model(path: &Path) -> Result<(), String> {
    let describe = |error: std::io::Error| format!("cannot read the model file {}: {error}", path.display());
    let metadata = File::open(path).and_then(|file| file.metadata()).map_err(describe)?;
    if !metadata.is_file() {
        return Err(format!("the model {} is not a file", path.display()));
    }
    if metadata.len() == 0 {
        return Err(format!("the model file {} is empty", path.display()));
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("cannot resolve {}: {error}", path.display()))
}

/// The flags. Chosen with the `--help` of llama.cpp b10359; `--no-webui` is the older of two names for the same.
fn arguments(config: &WorkerConfig, endpoint: &Endpoint) -> Result<Vec<OsString>, String> {
    let context_total =
        config
            .context_tokens
            .checked_mul(config.slots)
            .filter(|total| i32::try_from(*total).is_ok())
            .ok_or_else(|| format!("{} slots of {} tokens are too many", config.slots, config.context_tokens))?;
    // First, so that what this crate sets comes last and wins.
    let mut arguments: Vec<OsString> = config.extra_args.iter().map(OsString::from).collect();
    let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        arguments.push(name.into());
        arguments.push(value.as_ref().to_owned());
    };
    match endpoint {
        Endpoint::Unix(path) => flag("--host", path),
        Endpoint::Tcp(address) => {
            flag("--host", &address.ip().to_string());
            flag("--port", &address.port().to_string());
        }
    }
    flag("--model", &absolute(&config.model)?);
    flag("--alias", &config.model_alias);
    flag("--parallel", &config.slots.to_string());
    // The server divides the context among its slots unless they share one cache: hence both flags.
    flag("--ctx-size", &context_total.to_string());
    let batch_tokens = config.batch_tokens().to_string();
    flag("--batch-size", &batch_tokens);
    flag("--ubatch-size", &batch_tokens);
    // On processors it reads small batches two to three times slower than without.
    let is_chosen = config.extra_args.iter().any(|argument| chooses_attention(argument));
    if !config.is_on_gpu() && !is_chosen {
        flag("--flash-attn", &"off");
    }
    // One for each request, as many that are just leaving, and the looks at health and slots.
    flag("--threads-http", &config.slots.saturating_mul(2).saturating_add(HTTP_THREADS_BESIDE).to_string());
    flag("--cache-ram", &config.prompt_cache_mib.to_string());
    if let Some(threads) = config.threads {
        flag("--threads", &threads.to_string());
    }
    if let Some(gpu_layers) = config.gpu_layers {
        flag("--n-gpu-layers", &gpu_layers.to_string());
    }
    arguments
        .extend(["--no-kv-unified", "--slots", "--metrics", "--jinja", "--no-webui", "--offline"].map(OsString::from));
    Ok(arguments)
}

/// Whether a further flag says something of flash attention, or needs it: a quantised value cache does.
fn chooses_attention(argument: &str) -> bool {
    let flag = argument.split('=').next().unwrap_or(argument).replace('_', "-");
    matches!(flag.as_str(), "-fa" | "--flash-attn" | "-ctv" | "--cache-type-v")
}

#[cfg(test)]
mod tests;
