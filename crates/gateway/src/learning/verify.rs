//! Verifiers: what judges an answer without a person. JSON is judged here, all else by a command.
//!
//! An answer is read as it goes out and judged once it is whole, beside the request: nothing waits for it. The command gets
//! the text on its standard input, an environment with `PATH` alone, and no shell.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use account::labels::{LabelStore, OutcomeRecord, OutcomeSource};
use bytes::Bytes;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::warn;
use wire::{Assembler, SseDecoder};

use crate::config::VerifierKind;
use crate::unix_time::now_s;

/// Longest answer that is judged, in bytes as it is streamed.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Judgements at the same time; while so many run, further answers are not judged.
const RUNNING_MAX: usize = 4;

/// Runs verifiers.
pub(super) struct Verifying {
    store: Arc<LabelStore>,
    permits: Arc<Semaphore>,
}

impl Verifying {
    pub(super) fn new(store: Arc<LabelStore>) -> Self {
        Self { store, permits: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }

    /// The reading of one answer that is to be judged.
    pub(super) fn reading(&self, kind: VerifierKind) -> Reading {
        Reading {
            kind,
            store: Arc::clone(&self.store),
            permits: Arc::clone(&self.permits),
            stream: Some((SseDecoder::new(), Assembler::with_bytes_max(ANSWER_BYTES_MAX))),
        }
    }
}

/// An answer that is read on its way to the caller.
pub(crate) struct Reading {
    kind: VerifierKind,
    store: Arc<LabelStore>,
    permits: Arc<Semaphore>,
    /// `None` once it is clear that the answer cannot be read.
    stream: Option<(SseDecoder, Assembler)>,
}

impl Reading {
    /// Reads a piece of a stream.
    pub(crate) fn see(&mut self, events: &Bytes) {
        let Some((decoder, assembler)) = &mut self.stream else { return };
        decoder.push(events);
        let mut is_readable = true;
        while let Some(event) = decoder.next_event() {
            is_readable &=
                event.is_ok_and(|event| event.is_done() || !event.has_data || assembler.push(&event.data).is_ok());
            if !is_readable {
                self.stream = None;
                return;
            }
        }
    }

    /// Judges the stream that was read, and has the outcome written down. The answer has to be handed to the store before.
    pub(crate) fn judge_stream(mut self, request_id: &str) {
        let whole = self.stream.take().and_then(|(_, assembler)| assembler.finish().ok());
        if let Some(body) = whole {
            self.judge(body, request_id);
        }
    }

    /// Judges a whole answer, and has the outcome written down. The answer has to be handed to the store before.
    pub(crate) fn judge(self, body: Bytes, request_id: &str) {
        let request_id = request_id.to_owned();
        let Ok(permit) = self.permits.try_acquire_owned() else { return };
        tokio::spawn(async move {
            let good = judged(self.kind, body).await;
            drop(permit);
            if let Some(good) = good {
                let score = if good { 1.0 } else { 0.0 };
                let source = OutcomeSource::Verifier;
                self.store.outcome(OutcomeRecord { request_id, at_s: now_s(), source, score, weight: 1.0 });
            }
        });
    }
}

/// What is said of an answer. Reading a long one would hold up the other connections of the thread that served it.
async fn judged(kind: VerifierKind, body: Bytes) -> Option<bool> {
    match kind {
        VerifierKind::Json(schema) => {
            spawn_blocking(move || Some(schema.allows_text(&text(&body)?))).await.ok().flatten()
        }
        VerifierKind::Command { program, arguments, timeout } => {
            let text = spawn_blocking(move || text(&body)).await.ok().flatten()?;
            run(&program, &arguments, timeout, text).await
        }
    }
}

/// What the command says: good with 0, bad with 1, nothing with anything else or past its time.
async fn run(program: &Path, arguments: &[String], timeout: Duration, text: String) -> Option<bool> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| warn!(error = %error, "a verifier cannot be run")).ok()?;
    let stdin = child.stdin.take();
    let ended = async {
        if let Some(mut stdin) = stdin {
            // Fails where the command does not read it all, which it need not.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        child.wait().await.ok()
    };
    let Ok(ended) = tokio::time::timeout(timeout, ended).await else {
        warn!(limit_s = timeout.as_secs_f32(), "a verifier did not end in time");
        return None;
    };
    match ended?.code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        code => {
            warn!(code, "a verifier said neither good nor bad");
            None
        }
    }
}

/// The text of the only answer of a whole chat completion.
fn text(body: &[u8]) -> Option<String> {
    let Body { choices } = serde_json::from_slice(body).ok()?;
    let [choice] = <[Choice; 1]>::try_from(choices).ok()?;
    choice.message.content
}

#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, timeout_ms: u64) -> Option<bool> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        run(Path::new("/bin/sh"), &arguments, Duration::from_millis(timeout_ms), "the answer".to_owned()).await
    }

    #[tokio::test]
    async fn a_command_says_good_bad_or_nothing() {
        let patience = 30_000;
        assert_eq!(shell("test \"$(cat)\" = 'the answer'", patience).await, Some(true));
        assert_eq!(shell("test \"$(cat)\" = 'another'", patience).await, Some(false));
        assert_eq!(shell("exit 1", patience).await, Some(false), "need not read");
        assert_eq!(shell("exit 2", patience).await, None);
        assert_eq!(shell("kill -9 $$", patience).await, None);
        assert_eq!(shell("test -z \"$HOME$USER\"", patience).await, Some(true), "no environment");
        assert_eq!(shell("cat >/dev/null; while :; do :; done", 50).await, None);
        assert_eq!(run(Path::new("/nowhere"), &[], Duration::from_secs(1), String::new()).await, None);
    }

    #[test]
    fn a_schema_does_not_hold_up_the_thread_that_serves() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (age_max, wait_max) = (Duration::from_secs(60), Duration::from_secs(60));
            let limits = account::labels::LabelLimits { rows_max: 10, age_max, wait_max };
            let store = LabelStore::open(&folder.path().join("labels.sqlite3"), limits).unwrap();
            let verifying = Verifying::new(Arc::new(store));
            let (free, is_free) = std::sync::mpsc::channel::<()>();
            let elsewhere = spawn_blocking(move || is_free.recv());
            let kind = VerifierKind::Json(signals::learn::Schema::default());
            let body = Bytes::from_static(br#"{"choices":[{"message":{"content":"{}"}}]}"#);
            verifying.reading(kind).judge(body, "r");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(verifying.permits.available_permits(), RUNNING_MAX - 1, "it waits for another thread");
            free.send(()).unwrap();
            elsewhere.await.unwrap().unwrap();
            while verifying.permits.available_permits() < RUNNING_MAX {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn only_one_answer_with_text_is_judged() {
        let body = |message: &str| format!(r#"{{"choices":[{{"message":{message}}}]}}"#);
        assert_eq!(text(body(r#"{"content":"yes"}"#).as_bytes()).as_deref(), Some("yes"));
        assert_eq!(text(body(r#"{"content":null,"tool_calls":[]}"#).as_bytes()), None);
        assert_eq!(text(br#"{"choices":[]}"#), None);
    }
}
