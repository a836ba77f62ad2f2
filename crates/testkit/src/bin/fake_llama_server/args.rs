//! The flags: those of `llama-server` that matter here, and `--fake-...` for behaviour. Unknown flags are ignored.

use std::path::PathBuf;
use std::str::FromStr;

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// `--version`: print one and exit.
    pub(crate) version: bool,
    /// `--host`: an address, or a path that ends in `.sock`.
    pub(crate) host: String,
    /// `--port`.
    pub(crate) port: u16,
    /// `--alias`: the model name in answers.
    pub(crate) alias: String,
    /// `--parallel`.
    pub(crate) slots: u64,
    /// `--ctx-size`: tokens, for all slots together.
    pub(crate) context: u64,
    /// `--fake-say LINE`, repeatable: lines on stderr at the start.
    pub(crate) say: Vec<String>,
    /// `--fake-exit N`: exit with that code after the lines.
    pub(crate) exit_code: Option<u8>,
    /// `--fake-start-log FILE`: append the process id, to count starts.
    pub(crate) start_log: Option<PathBuf>,
    /// `--fake-never-healthy`: `/health` answers 503 for ever.
    pub(crate) never_healthy: bool,
    /// `--fake-healthy-after N`: the first N health probes get 503.
    pub(crate) healthy_after: u64,
    /// `--fake-silent-after N`: health probes after the N-th get no answer.
    pub(crate) silent_after: Option<u64>,
    /// `--fake-ignore-sigterm`.
    pub(crate) ignore_sigterm: bool,
    /// `--fake-chunks N`: content chunks of a streamed answer, at least 1; default 4.
    pub(crate) chunks: u64,
    /// `--fake-crash-on-chat K`: die of the K-th chat request before answering it.
    pub(crate) crash_on_chat: Option<u64>,
    /// `--fake-crash-after K`: die in each streamed answer after K content chunks.
    pub(crate) crash_after: Option<u64>,
    /// `--fake-stall-after K`: send nothing more in a streamed answer after K content chunks, until the peer leaves.
    pub(crate) stall_after: Option<u64>,
    /// `--fake-hold FILE`: in each streamed answer wait until the file is there, before its first content chunk.
    pub(crate) hold: Option<PathBuf>,
    /// `--fake-hold-after K`: only after K content chunks.
    pub(crate) hold_after: u64,
    /// `--fake-close-late MS`: a connection that is to be closed is closed so much later than its answer is out.
    pub(crate) close_late_ms: u64,
    /// `--fake-say-on-chat LINE`: a line on stderr for each chat request.
    pub(crate) say_on_chat: Option<String>,
}

impl Arguments {
    /// Reads the command line, without the program name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            host: "127.0.0.1".into(),
            port: 8080,
            alias: "fake".into(),
            slots: 1,
            context: 4096,
            chunks: 4,
            ..Self::default()
        };
        let mut words = words;
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("expected value for argument {flag}"));
            match flag.as_str() {
                "--version" => parsed.version = true,
                "--fake-never-healthy" => parsed.never_healthy = true,
                "--fake-ignore-sigterm" => parsed.ignore_sigterm = true,
                "--host" => parsed.host = value()?,
                "--port" => parsed.port = number(&flag, value()?)?,
                "--alias" => parsed.alias = value()?,
                "--parallel" => parsed.slots = number(&flag, value()?)?,
                "--ctx-size" => parsed.context = number(&flag, value()?)?,
                "--fake-say" => parsed.say.push(value()?),
                "--fake-exit" => parsed.exit_code = Some(number(&flag, value()?)?),
                "--fake-start-log" => parsed.start_log = Some(value()?.into()),
                "--fake-healthy-after" => parsed.healthy_after = number(&flag, value()?)?,
                "--fake-silent-after" => parsed.silent_after = Some(number(&flag, value()?)?),
                "--fake-chunks" => parsed.chunks = number(&flag, value()?)?,
                "--fake-crash-on-chat" => parsed.crash_on_chat = Some(number(&flag, value()?)?),
                "--fake-crash-after" => parsed.crash_after = Some(number(&flag, value()?)?),
                "--fake-stall-after" => parsed.stall_after = Some(number(&flag, value()?)?),
                "--fake-hold" => parsed.hold = Some(value()?.into()),
                "--fake-hold-after" => parsed.hold_after = number(&flag, value()?)?,
                "--fake-close-late" => parsed.close_late_ms = number(&flag, value()?)?,
                "--fake-say-on-chat" => parsed.say_on_chat = Some(value()?),
                // A misspelt behaviour would make a test pass for nothing.
                other if other.starts_with("--fake-") => return Err(format!("invalid argument: {other}")),
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// Tokens of one slot.
    pub(crate) fn context_per_slot(&self) -> u64 {
        self.context / self.slots.max(1)
    }
}

fn number<T: FromStr>(flag: &str, value: String) -> Result<T, String> {
    value.parse().map_err(|_| format!("invalid value {value:?} for argument {flag}"))
}
