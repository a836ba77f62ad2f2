//! Learning from one's own traffic: answers are kept as features, with how well they were according to feedback, verifiers and
//! questions that are asked again.
//!
//! No text is kept. Nothing here decides a request or holds one up: records are handed to a thread, verifiers run beside.
//! Everything stays on this machine, of every privacy class. `tidegate train` makes heads of it.

mod comparison;
pub(crate) mod feedback;
mod retries;
mod verify;
pub(crate) mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use account::labels::{AnswerRecord, LabelError, LabelStore, OutcomeRecord, OutcomeSource};
use policy::{Privacy, TargetId};
use signals::classify::heads::FEATURES;
use wire::ChatRequest;

use crate::config::{LearningConfig, Verifier};
use crate::conversation::Thread;
use crate::facts::Gathered;
use crate::unix_time::now_s;
use comparison::Comparing;
use retries::{Question, Retries};
use verify::Verifying;

pub(crate) use comparison::Comparison;
pub(crate) use verify::Reading;

/// The folder of all that was learnt, in the data folder.
const FOLDER: &str = "learning";

/// The file of the label store, below the data folder.
pub(crate) fn labels_path(home: &Path) -> PathBuf {
    home.join(FOLDER).join("labels.sqlite3")
}

/// What is learnt while the gateway runs.
pub(crate) struct Learning {
    store: Arc<LabelStore>,
    config: LearningConfig,
    retries: Retries,
    verifying: Verifying,
    comparing: Option<Comparing>,
    models: Vec<(TargetId, String)>,
}

/// The features of a request, with the name of the classifier that they are of.
pub(crate) type Features = (String, Box<[f32; FEATURES]>);

/// What is kept of a request until it is answered.
#[derive(Clone)]
pub(crate) struct Asked {
    privacy: Privacy,
    task: Option<String>,
    features: Option<Features>,
    question: Option<Question>,
    verifier: Option<usize>,
}

impl Learning {
    /// Opens the store below `home`. `models` are the names by which the classifier knows what is behind each target.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) fn open(
        config: LearningConfig,
        home: &Path,
        models: Vec<(TargetId, String)>,
    ) -> Result<Self, LabelError> {
        let store = Arc::new(LabelStore::open(&labels_path(home), config.limits)?);
        let (retries, verifying) = (Retries::new(), Verifying::new(Arc::clone(&store)));
        let comparing = config.comparison.clone().map(Comparing::new);
        Ok(Self { store, config, retries, verifying, comparing, models })
    }

    /// What was written so far.
    pub(crate) fn store(&self) -> &LabelStore {
        &self.store
    }

    /// Takes in a request that is about to be answered. One that asks what was just answered speaks against that answer.
    pub(crate) fn asked(&self, request: &ChatRequest, gathered: &Gathered, features: Option<Features>) -> Asked {
        let facts = &gathered.facts;
        let question = self.question(request, &gathered.thread);
        if let Some(question) = &question
            && let Some(earlier) = self.retries.again(question, self.config.retry_window, Instant::now())
        {
            self.store.outcome(OutcomeRecord {
                request_id: earlier,
                at_s: now_s(),
                source: OutcomeSource::Retry,
                score: 0.0,
                weight: self.config.retry_weight,
            });
        }
        let task = facts.signals.task.clone();
        let verifier = self.config.verifiers.iter().position(|verifier| {
            let has = |wanted: &Option<String>, found: &dyn Fn(&String) -> bool| wanted.as_ref().is_none_or(found);
            has(&verifier.tag, &|tag| facts.request.tags.contains(tag))
                && has(&verifier.task, &|wanted| task.as_ref() == Some(wanted))
        });
        Asked { privacy: gathered.class(), task, features, question, verifier }
    }

    /// The question of a request; `None` where retries do not count, and inside a tool loop, where the same question stands in
    /// every turn.
    fn question(&self, request: &ChatRequest, thread: &Thread) -> Option<Question> {
        (self.config.retry_weight > 0.0).then(|| self.retries.question(request, thread)).flatten()
    }

    /// Keeps an answer that was whole. To be called before its last byte is written: feedback may come at once.
    pub(crate) fn answered(&self, asked: Asked, request_id: &str, target: &TargetId) {
        let model = self.models.iter().find(|(id, _)| id == target).map(|(_, model)| model.clone());
        self.store.answered(AnswerRecord {
            request_id: request_id.to_owned(),
            at_s: now_s(),
            target: target.as_str().to_owned(),
            model: model.unwrap_or_default(),
            privacy: asked.privacy,
            task: asked.task,
            features: asked.features.map(|(classifier, features)| (classifier, features as Box<[f32]>)),
        });
        if let Some(question) = asked.question {
            self.retries.answered(question, request_id, Instant::now());
        }
    }

    /// What has to see the answer to this request, if anything has to.
    pub(crate) fn reading(&self, asked: &Asked) -> Option<Reading> {
        let verifier: &Verifier = self.config.verifiers.get(asked.verifier?)?;
        Some(self.verifying.reading(verifier.kind.clone()))
    }
}
