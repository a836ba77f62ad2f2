//! What the privacy scan says of a request as a whole: how much was found and of what kinds, never what.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Texts;

use crate::scan::{Category, Scanner};

/// Findings, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Pieces of personal data.
    pub personal_data: u64,
    /// Secrets.
    pub secrets: u64,
    /// How many of each kind, by its word.
    pub kinds: BTreeMap<Arc<str>, u64>,
    /// Parts that are not text.
    pub opaque: u64,
}

impl ScanReport {
    /// Scans the texts of one message or field.
    pub(crate) fn of(scanner: &Scanner, texts: &Texts) -> Self {
        let mut report = Self { opaque: texts.opaque as u64, ..Self::default() };
        for text in [&texts.content, &texts.rest] {
            let findings = scanner.scan(text);
            report.personal_data += findings.count(Category::PersonalData) as u64;
            report.secrets += findings.count(Category::Secret) as u64;
            for (kind, count) in findings.counts() {
                *report.kinds.entry(kind.as_str().into()).or_default() += count as u64;
            }
        }
        report
    }

    /// Adds what was found elsewhere in the same request.
    pub(crate) fn add(&mut self, other: &Self) {
        self.personal_data += other.personal_data;
        self.secrets += other.secrets;
        self.opaque += other.opaque;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(Arc::clone(kind)).or_default() += count;
        }
    }
}
