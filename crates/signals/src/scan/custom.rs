//! Patterns of the configuration: custom recognisers, and the list of what is allowed.
//!
//! One pass tells which recognisers match at all; each that does gets a pass of its own. Every pattern is bounded in length, so
//! that a search from one place ends soon behind it.

use std::collections::HashSet;

use regex_automata::{Anchored, Input, PatternSet, meta::Regex};
use regex_syntax::{
    ParserBuilder,
    hir::{Hir, HirKind, Look, Repetition},
};

use super::{
    candidate::{Candidate, Page},
    config::{AllowConfig, CONFIDENCE_DEFAULT, PATTERN_BYTES_MAX, RecogniserConfig, ScanConfigError},
    context::{Support, Topics},
    kind::{Category, CustomKind, Kind, Validator},
};

/// A repetition without an upper bound ends after so many.
pub const REPETITIONS_MAX: u32 = 128;
/// The longest text that a pattern may match.
pub const MATCH_BYTES_MAX: usize = 1024;
/// How large a compiled pattern may be.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// How deeply a pattern may be nested.
const NESTING_MAX: u32 = 32;

/// The recognisers of the configuration.
#[derive(Debug, Default)]
pub(super) struct Customs {
    /// All patterns together, to tell which match; none where there are no recognisers.
    all: Option<Regex>,
    each: Vec<Custom>,
}

#[derive(Debug)]
struct Custom {
    kind: Kind,
    regex: Regex,
    confidence: f32,
    /// Its context words, if it needs one.
    topics: Option<Topics>,
}

impl Customs {
    pub(super) fn new(configured: &[RecogniserConfig], errors: &mut Vec<ScanConfigError>) -> Self {
        let (mut each, mut patterns) = (Vec::new(), Vec::new());
        for (index, recogniser) in configured.iter().enumerate() {
            match compile(&recogniser.pattern, false) {
                Ok((regex, pattern)) => {
                    let number = u8::try_from(index).unwrap_or(0);
                    let category = Category::from_word(&recogniser.category).unwrap_or(Category::Secret);
                    patterns.push(pattern);
                    each.push(Custom {
                        kind: Kind::Custom(CustomKind::new(&recogniser.name, category)),
                        regex,
                        confidence: recogniser.confidence.unwrap_or(CONFIDENCE_DEFAULT),
                        topics: (!recogniser.context.is_empty()).then(|| Topics::custom(number)),
                    });
                }
                Err(problem) => errors.push(ScanConfigError::new(format!("recognisers[{index}].pattern"), problem)),
            }
        }
        let all = (!patterns.is_empty()).then(|| build_many(&patterns)).transpose();
        let all = all.unwrap_or_else(|problem| {
            errors.push(ScanConfigError::new("recognisers", problem));
            None
        });
        Self { all, each }
    }

    /// The configured names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.each.iter().map(|custom| custom.kind.as_str())
    }

    /// Adds what they find in the text of the page.
    pub(super) fn recognise(&self, page: &mut Page<'_>) {
        let Some(all) = &self.all else { return };
        let input = Input::new(page.text);
        let mut matching = PatternSet::new(all.pattern_len());
        all.which_overlapping_matches(&input, &mut matching);
        for custom in matching.iter().filter_map(|pattern| self.each.get(pattern.as_usize())) {
            for found in custom.regex.find_iter(page.text) {
                let span = found.range();
                let supported =
                    custom.topics.is_none_or(|topics| page.support(&span, topics, Topics::default()) == Support::For);
                let confidence = if supported { custom.confidence } else { custom.confidence / 2.0 };
                let validator =
                    if custom.topics.is_some() && supported { Validator::Context } else { Validator::Pattern };
                page.found.push(Candidate { kind: custom.kind.clone(), span, confidence, validator: Some(validator) });
            }
        }
    }
}

/// What is not reported.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    values: HashSet<String>,
    patterns: Vec<Regex>,
}

impl Allowed {
    pub(super) fn new(configured: &AllowConfig, errors: &mut Vec<ScanConfigError>) -> Self {
        let mut patterns = Vec::new();
        for (index, pattern) in configured.patterns.iter().enumerate() {
            match compile(pattern, true) {
                Ok((regex, _)) => patterns.push(regex),
                Err(problem) => errors.push(ScanConfigError::new(format!("allow.patterns[{index}]"), problem)),
            }
        }
        Self { values: configured.values.iter().cloned().collect(), patterns }
    }

    /// Whether this text of a finding is allowed.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.values.contains(text)
            || text.len() <= MATCH_BYTES_MAX
                && self.patterns.iter().any(|regex| regex.is_match(Input::new(text).anchored(Anchored::Yes)))
    }
}

/// The pattern, bounded; `whole`: it has to match all of a text.
fn compile(pattern: &str, whole: bool) -> Result<(Regex, Hir), String> {
    if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a pattern has 1 to {PATTERN_BYTES_MAX} bytes"));
    }
    let parsed =
        ParserBuilder::new().nest_limit(NESTING_MAX).build().parse(pattern).map_err(|error| error.to_string())?;
    let bounded = bound(&parsed);
    let longest = bounded.properties().maximum_len();
    if longest.is_none_or(|len| len > MATCH_BYTES_MAX) {
        return Err(format!("could match more than {MATCH_BYTES_MAX} bytes; bound its repetitions, as in \\d{{1,20}}"));
    }
    if !whole && bounded.properties().minimum_len().is_none_or(|len| len < 2) {
        return Err("could match less than 2 bytes".to_owned());
    }
    let hir = if whole { Hir::concat(vec![Hir::look(Look::Start), bounded, Hir::look(Look::End)]) } else { bounded };
    let regex = build_many(std::slice::from_ref(&hir))?;
    Ok((regex, hir))
}

fn build_many(patterns: &[Hir]) -> Result<Regex, String> {
    let config = Regex::config().nfa_size_limit(Some(COMPILED_BYTES_MAX * patterns.len())).utf8_empty(true);
    Regex::builder().configure(config).build_many_from_hir(patterns).map_err(|_| "too large when compiled".to_owned())
}

/// The same pattern, with an end to every repetition.
fn bound(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            max: repetition.max.or(Some(repetition.min.max(REPETITIONS_MAX))),
            sub: Box::new(bound(&repetition.sub)),
            ..*repetition
        }),
        HirKind::Capture(capture) => bound(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(bound).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(bound).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => hir.clone(),
    }
}
