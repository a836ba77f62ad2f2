//! One line of a labelled set: a prompt, the right answer, and how an answer is compared with it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{GoldError, Scorer};

/// Longest line of a labelled set, in bytes.
pub const LABELLED_LINE_BYTES_MAX: usize = 4 << 20;
/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 256;
/// What a row without a task belongs to.
const TASK_DEFAULT: &str = "all";

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// Not JSON of this shape; says nothing of the line's text but names and types.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field holds what it cannot hold.
    #[error("`{field}` {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// The end of a sentence that begins with it.
        problem: &'static str,
    },
    /// The metric or the right answer.
    #[error(transparent)]
    Gold(#[from] GoldError),
}

/// Further members are its author's own.
#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Value>,
    #[serde(default)]
    gold: Value,
    metric: String,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    task: Option<String>,
}

/// A prompt with the answer wanted.
#[derive(Debug)]
pub struct LabelledRow {
    /// Unique in its set.
    pub id: String,
    /// The messages, in the shape of a chat completion.
    pub messages: Value,
    /// What an answer is worth.
    pub scorer: Scorer,
    /// Tokens that an answer may take.
    pub max_tokens: Option<u64>,
    /// What it is summed up under.
    pub task: String,
}

impl LabelledRow {
    /// Reads a line.
    ///
    /// # Errors
    /// [`LabelledError`] says what is wrong with which field.
    pub fn parse(line: &str) -> Result<Self, LabelledError> {
        let raw: Raw = serde_json::from_str(line)?;
        let field = |field, problem| Err(LabelledError::Field { field, problem });
        if raw.id.is_empty() || raw.id.len() > ID_BYTES_MAX {
            return field("id", "has to be 1 to 256 bytes long");
        }
        let messages = match (raw.prompt, raw.messages) {
            (Some(prompt), None) => json!([{"role": "user", "content": prompt}]),
            (None, Some(messages)) => messages,
            (Some(_), Some(_)) => return field("messages", "and `prompt` exclude each other"),
            (None, None) => return field("prompt", "is required, or `messages`"),
        };
        let scorer = Scorer::new(&raw.metric, &raw.gold)?;
        let task = raw.task.unwrap_or_else(|| TASK_DEFAULT.to_owned());
        Ok(Self { id: raw.id, messages, scorer, max_tokens: raw.max_tokens, task })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_with_its_defaults() {
        let row = LabelledRow::parse(r#"{"id":"a","prompt":"2+2?","gold":4,"metric":"number"}"#).unwrap();
        assert_eq!((row.id.as_str(), row.task.as_str(), row.max_tokens), ("a", "all", None));
        assert_eq!(row.messages, json!([{"role": "user", "content": "2+2?"}]));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let cases = [
            ("{", "EOF"),
            (r#"{"id":"","prompt":"","metric":"nonempty"}"#, "`id` has to be"),
            (r#"{"id":"a","metric":"nonempty"}"#, "`prompt` is required"),
            (r#"{"id":"a","prompt":"","messages":[],"metric":"nonempty"}"#, "exclude each other"),
            (r#"{"id":"a","prompt":"","metric":"bleu"}"#, "bleu"),
            (r#"{"id":"a","prompt":"","metric":"number","gold":"many"}"#, "number"),
        ];
        for (line, part) in cases {
            let error = LabelledRow::parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
