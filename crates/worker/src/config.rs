//! What a worker is started with, and the limits it lives under. Values only: checked in `launch`, used elsewhere.

use std::path::PathBuf;
use std::time::Duration;

/// Tokens read at once on a GPU: llama-server's own default, a batch of which takes it a few ten milliseconds.
const BATCH_TOKENS_GPU: u32 = 2048;
/// Tokens read at once on processors, so few that a batch takes them a few ten milliseconds too.
const BATCH_TOKENS_CPU: u32 = 6;
/// Room in a batch beside one token of each slot's answer: answers come first, and prompts are read in what is left.
const BATCH_ROOM_TOKENS: u32 = 3;

/// One worker: which server, which model, how large, and its limits. [`WorkerConfig::new`] fills in the defaults.
///
/// Nothing is checked here; a value that cannot work makes `ensure_ready` fail with
/// [`StartError::Misconfigured`](crate::StartError::Misconfigured).
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerConfig {
    /// Name for logs, the log file and the socket: 1 to 40 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
    pub name: String,
    /// The `llama-server` executable: a path, not looked up in `PATH`.
    pub executable: PathBuf,
    /// The GGUF file.
    pub model: PathBuf,
    /// The model name that the child answers with; no comma, not empty. Default: `name`.
    pub model_alias: String,
    /// Context of *each* slot, in tokens (the child is given `context_tokens * slots`). The child caps it at what the
    /// model was trained with and says so in its log. Default 4096, at least 1.
    pub context_tokens: u32,
    /// Requests answered at the same time; more wait inside the child. Default 2, at least 1.
    pub slots: u32,
    /// Tokens of prompts that the child reads at once (`--batch-size` and `--ubatch-size`), more than `slots`; all slots share
    /// them. At the end of a batch it notices that a caller has left, when the next one has begun, so that a
    /// slot is free after at most two; other answers go on between them too. Default 2048 where `gpu_layers` is above
    /// 0, else 6, or 3 more than `slots` where that is more: see [`WorkerConfig::batch_tokens`].
    pub batch_tokens: Option<u32>,
    /// Threads for generation; `None` leaves it to the child. Default `None`.
    pub threads: Option<u32>,
    /// Layers kept in GPU memory; `None` leaves it to the child (all that fit). Default `None`.
    pub gpu_layers: Option<u32>,
    /// Memory for prompts kept outside the slots, in MiB; 0 turns it off. Default 512: the child's own default of
    /// 8192 is more than many devices have.
    pub prompt_cache_mib: u32,
    /// Further flags, passed as they are. Flags that this crate sets, and those that would put prompts into the
    /// child's log, are refused. Default none.
    pub extra_args: Vec<String>,
    /// Start at boot, and again by itself after a cool-down, instead of on first need. Default `false`.
    pub eager: bool,
    /// `Some(port)`: listen on 127.0.0.1 at that port instead of a Unix socket, where every local user can reach the
    /// child. Default `None`.
    pub loopback_port: Option<u16>,
    /// Where the folder with sockets is made (`<run_dir>/sockets`, mode 0700). When the path would be too long for a
    /// socket, `$XDG_RUNTIME_DIR/tidegate` or `<temp>/tidegate-<uid>` is used instead.
    pub run_dir: PathBuf,
    /// Where `<name>.log` and `<name>.log.1` are written, mode 0600.
    pub log_dir: PathBuf,
    /// From spawn until `/health` answers 200; past it the child is killed. Default 120 s.
    pub start_timeout: Duration,
    /// From SIGTERM until SIGKILL. Default 5 s. An idle child ends in a few milliseconds; one with an answer under way
    /// was seen to take 30 s by itself.
    pub stop_timeout: Duration,
    /// First pause between two health probes of a starting child; it doubles with each. Default 25 ms.
    pub health_interval: Duration,
    /// Longest pause between two health probes of a starting child. Default 250 ms.
    pub health_interval_max: Duration,
    /// How long one health probe may take while starting or after `report_lost`. Default 1 s.
    pub health_timeout: Duration,
    /// Checks of a ready child.
    pub liveness: Liveness,
    /// Pauses between restarts.
    pub backoff: Backoff,
    /// Failed starts in a row after which the worker gives up until `cool_down` has passed. Default 3, at least 1.
    pub start_attempts_max: u32,
    /// How long a worker that gave up answers with its failure before it may be tried again. Default 10 s.
    pub cool_down: Duration,
    /// Size at which the log file becomes `<name>.log.1`, in bytes; twice this is kept. Default 4 MiB.
    pub log_bytes_max: u64,
}

/// Checks of a ready child that has not exited but may hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Pause between two probes. Default 10 s.
    pub interval: Duration,
    /// How long one probe may take. Default 5 s.
    pub timeout: Duration,
    /// Failed probes in a row after which the child is killed and restarted. Default 3, at least 1.
    pub failures_max: u32,
}

/// Exponential pauses between restarts. The first restart after a crash of a ready child is immediate; then
/// `initial`, `initial * factor`, ... up to `max`. A failed start waits at least `initial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause. Default 250 ms.
    pub initial: Duration,
    /// The longest pause. Default 30 s.
    pub max: Duration,
    /// What each pause is multiplied with for the next. Default 2.
    pub factor: u32,
    /// A child that was ready this long wipes out earlier failures. Default 60 s.
    pub reset_after_ready: Duration,
}

impl WorkerConfig {
    /// A worker of that name with the defaults told at each field.
    pub fn new(
        name: impl Into<String>,
        executable: impl Into<PathBuf>,
        model: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
        log_dir: impl Into<PathBuf>,
    ) -> Self {
        let name = name.into();
        Self {
            model_alias: name.clone(),
            name,
            executable: executable.into(),
            model: model.into(),
            context_tokens: 4096,
            slots: 2,
            batch_tokens: None,
            threads: None,
            gpu_layers: None,
            prompt_cache_mib: 512,
            extra_args: Vec::new(),
            eager: false,
            loopback_port: None,
            run_dir: run_dir.into(),
            log_dir: log_dir.into(),
            start_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(5),
            health_interval: Duration::from_millis(25),
            health_interval_max: Duration::from_millis(250),
            health_timeout: Duration::from_secs(1),
            liveness: Liveness::default(),
            backoff: Backoff::default(),
            start_attempts_max: 3,
            cool_down: Duration::from_secs(10),
            log_bytes_max: 4 * 1024 * 1024,
        }
    }

    /// Tokens of prompts that the child reads at once: as configured, else what suits where the model is.
    pub fn batch_tokens(&self) -> u32 {
        let on_processors = BATCH_TOKENS_CPU.max(self.slots.saturating_add(BATCH_ROOM_TOKENS));
        self.batch_tokens.unwrap_or(if self.is_on_gpu() { BATCH_TOKENS_GPU } else { on_processors })
    }

    /// Whether the configuration says that layers are kept on a GPU.
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.gpu_layers.is_some_and(|layers| layers > 0)
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(5), failures_max: 3 }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(250),
            max: Duration::from_secs(30),
            factor: 2,
            reset_after_ready: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after that many failures in a row; none after 0.
    pub(crate) fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        self.initial.saturating_mul(self.factor.saturating_pow(doublings)).min(self.max)
    }
}
