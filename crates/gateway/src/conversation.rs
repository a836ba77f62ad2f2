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
    /// How many of the keys, from the first, the conversation is looked for by: a request that says the same as an earlier
    /// one does not continue it.
    sought: usize,
}

impl Thread {
    /// The session when the caller named one, else the beginnings of the messages. `by_prefix` false saves the time to
    /// hash them, and leaves a request without a session without a conversation.
    pub(crate) fn of(request: &ChatRequest, caller: &CallerFacts, session: Option<&str>, by_prefix: bool) -> Self {
        let caller: Option<Arc<str>> = caller.key_id.as_deref().map(Arc::from);
        let key = |name| Key { caller: caller.clone(), name };
        if let Some(session) = session {
            return Self { keys: vec![key(Name::Session(session.into()))], sought: 1 };
        }
        if !by_prefix {
            return Self { keys: Vec::new(), sought: 0 };
        }
        let keys: Vec<_> = request.prefix_names().into_iter().map(|name| key(Name::Prefix(name))).collect();
        let sought = keys.len().saturating_sub(1);
        Self { keys, sought }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    privacy: Privacy,
    answered: Option<(TargetId, u64)>,
    used: Instant,
}

/// The memory. Every method takes how long an entry is kept after it was last used, and the time, in which it has to go
/// forward.
pub(crate) struct Conversations {
    entries: Mutex<LruCache<Key, Entry>>,
}

impl Conversations {
    /// An empty memory.
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::new(LruCache::unbounded()) }
    }

    /// What is known of the conversation of `thread`: of all names the strictest class, of the longest that was answered
    /// the target. Counts as use.
    pub(crate) fn recall(&self, thread: &Thread, kept_for: Duration, now: Instant) -> ConversationFacts {
        let mut entries = self.entries();
        let mut facts = ConversationFacts::default();
        for key in &thread.keys[..thread.sought] {
            let Some(entry) = entries.get_mut(key) else { continue };
            if is_over(entry, kept_for, now) {
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
    pub(crate) fn remember(
        &self,
        thread: &Thread,
        class: Privacy,
        answered: Option<(TargetId, u64)>,
        kept_for: Duration,
        now: Instant,
    ) {
        let Some(key) = thread.keys.last() else { return };
        let mut entries = self.entries();
        let new = || Entry { privacy: class, answered: None, used: now };
        let entry = entries.get_or_insert_mut(key.clone(), new);
        if is_over(entry, kept_for, now) {
            *entry = new();
        }
        entry.used = now;
        entry.privacy = entry.privacy.max(class);
        if answered.is_some() {
            entry.answered = answered;
        }
        while entries.len() > ENTRIES_MAX || entries.peek_lru().is_some_and(|(_, e)| is_over(e, kept_for, now)) {
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
        let (memory, now) = (Conversations::new(), Instant::now());
        memory.remember(&by_prefix(&["a"]), Privacy::Restricted, None, MINUTE, now);
        memory.remember(&by_prefix(&["a"]), Privacy::Public, Some((target("x/1"), 10)), MINUTE, now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Public, None, MINUTE, now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Public, Some((target("x/2"), 30)), MINUTE, now);
        let expected = ConversationFacts {
            strictest_privacy: Some(Privacy::Restricted),
            previous_target: Some(target("x/2")),
            cached_tokens: 30,
        };
        assert_eq!(memory.recall(&by_prefix(&["a", "answer", "b", "answer", "c"]), MINUTE, now), expected);
        assert_eq!(memory.recall(&by_prefix(&["b"]), MINUTE, now), ConversationFacts::default());
    }

    #[test]
    fn a_class_holds_without_an_answer_and_never_loosens() {
        let (memory, now) = (Conversations::new(), Instant::now());
        let thread = by_session("s", None);
        memory.remember(&thread, Privacy::Confidential, None, MINUTE, now);
        memory.remember(&thread, Privacy::Public, None, MINUTE, now);
        memory.remember(&thread, Privacy::Public, Some((target("x/1"), 5)), MINUTE, now);
        let facts = memory.recall(&thread, MINUTE, now);
        assert_eq!((facts.strictest_privacy, facts.cached_tokens), (Some(Privacy::Confidential), 5));
    }

    #[test]
    fn a_retry_without_an_answer_stays_with_who_answered_before() {
        let (memory, now) = (Conversations::new(), Instant::now());
        memory.remember(&by_prefix(&["a"]), Privacy::Public, Some((target("x/1"), 10)), MINUTE, now);
        memory.remember(&by_prefix(&["a", "answer", "b"]), Privacy::Internal, None, MINUTE, now);
        assert_eq!(memory.recall(&by_prefix(&["a", "answer", "b"]), MINUTE, now).previous_target, Some(target("x/1")));
    }

    #[test]
    fn callers_and_sessions_share_nothing() {
        let (memory, now) = (Conversations::new(), Instant::now());
        memory.remember(&by_session("s", Some("one")), Privacy::Restricted, None, MINUTE, now);
        for other in [by_session("s", Some("two")), by_session("s", None), by_session("t", Some("one"))] {
            assert_eq!(memory.recall(&other, MINUTE, now), ConversationFacts::default());
        }
        assert!(memory.recall(&by_session("s", Some("one")), MINUTE, now).strictest_privacy.is_some());
    }

    #[test]
    fn without_a_session_and_without_prefixes_nothing_is_remembered() {
        let (memory, now) = (Conversations::new(), Instant::now());
        let thread = Thread::of(&request(&["a"]), &CallerFacts::default(), None, false);
        memory.remember(&thread, Privacy::Restricted, None, MINUTE, now);
        assert_eq!(memory.recall(&thread, MINUTE, now), ConversationFacts::default());
    }

    #[test]
    fn use_keeps_an_entry_and_time_without_use_ends_it() {
        let (memory, begun) = (Conversations::new(), Instant::now());
        let thread = by_session("s", None);
        memory.remember(&thread, Privacy::Restricted, None, MINUTE, begun);
        assert!(memory.recall(&thread, MINUTE, begun + MINUTE).strictest_privacy.is_some());
        assert!(memory.recall(&thread, MINUTE, begun + 2 * MINUTE).strictest_privacy.is_some());
        assert_eq!(memory.recall(&thread, MINUTE, begun + 4 * MINUTE), ConversationFacts::default());
        memory.remember(&by_session("other", None), Privacy::Public, None, MINUTE, begun);
        memory.remember(&thread, Privacy::Public, None, MINUTE, begun + 4 * MINUTE);
        assert_eq!(memory.entries().len(), 1, "what is over is removed");
    }

    #[test]
    fn the_number_of_entries_is_bounded_and_the_least_used_goes_first() {
        let (memory, now) = (Conversations::new(), Instant::now());
        let session = |n: usize| by_session(&n.to_string(), None);
        for n in 0..ENTRIES_MAX {
            memory.remember(&session(n), Privacy::Internal, None, MINUTE, now);
        }
        memory.recall(&session(0), MINUTE, now);
        memory.remember(&session(ENTRIES_MAX), Privacy::Internal, None, MINUTE, now);
        assert_eq!(memory.entries().len(), ENTRIES_MAX);
        let known = |n| memory.recall(&session(n), MINUTE, now).strictest_privacy.is_some();
        assert_eq!([known(0), known(1), known(2), known(ENTRIES_MAX)], [true, false, true, true]);
    }
}
