//! What is remembered of conversations: the strictest privacy class seen in one, and who answered last.
//!
//! A request finds its conversation by the session that its caller names and by the beginnings of its messages
//! ([`ChatRequest::prefixes`]). Memory is bounded in number and time, and no text of a prompt is in it. A
//! conversation that was forgotten is a new one: its class is what the request says and the configuration demands. What
//! was recalled for a request holds until its end, whatever is forgotten meanwhile.
//!
//! Conversations that begin with the same messages are one until they differ, so that a class said in one also holds where
//! another begins alike. That can only tighten. A session keeps their targets apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use policy::{CallerFacts, ConversationFacts, Privacy, TargetId};
use wire::{ChatRequest, Prefix, PrefixName};

/// Entries kept at most, of conversations that stay on the device and of others each; the one that was not used for longest
/// goes first. A conversation takes one for each of its requests. With the longest names about 20 MB each.
const ENTRIES_MAX: usize = 65_536;

/// One name of a conversation. Callers with different keys share none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    caller: Option<Arc<str>>,
    name: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Session(Arc<str>),
    Prefix(PrefixName),
}

/// The names of one request's conversation.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    /// The session, when the caller named one.
    session: Option<Key>,
    /// The beginnings of the messages, shortest first; the last is the request itself.
    beginnings: Vec<Key>,
    prefixes: Arc<[Prefix]>,
}

impl Thread {
    /// By its messages in any case: a session that is named anew, or no longer, does not lose the class.
    pub(crate) fn of(request: &ChatRequest, caller: &CallerFacts, session: Option<&str>) -> Self {
        let caller: Option<Arc<str>> = caller.key_id.as_deref().map(Arc::from);
        let key = |name| Key { caller: caller.clone(), name };
        let session = session.map(|session| key(Name::Session(session.into())));
        let prefixes = request.prefixes();
        let beginnings = prefixes.iter().map(|prefix| key(Name::Prefix(prefix.name))).collect();
        Self { session, beginnings, prefixes }
    }

    /// The beginnings of the messages, shortest first; the last is the request itself.
    pub(crate) fn beginnings(&self) -> &[Key] {
        &self.beginnings
    }

    /// The same without the caller's name.
    pub(crate) fn prefixes(&self) -> Arc<[Prefix]> {
        Arc::clone(&self.prefixes)
    }

    /// By what it is looked for. A request that says the same as an earlier one does not continue it.
    fn sought(&self) -> impl Iterator<Item = &Key> {
        let earlier = self.beginnings.len().saturating_sub(1);
        self.beginnings[..earlier].iter().chain(&self.session)
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
    entries: Mutex<Entries>,
}

/// Those that stay on the device are kept apart: however many others there are, they push none of them out.
struct Entries {
    staying: LruCache<Key, Entry>,
    others: LruCache<Key, Entry>,
}

impl Entries {
    /// The entry of `key` that is not over, used now.
    fn used(&mut self, key: &Key, kept_for: Duration, now: Instant) -> Option<&mut Entry> {
        let entries = if self.staying.contains(key) { &mut self.staying } else { &mut self.others };
        if entries.peek(key).is_some_and(|entry| is_over(entry, kept_for, now)) {
            entries.pop(key);
        }
        let entry = entries.get_mut(key)?;
        entry.used = now;
        Some(entry)
    }

    fn put(&mut self, key: Key, entry: Entry, kept_for: Duration, now: Instant) {
        let stays = entry.privacy.stays_on_device();
        if stays {
            self.others.pop(&key);
        }
        let entries = if stays { &mut self.staying } else { &mut self.others };
        entries.put(key, entry);
        let oldest_is_over =
            |entries: &LruCache<Key, Entry>| entries.peek_lru().is_some_and(|(_, entry)| is_over(entry, kept_for, now));
        while entries.len() > ENTRIES_MAX || oldest_is_over(entries) {
            entries.pop_lru();
        }
    }
}

impl Conversations {
    /// An empty memory.
    pub(crate) fn new() -> Self {
        let entries = Entries { staying: LruCache::unbounded(), others: LruCache::unbounded() };
        Self { entries: Mutex::new(entries) }
    }

    /// What is known of the conversation of `thread`: of all its names the strictest class; the target of its session, else
    /// of the longest beginning that was answered. Counts as use.
    pub(crate) fn recall(&self, thread: &Thread, kept_for: Duration, now: Instant) -> ConversationFacts {
        let mut entries = self.entries();
        let mut facts = ConversationFacts::default();
        for key in thread.sought() {
            let Some(entry) = entries.used(key, kept_for, now) else { continue };
            facts.strictest_privacy = facts.strictest_privacy.max(Some(entry.privacy));
            let decides_target = thread.session.is_none() || thread.session.as_ref() == Some(key);
            if let (Some((target, tokens)), true) = (&entry.answered, decides_target) {
                facts.previous_target = Some(target.clone());
                facts.cached_tokens = *tokens;
            }
        }
        facts
    }

    /// Remembers the class that holds for a request (the stricter of what it says and what was recalled), and who
    /// answered it with how many tokens of prompt. To be called as soon as a class stricter than the configured one is
    /// known, and again with the answer: the class holds for the conversation whether or not an answer comes. It can only
    /// grow stricter.
    pub(crate) fn remember(
        &self,
        thread: &Thread,
        class: Privacy,
        answered: Option<(TargetId, u64)>,
        kept_for: Duration,
        now: Instant,
    ) {
        let mut entries = self.entries();
        for key in thread.session.iter().chain(thread.beginnings.last()) {
            let known = entries.used(key, kept_for, now).cloned();
            let mut entry = known.unwrap_or(Entry { privacy: class, answered: None, used: now });
            entry.privacy = entry.privacy.max(class);
            if answered.is_some() {
                entry.answered.clone_from(&answered);
            }
            entries.put(key.clone(), entry, kept_for, now);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
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
        Thread::of(&request(contents), &CallerFacts::default(), None)
    }

    fn by_session(session: &str, key: Option<&str>) -> Thread {
        let caller = CallerFacts { key_id: key.map(str::to_owned), ..CallerFacts::default() };
        Thread { beginnings: Vec::new(), ..Thread::of(&request(&["x"]), &caller, Some(session)) }
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

    /// A session named anew, or left out, neither loses the class nor takes the target along.
    #[test]
    fn a_session_loses_no_class() {
        let (memory, now) = (Conversations::new(), Instant::now());
        let of = |contents: &[&str], session| Thread::of(&request(contents), &CallerFacts::default(), session);
        memory.remember(&of(&["a"], Some("s")), Privacy::Restricted, Some((target("x/1"), 5)), MINUTE, now);
        for session in [None, Some("t")] {
            let facts = memory.recall(&of(&["a", "answer", "b"], session), MINUTE, now);
            assert_eq!(facts.strictest_privacy, Some(Privacy::Restricted), "{session:?}");
        }
        let other = memory.recall(&of(&["a", "answer", "b"], Some("t")), MINUTE, now);
        assert_eq!(other.previous_target, None);
        assert_eq!(memory.recall(&of(&["z"], Some("s")), MINUTE, now).previous_target, Some(target("x/1")));
    }

    #[test]
    fn conversations_that_stay_are_not_pushed_out_by_others() {
        let (memory, now) = (Conversations::new(), Instant::now());
        memory.remember(&by_session("kept", None), Privacy::Confidential, None, MINUTE, now);
        let other = by_session("other", None);
        for n in 0..ENTRIES_MAX {
            let session = Some(Key { caller: None, name: Name::Session(n.to_string().into()) });
            memory.remember(&Thread { session, ..other.clone() }, Privacy::Internal, None, MINUTE, now);
        }
        let facts = memory.recall(&by_session("kept", None), MINUTE, now);
        assert_eq!(facts.strictest_privacy, Some(Privacy::Confidential));
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
        assert_eq!(memory.entries().others.len(), 1, "what is over is removed");
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
        assert_eq!(memory.entries().others.len(), ENTRIES_MAX);
        let known = |n| memory.recall(&session(n), MINUTE, now).strictest_privacy.is_some();
        assert_eq!([known(0), known(1), known(2), known(ENTRIES_MAX)], [true, false, true, true]);
    }
}
