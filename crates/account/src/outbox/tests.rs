//! The store with real files.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const SECOND: i64 = 1000;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("home").join("outbox")
    }

    fn open(&self, limits: OutboxLimits) -> OutboxStore {
        OutboxStore::open(&self.path(), limits).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.path().join("outbox.sqlite3")
    }

    /// All bytes below the folder.
    fn holds(&self, text: &str) -> bool {
        std::fs::read_dir(self.path()).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }
}

fn new(body: &str) -> NewEntry<'_> {
    let (request_id, envelope, outcome) = ("req_1", "envelope", "not yet");
    NewEntry { caller: "", request_id, envelope, body: body.as_bytes(), outcome, due_ms: 5 }
}

fn limits(entries_max: u64, bytes_max: u64) -> OutboxLimits {
    let (age_max, keep) = (Duration::from_secs(60), Duration::from_secs(10));
    OutboxLimits { entries_max, bytes_max, age_max, keep }
}

fn states(store: &OutboxStore) -> Vec<EntryState> {
    store.list(None, None, 100).unwrap().unwrap().entries.iter().map(|entry| entry.state).collect()
}

#[test]
fn an_id_is_unguessable_and_read_exactly() {
    let id = EntryId::random().unwrap();
    assert_eq!(EntryId::parse(&id.to_string()), Ok(id));
    assert_eq!(id.to_string().len(), "outbox_".len() + 32);
    let (upper, ids) = (id.to_string().to_uppercase(), std::iter::repeat_with(|| EntryId::random().unwrap()));
    assert_eq!(ids.take(1000).collect::<std::collections::HashSet<_>>().len(), 1000);
    let text = id.to_string();
    for wrong in [
        upper.as_str(),
        "",
        "outbox_",
        "../../etc/passwd",
        &text[1..],
        &text[..38],
        &format!("{text}0"),
        "outbox_%2e%2e",
    ] {
        assert!(EntryId::parse(wrong).is_err(), "{wrong}");
    }
    assert!(EntryId::parse(&format!("outbox_{}\u{e9}", "0".repeat(30))).is_err());
}

#[test]
fn an_entry_goes_its_way_and_its_request_is_removed_when_it_is_finished() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    let entry = store.insert(&new("the secret prompt"), SECOND).unwrap();
    assert_eq!((entry.state, entry.expires_ms), (EntryState::Queued, 61 * SECOND));
    assert_eq!(store.waiting().unwrap(), [Waiting { seq: entry.seq, id: entry.id, due_ms: 5 }]);
    assert_eq!(store.begin(entry.id).unwrap(), Begun::Yes);
    assert!(store.waiting().unwrap().is_empty());
    assert!(store.put_back(entry.id, "it failed", 70, true).unwrap());
    let kept = store.request(entry.id).unwrap().unwrap();
    assert_eq!(
        (kept.body.as_slice(), kept.failures, kept.outcome.as_str()),
        (&b"the secret prompt"[..], 1, "it failed")
    );
    assert_eq!((kept.envelope.as_str(), kept.request_id.as_str()), ("envelope", "req_1"));
    assert_eq!(store.begin(entry.id).unwrap(), Begun::Yes);
    assert!(folder.holds("secret prompt"));
    assert!(store.finish(entry.id, EntryState::Completed, "told", Some(b"the answer"), 2 * SECOND).unwrap());
    assert!(!folder.holds("secret prompt"), "overwritten, not only let go");
    let (told, answer) = store.entry(entry.id, None).unwrap().unwrap();
    assert_eq!((told.state, told.sends, told.outcome.as_str()), (EntryState::Completed, 2, "told"));
    assert_eq!((told.finished_ms, told.expires_ms), (Some(2 * SECOND), 12 * SECOND));
    assert_eq!(answer.as_deref(), Some(&b"the answer"[..]));
    assert!(store.request(entry.id).unwrap().is_none());
    // Exactly once: nothing changes a finished entry.
    assert!(!store.finish(entry.id, EntryState::Failed, "again", None, 3 * SECOND).unwrap());
    assert!(!store.put_back(entry.id, "again", 0, false).unwrap());
    assert_eq!(store.begin(entry.id).unwrap(), Begun::Gone);
    assert_eq!(store.delete(entry.id, None).unwrap(), Some(EntryState::Completed));
    assert!(!folder.holds("the answer") && store.entry(entry.id, None).unwrap().is_none());
    assert_eq!(store.stats(), OutboxStats::default());
}

#[test]
fn what_was_being_sent_waits_again_after_a_start_and_is_marked() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    let [a, b, c] = ["a", "b", "c"].map(|body| store.insert(&new(body), SECOND).unwrap().id);
    store.begin(b).unwrap();
    store.begin(c).unwrap();
    store.finish(c, EntryState::Completed, "told", Some(b"{}"), SECOND).unwrap();
    drop(store);
    let store = folder.open(limits(10, 1 << 20));
    assert_eq!(store.waiting().unwrap().iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [a, b]);
    let interrupted = |id| store.entry(id, None).unwrap().map(|(entry, _)| (entry.sends, entry.interrupted));
    assert_eq!([interrupted(a), interrupted(b), interrupted(c)], [Some((0, 0)), Some((1, 1)), Some((1, 0))]);
}

#[test]
fn past_a_limit_nothing_is_taken_in() {
    let folder = Folder::new();
    let store = folder.open(limits(2, 1500));
    let first = store.insert(&new("a"), SECOND).unwrap().id;
    let full = |store: &OutboxStore, body: &str| store.insert(&new(body), SECOND).unwrap_err().to_string();
    let long = "x".repeat(1000);
    assert!(full(&store, &long).contains("bytes, and its limit is 1500"), "{}", full(&store, &long));
    assert!(!store.is_full());
    store.insert(&new("b"), SECOND).unwrap();
    assert_eq!(full(&store, "c"), "the outbox holds 2 entries, and its limit is 2");
    assert!(store.is_full() && store.failure().is_none(), "the disk is well");
    assert_eq!(states(&store).len(), 2, "never half an entry");
    store.delete(first, None).unwrap();
    store.insert(&new("c"), SECOND).unwrap();
}

/// An answer may be longer than what is left, but then nothing more is sent until there is room.
#[test]
fn answers_that_use_up_the_room_hold_further_sends_up() {
    let folder = Folder::new();
    let store = folder.open(limits(9, 4000));
    let [a, b] = ["a", "b"].map(|body| store.insert(&new(body), SECOND).unwrap().id);
    store.begin(a).unwrap();
    assert!(store.finish(a, EntryState::Completed, "told", Some(&[b'x'; 5000]), SECOND).unwrap(), "no answer is lost");
    assert_eq!(store.begin(b).unwrap(), Begun::NoRoom);
    store.delete(a, None).unwrap();
    assert_eq!(store.begin(b).unwrap(), Begun::Yes);
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    let folder = Folder::new();
    let store = folder.open(limits(100, 1 << 30));
    let kept = store.insert(&new("kept"), SECOND).unwrap().id;
    let pages: i64 = store.with_connection(|c| c.query_row("PRAGMA page_count", [], |row| row.get(0))).unwrap();
    let grow = |pages: i64| store.with_connection(|c| c.pragma_update(None, "max_page_count", pages)).unwrap();
    grow(pages + 2);
    let long = "y".repeat(100_000);
    let error = store.insert(&new(&long), SECOND).unwrap_err();
    assert!(matches!(&error, OutboxError::Sql(error) if error.to_string().contains("full")), "{error}");
    assert_eq!(store.failure(), Some(error.to_string()));
    store.begin(kept).unwrap();
    assert!(store.finish(kept, EntryState::Completed, "told", Some(long.as_bytes()), SECOND).is_err());
    assert_eq!(store.request(kept).unwrap().unwrap().body, b"kept");
    assert_eq!(store.stats().entries, [0, 1, 0, 0, 0]);
    grow(pages + 100);
    store.check().unwrap();
    assert_eq!((store.failure(), store.stats().entries), (None, [0, 1, 0, 0, 0]));
    assert!(store.finish(kept, EntryState::Completed, "told", Some(long.as_bytes()), SECOND).unwrap());
}

#[test]
fn time_ends_what_waits_and_removes_what_is_finished() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    let [waits, sends, done] = ["a", "b", "c"].map(|body| store.insert(&new(body), 0).unwrap().id);
    store.begin(sends).unwrap();
    store.begin(done).unwrap();
    store.finish(done, EntryState::Completed, "told", Some(b"{}"), 55 * SECOND).unwrap();
    let expire = |now_ms| store.expire(|last| format!("over; {last}"), now_ms).unwrap();
    assert_eq!(store.stats().next_ms, Some(60 * SECOND));
    assert_eq!(expire(59 * SECOND), Expired::default());
    assert_eq!(expire(60 * SECOND), Expired { expired: vec![waits], removed: 0 });
    assert_eq!(store.entry(waits, None).unwrap().unwrap().0.outcome, "over; not yet");
    assert!(!folder.holds("envelope") || store.request(sends).unwrap().is_some());
    assert_eq!(store.stats().next_ms, Some(65 * SECOND));
    assert_eq!(expire(65 * SECOND), Expired { expired: vec![], removed: 1 });
    assert_eq!(expire(70 * SECOND), Expired { expired: vec![], removed: 1 });
    assert_eq!(states(&store), [EntryState::Sending], "what is being sent goes on");
    assert_eq!(store.stats().oldest_ms, Some(0));
}

#[test]
fn a_list_is_read_page_by_page_and_shows_a_caller_only_its_own() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    let of = |caller| store.insert(&NewEntry { caller, ..new("x") }, SECOND).unwrap().id;
    let (mine, others): (Vec<_>, Vec<_>) = (0..3).map(|_| (of("me"), of("you"))).unzip();
    let page = store.list(Some("me"), None, 2).unwrap().unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [mine[2], mine[1]]);
    assert!(page.has_more);
    let page = store.list(Some("me"), Some(mine[1]), 2).unwrap().unwrap();
    assert_eq!((page.entries.len(), page.entries[0].id, page.has_more), (1, mine[0], false));
    assert_eq!(store.list(Some("me"), Some(others[1]), 2).unwrap(), None);
    assert!(store.entry(others[0], Some("me")).unwrap().is_none());
    assert_eq!(store.delete(others[0], Some("me")).unwrap(), None);
    assert_eq!(store.list(None, None, 100).unwrap().unwrap().entries.len(), 6);
}

#[test]
fn folder_and_file_are_their_owners_alone_whatever_they_were() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.file(), "").unwrap();
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = folder.open(limits(10, 1 << 20));
    store.insert(&new("x"), SECOND).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(path.clone()), 0o600, "{}", path.display());
    }
}

#[test]
fn one_process_sends_and_others_look_and_delete() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    let [a, b] = ["a", "b"].map(|body| store.insert(&new(body), SECOND).unwrap().id);
    let second = OutboxStore::open(&folder.path(), limits(10, 1 << 20)).err().unwrap();
    assert!(matches!(second, OutboxError::Locked(_)), "{second}");
    store.begin(a).unwrap();
    let other = OutboxStore::attach(&folder.path()).unwrap();
    assert_eq!(states(&other), [EntryState::Queued, EntryState::Sending], "looking interrupts nothing");
    assert!(!store.changed_elsewhere().unwrap(), "what this process does is not news to it");
    assert_eq!(other.delete(a, None).unwrap(), Some(EntryState::Sending));
    assert_eq!((store.changed_elsewhere().unwrap(), store.changed_elsewhere().unwrap()), (true, false));
    assert_eq!(store.stats().entries, [1, 0, 0, 0, 0]);
    assert_eq!(store.unfinished().unwrap(), [b].into());
    assert!(!store.finish(a, EntryState::Completed, "told", Some(b"{}"), SECOND).unwrap());
    assert!(OutboxStore::is_in(&folder.path()) && !OutboxStore::is_in(folder.folder.path()));
}

/// Whatever happens to entries, the totals are those of the entries.
#[test]
fn totals_are_those_of_the_entries() {
    let folder = Folder::new();
    let store = folder.open(limits(1000, 1 << 30));
    let ids: Vec<_> = (0..40).map(|n| store.insert(&new(&"x".repeat(n * 100)), n as i64).unwrap().id).collect();
    for (n, id) in ids.iter().enumerate() {
        match n % 8 {
            1 => assert_eq!(store.begin(*id).unwrap(), Begun::Yes),
            2 => assert!(store.put_back(*id, &"why".repeat(n), 7, true).unwrap()),
            3 | 4 => {
                store.begin(*id).unwrap();
                let answer = "a".repeat(n * 77);
                store.finish(*id, EntryState::Completed, "told", Some(answer.as_bytes()), 60_000).unwrap();
            }
            5 => {
                store.begin(*id).unwrap();
                store.finish(*id, EntryState::Failed, "told", None, 60_000).unwrap();
            }
            6 => assert!(store.delete(*id, None).unwrap().is_some()),
            _ => {}
        }
    }
    store.expire(|_| "over".to_owned(), 60_010).unwrap();
    let sum = "SELECT COUNT(*), SUM(size), SUM(length(request_id) + length(envelope) + length(outcome) + length(body)
                   + ifnull(length(answer), 0)) FROM entries WHERE state = ?1";
    let mut bytes = 0;
    for (state, count) in EntryState::ALL.iter().zip(store.stats().entries) {
        let number =
            |row: &rusqlite::Row<'_>, column| row.get::<_, Option<i64>>(column).map(|n| n.unwrap_or(0).unsigned_abs());
        let read = |row: &rusqlite::Row<'_>| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?));
        let (found, size, texts) = store.with_connection(|c| c.query_row(sum, [state.as_str()], read)).unwrap();
        assert_eq!(count, found, "{state:?}");
        bytes += size;
        assert!(size >= texts && size <= texts + 600 * found, "{state:?} {size} {texts}");
    }
    assert_eq!(store.stats().bytes, bytes);
    assert!(store.stats().entries.iter().all(|count| *count > 0), "{:?}", store.stats());
}

#[test]
fn a_newer_file_and_one_that_is_none_are_refused() {
    let folder = Folder::new();
    let store = folder.open(limits(10, 1 << 20));
    store.with_connection(|c| c.pragma_update(None, "user_version", 9)).unwrap();
    drop(store);
    let error = OutboxStore::open(&folder.path(), limits(10, 1 << 20)).err().unwrap();
    assert!(matches!(error, OutboxError::Newer { found: 9, known: 1 }), "{error}");
    std::fs::write(folder.file(), "this is no database, and long enough to be seen as one").unwrap();
    assert!(OutboxStore::open(&folder.path(), limits(10, 1 << 20)).is_err());
}
