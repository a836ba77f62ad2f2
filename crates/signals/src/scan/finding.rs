//! What the scan reports: findings without their text, and how many there were.

use std::{collections::BTreeMap, ops::Range};

use super::kind::{Category, Kind, Validator};

/// So many findings are listed; those beyond are counted by kind.
pub const FINDINGS_MAX: usize = 1_000;

/// One finding. It never holds the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it stands in the text as it was given, in bytes, on character boundaries.
    pub span: Range<usize>,
    /// From 0 to 1.
    pub confidence: f32,
    /// What confirmed it, if anything beyond its looks did.
    pub validator: Option<Validator>,
}

/// The findings of one text in the order in which they stand there; they do not overlap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<Kind, usize>,
    total: usize,
}

impl Findings {
    pub(crate) fn of(findings: impl IntoIterator<Item = Finding>) -> Self {
        let mut all = Self::default();
        findings.into_iter().for_each(|finding| all.push(finding));
        all
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind.clone()).or_default() += 1;
        self.total += 1;
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many there are, listed or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many there are beyond [`FINDINGS_MAX`]. Where this is not 0, the listed spans are not all there is to redact.
    pub fn unlisted(&self) -> usize {
        self.total - self.list.len()
    }

    /// At most [`FINDINGS_MAX`] of them.
    pub fn as_slice(&self) -> &[Finding] {
        &self.list
    }

    /// The listed ones.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }

    /// How many there are of each kind, listed or not.
    pub fn counts(&self) -> impl Iterator<Item = (&Kind, usize)> {
        self.counts.iter().map(|(kind, count)| (kind, *count))
    }

    /// How many there are of this category, listed or not.
    pub fn count(&self, category: Category) -> usize {
        self.counts().filter(|(kind, _)| kind.category() == category).map(|(_, count)| count).sum()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
