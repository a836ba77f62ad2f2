//! The keys `classifier` and `scan`: how requests are looked into before they are decided.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::signals::scan::{AllowConfig, RecogniserConfig, ScanConfig, Scanner};

use super::compile::Check;
use super::raw::{RawClassifier, RawScan};

/// How long classifying one request may take, when not configured.
const DEADLINE: Duration = Duration::from_millis(20);

/// The classifier as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassifierConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// The folder of its files; the one that came with this version when absent.
    pub folder: Option<PathBuf>,
    /// How long classifying one request may take.
    pub deadline: Duration,
}

pub(super) fn compile_classifier(check: &mut Check<'_>, raw: RawClassifier) -> ClassifierConfig {
    ClassifierConfig {
        enabled: raw.enabled.unwrap_or(true),
        // Not looked at here: a gateway whose classifier is broken starts without it.
        folder: raw.folder.map(|folder| check.folder.join(folder)),
        deadline: check.millis("classifier.deadline_ms", raw.deadline_ms, DEADLINE),
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
