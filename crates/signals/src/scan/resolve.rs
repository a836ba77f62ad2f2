//! From candidates to findings: thresholds, the list of what is allowed, and overlaps.
//!
//! What is below its threshold or allowed is left out first. Findings that overlap become one, over all that they cover, so that
//! nothing found is left standing when the span is removed. It is named by the one with the strongest validator (a checksum
//! or a published shape before a grammar, a grammar before words); then by the longest, then by the most confident.

use std::cmp::Reverse;

use super::candidate::Candidate;

/// Joins the candidates that overlap.
pub(super) fn resolve(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| (candidate.span.start, Reverse(candidate.span.end)));
    let mut resolved: Vec<Candidate> = Vec::with_capacity(candidates.len());
    // The candidate that names the last of the resolved ones, by its rank.
    let mut naming = None;
    for candidate in candidates {
        match resolved.last_mut() {
            Some(last) if candidate.span.start < last.span.end => {
                let span = last.span.start..last.span.end.max(candidate.span.end);
                let rank = rank(&candidate);
                if naming.is_none_or(|naming| rank > naming) {
                    naming = Some(rank);
                    *last = candidate;
                }
                last.span = span;
            }
            _ => {
                naming = Some(rank(&candidate));
                resolved.push(candidate);
            }
        }
    }
    resolved
}

/// Strength, length, and confidence in thousandths.
fn rank(candidate: &Candidate) -> (u8, usize, u16) {
    let strength = candidate.validator.map_or(0, |validator| validator.strength());
    (strength, candidate.span.len(), (candidate.confidence * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::kind::{Kind, Validator};

    fn candidate(kind: Kind, span: std::ops::Range<usize>, validator: Validator) -> Candidate {
        Candidate { kind, span, confidence: 0.9, validator: Some(validator) }
    }

    fn check(candidates: &[Candidate], wanted: &[(Kind, std::ops::Range<usize>)]) {
        let found: Vec<_> = resolve(candidates.to_vec()).into_iter().map(|found| (found.kind, found.span)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn overlaps_become_one_and_the_strictest_names_it() {
        let card = candidate(Kind::PaymentCard, 10..29, Validator::Luhn);
        let phone = candidate(Kind::Phone, 5..20, Validator::Context);
        let email = candidate(Kind::Email, 40..50, Validator::Grammar);
        let url = candidate(Kind::ConnectionString, 30..60, Validator::Grammar);
        check(&[], &[]);
        check(&[phone.clone(), card.clone()], &[(Kind::PaymentCard, 5..29)]);
        check(&[email.clone(), url.clone()], &[(Kind::ConnectionString, 30..60)]);
        check(&[email, phone.clone()], &[(Kind::Phone, 5..20), (Kind::Email, 40..50)]);
        let beside = candidate(Kind::Email, 20..25, Validator::Grammar);
        check(&[beside, phone], &[(Kind::Phone, 5..20), (Kind::Email, 20..25)]);
    }
}
