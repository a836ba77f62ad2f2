//! The encoder: a text to a vector, through a WordPiece tokenizer and ONNX Runtime; and, with a profile that has them, the vectors of its
//! tokens.
//!
//! The runtime is a shared library that is loaded once in a process. Sessions are kept in a pool, one for each thread that
//! runs at the same time; a session is taken out for a call, so no call waits for another.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use tokenizers::Tokenizer;

use super::heads::VECTOR_DIMENSIONS;
use super::windows::pieces;

/// Ids of one window, without its frame.
pub(super) const WINDOW_IDS: usize = 126;
/// The ids that frame a window: `[CLS]` and `[SEP]`.
const FRAME: (i64, i64) = (101, 102);
/// Sessions that are kept at least and at most, one for each core between. More calls at once than that wait for nobody, but their session is
/// made and dropped, which takes longer than many a call.
const SESSIONS_KEPT: (usize, usize) = (4, 16);
/// The model's output of one vector for each window.
const EMBEDDING: &str = "embedding";
/// The model's output of one vector for each token of each window.
const TOKENS: &str = "tokens";

/// The environment variable, and its value, that keep ONNX Runtime from reporting the machine, the program and its use to its maker. From
/// the moment it is loaded it does so otherwise, on Linux since 1.32, and keeps an id of the device in the user's cache folder; switching
/// it off in its own interface comes too late. Has to be set before an [`Encoder`] is made, best while the process has one thread.
pub const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

/// Why a text has no vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEncoded {
    /// The deadline passed.
    #[error("the deadline passed")]
    Late,
    /// Tokenizer or runtime failed; says nothing of the text.
    #[error("{0}")]
    Failed(String),
}

/// What is known of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextVector {
    /// The mean of its windows, weighted by their ids; zero for an empty text.
    pub vector: [f32; VECTOR_DIMENSIONS],
    /// Ids seen, frames not counted.
    pub tokens: usize,
    /// Bytes seen.
    pub seen_bytes: usize,
    /// Bytes of the text.
    pub bytes: usize,
}

/// Tokenizer and model.
pub struct Encoder {
    tokenizer: Tokenizer,
    model: Vec<u8>,
    sessions: Mutex<Vec<Session>>,
    sessions_max: usize,
    has_tokens: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("model_bytes", &self.model.len()).finish_non_exhaustive()
    }
}

impl Encoder {
    /// From a tokenizer's JSON and an ONNX model; `runtime` is the path of the ONNX Runtime library, which only counts for the
    /// first encoder of a process.
    ///
    /// # Errors
    /// What is wrong with the library, the tokenizer or the model, which is run once to see; and where [`NO_TELEMETRY`] is not set.
    pub fn new(tokenizer: &[u8], model: Vec<u8>, runtime: &Path) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|error| format!("tokenizer.json: {error}"))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| format!("tokenizer.json: {error}"))?;
        let session = session(environment(runtime)?, &model)?;
        let has_tokens = session.outputs().iter().any(|output| output.name() == TOKENS);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sessions_max = cores.clamp(SESSIONS_KEPT.0, SESSIONS_KEPT.1);
        let encoder = Self { tokenizer, model, sessions: Mutex::new(vec![session]), sessions_max, has_tokens };
        let far = Instant::now() + std::time::Duration::from_secs(3600);
        encoder.encode("hello", far).map_err(|error| format!("encoder.onnx: {error}"))?;
        Ok(encoder)
    }

    /// Whether it gives the vectors of tokens: a profile with transformer layers, whose windows cost milliseconds.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    /// The tokenizer, which neither cuts nor pads.
    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Runs windows of at most [`WINDOW_IDS`] ids and hands `read` the vectors of all their tokens, one window after the other, each of
    /// as many tokens as the second argument says, its frame and padding included.
    pub(super) fn tokens<T>(
        &self,
        windows: &[Vec<i64>],
        read: impl FnOnce(&[f32], usize) -> T,
    ) -> Result<T, NotEncoded> {
        let (width, ids, mask) = framed(windows);
        let mut session = self.take().map_err(NotEncoded::Failed)?;
        let shape = [windows.len(), width];
        let output = Output { name: TOKENS, numbers: windows.len() * width * VECTOR_DIMENSIONS };
        // What is no number would go on as nothing in particular: a network's `max(0)` makes zero of it.
        let checked = |vectors: &[f32]| {
            let are_numbers = vectors.iter().all(|value| value.is_finite());
            are_numbers.then(|| read(vectors, width)).ok_or_else(no_number)
        };
        // A session that failed is dropped.
        let said = run(&mut session, shape, &ids, &mask, &output, checked).map_err(failed)?;
        self.give_back(session);
        said
    }

    /// The vector of a text, of which a long one is seen in part ([`pieces`]).
    ///
    /// # Errors
    /// [`NotEncoded::Late`] when `deadline` passes before it is done, looked at before each step.
    pub fn encode(&self, text: &str, deadline: Instant) -> Result<TextVector, NotEncoded> {
        let pieces = pieces(text);
        let mut windows: Vec<Vec<i64>> = Vec::new();
        for piece in &pieces {
            in_time(deadline)?;
            let encoding = self.tokenizer.encode_fast(*piece, false).map_err(failed)?;
            let ids = encoding.get_ids().chunks(WINDOW_IDS);
            windows.extend(ids.map(|ids| ids.iter().copied().map(i64::from).collect()));
        }
        in_time(deadline)?;
        let tokens = windows.iter().map(Vec::len).sum();
        let seen_bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(text.len());
        let vector = if tokens == 0 { [0.0; VECTOR_DIMENSIONS] } else { self.mean(&windows, tokens)? };
        Ok(TextVector { vector, tokens, seen_bytes, bytes: text.len() })
    }

    /// The mean of the embeddings of windows, weighted by their length.
    fn mean(&self, windows: &[Vec<i64>], tokens: usize) -> Result<[f32; VECTOR_DIMENSIONS], NotEncoded> {
        let (width, ids, mask) = framed(windows);
        let mut session = self.take().map_err(NotEncoded::Failed)?;
        let output = Output { name: EMBEDDING, numbers: windows.len() * VECTOR_DIMENSIONS };
        let embedded = run(&mut session, [windows.len(), width], &ids, &mask, &output, |embeddings| {
            let mut mean = [0.0; VECTOR_DIMENSIONS];
            for (window, embedding) in windows.iter().zip(embeddings.chunks_exact(VECTOR_DIMENSIONS)) {
                let weight = window.len() as f32 / tokens as f32;
                mean.iter_mut().zip(embedding).for_each(|(mean, value)| *mean += weight * value);
            }
            mean
        });
        // A session that failed is dropped.
        let mean = embedded.map_err(failed)?;
        self.give_back(session);
        match mean.iter().all(|value| value.is_finite()) {
            true => Ok(mean),
            false => Err(no_number()),
        }
    }

    fn take(&self) -> Result<Session, String> {
        let kept = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| session(loaded()?, &self.model), Ok)
    }

    fn give_back(&self, session: Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() < self.sessions_max {
            sessions.push(session);
        }
    }
}

/// Windows between their frames, padded to the longest: its length, ids, and which of them count.
fn framed(windows: &[Vec<i64>]) -> (usize, Vec<i64>, Vec<i64>) {
    let width = windows.iter().map(Vec::len).max().unwrap_or_default() + 2;
    let (mut ids, mut mask) = (vec![0i64; width * windows.len()], vec![0i64; width * windows.len()]);
    for (window, (ids, mask)) in windows.iter().zip(ids.chunks_mut(width).zip(mask.chunks_mut(width))) {
        let framed = std::iter::once(FRAME.0).chain(window.iter().copied()).chain(std::iter::once(FRAME.1));
        for ((id, mask), value) in ids.iter_mut().zip(mask).zip(framed) {
            (*id, *mask) = (value, 1);
        }
    }
    (width, ids, mask)
}

/// An output of the model, and how many numbers it must have.
struct Output {
    name: &'static str,
    numbers: usize,
}

/// Runs the model and hands its output to `read`.
fn run<T>(
    session: &mut Session,
    shape: [usize; 2],
    ids: &[i64],
    mask: &[i64],
    wanted: &Output,
    read: impl FnOnce(&[f32]) -> T,
) -> Result<T, String> {
    let tensor = |values| TensorRef::from_array_view((shape, values)).map_err(|error| error.to_string());
    let inputs = ort::inputs!["input_ids" => tensor(ids)?, "attention_mask" => tensor(mask)?];
    let outputs = session.run(inputs).map_err(|error| error.to_string())?;
    let output = outputs.get(wanted.name).ok_or_else(|| format!("has no output named {}", wanted.name))?;
    let (_, numbers) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    if numbers.len() != wanted.numbers {
        return Err(format!("gave {} numbers instead of {}", numbers.len(), wanted.numbers));
    }
    Ok(read(numbers))
}

/// The runtime of this process, loaded from `path` when it is not yet. Not where it would report to its maker.
fn environment(path: &Path) -> Result<&'static Environment, String> {
    let load = || {
        let (name, value) = NO_TELEMETRY;
        if std::env::var_os(name).is_none_or(|set| set != value) {
            return Err(format!("ONNX Runtime is not loaded without {name}={value}: it would report to its maker"));
        }
        let builder = ort::init_from(path).map_err(|error| format!("ONNX Runtime: {error}"))?;
        builder.with_telemetry(false).build().map_err(|error| format!("ONNX Runtime: {error}"))
    };
    ENVIRONMENT.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn loaded() -> Result<&'static Environment, String> {
    ENVIRONMENT.get().ok_or("ONNX Runtime is not loaded")?.as_ref().map_err(Clone::clone)
}

/// A session that runs on the thread of its caller alone: many short calls share the cores better than each spread over them.
fn session(environment: &Environment, model: &[u8]) -> Result<Session, String> {
    let build = || -> ort::Result<Session> {
        Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .commit_from_memory(model)
    };
    build().map_err(|error| format!("encoder.onnx: {error}"))
}

pub(super) fn in_time(deadline: Instant) -> Result<(), NotEncoded> {
    if Instant::now() < deadline { Ok(()) } else { Err(NotEncoded::Late) }
}

fn no_number() -> NotEncoded {
    NotEncoded::Failed("the encoder gave no number".to_owned())
}

fn failed(error: impl ToString) -> NotEncoded {
    NotEncoded::Failed(error.to_string())
}
