//! What is wrong with a condition, and where.

/// One thing wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// First byte at fault.
    pub start: usize,
    /// Byte behind the last one at fault; at least `start`.
    pub end: usize,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Longest part of a line that is shown.
const LINE_BYTES_MAX: usize = 160;

impl ConditionError {
    /// The line of `source` at fault and, below it, `^~~~` under the place.
    #[must_use]
    pub fn caret(&self, source: &str) -> String {
        let start = floor(source, self.start.min(source.len()));
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = source[line_start..].lines().next().unwrap_or_default();
        let end = floor(source, self.end.clamp(start, line_start + line.len()));
        if line.len() > LINE_BYTES_MAX {
            let from = floor(source, start.saturating_sub(LINE_BYTES_MAX / 4).max(line_start));
            let to = floor(source, (from + LINE_BYTES_MAX).min(line_start + line.len()));
            let part = Self { start: start - from, end: end.min(to) - from, message: String::new() };
            return part.caret(&source[from..to]);
        }
        // A tab stays a tab, so that the caret stands under its place whatever width a terminal gives it.
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = source[line_start..start.min(line_start + line.len())].chars().map(blank).collect();
        let under = source[start..end.max(start)].chars().count().saturating_sub(1);
        format!("{line}\n{indent}^{}", "~".repeat(under))
    }
}

/// The character boundary at or before `at`.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
