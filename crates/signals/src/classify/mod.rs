//! The prompt classifier: from the texts of a request to calibrated probabilities.
//!
//! What is computed is described once, in `training/README.md`; `models/router-v1/parity.json` holds examples.

use std::path::Path;
use std::sync::Arc;

mod encoder;
mod files;
pub mod hand;
pub mod heads;
pub mod layers2;
pub mod tagger;
pub mod windows;

pub use encoder::{Encoder, NO_TELEMETRY, NotEncoded, TextVector};
pub use files::{ClassifierError, Files};
use heads::{Estimate, FEATURES, HAND_FEATURES, Heads, VECTOR_DIMENSIONS};
pub use tagger::{Tagger, Tagging};

/// Weight of the turn in the vector of a request that has a context.
const TURN_WEIGHT: f32 = 0.75;
/// Text has at least one token for so many characters.
const CHARS_PER_TOKEN_MAX: usize = 16;
/// Tokens beyond which a message of the context does not weigh more.
const CONTEXT_TOKENS_MAX: usize = 512;

/// A loaded classifier: encoder and heads.
#[derive(Debug)]
pub struct Classifier {
    encoder: Arc<Encoder>,
    heads: Heads,
}

/// What is known of the turn of a request.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Its hand features, not scaled.
    pub hand: &'a [f32; HAND_FEATURES],
    /// Its tokens that were seen.
    pub tokens: usize,
    /// Its language, ISO 639-1, where that is known.
    pub language: Option<&'a str>,
}

/// What the classifier says of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The scaled features, by which targets are predicted and from which a device learns.
    pub features: Box<[f32; FEATURES]>,
    projected: Vec<f32>,
    /// The most likely kind of task, as its number among the labels.
    pub task: usize,
    /// How likely that kind is.
    pub task_probability: f32,
    /// How likely the request tries to subvert the model.
    pub injection: f32,
    /// Whether the request is unlike the training data: how well targets answer it is not known.
    pub out_of_distribution: bool,
}

impl Classifier {
    /// Loads a classifier from the files of a folder, with the ONNX Runtime library at `runtime`.
    ///
    /// # Errors
    /// [`ClassifierError`]: a file that is missing, larger than its limit, not what its checksum says, or not readable.
    pub fn load(folder: &Path, runtime: &Path) -> Result<Self, ClassifierError> {
        Self::new(&Files::read(folder)?, runtime)
    }

    /// From files that were read before.
    ///
    /// # Errors
    /// [`ClassifierError`] for heads, tokenizer, model or library that cannot be used.
    pub fn new(files: &Files, runtime: &Path) -> Result<Self, ClassifierError> {
        let heads = Heads::parse(&files.heads)?;
        let encoder =
            Encoder::new(&files.tokenizer, files.encoder.clone(), runtime).map_err(ClassifierError::Unusable)?;
        Ok(Self { encoder: Arc::new(encoder), heads })
    }

    /// The vectors of texts.
    #[must_use]
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The heads in use.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Judges a request by its vector and what is known of its turn.
    #[must_use]
    pub fn classify(&self, vector: &[f32; VECTOR_DIMENSIONS], turn: &Turn<'_>) -> Classification {
        let mut features = Box::new([0.0; FEATURES]);
        features[..VECTOR_DIMENSIONS].copy_from_slice(vector);
        features[VECTOR_DIMENSIONS..].copy_from_slice(turn.hand);
        self.heads.scale(&mut features);
        let tasks = self.heads.tasks(&features);
        let likeliest = tasks.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let (task, task_probability) = likeliest.unwrap_or_default();
        let (out, wide_share) = (&self.heads.out_of_distribution, turn.hand[hand::WIDE_SHARE]);
        // A word that is too long for the tokenizer is one token.
        let tokens = turn.tokens.max(turn.hand[hand::LOG_CHARS].exp() as usize / CHARS_PER_TOKEN_MAX);
        Classification {
            projected: self.heads.project(&features),
            task,
            task_probability,
            injection: self.heads.injection(&features),
            out_of_distribution: out.is_unlike(out.distance(vector), tokens, wide_share, turn.language),
            features,
        }
    }

    /// How likely a model answers well: by its own head, else that of its size class; `None` without either, and where the
    /// request is unlike the training data.
    #[must_use]
    pub fn quality(&self, of: &Classification, model: Option<&str>, size_class: Option<&str>) -> Option<Estimate> {
        if of.out_of_distribution {
            return None;
        }
        let head = self.heads.quality_head(model, size_class)?;
        Some(head.estimate(&of.features, &of.projected))
    }

    /// The word for a kind of task.
    #[must_use]
    pub fn task_label(&self, task: usize) -> Option<&str> {
        self.heads.task.labels.get(task).map(String::as_str)
    }
}

/// The vector of a request: of its turn, and of the messages of its context that were looked at.
#[must_use]
pub fn request_vector<'a>(
    turn: &TextVector,
    context: impl Iterator<Item = &'a TextVector> + Clone,
) -> [f32; VECTOR_DIMENSIONS] {
    let weight = |message: &TextVector| message.tokens.min(CONTEXT_TOKENS_MAX) as f32;
    let total: f32 = context.clone().map(weight).sum();
    if total == 0.0 {
        return turn.vector;
    }
    let mut vector = turn.vector.map(|value| value * TURN_WEIGHT);
    for message in context {
        let share = (1.0 - TURN_WEIGHT) * weight(message) / total;
        vector.iter_mut().zip(&message.vector).for_each(|(sum, value)| *sum += share * value);
    }
    vector
}
