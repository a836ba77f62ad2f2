//! What an answer is worth beside the right one: 0 to 1, by one of a closed list of metrics.
//!
//! Words are compared as SQuAD's evaluation does it: lower case, without punctuation and articles. Text between `<think>`
//! and `</think>` is no part of an answer.

mod extract;
mod normalise;
mod schema;

#[cfg(test)]
mod tests;

use serde_json::Value;

use extract::{choice, last_number};
use normalise::{Form, is_among};
pub use schema::{SCHEMA_DEPTH_MAX, Schema, SchemaError};

/// How far two numbers may be apart and still be equal, relative to the right one.
const NUMBER_TOLERANCE: f64 = 1e-6;
/// The marks around what a model thought before it answered.
const THINKING: (&str, &str) = ("<think>", "</think>");

/// How answers are compared. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The words of the answer are those of the right one.
    Exact,
    /// The words of the right answer stand in the answer, one after the other.
    Contains,
    /// The answer chooses the letter of the right option.
    Choice,
    /// The last number of the answer is the right one.
    Number,
    /// F1 of the words in common.
    F1,
    /// The answer is JSON that the schema allows ([`Schema`] says which part of JSON Schema is known).
    JsonSchema,
    /// There is an answer.
    Nonempty,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Exact, Self::Contains, Self::Choice, Self::Number, Self::F1, Self::JsonSchema, Self::Nonempty];

    /// The word in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Contains => "contains",
            Self::Choice => "choice",
            Self::Number => "number",
            Self::F1 => "f1",
            Self::JsonSchema => "json_schema",
            Self::Nonempty => "nonempty",
        }
    }
}

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum GoldError {
    /// No such metric.
    #[error("`metric` {0:?} is not one of exact, contains, choice, number, f1, json_schema, nonempty")]
    Metric(String),
    /// The right answer is none for this metric.
    #[error("`gold` has to be {1} for the metric {0}")]
    Gold(&'static str, &'static str),
    /// A schema that is not known in all its parts.
    #[error("`gold`: {0}")]
    Schema(#[from] SchemaError),
}

/// The right answer, made ready for comparing.
#[derive(Clone, Debug, PartialEq)]
pub struct Scorer {
    metric: Metric,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Texts(Vec<(Form, Vec<String>)>),
    Letter(char),
    Number(f64),
    Schema(Schema),
    Anything,
}

impl Scorer {
    /// Reads the right answer: text, a number or a list of texts any of which is right; for `choice` a letter such as `B`
    /// or `(B)`; for `number` a number or a text whose last number counts; for `json_schema` the schema; for `nonempty`
    /// nothing.
    ///
    /// # Errors
    /// [`GoldError`] for an unknown metric or an answer that does not fit it.
    pub fn new(metric: &str, gold: &Value) -> Result<Self, GoldError> {
        let known = Metric::ALL.into_iter().find(|known| known.as_str() == metric);
        let metric = known.ok_or_else(|| GoldError::Metric(metric.chars().take(40).collect()))?;
        let wrong = |wanted| GoldError::Gold(metric.as_str(), wanted);
        let wanted = match metric {
            Metric::Exact | Metric::Contains | Metric::F1 => {
                let texts = texts(gold).filter(|texts| !texts.is_empty());
                let texts = texts.ok_or_else(|| wrong("a text, a number or a list of them, none empty"))?;
                Wanted::Texts(texts.iter().map(|text| Form::of(text)).collect())
            }
            Metric::Choice => {
                let letter = gold.as_str().and_then(|text| choice(text.trim()));
                Wanted::Letter(letter.ok_or_else(|| wrong("one letter such as B or (B)"))?)
            }
            Metric::Number => {
                let number = gold.as_f64().or_else(|| gold.as_str().and_then(last_number));
                Wanted::Number(number.ok_or_else(|| wrong("a number or a text with one"))?)
            }
            Metric::JsonSchema => Wanted::Schema(Schema::compile(gold)?),
            Metric::Nonempty => Wanted::Anything,
        };
        Ok(Self { metric, wanted })
    }

    /// The metric.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// What this answer is worth, 0 to 1.
    #[must_use]
    pub fn score(&self, answer: &str) -> f64 {
        let answer = without_thinking(answer).trim();
        let share = |right: bool| f64::from(u8::from(right));
        match &self.wanted {
            Wanted::Anything => share(!answer.is_empty()),
            Wanted::Letter(letter) => share(choice(answer) == Some(*letter)),
            Wanted::Number(wanted) => share(
                last_number(answer)
                    .is_some_and(|number| (number - wanted).abs() <= NUMBER_TOLERANCE * wanted.abs().max(1.0)),
            ),
            Wanted::Schema(schema) => share(schema.allows_text(answer)),
            Wanted::Texts(golds) => {
                let worth = |(form, gold): &(Form, Vec<String>)| {
                    let words = form.words(answer);
                    match self.metric {
                        Metric::Contains => share(is_among(gold, &words)),
                        Metric::F1 => normalise::f1(gold, &words),
                        _ => share(*gold == words),
                    }
                };
                golds.iter().map(worth).fold(0.0, f64::max)
            }
        }
    }
}

/// The texts of a right answer; `None` where it is none or one is empty.
fn texts(gold: &Value) -> Option<Vec<String>> {
    let text = match gold {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Array(all) => {
            let each = all.iter().map(|one| texts(one).filter(|_| !one.is_array()));
            return each.collect::<Option<Vec<_>>>().map(|all| all.into_iter().flatten().collect());
        }
        Value::Null | Value::Object(_) => return None,
    };
    (!text.trim().is_empty()).then(|| vec![text])
}

/// What comes after the thinking; nothing where that was never ended.
fn without_thinking(answer: &str) -> &str {
    let (begin, end) = THINKING;
    match answer.trim_start().strip_prefix(begin) {
        None => answer,
        Some(rest) => rest.split_once(end).map_or("", |(_, after)| after),
    }
}
