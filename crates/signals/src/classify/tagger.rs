//! The tagger: persons, addresses, organisations and identifiers in a text, by the words around them.
//!
//! A small network looks at the vector that the encoder gives each word, and at the shapes of it and its neighbours. Unlike the scan it can
//! be wrong about anything, so what it says is advice: nothing acts on it but a policy that asks. What is computed is said in
//! `training/README.md`; `models/router-v1/layers2/tagger-parity.json` holds examples.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::encoder::{Encoder, NotEncoded, WINDOW_IDS, in_time};
use super::heads::{HeadsError, VECTOR_DIMENSIONS, dot, row, rows, softmax};
use crate::scan::{Finding, Findings, Kind, Scanner};

/// The only format of `tagger.json` that is read.
const FORMAT: u32 = 1;
/// Largest `tagger.json`, in bytes.
pub const TAGGER_BYTES_MAX: usize = 4 << 20;
/// Windows that are run together.
const GROUP: usize = 8;
/// Neighbours on either side whose shapes count.
const AROUND: usize = 2;
/// What is known of the shape of a word.
const SHAPES: usize = 9;
const FEATURES: usize = VECTOR_DIMENSIONS + (2 * AROUND + 1) * SHAPES;
/// A longer text is cut into pieces of at most so many bytes, between words where there is a space near.
const PIECE_BYTES: usize = 8 << 10;
/// How far from its end a piece may be cut.
const CUT_BYTES_MAX: usize = 256;
/// Longest text between two words of one finding, in bytes.
const JOINT_BYTES_MAX: usize = 16;
/// Most line ends between them.
const JOINT_LINES_MAX: usize = 2;

/// A tagger, its encoder and the time it has for one request.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// Says what words are.
    pub tagger: Arc<Tagger>,
    /// Gives vectors of tokens.
    pub encoder: Arc<Encoder>,
    /// How long tagging one request may take.
    pub deadline: Duration,
}

/// The network, read and checked.
#[derive(Debug)]
pub struct Tagger {
    /// By label; the first is none.
    kinds: Vec<Option<Kind>>,
    /// The least mean probability of a finding, where none is configured.
    threshold: f32,
    hidden: Layer,
    output: Layer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u32,
    labels: Vec<String>,
    threshold: f32,
    hidden: Layer,
    output: Layer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

impl Layer {
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        self.weights.iter().zip(&self.bias).map(|(row, bias)| dot(row, x) + bias).collect()
    }

    fn check(&self, field: &str, inputs: usize) -> Result<(), HeadsError> {
        rows(&format!("{field}.weights"), &self.weights, inputs)?;
        row(&format!("{field}.bias"), &self.bias, self.weights.len())
    }
}

/// A word of a piece.
#[derive(Debug)]
struct Word {
    span: Range<usize>,
    ids: Vec<i64>,
}

/// How likely each label is, of one word.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// Where the word stands, in bytes.
    pub span: Range<usize>,
    /// By label.
    pub probabilities: Vec<f32>,
}

impl Tagger {
    /// Reads and checks `tagger.json`.
    ///
    /// # Errors
    /// [`HeadsError`], naming the field at fault.
    pub fn parse(json: &[u8]) -> Result<Self, HeadsError> {
        let invalid = |field: &str, problem: String| HeadsError::Invalid { field: format!("tagger: {field}"), problem };
        if json.len() > TAGGER_BYTES_MAX {
            return Err(invalid("", format!("is longer than {TAGGER_BYTES_MAX} bytes")));
        }
        let Raw { format, labels, threshold, hidden, output } = serde_json::from_slice(json)?;
        if format != FORMAT {
            return Err(invalid("format", format!("is {format}, {FORMAT} is read")));
        }
        let kinds: Vec<Option<Kind>> = labels.iter().map(|label| Kind::from_word(label)).collect();
        let is_known = kinds.iter().skip(1).all(Option::is_some) && labels.first().is_some_and(|label| label == "none");
        if !is_known || kinds.len() != output.weights.len() {
            return Err(invalid("labels", "must be none and kinds, one for each output".to_owned()));
        }
        hidden.check("tagger: hidden", FEATURES)?;
        output.check("tagger: output", hidden.weights.len())?;
        row("tagger: threshold", &[threshold], 1)?;
        Ok(Self { kinds, threshold, hidden, output })
    }

    /// What is found in a text, above the thresholds and outside the allow-lists of `scanner`.
    ///
    /// # Errors
    /// [`NotEncoded::Late`] when `deadline` passes before the whole text was looked at; [`NotEncoded::Failed`] when tokenizer, runtime or network fail.
    pub fn tag(
        &self,
        encoder: &Encoder,
        scanner: &Scanner,
        text: &str,
        deadline: Instant,
    ) -> Result<Findings, NotEncoded> {
        let mut found = Vec::new();
        for piece in pieces(text) {
            // Also where there is no word: blanks take their time to be read.
            in_time(deadline)?;
            let words = self.words(encoder, &text[piece.clone()], deadline)?;
            found.extend(self.join(&text[piece.clone()], &words).into_iter().map(|mut finding| {
                finding.span = finding.span.start + piece.start..finding.span.end + piece.start;
                finding
            }));
        }
        let is_reported = |finding: &Finding| {
            finding.confidence >= scanner.threshold(&finding.kind).unwrap_or(self.threshold)
                && !scanner.is_allowed(text.get(finding.span.clone()).unwrap_or_default())
        };
        found.retain(is_reported);
        Ok(Findings::of(found))
    }

    /// What each word of a text is likely to be.
    ///
    /// # Errors
    /// As [`Tagger::tag`].
    pub fn words(&self, encoder: &Encoder, text: &str, deadline: Instant) -> Result<Vec<Tagged>, NotEncoded> {
        let words = words(encoder, text)?;
        let shapes: Vec<_> = (0..words.len()).map(|number| shape(text, &words, number)).collect();
        let mut tagged = Vec::with_capacity(words.len());
        for group in windows(&words).chunks(GROUP) {
            in_time(deadline)?;
            let ids: Vec<Vec<i64>> = group.iter().map(|window| framed_ids(&words[window.clone()])).collect();
            encoder.tokens(&ids, |vectors, width| {
                let mut features = vec![0.0; FEATURES];
                for (window, vectors) in group.iter().zip(vectors.chunks_exact(width * VECTOR_DIMENSIONS)) {
                    // After the frame.
                    let mut at = 1;
                    for number in window.clone() {
                        let count = words[number].ids.len();
                        mean(vectors, at..at + count, &mut features[..VECTOR_DIMENSIONS]);
                        around(&shapes, number, &mut features[VECTOR_DIMENSIONS..]);
                        at += count;
                        let probabilities = self.probabilities(&features);
                        tagged.push(Tagged { span: words[number].span.clone(), probabilities });
                    }
                }
            })?;
        }
        Ok(tagged)
    }

    fn probabilities(&self, features: &[f32]) -> Vec<f32> {
        let hidden: Vec<f32> = self.hidden.apply(features).into_iter().map(|value| value.max(0.0)).collect();
        softmax(self.output.apply(&hidden))
    }

    /// Runs of words of one kind with nothing but joints between. The confidence of a run is the mean of their probabilities.
    fn join(&self, text: &str, words: &[Tagged]) -> Vec<Finding> {
        struct Run {
            span: Range<usize>,
            /// End with the signs that follow.
            reach: usize,
            label: usize,
            sum: f32,
            count: usize,
        }
        let mut runs: Vec<Run> = Vec::new();
        for Tagged { span, probabilities } in words {
            let likeliest = probabilities.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((label, probability)) = likeliest.filter(|(label, _)| *label > 0) else { continue };
            let is_sign = is_sign(&text[span.clone()]);
            match runs.last_mut() {
                Some(run) if run.label == label && self.joins(label, text.get(run.reach..span.start)) => {
                    run.sum += probability;
                    run.count += 1;
                    run.reach = span.end;
                    if !is_sign {
                        run.span.end = span.end;
                    }
                }
                _ if is_sign => {}
                _ => runs.push(Run { span: span.clone(), reach: span.end, label, sum: probability, count: 1 }),
            }
        }
        let finding = |run: Run| {
            let kind = self.kinds.get(run.label)?.clone()?;
            Some(Finding { kind, span: run.span, confidence: run.sum / run.count as f32, validator: None })
        };
        runs.into_iter().filter_map(finding).collect()
    }

    fn joins(&self, label: usize, between: Option<&str>) -> bool {
        let is_address = self.kinds.get(label).is_some_and(|kind| *kind == Some(Kind::Address));
        let joints = if is_address { " \t\n\r,.-'’&/#>?" } else { " \t.-'’&" };
        between.is_some_and(|between| {
            between.len() <= JOINT_BYTES_MAX
                && between.chars().all(|character| joints.contains(character))
                && between.matches('\n').count() <= JOINT_LINES_MAX
        })
    }
}

/// Ranges of at most [`PIECE_BYTES`] that cover the text.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let (mut pieces, mut begin) = (Vec::new(), 0);
    while text.len() - begin > PIECE_BYTES {
        let end = text.floor_char_boundary(begin + PIECE_BYTES);
        let near = text.floor_char_boundary(end - CUT_BYTES_MAX);
        let cut = text[near..end].rfind(char::is_whitespace).map_or(end, |at| near + at);
        pieces.push(begin..cut);
        begin = cut;
    }
    pieces.push(begin..text.len());
    pieces
}

fn words(encoder: &Encoder, text: &str) -> Result<Vec<Word>, NotEncoded> {
    let encoding = encoder.tokenizer().encode(text, false).map_err(|error| NotEncoded::Failed(error.to_string()))?;
    let mut words: Vec<Word> = Vec::new();
    let mut before = None;
    let tokens = encoding.get_ids().iter().zip(encoding.get_word_ids()).zip(encoding.get_offsets());
    for ((id, number), (begin, end)) in tokens {
        let id = i64::from(*id);
        let (begin, end) = (text.floor_char_boundary(*begin), text.ceil_char_boundary(*end));
        match words.last_mut() {
            Some(word) if *number == before => {
                word.span.end = word.span.end.max(end);
                word.ids.push(id);
            }
            _ => words.push(Word { span: begin..end.max(begin), ids: vec![id] }),
        }
        before = *number;
    }
    Ok(words)
}

/// Ranges of words that fill a window, no word in two.
fn windows(words: &[Word]) -> Vec<Range<usize>> {
    let (mut windows, mut begin, mut ids) = (Vec::new(), 0, 0);
    for (number, word) in words.iter().enumerate() {
        if ids + word.ids.len() > WINDOW_IDS && number > begin {
            windows.push(begin..number);
            (begin, ids) = (number, 0);
        }
        ids += word.ids.len();
    }
    if begin < words.len() {
        windows.push(begin..words.len());
    }
    windows
}

/// The ids of words; a single word beyond a window is cut, which a tokenizer with its limit on words does not produce.
fn framed_ids(words: &[Word]) -> Vec<i64> {
    words.iter().flat_map(|word| word.ids.iter().copied()).take(WINDOW_IDS).collect()
}

fn mean(vectors: &[f32], tokens: Range<usize>, out: &mut [f32]) {
    out.fill(0.0);
    let share = 1.0 / tokens.len().max(1) as f32;
    for vector in vectors.chunks_exact(VECTOR_DIMENSIONS).skip(tokens.start).take(tokens.len()) {
        out.iter_mut().zip(vector).for_each(|(sum, value)| *sum += share * value);
    }
}

/// The shapes of a word and its neighbours; zeros beyond the ends.
fn around(shapes: &[[bool; SHAPES]], number: usize, out: &mut [f32]) {
    for (offset, out) in out.chunks_exact_mut(SHAPES).enumerate() {
        let shape = (number + offset).checked_sub(AROUND).and_then(|number| shapes.get(number));
        let shape = shape.copied().unwrap_or_default();
        out.iter_mut().zip(shape).for_each(|(out, flag)| *out = f32::from(u8::from(flag)));
    }
}

/// Of a word as it is written.
fn shape(text: &str, words: &[Word], number: usize) -> [bool; SHAPES] {
    let of = |number: usize| words.get(number).map(|word| word.span.clone());
    let span = of(number).unwrap_or_default();
    let word = &text[span.clone()];
    let (before, last) = match number.checked_sub(1).and_then(of) {
        Some(earlier) => (text.get(earlier.end..span.start).unwrap_or_default(), &text[earlier]),
        None => ("\n", "."),
    };
    let after = of(number + 1).map_or("\n", |later| text.get(span.end..later.start).unwrap_or_default());
    let first = word.chars().next();
    let mut letters = word.chars().filter(|letter| letter.is_uppercase() || letter.is_lowercase()).peekable();
    let letter_count = letters.clone().count();
    [
        first.is_some_and(char::is_uppercase),
        letter_count > 1 && letters.all(char::is_uppercase),
        first.is_some_and(char::is_lowercase),
        word.bytes().any(|byte| byte.is_ascii_digit()),
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()),
        is_sign(word),
        word.chars().count() == 1,
        before.contains('\n') || matches!(last, "." | "!" | "?" | ":"),
        after.contains('\n'),
    ]
}

/// Whether nothing in a word is a letter or digit; what is not ASCII counts as one.
fn is_sign(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagger() -> Tagger {
        let layer = |rows: usize, inputs: usize| serde_json::json!({"weights": vec![vec![0.0; inputs]; rows], "bias": vec![0.0; rows]});
        let json = serde_json::json!({"format": 1, "labels": ["none", "person", "address"], "threshold": 0.6,
            "hidden": layer(2, FEATURES), "output": layer(3, 2)});
        Tagger::parse(json.to_string().as_bytes()).unwrap()
    }

    /// Words of `text`, split at spaces and before commas and full stops, each with the label that its place in `labels` gives.
    fn joined(text: &str, labels: &[usize]) -> Vec<String> {
        let (mut words, mut at) = (Vec::new(), 0);
        for part in text.replace(',', " ,").replace('\n', " ").split_whitespace() {
            let begin = at + text[at..].find(part).unwrap();
            at = begin + part.len();
            let mut probabilities = vec![0.1; 3];
            probabilities[labels[words.len()]] = 0.8;
            words.push(Tagged { span: begin..at, probabilities });
        }
        let said = tagger().join(text, &words);
        said.iter().map(|finding| format!("{} {}", finding.kind.as_str(), &text[finding.span.clone()])).collect()
    }

    #[test]
    fn words_of_one_kind_make_one_finding_where_only_joints_are_between() {
        assert_eq!(joined("ask Anna Keller now", &[0, 1, 1, 0]), ["person Anna Keller"]);
        assert_eq!(joined("Anna, Bob and Eve", &[1, 0, 1, 0, 1]), ["person Anna", "person Bob", "person Eve"]);
        assert_eq!(joined("Doe, John", &[1, 1, 1]), ["person Doe, John"]);
        assert_eq!(joined("Main St 4,\nRome", &[2, 2, 2, 0, 2]), ["address Main St 4,\nRome"]);
        assert_eq!(joined("Anna 4", &[1, 2]), ["person Anna", "address 4"]);
        assert_eq!(joined(", Anna ,", &[1, 1, 1]), ["person Anna"]);
        assert!(joined("nobody here", &[0, 0]).is_empty());
    }

    #[test]
    fn pieces_cover_a_text_and_cut_no_character_and_words_only_where_they_must() {
        for text in [
            "".to_owned(),
            "ab ".repeat(9000),
            "é".repeat(9000),
            "x".repeat(PIECE_BYTES),
            format!("{}🦀", "x".repeat(PIECE_BYTES - 1)),
        ] {
            let cut = pieces(&text);
            assert_eq!(cut.iter().map(|piece| &text[piece.clone()]).collect::<String>(), text);
            assert!(cut.iter().all(|piece| piece.len() <= PIECE_BYTES));
            assert!(cut.iter().skip(1).all(|piece| !text.starts_with("ab") || text[piece.start..].starts_with(' ')));
        }
    }

    #[test]
    fn shapes_are_of_the_words_as_they_are_written() {
        let text = "Hi: IBM 42\nx";
        let word = |part: &str| {
            let begin = text.find(part).unwrap();
            Word { span: begin..begin + part.len(), ids: vec![1] }
        };
        let words = ["Hi", ":", "IBM", "42", "x"].map(word);
        let shapes: Vec<String> = (0..words.len())
            .map(|number| shape(text, &words, number).iter().map(|flag| if *flag { '1' } else { '0' }).collect())
            .collect();
        assert_eq!(shapes, ["100000010", "000001100", "110000010", "000110001", "001000111"]);
        let mut out = [9.0; 5 * SHAPES];
        around(&[[true; SHAPES]; 2], 0, &mut out);
        assert_eq!(out.map(|value| value as u8), [[0; 9], [0; 9], [1; 9], [1; 9], [0; 9]].as_flattened());
    }

    #[test]
    fn a_broken_file_is_refused_and_says_where() {
        for (json, part) in [
            ("{", "heads.json"),
            (
                r#"{"format":2,"labels":[],"threshold":1,"hidden":{"weights":[],"bias":[]},"output":{"weights":[],"bias":[]}}"#,
                "format: is 2",
            ),
            (
                r#"{"format":1,"labels":["none","cat"],"threshold":1,"hidden":{"weights":[],"bias":[]},"output":{"weights":[[1],[1]],"bias":[1,1]}}"#,
                "labels",
            ),
            (
                r#"{"format":1,"labels":["none","person"],"threshold":1,"hidden":{"weights":[[1]],"bias":[1]},"output":{"weights":[[1],[1]],"bias":[1,1]}}"#,
                "hidden.weights[0]: has 1 numbers",
            ),
        ] {
            let error = Tagger::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
