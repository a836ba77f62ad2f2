//! The keys `classifier` and `scan`: how requests are looked into before they are decided.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::signals::scan::{AllowConfig, RecogniserConfig, ScanConfig, Scanner};

use super::compile::Check;
use super::raw::{RawClassifier, RawScan};

/// How long classifying one request may take, when not configured.
const DEADLINE: Duration = Duration::from_millis(20);
/// The same with transformer layers: the most that is seen of a long text takes about a third of it.
const DEADLINE_LAYERS: Duration = Duration::from_millis(200);
/// How long the tagger may take for one request, when not configured: some ten thousand tokens.
const TAGGER_DEADLINE: Duration = Duration::from_secs(1);

/// Which of the encoders that came with this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// An embedding layer.
    Static,
    /// Two transformer layers after it, whose weights are an artifact.
    Layers2,
}

/// The classifier as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassifierConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Which encoder, where no folder is configured.
    pub profile: Profile,
    /// The folder of its files; those that came with this version when absent.
    pub folder: Option<PathBuf>,
    /// How long classifying one request may take.
    pub deadline: Duration,
    /// How long the tagger may take for one request.
    pub tagger_deadline: Duration,
}

pub(super) fn compile_classifier(check: &mut Check<'_>, raw: RawClassifier) -> ClassifierConfig {
    let profile = match raw.profile.as_deref() {
        None | Some("static") => Profile::Static,
        Some("layers2") => Profile::Layers2,
        Some(other) => {
            check.problem("classifier.profile", format!("{other:?} is not one of static, layers2"));
            Profile::Static
        }
    };
    if raw.profile.is_some() && raw.folder.is_some() {
        check.problem("classifier.folder", "is given beside profile; give one of them");
    }
    let deadline = if profile == Profile::Layers2 { DEADLINE_LAYERS } else { DEADLINE };
    ClassifierConfig {
        profile,
        enabled: raw.enabled.unwrap_or(true),
        // Not looked at here: a gateway whose classifier is broken starts without it.
        folder: raw.folder.map(|folder| check.folder.join(folder)),
        deadline: check.millis("classifier.deadline_ms", raw.deadline_ms, deadline),
        tagger_deadline: check.millis("classifier.tagger_deadline_ms", raw.tagger_deadline_ms, TAGGER_DEADLINE),
    }
}

/// The scanner, once for all requests; `None` when something is wrong: it has been noted then.
pub(super) fn compile_scan(check: &mut Check<'_>, raw: RawScan) -> Option<Arc<Scanner>> {
    let recogniser = |raw: super::raw::RawRecogniser| RecogniserConfig {
        name: raw.name,
        category: raw.category,
        pattern: raw.pattern,
        context: raw.context,
        confidence: raw.confidence,
    };
    let config = ScanConfig {
        phone_regions: raw.phone_regions,
        thresholds: raw.thresholds,
        allow: AllowConfig { values: raw.allow.values, patterns: raw.allow.patterns },
        recognisers: raw.recognisers.into_iter().map(recogniser).collect(),
    };
    match Scanner::new(&config) {
        Ok(scanner) => Some(Arc::new(scanner)),
        Err(errors) => {
            for error in errors {
                check.problem(&format!("scan.{}", error.field), error.problem);
            }
            None
        }
    }
}
