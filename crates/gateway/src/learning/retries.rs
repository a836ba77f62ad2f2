//! Questions that are asked again soon after they were answered: a regeneration, or the same words once more in the same
//! conversation. A weak sign that the answer was bad.
//!
//! Kept in memory alone, as keyed hashes.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use wire::{ChatRequest, Texts};

use crate::conversation::{Key, Thread};

/// Answered questions that are remembered.
const QUESTIONS_MAX: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// What a request asks: its last message, in its conversation.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The beginnings of its messages, the whole of them last.
    beginnings: Vec<Key>,
    /// A hash of the last message.
    turn: u64,
}

struct Answered {
    request_id: String,
    turn: u64,
    at: Instant,
}

/// The questions that were answered of late.
pub(super) struct Retries {
    answered: Mutex<LruCache<Key, Answered>>,
    hasher: RandomState,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { answered: Mutex::new(LruCache::new(QUESTIONS_MAX)), hasher: RandomState::new() }
    }

    /// The question of a request whose last message is the user's.
    pub(super) fn question(&self, request: &ChatRequest, thread: &Thread) -> Option<Question> {
        let last = Texts::of_message(request.message_slices().last()?);
        let asks = last.role == "user" && !(last.content.is_empty() && last.rest.is_empty());
        let turn = self.hasher.hash_one((&last.content, &last.rest));
        asks.then(|| Question { beginnings: thread.beginnings().to_vec(), turn })
    }

    /// The id of the answered request that asked the same a short time ago, once: the same messages, or messages that begin
    /// with those and end in the same words.
    pub(super) fn again(&self, question: &Question, window: Duration, now: Instant) -> Option<String> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            |known: &Answered| known.turn == question.turn && now.saturating_duration_since(known.at) <= window;
        let key = question.beginnings.iter().rev().find(|key| answered.peek(key).is_some_and(is_same))?;
        answered.pop(key).map(|known| known.request_id)
    }

    /// Remembers a question with the id of the request that was answered.
    pub(super) fn answered(&self, mut question: Question, request_id: &str, at: Instant) {
        let Some(whole) = question.beginnings.pop() else { return };
        let known = Answered { request_id: request_id.to_owned(), turn: question.turn, at };
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).put(whole, known);
    }
}

#[cfg(test)]
mod tests {
    use policy::CallerFacts;

    use super::*;

    fn question(retries: &Retries, messages: &str) -> Option<Question> {
        let body = format!(r#"{{"model":"auto","messages":{messages}}}"#);
        let request = ChatRequest::parse(body.into()).unwrap();
        let thread = Thread::of(&request, &CallerFacts::default(), None);
        retries.question(&request, &thread)
    }

    const FIRST: &str = r#"[{"role":"user","content":"why?"}]"#;

    #[test]
    fn the_same_question_again_speaks_against_its_answer_once_and_soon() {
        let (window, now) = (Duration::from_secs(600), Instant::now());
        let retries = Retries::new();
        let answered = |id| retries.answered(question(&retries, FIRST).unwrap(), id, now);
        let again = |messages: &str, after_s| {
            retries.again(&question(&retries, messages)?, window, now + Duration::from_secs(after_s))
        };
        assert_eq!(again(FIRST, 1), None);
        answered("one");
        assert_eq!(again(r#"[{"role":"user","content":"why not?"}]"#, 1), None);
        assert_eq!(again(FIRST, 1).as_deref(), Some("one"));
        assert_eq!(again(FIRST, 1), None, "once");
        answered("two");
        let later = r#"[{"role":"user","content":"why?"},{"role":"assistant","content":"so"},{"role":"user","content":"why?"}]"#;
        assert_eq!(again(later, 1).as_deref(), Some("two"));
        answered("three");
        let goes_on = later.replace("\"why?\"}]", "\"and then?\"}]");
        assert_eq!(again(&goes_on, 1), None);
        assert_eq!(again(FIRST, 601), None, "too late");
    }

    #[test]
    fn a_turn_of_a_tool_loop_asks_nothing() {
        let retries = Retries::new();
        let in_loop = r#"[{"role":"user","content":"why?"},{"role":"assistant","content":"","tool_calls":[]},{"role":"tool","content":"42"}]"#;
        assert!(question(&retries, in_loop).is_none());
    }
}
