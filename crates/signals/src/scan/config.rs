//! What an operator may say about the scan, and what is wrong with it, all at once.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    context::words::WORD_BYTES_MAX,
    kind::{Category, Kind},
    recognise::phone::regions,
};

/// The threshold of every kind for which none is configured.
pub const THRESHOLD_DEFAULT: f32 = 0.5;
/// So many recognisers may be configured.
pub const RECOGNISERS_MAX: usize = 64;
/// The longest name of a recogniser.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest pattern, as written.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// So many context words may a recogniser have.
pub const CONTEXT_WORDS_MAX: usize = 64;
/// So many values and patterns may be allowed, each.
pub const ALLOWED_MAX: usize = 10_000;
/// So many patterns may be allowed.
pub const ALLOWED_PATTERNS_MAX: usize = 256;
/// The confidence of a custom recogniser that states none.
pub const CONFIDENCE_DEFAULT: f32 = 0.75;

/// The configuration of a [`Scanner`](super::Scanner). The default recognises every kind, for every region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// The regions, as ISO 3166 codes, in whose national formats phone numbers are recognised without a word beside them;
    /// absent: all that are known. International numbers and those beside such words are recognised in any case.
    pub phone_regions: Option<Vec<String>>,
    /// The least confidence at which a kind is reported, by its word, from 0 to 1; above 1: never.
    pub thresholds: BTreeMap<String, f32>,
    /// What is not reported.
    pub allow: AllowConfig,
    /// Further kinds.
    pub recognisers: Vec<RecogniserConfig>,
}

/// What is not reported, whatever it looks like.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowConfig {
    /// Texts of findings, exactly.
    pub values: Vec<String>,
    /// Regular expressions that match the whole text of a finding.
    pub patterns: Vec<String>,
}

/// A kind that the operator adds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecogniserConfig {
    /// Its word in findings: lower case, digits and underscores.
    pub name: String,
    /// `personal_data` or `secret`.
    pub category: String,
    /// A regular expression. A repetition without an upper bound ends after
    /// [`REPETITIONS_MAX`](super::custom::REPETITIONS_MAX).
    pub pattern: String,
    /// Words of which one has to stand near a match; without one near it the confidence is halved. Empty: none is needed.
    pub context: Vec<String>,
    /// From 0 to 1; absent: [`CONFIDENCE_DEFAULT`].
    pub confidence: Option<f32>,
}

/// One thing that is wrong with a [`ScanConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ScanConfigError {
    /// Where: `recognisers[2].pattern`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl ScanConfigError {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl ScanConfig {
    /// Everything that is wrong but for patterns, which have to be compiled.
    pub(super) fn errors(&self) -> Vec<ScanConfigError> {
        let mut errors = Vec::new();
        for (index, region) in self.phone_regions.iter().flatten().enumerate() {
            if !regions::is_known(region) {
                errors.push(ScanConfigError::new(
                    format!("phone_regions[{index}]"),
                    format!("no formats of {region:?} are known; leave it out, or use an upper-case ISO 3166 code such as \"US\""),
                ));
            }
        }
        for (word, threshold) in &self.thresholds {
            let field = format!("thresholds.{word}");
            let custom = self.recognisers.iter().any(|recogniser| recogniser.name == *word);
            if !custom && Kind::from_word(word).is_none() {
                errors.push(ScanConfigError::new(&field, "no such kind"));
            }
            if !threshold.is_finite() || *threshold < 0.0 {
                errors.push(ScanConfigError::new(&field, "a threshold is a number from 0 on"));
            }
        }
        limit(&mut errors, "allow.values", self.allow.values.len(), ALLOWED_MAX);
        limit(&mut errors, "allow.patterns", self.allow.patterns.len(), ALLOWED_PATTERNS_MAX);
        limit(&mut errors, "recognisers", self.recognisers.len(), RECOGNISERS_MAX);
        for (index, recogniser) in self.recognisers.iter().enumerate() {
            recogniser.check(&format!("recognisers[{index}]"), &mut errors);
            if self.recognisers.iter().take(index).any(|earlier| earlier.name == recogniser.name) {
                errors
                    .push(ScanConfigError::new(format!("recognisers[{index}].name"), "the name of another recogniser"));
            }
        }
        errors
    }
}

impl RecogniserConfig {
    fn check(&self, field: &str, errors: &mut Vec<ScanConfigError>) {
        let mut problem =
            |part: &str, problem: &str| errors.push(ScanConfigError::new(format!("{field}.{part}"), problem));
        let letters = self.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !letters {
            problem("name", "a name is 1 to 64 lower-case letters, digits and underscores");
        } else if Kind::from_word(&self.name).is_some() {
            problem("name", "the name of a built-in kind");
        }
        if Category::from_word(&self.category).is_none() {
            problem("category", "a category is personal_data or secret");
        }
        if self.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            problem("confidence", "a confidence is a number from 0 to 1");
        }
        if self.context.len() > CONTEXT_WORDS_MAX {
            problem("context", "more than 64 words");
        }
        if self.context.iter().any(|word| !(2..=WORD_BYTES_MAX).contains(&word.len())) {
            problem("context", "a context word has 2 to 64 bytes");
        }
    }
}

fn limit(errors: &mut Vec<ScanConfigError>, field: &str, len: usize, max: usize) {
    if len > max {
        errors.push(ScanConfigError::new(field, format!("{len} entries, at most {max} are possible")));
    }
}
