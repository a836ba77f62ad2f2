//! One thing wrong, or dubious, with a policy.

use crate::ConditionError;

/// Whether a policy with this problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it does something else than its author meant, or nothing.
    Warning,
}

/// One problem of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the policy can be used.
    pub severity: Severity,
    /// The key at fault, such as `routes[1].when`; empty for the policy as a whole.
    pub path: String,
    /// Bytes from the start of the value at `path` to the place at fault in it; 0 for the value as a whole.
    pub offset: usize,
    /// What is wrong and what is expected.
    pub message: String,
    /// For a condition: its line with a caret under the place at fault.
    pub excerpt: Option<String>,
}

impl Problem {
    pub(crate) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self { severity: Severity::Error, path, offset: 0, message, excerpt: None }
    }

    pub(crate) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    pub(crate) fn in_condition(path: &str, source: &str, error: ConditionError) -> Self {
        let (offset, excerpt) = (error.start, Some(error.caret(source)));
        Self { offset, excerpt, ..Self::error(path, error.message) }
    }
}
