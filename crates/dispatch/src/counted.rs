//! Token counts of an answer, also of one whose end another target wrote behind its beginning.
//!
//! Knows nothing of prices. Counts that nobody reported are estimates and say so.

use wire::Usage;

/// Token counts, and which of them are estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    is_prompt_estimated: bool,
    is_completion_estimated: bool,
}

impl Counted {
    /// As a target reported them, of all that it wrote.
    pub(crate) fn reported(usage: Usage) -> Self {
        Self { usage, is_prompt_estimated: false, is_completion_estimated: false }
    }

    /// As nobody reported them.
    pub(crate) fn estimated(prompt_tokens: u64, completion_tokens: u64) -> Self {
        let usage = estimated(prompt_tokens, completion_tokens);
        Self { usage, is_prompt_estimated: true, is_completion_estimated: true }
    }

    /// As a target reported them before it had written all that came; that is estimated at `completion_tokens`.
    pub(crate) fn outdated(usage: Usage, completion_tokens: u64) -> Self {
        let completion_tokens = usage.completion_tokens.max(completion_tokens);
        let total_tokens = usage.prompt_tokens.saturating_add(completion_tokens);
        let usage = Usage { completion_tokens, total_tokens, ..usage };
        Self { usage, is_prompt_estimated: false, is_completion_estimated: true }
    }

    pub(crate) fn is_estimated(&self) -> bool {
        self.is_prompt_estimated || self.is_completion_estimated
    }

    /// Of the whole answer of which this is the beginning. `rest` is of a target that read the beginning as the end of its prompt
    /// and wrote what follows: the whole has the prompt of the beginning and the tokens written for both. Where only `rest` has a
    /// count of its prompt, that of the beginning is what it leaves.
    pub(crate) fn followed_by(self, rest: Self) -> Self {
        let written = self.usage.completion_tokens;
        let left = rest.usage.prompt_tokens.checked_sub(written).filter(|left| *left > 0);
        let prompt_tokens = match self.knows_prompt() {
            true => self.usage.prompt_tokens,
            false => left.filter(|_| rest.knows_prompt()).unwrap_or(self.usage.prompt_tokens),
        };
        let completion_tokens = written.saturating_add(rest.usage.completion_tokens);
        let usage = Usage {
            cached_prompt_tokens: self.usage.cached_prompt_tokens,
            reasoning_tokens: rest.usage.reasoning_tokens,
            ..estimated(prompt_tokens, completion_tokens)
        };
        Self {
            usage,
            is_prompt_estimated: !self.knows_prompt(),
            is_completion_estimated: self.is_completion_estimated || rest.is_completion_estimated,
        }
    }

    /// No prompt is empty: where none was counted the target left it out.
    fn knows_prompt(&self) -> bool {
        !self.is_prompt_estimated && self.usage.prompt_tokens > 0
    }
}

/// Counts that nobody reported.
pub(crate) fn estimated(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    let total_tokens = prompt_tokens.saturating_add(completion_tokens);
    Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_has_the_prompt_of_its_beginning_and_the_tokens_of_both() {
        let check = |beginning: Counted, rest: Counted, prompt, completion, is_estimated| {
            let whole = beginning.followed_by(rest);
            let Usage { prompt_tokens, completion_tokens, total_tokens, .. } = whole.usage;
            assert_eq!((prompt_tokens, completion_tokens), (prompt, completion), "{beginning:?} {rest:?}");
            assert_eq!((total_tokens, whole.is_estimated()), (prompt + completion, is_estimated));
        };
        let reported = |prompt, completion| Counted::reported(estimated(prompt, completion));
        check(reported(10, 4), reported(14, 3), 10, 7, false);
        check(reported(10, 4), Counted::estimated(20, 3), 10, 7, true);
        // What the second counted of its prompt is better than what was estimated of the first one's.
        check(Counted::estimated(13, 4), reported(14, 3), 10, 7, true);
        check(Counted::estimated(13, 4), Counted::estimated(17, 3), 13, 7, true);
        check(Counted::estimated(13, 4), reported(0, 3), 13, 7, true);
        check(Counted::estimated(13, 40), reported(14, 3), 13, 43, true);
        // Counted once in the middle: the prompt is known, and what came since is not.
        check(Counted::outdated(estimated(10, 1), 4), reported(14, 3), 10, 7, true);
        check(Counted::outdated(estimated(10, 9), 4), reported(14, 3), 10, 12, true);
        // Three parts.
        let two = reported(10, 4).followed_by(reported(14, 3));
        check(two, reported(17, 2), 10, 9, false);
    }

    #[test]
    fn what_was_cached_is_of_the_first_prompt() {
        let cached = |tokens| Usage { cached_prompt_tokens: tokens, ..estimated(10, 1) };
        let whole = |first, second| {
            Counted::reported(cached(first)).followed_by(Counted::reported(cached(second))).usage.cached_prompt_tokens
        };
        assert_eq!((whole(Some(3), Some(9)), whole(None, Some(9))), (Some(3), None));
    }
}
