//! Which words stand around a candidate and whether they speak for or against it.

pub(super) mod words;

use std::ops::Range;

/// So far before a candidate a word may stand to speak for it, in bytes from the word's end.
pub(crate) const BEFORE_BYTES: usize = 64;
/// So far after a candidate a word may stand to speak for it, in bytes to the word's beginning.
pub(crate) const AFTER_BYTES: usize = 24;
/// So far before a candidate a word may stand to speak against it.
pub(crate) const AGAINST_BYTES: usize = 32;
/// A word after a candidate counts like one that stands this much further away before it.
const AFTER_PENALTY_BYTES: usize = 16;

macro_rules! topics {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// What a word is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Topic {
            $($(#[$doc])* $variant,)*
        }

        impl Topic {
            pub(crate) const ALL: &'static [Topic] = &[$(Topic::$variant,)*];
        }
    };
}

topics! {
    Phone,
    /// Also said without a telephone number: call, office, message.
    PhoneLoose,
    Card,
    Bank,
    Ssn,
    Itin,
    Nino,
    Nhs,
    Nir,
    SteuerId,
    Dni,
    CodiceFiscale,
    Aadhaar,
    Cpf,
    CnId,
    Passport,
    Licence,
    Ip,
    /// Also said without an address of a machine: server, host.
    IpLoose,
    Mac,
    Coordinates,
    Crypto,
    Birth,
    /// Also said of what is no person: born.
    BirthLoose,
    Password,
    Key,
    /// Numbers of things: order, invoice, ISBN.
    Thing,
    /// Versions, sections, releases.
    Version,
    /// Digests and identifiers: sha256, uuid, commit.
    Digest,
    /// Instants: timestamp, epoch.
    Time,
    /// Numbers as such: digits, prime, factorial.
    Maths,
}

/// The number of a topic: one of [`Topic`], or after these one of a custom recogniser.
pub(crate) type TopicId = u8;

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics(u128);

impl Topics {
    pub(crate) const fn of(topics: &[Topic]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < topics.len() {
            bits |= 1 << (topics[index] as u8);
            index += 1;
        }
        Self(bits)
    }

    pub(crate) const fn custom(index: u8) -> Self {
        Self(1 << custom_topic(index))
    }

    fn add(&mut self, topic: TopicId) {
        self.0 |= 1 << topic;
    }

    fn holds(self, topic: TopicId) -> bool {
        self.0 >> topic & 1 == 1
    }
}

/// The topic of the custom recogniser with this index.
pub(crate) const fn custom_topic(index: u8) -> TopicId {
    Topic::ALL.len() as u8 + index
}

/// What numbers of people are mistaken for.
pub(crate) const NUMBERS_OF_THINGS: Topics =
    Topics::of(&[Topic::Thing, Topic::Version, Topic::Digest, Topic::Time, Topic::Maths]);

/// A context word in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) topic: TopicId,
}

/// What the words around a candidate say; the nearest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    For,
    Neither,
    Against,
}

impl Support {
    /// The confidence of each.
    pub(crate) fn pick(self, with: f32, bare: f32, against: f32) -> f32 {
        match self {
            Self::For => with,
            Self::Neither => bare,
            Self::Against => against,
        }
    }
}

/// The context words of a text, ordered by where they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    hits: &'a [Hit],
    /// The topics of all of them.
    present: Topics,
}

impl<'a> Context<'a> {
    pub(crate) fn new(hits: &'a [Hit]) -> Self {
        let mut present = Topics::default();
        for hit in hits {
            present.add(hit.topic);
        }
        Self { hits, present }
    }

    /// Whether any word of these topics stands in the text.
    pub(crate) fn has(&self, topics: Topics) -> bool {
        self.present.0 & topics.0 != 0
    }

    /// What the words around `span` say, where `speak_for` and `speak_against` are the topics that matter.
    pub(crate) fn support(&self, span: &Range<usize>, speak_for: Topics, speak_against: Topics) -> Support {
        if !self.has(speak_for) && !self.has(speak_against) {
            return Support::Neither;
        }
        let mut nearest: Option<(usize, bool)> = None;
        let mut note = |distance: usize, speaks_for: bool| {
            if nearest.is_none_or(|(known, _)| distance < known || distance == known && speaks_for) {
                nearest = Some((distance, speaks_for));
            }
        };
        let after = self.hits.partition_point(|hit| hit.end <= span.start);
        let (before, behind) = self.hits.split_at(after);
        for hit in before.iter().rev() {
            let distance = span.start - hit.end;
            if distance > BEFORE_BYTES {
                break;
            }
            if speak_for.holds(hit.topic) {
                note(distance, true);
            } else if distance <= AGAINST_BYTES && speak_against.holds(hit.topic) {
                note(distance, false);
            }
        }
        for hit in behind {
            if hit.end > span.end + AFTER_BYTES + words::WORD_BYTES_MAX {
                break;
            }
            let Some(distance) = hit.start.checked_sub(span.end).filter(|distance| *distance <= AFTER_BYTES) else {
                continue;
            };
            if speak_for.holds(hit.topic) {
                note(distance + AFTER_PENALTY_BYTES, true);
            }
        }
        match nearest {
            Some((_, true)) => Support::For,
            Some((_, false)) => Support::Against,
            None => Support::Neither,
        }
    }

    /// Whether a word of these topics ends at most `within` bytes before `at`.
    pub(crate) fn just_before(&self, at: usize, within: usize, topics: Topics) -> bool {
        let after = self.hits.partition_point(|hit| hit.end <= at);
        let (before, _) = self.hits.split_at(after);
        before.iter().rev().take_while(|hit| at - hit.end <= within).any(|hit| topics.holds(hit.topic))
    }
}

/// Whether the word at `span` stands by itself: not within a longer word, but also as a part of `camelCase`, `snake_case`
/// or a plural. Words that begin or end in another script are not looked at on that side, as some are written without
/// spaces and others inflect.
pub(crate) fn stands_alone(text: &[u8], span: &Range<usize>) -> bool {
    let byte = |at: Option<usize>| at.and_then(|at| text.get(at)).copied().unwrap_or(b' ');
    let (first, last) = (byte(Some(span.start)), byte(span.end.checked_sub(1)));
    let (previous, next) = (byte(span.start.checked_sub(1)), byte(Some(span.end)));
    let hump = |left: u8, right: u8| left.is_ascii_lowercase() && right.is_ascii_uppercase();
    let begins = !first.is_ascii_alphanumeric() || !previous.is_ascii_alphanumeric() || hump(previous, first);
    let plural = next == b's' && !byte(Some(span.end + 1)).is_ascii_alphanumeric();
    let ends = !last.is_ascii_alphanumeric() || !next.is_ascii_alphabetic() || hump(last, next) || plural;
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_decides() {
        let hit = |start, end, topic: Topic| Hit { start, end, topic: topic as u8 };
        let (card, things) = (Topics::of(&[Topic::Card]), NUMBERS_OF_THINGS);
        let check = |hits: &[Hit], wanted| assert_eq!(Context::new(hits).support(&(50..60), card, things), wanted);
        check(&[], Support::Neither);
        check(&[hit(40, 44, Topic::Card)], Support::For);
        check(&[hit(30, 34, Topic::Card), hit(40, 45, Topic::Thing)], Support::Against);
        check(&[hit(30, 35, Topic::Thing), hit(40, 44, Topic::Card)], Support::For);
        check(&[hit(62, 66, Topic::Card)], Support::For);
        check(&[hit(62, 66, Topic::Thing)], Support::Neither);
        check(&[hit(0, 5, Topic::Thing)], Support::Neither);
        check(&[hit(85, 89, Topic::Card)], Support::Neither);
    }

    #[test]
    fn words_stand_alone_in_prose_and_in_names() {
        for (text, wanted) in [
            ("card 1", true),
            ("cards 1", true),
            ("cardinal", false),
            ("discard", false),
            ("my_card_number", true),
            ("cardNumber", true),
            ("creditcard", false),
            ("creditCard", true),
            ("(card)", true),
            ("card1", true),
        ] {
            let at = text.to_ascii_lowercase().find("card").unwrap();
            assert_eq!(stands_alone(text.as_bytes(), &(at..at + 4)), wanted, "{text}");
        }
    }
}
