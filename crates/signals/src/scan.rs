//! The privacy scan: what in a text is personal data or a secret, by checksums, published shapes, grammars and the words around.
//!
//! [`Scanner::scan`] takes time linear in the text, whatever it holds. Two passes tell where to look: an automaton over
//! all words and prefixes, and a walk over digits, `@` and `:`. Every recogniser then looks at a neighbourhood of a named size. Names
//! of people, streets and companies are not recognised here; neither are requests taken apart or parts in base64 decoded.
//!
//! What is decided where nature does not: a test card counts, as does any number that passes; private, loopback and
//! documentation addresses, example domains, senders that take no answer and the user of an ssh remote do not, nor do placeholders
//! such as `<password>`, nor dates of birth before 1900. They are found with a confidence below every default threshold.

mod candidate;
mod check;
mod config;
mod context;
pub mod custom;
mod finding;
mod kind;
mod literals;
mod normal;
mod number;
mod recognise;
mod resolve;
mod secret;
mod text;

use std::collections::HashMap;

use candidate::{Candidate, Page};
pub use config::{
    ALLOWED_MAX, ALLOWED_PATTERNS_MAX, AllowConfig, CONFIDENCE_DEFAULT, CONTEXT_WORDS_MAX, NAME_BYTES_MAX,
    PATTERN_BYTES_MAX, RECOGNISERS_MAX, RecogniserConfig, ScanConfig, ScanConfigError, THRESHOLD_DEFAULT,
};
use context::{Context, custom_topic};
use custom::{Allowed, Customs};
pub use finding::{FINDINGS_MAX, Finding, Findings};
pub use kind::{Category, CustomKind, Kind, Validator};
use literals::{Literals, Mark, Trigger};
use normal::Normal;
use recognise::{email, phone::Phones};

/// A compiled scan. It is shared between threads and keeps nothing of a text.
#[derive(Debug)]
pub struct Scanner {
    literals: Literals,
    phones: Phones,
    customs: Customs,
    allowed: Allowed,
    /// Thresholds that differ from [`THRESHOLD_DEFAULT`], by the word of the kind.
    thresholds: HashMap<String, f32>,
    /// The least of all thresholds.
    floor: f32,
}

impl Scanner {
    /// Compiles the configuration, or tells everything that is wrong with it.
    pub fn new(config: &ScanConfig) -> Result<Self, Vec<ScanConfigError>> {
        let mut errors = config.errors();
        if config.recognisers.len() > RECOGNISERS_MAX {
            return Err(errors);
        }
        let customs = Customs::new(&config.recognisers, &mut errors);
        let allowed = Allowed::new(&config.allow, &mut errors);
        let words = config.recognisers.iter().enumerate().flat_map(|(index, recogniser)| {
            let topic = custom_topic(u8::try_from(index).unwrap_or(u8::MAX));
            recogniser.context.iter().map(move |word| (topic, word.as_str()))
        });
        let literals = Literals::new(words);
        let regions = config.phone_regions.as_ref();
        let phones = Phones::new(|region| regions.is_none_or(|wanted| wanted.iter().any(|known| known == region)));
        match literals {
            Ok(literals) if errors.is_empty() => {
                let thresholds = config.thresholds.iter().map(|(word, threshold)| (word.clone(), *threshold)).collect();
                let floor = config.thresholds.values().copied().fold(THRESHOLD_DEFAULT, f32::min);
                Ok(Self { literals, phones, customs, allowed, thresholds, floor })
            }
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(ScanConfigError::new("recognisers", error.to_string()));
                Err(errors)
            }
        }
    }

    /// The words of all kinds that can be found, those of the tagger included.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        Kind::BUILT_IN.iter().map(Kind::as_str).chain(self.customs.names())
    }

    /// What is found in the text. Spans are of the text as it is given.
    pub fn scan(&self, text: &str) -> Findings {
        let normal = Normal::of(text);
        let (hits, triggers) = self.literals.find(normal.as_str().as_bytes());
        let context = Context::new(&hits);
        let mut page = Page::new(normal.as_str().as_bytes(), context, self.floor);
        for trigger in &triggers {
            look(&mut page, trigger);
        }
        for hit in &hits {
            recognise::announced(&mut page, *hit);
        }
        recognise::sweep(&mut page, &self.phones);
        self.customs.recognise(&mut page);
        let kept = page.found.into_iter().filter(|candidate| self.is_reported(candidate, &normal, text));
        let mut findings = Findings::default();
        for candidate in resolve::resolve(kept.collect()) {
            let Candidate { kind, span, confidence, validator } = candidate;
            findings.push(Finding { kind, span: normal.original(span), confidence, validator });
        }
        findings
    }

    /// The least confidence at which a kind is reported, where one is configured.
    pub(crate) fn threshold(&self, kind: &Kind) -> Option<f32> {
        self.thresholds.get(kind.as_str()).copied()
    }

    /// Whether the configuration allows this text, so that it is not reported.
    pub(crate) fn is_allowed(&self, text: &str) -> bool {
        self.allowed.holds(text)
    }

    fn is_reported(&self, candidate: &Candidate, normal: &Normal<'_>, text: &str) -> bool {
        let threshold = match self.thresholds.is_empty() {
            true => THRESHOLD_DEFAULT,
            false => self.thresholds.get(candidate.kind.as_str()).copied().unwrap_or(THRESHOLD_DEFAULT),
        };
        let is_allowed = |text: Option<&str>| text.is_some_and(|text| self.allowed.holds(text));
        candidate.confidence >= threshold
            && !(is_allowed(normal.as_str().get(candidate.span.clone()))
                || is_allowed(text.get(normal.original(candidate.span.clone()))))
    }
}

/// What begins with a literal.
fn look(page: &mut Page<'_>, trigger: &Trigger) {
    match trigger.mark {
        Mark::Shape(index) => secret::shaped(page, index, trigger.span()),
        Mark::Pem => secret::pem(page, trigger.span()),
        Mark::Putty => secret::putty(page, trigger.span()),
        Mark::Jwt => secret::jwt(page, trigger.span()),
        Mark::Url => secret::url(page, trigger.span()),
        Mark::SpelledAt => email::spelled_at(page, trigger.span()),
        Mark::SpelledDot => email::spelled_dot(page, trigger.span()),
        Mark::Topic(_) => {}
    }
}

#[cfg(test)]
mod tests;
