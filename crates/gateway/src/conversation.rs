//! What is remembered of conversations: the strictest privacy class seen in one, and who answered last.
//!
//! A request finds its conversation by the session that its caller names, else by the beginnings of its messages
//! ([`ChatRequest::prefix_names`]). Memory is bounded in number and time, and no text of a prompt is in it. A
//! conversation that was forgotten is a new one: its class is what the request says and the configuration demands. What
//! was recalled for a request holds until its end, whatever is forgotten meanwhile.
//!
//! Without a session, conversations that begin with the same messages are one until they differ, so that a class said in
//! one also holds where another begins alike. That can only tighten; a session keeps them apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use policy::{CallerFacts, ConversationFacts, Privacy, TargetId};
use wire::{ChatRequest, PrefixName};

/// Entries kept at most; the one that was not used for longest goes first. A conversation without a session takes one
/// for each of its requests. With the longest names about 20 MB.
const ENTRIES_MAX: usize = 65_536;
/// How long an entry is kept after it was last used.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(3600);

/// One name of a conversation. Callers with different keys share none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: Option<Arc<str>>,
    name: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Session(Arc<str>),
    Prefix(PrefixName),
}

/// The names of one request's conversation: by all of them it is looked for, by the last it is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    keys: Vec<Key>,
}

impl Thread {
    /// The session when the caller named one, else the beginnings of the messages. `by_prefix` false saves the time to
    /// hash them, and leaves a request without a session without a conversation.
    pub(crate) fn of(request: &ChatRequest, caller: &CallerFacts, session: Option<&str>, by_prefix: bool) -> Self {
        let caller: Option<Arc<str>> = caller.key_id.as_deref().map(Arc::from);
        let key = |name| Key { caller: caller.clone(), name };
        let keys = match session {
            Some(session) => vec![key(Name::Session(session.into()))],
            None if by_prefix => request.prefix_names().into_iter().map(|name| key(Name::Prefix(name))).collect(),
            None => Vec::new(),
        };
        Self { keys }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    privacy: Privacy,
    answered: Option<(TargetId, u64)>,
    used: Instant,
}

/// The memory. Every method takes the time, in which it has to go forward.
pub(crate) struct Conversations {
    entries: Mutex<LruCache<Key, Entry>>,
    kept_for: Duration,
}

impl Conversations {
    /// An empty memory that keeps what was not used for `kept_for` no longer.
    pub(crate) fn new(kept_for: Duration) -> Self {
        Self { entries: Mutex::new(LruCache::unbounded()), kept_for }
    }

    /// What is known of the conversation of `thread`: of all names the strictest class, of the longest that was answered
    /// the target. Counts as use.
    pub(crate) fn recall(&self, thread: &Thread, now: Instant) -> ConversationFacts {
        let mut entries = self.entries();
        let mut facts = ConversationFacts::default();
        for key in &thread.keys {
            let Some(entry) = entries.get_mut(key) else { continue };
            if is_over(entry, self.kept_for, now) {
                entries.pop(key);
                continue;
            }
            entry.used = now;
            facts.strictest_privacy = facts.strictest_privacy.max(Some(entry.privacy));
            if let Some((target, tokens)) = &entry.answered {
                facts.previous_target = Some(target.clone());
                facts.cached_tokens = *tokens;
            }
        }
        facts
    }

    /// Remembers the class that holds for a request (the stricter of what it says and what was recalled), and who
    /// answered it with how many tokens of prompt. To be called as soon as the class is known, and again with the
    /// answer: the class holds for the conversation whether or not an answer comes. It can only grow stricter.
    pub(crate) fn remember(&self, thread: &Thread, class: Privacy, answered: Option<(TargetId, u64)>, now: Instant) {
        let Some(key) = thread.keys.last() else { return };
        let mut entries = self.entries();
        let new = || Entry { privacy: class, answered: None, used: now };
        let entry = entries.get_or_insert_mut(key.clone(), new);
        if is_over(entry, self.kept_for, now) {
            *entry = new();
        }
        entry.used = now;
        entry.privacy = entry.privacy.max(class);
        if answered.is_some() {
            entry.answered = answered;
        }
        while entries.len() > ENTRIES_MAX || entries.peek_lru().is_some_and(|(_, e)| is_over(e, self.kept_for, now)) {
            entries.pop_lru();
        }
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<Key, Entry>> {
        // Every change is made in one step; a panic leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(entry: &Entry, kept_for: Duration, now: Instant) -> bool {
    now.saturating_duration_since(entry.used) > kept_for
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn request(contents: &[&str]) -> ChatRequest {
        let message = |text: &&str| format!(r#"{{"role":"user","content":"{text}"}}"#);
        let messages: Vec<_> = contents.iter().map(message).collect();
        ChatRequest::parse(format!(r#"{{"model":"auto","messages":[{}]}}"#, messages.join(",")).into()).unwrap()
    }

    fn by_prefix(contents: &[&str]) -> Thread {
        Thread::of(&request(contents), &CallerFacts::default(), None, true)
    }

    fn by_session(session: &str, key: Option<&str>) -> Thread {
        let caller = CallerFacts { key_id: key.map(str::to_owned), ..CallerFacts::default() };
        Thread::of(&request(&["x"]), &caller, Some(session), true)
    }

    fn target(id: &str) -> TargetId {
        TargetId::new(id).unwrap()
    }

    #[test]
    fn a_conversation_is_found_by_the_longest_beginning_and_keeps_its_strictest_class() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        memory.remember(&by_prefix(&["a"]), Privacy::Restricted, None, now);
        memory.remember(&by_prefix(&["a"]), Privacy::Public, Some((target("x/1"), 10)), now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Public, None, now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Public, Some((target("x/2"), 30)), now);
        let expected = ConversationFacts {
            strictest_privacy: Some(Privacy::Restricted),
            previous_target: Some(target("x/2")),
            cached_tokens: 30,
        };
        assert_eq!(memory.recall(&by_prefix(&["a", "answer", "b", "answer", "c"]), now), expected);
        assert_eq!(memory.recall(&by_prefix(&["b"]), now), ConversationFacts::default());
    }

    #[test]
    fn a_class_holds_without_an_answer_and_never_loosens() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        let thread = by_session("s", None);
        memory.remember(&thread, Privacy::Confidential, None, now);
        memory.remember(&thread, Privacy::Public, None, now);
        memory.remember(&thread, Privacy::Public, Some((target("x/1"), 5)), now);
        let facts = memory.recall(&thread, now);
        assert_eq!((facts.strictest_privacy, facts.cached_tokens), (Some(Privacy::Confidential), 5));
    }

    #[test]
    fn a_retry_without_an_answer_stays_with_who_answered_before() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        memory.remember(&by_prefix(&["a"]), Privacy::Public, Some((target("x/1"), 10)), now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Internal, None, now);
        assert_eq!(memory.recall(&by_prefix(&["a", "answer", "b"]), now).previous_target, Some(target("x/1")));
    }

    #[test]
    fn callers_and_sessions_share_nothing() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        memory.remember(&by_session("s", Some("one")), Privacy::Restricted, None, now);
        for other in [by_session("s", Some("two")), by_session("s", None), by_session("t", Some("one"))] {
            assert_eq!(memory.recall(&other, now), ConversationFacts::default());
        }
        assert!(memory.recall(&by_session("s", Some("one")), now).strictest_privacy.is_some());
    }

    #[test]
    fn without_a_session_and_without_prefixes_nothing_is_remembered() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        let thread = Thread::of(&request(&["a"]), &CallerFacts::default(), None, false);
        memory.remember(&thread, Privacy::Restricted, None, now);
        assert_eq!(memory.recall(&thread, now), ConversationFacts::default());
    }

    #[test]
    fn use_keeps_an_entry_and_time_without_use_ends_it() {
        let (memory, begun) = (Conversations::new(MINUTE), Instant::now());
        let thread = by_session("s", None);
        memory.remember(&thread, Privacy::Restricted, None, begun);
        assert!(memory.recall(&thread, begun + MINUTE).strictest_privacy.is_some());
        assert!(memory.recall(&thread, begun + 2 * MINUTE).strictest_privacy.is_some());
        assert_eq!(memory.recall(&thread, begun + 4 * MINUTE), ConversationFacts::default());
        memory.remember(&by_session("other", None), Privacy::Public, None, begun);
        memory.remember(&thread, Privacy::Public, None, begun + 4 * MINUTE);
        assert_eq!(memory.entries().len(), 1, "what is over is removed");
    }

    #[test]
    fn the_number_of_entries_is_bounded_and_the_least_used_goes_first() {
        let (memory, now) = (Conversations::new(MINUTE), Instant::now());
        let session = |n: usize| by_session(&n.to_string(), None);
        for n in 0..ENTRIES_MAX {
            memory.remember(&session(n), Privacy::Internal, None, now);
        }
        memory.recall(&session(0), now);
        memory.remember(&session(ENTRIES_MAX), Privacy::Internal, None, now);
        assert_eq!(memory.entries().len(), ENTRIES_MAX);
        let known = |n| memory.recall(&session(n), now).strictest_privacy.is_some();
        assert_eq!([known(0), known(1), known(2), known(ENTRIES_MAX)], [true, false, true, true]);
    }
}
