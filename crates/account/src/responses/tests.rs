//! What is kept, for how long, and how much of it, in memory and on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Some time, Unix time in milliseconds.
const NOW: i64 = 1_700_000_000_000;

fn key(n: usize) -> ResponseKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

fn response(bytes: usize, stored_ms: i64) -> StoredResponse {
    StoredResponse {
        body: vec![b'x'; bytes].into(),
        form: ResponseForm::Stream,
        target: TargetId::new("cloud/a").unwrap(),
        target_version: [7; 32],
        input_tokens: 11,
        output_tokens: 7,
        stored_ms,
        expires_ms: stored_ms + 60_000,
    }
}

fn limits(bytes_max: u64) -> ResponseLimits {
    ResponseLimits { bytes_max, entry_bytes_max: 10_000 }
}

#[test]
fn an_answer_is_given_again_until_it_is_too_old_for_who_asks() {
    let store = Responses::new(limits(100_000));
    assert!(store.put(key(1), response(10, NOW)));
    let get = |age_max, now_ms| store.get(&key(1), age_max, now_ms).is_some();
    assert_eq!(*store.get(&key(1), MINUTE, NOW).unwrap(), response(10, NOW));
    assert!(get(MINUTE, NOW + 60_000));
    assert!(!get(MINUTE, NOW + 60_001));
    assert!(get(Duration::from_secs(30), NOW + 30_000), "who wants it younger");
    assert!(!get(Duration::from_secs(30), NOW + 30_001));
    assert!(!get(MINUTE, NOW - 1), "a clock that was put back says nothing about its age");
    assert!(store.get(&key(2), MINUTE, NOW).is_none());
    store.put(key(1), response(20, NOW + 5));
    assert_eq!(store.get(&key(1), MINUTE, NOW + 5).unwrap().body.len(), 20, "a newer one takes its place");
}

#[test]
fn bytes_are_bounded_and_what_was_not_used_goes_first() {
    let store = Responses::new(limits(10_000));
    for n in 0..100 {
        assert!(store.put(key(n), response(500, NOW)));
        assert!(store.get(&key(0), MINUTE, NOW).is_some());
        let stats = store.stats();
        assert!(stats.bytes <= 10_000, "{stats:?}");
    }
    let stats = store.stats();
    // Each counts 500 + 7 + 512.
    assert_eq!((stats.entries, stats.evicted), (9, 91));
    assert_eq!(stats.bytes, 9 * 1019);
    assert!(store.get(&key(0), MINUTE, NOW).is_some(), "it was used all the time");
    assert!(store.get(&key(99), MINUTE, NOW).is_some() && store.get(&key(50), MINUTE, NOW).is_none());
}

#[test]
fn what_is_too_long_is_not_kept() {
    let store = Responses::new(limits(100_000));
    assert!(!store.put(key(1), response(10_000, NOW)));
    assert!(store.put(key(1), response(9_000, NOW)));
    assert!(!Responses::new(limits(100)).put(key(1), response(1, NOW)));
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("cache").join("responses.sqlite3")
}

#[test]
fn what_was_written_is_there_again_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Responses::open(limits(100_000), &file(&folder), NOW).unwrap();
    store.put(key(1), response(10, NOW));
    store.put(key(2), response(10, NOW - 30_000));
    store.put(key(3), StoredResponse { form: ResponseForm::Whole, ..response(30, NOW) });
    store.flush();
    assert_eq!(store.stats().written, 3);
    for file in std::fs::read_dir(file(&folder).parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    // Not closed: as after a kill.
    let again = Responses::open(limits(100_000), &file(&folder), NOW + 30_000).unwrap();
    assert_eq!(*again.get(&key(1), MINUTE, NOW + 30_000).unwrap(), response(10, NOW));
    assert_eq!(again.get(&key(3), MINUTE, NOW + 30_000).unwrap().form, ResponseForm::Whole);
    assert!(again.get(&key(1), Duration::from_secs(29), NOW + 30_000).is_none(), "its age goes on");
    assert!(again.get(&key(2), MINUTE, NOW + 30_000).is_none() && again.stats().entries == 2, "too old meanwhile");
}

#[test]
fn the_file_is_bounded_and_the_oldest_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = Responses::open(limits(20_000), &file(&folder), NOW).unwrap();
    for n in 0..200_usize {
        store.put(key(n), response(500, NOW + i64::try_from(n).unwrap()));
        store.flush();
    }
    let stats = store.stats();
    assert_eq!((stats.written, stats.overflowed, stats.failed), (200, 0, 0));
    drop(store);
    let again = Responses::open(limits(20_000), &file(&folder), NOW + 300).unwrap();
    let stats = again.stats();
    assert!(stats.bytes <= 20_000 && stats.entries >= 4, "{stats:?}");
    assert!(again.get(&key(199), MINUTE, NOW + 300).is_some() && again.get(&key(0), MINUTE, NOW + 300).is_none());
    // A smaller limit holds for what is there already.
    drop(again);
    assert!(Responses::open(limits(5_000), &file(&folder), NOW + 300).unwrap().stats().bytes <= 5_000);
    assert!(std::fs::metadata(file(&folder)).unwrap().len() < 100_000, "what is removed is given back");
}

#[test]
fn a_file_of_another_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Responses::open(limits(20_000), &file(&folder), NOW).unwrap());
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Responses::open(limits(20_000), &file(&folder), NOW).err().unwrap();
    assert!(matches!(error, ResponseError::Newer { found: 99, known: 2 }), "{error}");
    let other = folder.path().join("other.sqlite3");
    std::fs::write(&other, "this is no database, whatever its name says. ".repeat(100)).unwrap();
    assert!(matches!(Responses::open(limits(20_000), &other, NOW).err().unwrap(), ResponseError::Sqlite(_)));
}

#[test]
fn a_row_that_is_not_as_it_was_written_answers_nobody_and_harms_no_other() {
    let long = "UPDATE responses SET body = zeroblob(10001), size = 0";
    let sized = "UPDATE responses SET size = 9223372036854775807; INSERT INTO responses SELECT zeroblob(32), is_stream,
                     target, target_version, input_tokens, output_tokens, stored_ms, expires_ms, size, body, digest
                 FROM responses";
    for (sql, is_refused) in [
        ("UPDATE responses SET body = CAST(replace(CAST(body AS TEXT), 'xx', 'xy') AS BLOB)", true),
        ("UPDATE responses SET is_stream = 0", true),
        ("UPDATE responses SET target = 'cloud/b'", true),
        ("UPDATE responses SET target = 'no id'", true),
        ("UPDATE responses SET target = CAST(x'ff' AS TEXT)", true),
        ("UPDATE responses SET target_version = zeroblob(32)", true),
        ("UPDATE responses SET target_version = x'07'", true),
        ("UPDATE responses SET output_tokens = -7", true),
        ("UPDATE responses SET stored_ms = stored_ms + 1", true),
        ("UPDATE responses SET expires_ms = 9223372036854775807", true),
        ("UPDATE responses SET key = zeroblob(32)", true),
        ("PRAGMA ignore_check_constraints = 1; UPDATE responses SET key = x'01'", true),
        (long, true),
        (sized, true),
        ("UPDATE responses SET size = -5", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = Responses::open(limits(100_000), &file(&folder), NOW).unwrap();
        store.put(key(1), response(10, NOW));
        drop(store);
        rusqlite::Connection::open(file(&folder)).unwrap().execute_batch(sql).unwrap();
        let again =
            Responses::open(limits(100_000), &file(&folder), NOW).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(again.get(&key(1), MINUTE, NOW).is_none(), is_refused, "{sql}");
        assert_eq!(again.stats().entries, u64::from(!is_refused), "{sql}");
        again.put(key(2), response(10, NOW));
        again.flush();
        assert_eq!(again.stats().written, 1, "{sql}");
    }
}

#[test]
fn a_file_of_the_first_version_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(Responses::open(limits(20_000), &file(&folder), NOW).unwrap());
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.execute_batch("ALTER TABLE responses DROP COLUMN digest; PRAGMA user_version = 1").unwrap();
    drop(connection);
    let store = Responses::open(limits(20_000), &file(&folder), NOW).unwrap();
    store.put(key(1), response(10, NOW));
    drop(store);
    assert!(Responses::open(limits(20_000), &file(&folder), NOW).unwrap().get(&key(1), MINUTE, NOW).is_some());
}
