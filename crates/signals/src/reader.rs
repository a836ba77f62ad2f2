//! From a request to its signals: each message and each other field of the body is read once, and what was found is kept
//! under the name of the message or the hash of the fields, so that a growing conversation costs only what is new.
//!
//! What is kept holds no text. Something found across two messages, half in one and half in the other, is not found.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use wire::{ChatRequest, MessageName, Texts};

use crate::classify::heads::HAND_FEATURES;
use crate::classify::windows::context_messages;
use crate::classify::{Classification, Classifier, NotEncoded, Tagging, TextVector, Turn, hand, request_vector};
use crate::language::language;
use crate::scan::Scanner;
use crate::scan_report::ScanReport;

/// Messages and fields that are remembered; each takes at most two kilobytes.
const SLICES_MAX: u64 = 4096;
/// Fields of at most this many bytes, key included, are remembered together: most are a number or a flag, and the same in many
/// requests.
const SHORT_FIELD_BYTES_MAX: usize = 256;
/// How long one is remembered that is not asked for.
const SLICE_TTL: Duration = Duration::from_secs(15 * 60);
/// Longest scan of one request; past it the scan is absent. Looked at between messages.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(5);

/// Why a request was not classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotClassified {
    /// There is no classifier.
    Unavailable,
    /// The deadline passed.
    Late,
    /// Tokenizer or runtime failed.
    Failed,
    /// The request holds no text.
    Empty,
}

/// What is known of one request.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the privacy scan found; `None` when it was not done in time.
    pub scan: Option<ScanReport>,
    /// What the classifier says, or why it says nothing.
    pub classification: Result<Classification, NotClassified>,
    /// How long the classifier took; `None` where it was not asked or did not say anything.
    pub classified_in: Option<Duration>,
    /// What the tagger found, by the word of its kind: `None` where there is none or none was asked, and when it did not get through the whole
    /// request in time.
    pub entities: Option<BTreeMap<Arc<str>, u64>>,
    /// Share from 0 to 1 of the text of all messages that the classifier saw; 1 for a request without text.
    pub seen_share: f64,
    /// ISO 639-1 code of the language of the turn.
    pub language: Option<&'static str>,
}

/// By what a slice of a body is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum SliceName {
    /// The BLAKE3 of some fields.
    Fields([u8; 32]),
    Message(MessageName),
}

/// What is remembered of one message, or of one long field or all short ones.
struct Slice {
    is_user: bool,
    scan: ScanReport,
    content_bytes: usize,
    hand: [f32; HAND_FEATURES],
    language: Option<&'static str>,
    vector: OnceLock<TextVector>,
    entities: OnceLock<BTreeMap<Arc<str>, u64>>,
}

/// Reads requests.
pub struct Reader {
    scanner: Arc<Scanner>,
    classifier: Option<Classifier>,
    deadline: Duration,
    tagging: Option<Tagging>,
    slices: Cache<SliceName, Arc<Slice>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("classifier", &self.classifier).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader; `deadline` is how long classifying one request may take.
    #[must_use]
    pub fn new(scanner: Arc<Scanner>, classifier: Option<Classifier>, deadline: Duration) -> Self {
        let slices = Cache::builder().max_capacity(SLICES_MAX).time_to_idle(SLICE_TTL).build();
        Self { scanner, classifier, deadline, tagging: None, slices }
    }

    /// With a tagger, which is asked where [`Reader::read`] is told so.
    #[must_use]
    pub fn with_tagger(mut self, tagging: Option<Tagging>) -> Self {
        self.tagging = tagging;
        self
    }

    /// Whether there is a tagger.
    #[must_use]
    pub fn has_tagger(&self) -> bool {
        self.tagging.is_some()
    }

    /// Whether a short request is read in less time than it takes to hand it to another thread.
    #[must_use]
    pub fn is_quick(&self, tag: bool) -> bool {
        let is_heavy = self.classifier.as_ref().is_some_and(|classifier| classifier.encoder().has_tokens());
        !(is_heavy || tag && self.has_tagger())
    }

    /// The classifier, where there is one.
    #[must_use]
    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// Reads a request. Takes time in proportion to what is new in it: not for threads that many requests share, unless the
    /// request is short. `began` is when the request came to be read, from which the deadline counts. With `tag` the tagger is asked too, after
    /// the classifier and with a deadline of its own.
    #[must_use]
    pub fn read(&self, request: &ChatRequest, began: Instant, tag: bool) -> Report {
        let (messages, names) = (request.message_slices(), request.message_names());
        let (mut fields, scan_until) = (request.other_slices(), Instant::now() + SCAN_TIME_MAX);
        let short: Vec<_> = fields.extract_if(.., |json| json.len() <= SHORT_FIELD_BYTES_MAX).collect();
        let known: Option<Vec<_>> =
            messages.iter().zip(names).map(|(json, name)| self.message(*name, json, scan_until)).collect();
        let long = fields.iter().map(|json| self.fields(&[json], scan_until));
        let others: Option<Vec<_>> = long.chain([self.fields(&short, scan_until)]).collect();
        let (Some(known), Some(others)) = (known, others) else {
            let classification = Err(NotClassified::Late);
            return Report {
                scan: None,
                classification,
                classified_in: None,
                entities: None,
                seen_share: 0.0,
                language: None,
            };
        };
        let mut scan = ScanReport::default();
        known.iter().chain(&others).for_each(|slice| scan.add(&slice.scan));
        let turn = turn(&known);
        let classifying = Instant::now();
        let (classification, seen_share) = match &self.classifier {
            None => (Err(NotClassified::Unavailable), 0.0),
            Some(classifier) => self.classify(classifier, &messages, &known, turn, began + self.deadline),
        };
        let classified_in = classification.is_ok().then(|| classifying.elapsed());
        let texts = messages.iter().zip(&known).map(|of| (of, true));
        let texts = texts.chain(fields.iter().zip(&others).map(|of| (of, false)));
        let entities = self.tagging.as_ref().filter(|_| tag).and_then(|tagging| self.entities(tagging, texts));
        Report {
            scan: Some(scan),
            classification,
            classified_in,
            entities,
            seen_share,
            language: known.get(turn).and_then(|turn| turn.language),
        }
    }

    /// One message; `None` where it is new after `until`.
    fn message(&self, name: MessageName, json: &str, until: Instant) -> Option<Arc<Slice>> {
        self.slice(SliceName::Message(name), until, || {
            let texts = Texts::of_message(json);
            (ScanReport::of(&self.scanner, &texts), texts)
        })
    }

    /// Some fields; `None` where they are new after `until`.
    fn fields(&self, jsons: &[&str], until: Instant) -> Option<Arc<Slice>> {
        let mut hasher = blake3::Hasher::new();
        // A comma cannot stand between two fields and belong to one of them: each is a key with a whole value.
        for json in jsons {
            hasher.update(json.as_bytes()).update(b",");
        }
        self.slice(SliceName::Fields(*hasher.finalize().as_bytes()), until, || {
            let (mut scan, mut texts) = (ScanReport::default(), Texts::default());
            for json in jsons {
                texts = Texts::of_field(json);
                scan.add(&ScanReport::of(&self.scanner, &texts));
            }
            (scan, texts)
        })
    }

    /// What is remembered under this name, else what `read` finds before `until`.
    fn slice(&self, name: SliceName, until: Instant, read: impl FnOnce() -> (ScanReport, Texts)) -> Option<Arc<Slice>> {
        if let Some(known) = self.slices.get(&name) {
            return Some(known);
        }
        if Instant::now() >= until {
            return None;
        }
        let (scan, texts) = read();
        let slice = Arc::new(Slice {
            is_user: texts.role == "user",
            scan,
            content_bytes: texts.content.len(),
            hand: hand::features(&texts.content),
            language: language(&texts.content),
            vector: OnceLock::new(),
            entities: OnceLock::new(),
        });
        self.slices.insert(name, Arc::clone(&slice));
        Some(slice)
    }

    /// What the tagger finds in messages and fields; `None` when it is not done in time.
    fn entities<'a>(
        &self,
        tagging: &Tagging,
        slices: impl Iterator<Item = ((&'a &'a str, &'a Arc<Slice>), bool)>,
    ) -> Option<BTreeMap<Arc<str>, u64>> {
        let until = Instant::now() + tagging.deadline;
        let mut all = BTreeMap::new();
        for ((json, slice), is_message) in slices {
            if slice.entities.get().is_none() {
                let texts = if is_message { Texts::of_message(json) } else { Texts::of_field(json) };
                let mut found = BTreeMap::new();
                for text in [&texts.content, &texts.rest].into_iter().filter(|text| !text.is_empty()) {
                    let findings = tagging.tagger.tag(&tagging.encoder, &self.scanner, text, until).ok()?;
                    for (kind, count) in findings.counts() {
                        *found.entry(Arc::from(kind.as_str())).or_default() += count as u64;
                    }
                }
                // Another request may have been first, with the same.
                let _ = slice.entities.set(found);
            }
            for (kind, count) in slice.entities.get()? {
                *all.entry(Arc::clone(kind)).or_default() += count;
            }
        }
        Some(all)
    }

    /// The classification of a request whose turn is message `turn`, with the share of the text that was seen.
    fn classify(
        &self,
        classifier: &Classifier,
        messages: &[&str],
        known: &[Arc<Slice>],
        turn: usize,
        deadline: Instant,
    ) -> (Result<Classification, NotClassified>, f64) {
        let total: usize = known.iter().map(|slice| slice.content_bytes).sum();
        if total == 0 {
            return (Err(NotClassified::Empty), 1.0);
        }
        let context: Vec<_> = (0..known.len()).filter(|index| *index != turn).collect();
        let context = context_messages(context.len()).into_iter().map(|index| context[index]);
        let wanted: Vec<_> = std::iter::once(turn).chain(context).collect();
        let vectors: Result<Vec<_>, _> =
            wanted.iter().map(|index| vector(classifier, messages[*index], &known[*index], deadline)).collect();
        let vectors = match vectors {
            Ok(vectors) => vectors,
            Err(NotEncoded::Late) => return (Err(NotClassified::Late), 0.0),
            Err(NotEncoded::Failed(_)) => return (Err(NotClassified::Failed), 0.0),
        };
        let seen: usize = vectors.iter().map(|vector| vector.seen_bytes).sum();
        let vector = request_vector(vectors[0], vectors[1..].iter().copied());
        let of = &known[turn];
        let turn = Turn { hand: &of.hand, tokens: vectors[0].tokens, language: of.language };
        (Ok(classifier.classify(&vector, &turn)), seen as f64 / total as f64)
    }
}

/// The number of the turn: the last message of the user, else the last.
fn turn(known: &[Arc<Slice>]) -> usize {
    known.iter().rposition(|slice| slice.is_user).unwrap_or(known.len().saturating_sub(1))
}

/// The vector of a message: remembered, else made.
fn vector<'a>(
    classifier: &Classifier,
    json: &str,
    slice: &'a Slice,
    deadline: Instant,
) -> Result<&'a TextVector, NotEncoded> {
    if let Some(vector) = slice.vector.get() {
        return Ok(vector);
    }
    let vector = classifier.encoder().encode(&Texts::of_message(json).content, deadline)?;
    Ok(slice.vector.get_or_init(|| vector))
}
