//! What is kept and what goes: files of earlier versions, age, size, and clocks that were wrong.

use super::*;

/// As version 1 made it, with the facts that version 2 does not repeat.
const VERSION_1: &str = "
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    record TEXT NOT NULL,
    hash BLOB NOT NULL,
    request_id TEXT GENERATED ALWAYS AS (record ->> '$.request_id') VIRTUAL,
    at_ms INTEGER GENERATED ALWAYS AS (record ->> '$.at_ms') VIRTUAL,
    kind TEXT GENERATED ALWAYS AS (record ->> '$.kind') VIRTUAL,
    outcome TEXT GENERATED ALWAYS AS (record ->> '$.outcome') VIRTUAL,
    target TEXT GENERATED ALWAYS AS (record ->> '$.target') VIRTUAL,
    locality TEXT GENERATED ALWAYS AS (record ->> '$.locality') VIRTUAL,
    route TEXT GENERATED ALWAYS AS (record ->> '$.route') VIRTUAL,
    cost_usd REAL GENERATED ALWAYS AS (record ->> '$.cost_usd') VIRTUAL
) STRICT;
CREATE INDEX records_by_request ON records (request_id);
CREATE TABLE profiles (name TEXT PRIMARY KEY, profile TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE anchor (id INTEGER PRIMARY KEY CHECK (id = 0), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
";
const RECORD_OF_VERSION_1: &str = r#"{"request_id":"req_old","at_ms":1795900050995,"kind":"request","api":"chat_completions","stream":false,"outcome":"answered","target":"local/small","locality":"device","route":"rest","duration_ms":0.73,"tokens":{"input":100,"cached":0,"output":32,"estimated":false},"request_bytes":622,"response_bytes":816,"cache":"none","cost_usd":0.0,"decision":{"policy":"6c70d28f3718","reason":"rule=rest","placement":["device"],"plan":["local/small"],"facts":{"request.mode":"only_on_device","request.privacy":"confidential","request.stream":false,"signals.personal_data":1},"targets":[]},"attempts":[]}"#;

#[test]
fn a_file_of_an_older_version_is_brought_up_and_goes_on() {
    for reads_first in [true, false] {
        let folder = Folder::new();
        std::fs::create_dir(folder.file().parent().unwrap()).unwrap();
        folder.edit(VERSION_1);
        let hash = Hash::GENESIS.then(RECORD_OF_VERSION_1.as_bytes());
        let insert = "INSERT INTO records (seq, record, hash) VALUES (1, ?1, ?2)";
        Connection::open(folder.file()).unwrap().execute(insert, (RECORD_OF_VERSION_1, hash.bytes())).unwrap();
        if reads_first {
            assert_eq!(folder.reader().head().unwrap().seq, 1);
        }
        written(&folder, [settlement(2)]);
        assert_eq!(folder.faults(), [""; 0]);
        let reader = folder.reader();
        assert_eq!(reader.head().unwrap().seq, 2);
        let old = reader.receipt("req_old").unwrap().unwrap().newest;
        assert_eq!(old.json, RECORD_OF_VERSION_1);
        let decision = old.record.decision.unwrap();
        let facts = reader.facts(&decision).unwrap().unwrap();
        // It says of itself what it knew.
        assert!(facts.is_recorded("request.mode") && !facts.is_recorded("request.tools"));
        let (facts, unknown) = facts.facts();
        assert_eq!((facts.request.mode, facts.signals.personal_data), (policy::Mode::OnlyOnDevice, Some(1)));
        assert_eq!((facts.signals.secrets, unknown), (None, vec![]));
        assert_eq!(reader.summary(&Filter::default()).unwrap().stayed, 1);
        // What was brought up is of the shape of what is made new.
        let columns = |file: &Path| -> Vec<String> {
            let connection = Connection::open(file).unwrap();
            let mut select =
                connection.prepare("SELECT name || type || hidden FROM pragma_table_xinfo('blocks')").unwrap();
            select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let new = Folder::new();
        written(&new, [settlement(1)]);
        assert_eq!(columns(&folder.file()), columns(&new.file()));
    }
}

#[test]
fn what_is_too_old_or_too_much_goes_and_the_chain_goes_on() {
    let folder = Folder::new();
    written(&folder, (1..=1500).map(settlement));
    let hour = LedgerLimits { keep: Duration::from_secs(600), ..limits() };
    let ledger = Ledger::open(&folder.file(), hour).unwrap();
    ledger.settled(&settlement(1700));
    assert!(ledger.flush());
    ledger.settled(&settlement(1701));
    assert!(ledger.flush());
    drop(ledger);
    let verified = folder.reader().verify(&[]).unwrap();
    // Settled 600 s before the newest of each time it is looked, which is 1.8 s after its begin; and those of the same block.
    assert_eq!((verified.faults, verified.head.seq), (vec![], 1502));
    assert!((1091..=1101).contains(&verified.anchor.seq), "{}", verified.anchor.seq);
    assert_eq!(verified.records, 1502 - verified.anchor.seq);

    let small = LedgerLimits { bytes_max: 256 << 10, ..limits() };
    let ledger = Ledger::open(&folder.file(), small).unwrap();
    for n in 2000..6000 {
        ledger.settled(&settlement(n));
        if n % 500 == 0 {
            assert!(ledger.flush());
        }
    }
    drop(ledger);
    let (count, bytes) = folder.reader().size().unwrap();
    // What was written since it was looked for the last time comes on top.
    assert!((50..4000).contains(&count) && bytes < 1 << 20, "{count} records in {bytes} bytes");
    assert_eq!(folder.faults(), [""; 0]);
    folder.edit("DELETE FROM anchor");
    assert!(folder.faults()[0].ends_with("were removed"));
}

#[test]
fn a_record_that_is_none_any_more_keeps_no_other_from_being_read_written_or_removed() {
    for broken in ["'x'", "CAST(x'7bff7d' AS TEXT)", "'{\"at_ms\":\"x\"}'", "'{\"at_ms\":18446744073709551615}'"] {
        let folder = Folder::new();
        written_apart(&folder, (1..=5).map(|n| settlement(n * 11)));
        folder.edit_records(&format!("UPDATE records SET record = {broken} WHERE seq = 1"));
        let ledger = Ledger::open(&folder.file(), LedgerLimits { keep: Duration::from_secs(600), ..limits() }).unwrap();
        ledger.settled(&settlement(630));
        assert!(ledger.flush(), "{broken}: {:?}", ledger.health());
        drop(ledger);
        // Those up to the second are older than ten minutes then, the first of them whatever it says.
        let reader = folder.reader();
        assert_eq!(reader.verify(&[]).unwrap().anchor.seq, 2, "{broken}");
        folder.edit_records(&format!("UPDATE records SET record = {broken} WHERE seq = 3"));
        let summary = reader.summary(&Filter::default()).unwrap();
        assert_eq!((summary.requests, summary.unreadable), (3, 1), "{broken}");
        let since =
            Filter { since_ms: Some(BEGUN_MS + 40_000), until_ms: Some(BEGUN_MS + 99_000), ..Filter::default() };
        assert_eq!(reader.rows(&since).unwrap().len(), 2, "{broken}");
        let error = reader.rows(&Filter::default()).unwrap_err().to_string();
        assert!(error.starts_with("the ledger: record 3 cannot be read"), "{error}");
    }
}

#[test]
fn a_clock_that_was_wrong_makes_no_record_younger_or_older_than_those_around_it() {
    let folder = Folder::new();
    let at = |n: u64, begun_ms: u64| Settlement { begun_ms, ..settlement(n) };
    // So far from each other that each is a block.
    let apart = |n: u64| settlement(n * 11);
    let mut all: Vec<_> = (1..=20).map(apart).collect();
    // Begun before the clock was set, of its first hour, and in times to come.
    all[0] = at(1, 1000);
    all[9] = at(10, 2000);
    all[12] = at(13, BEGUN_MS * 2);
    written(&folder, all);
    let keep = |ms: u64| LedgerLimits { keep: Duration::from_millis(11 * ms), ..limits() };
    let begins_behind = |limits, n| {
        let ledger = Ledger::open(&folder.file(), limits).unwrap();
        ledger.settled(&apart(n));
        assert!(ledger.flush());
        drop(ledger);
        let verified = folder.reader().verify(&[]).unwrap();
        assert_eq!(verified.faults, []);
        verified.anchor.seq
    };
    // The second is young, and so the first is not known to be old.
    assert_eq!(begins_behind(keep(60_000), 21), 0);
    // Those up to the fifth are too old; the tenth of another time takes nothing along.
    assert_eq!(begins_behind(keep(16_500), 22), 5);
    // The eleventh and the fourteenth are too old, and take those along that stand before them.
    assert_eq!(begins_behind(keep(11_500), 23), 11);
    assert_eq!(begins_behind(keep(9_500), 24), 14);
}

#[test]
fn a_file_of_an_older_version_that_another_process_uses_is_left_as_it_is_by_who_wants_to_read_it() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file().parent().unwrap()).unwrap();
    folder.edit(VERSION_1);
    let older = Connection::open(folder.file()).unwrap();
    older.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let write = |hash: Hash| {
        let insert = "INSERT INTO records (record, hash) VALUES (?1, ?2)";
        older.execute(insert, (RECORD_OF_VERSION_1, hash.bytes())).unwrap();
        hash.then(RECORD_OF_VERSION_1.as_bytes())
    };
    let first = Hash::GENESIS.then(RECORD_OF_VERSION_1.as_bytes());
    let second = write(first);
    let error = LedgerReader::open(&folder.file()).err().unwrap().to_string();
    assert!(error.starts_with("the ledger has schema version 1, and another process uses it"), "{error}");
    // It goes on as if nothing had been.
    write(second);
    drop(older);
    assert_eq!(folder.reader().head().unwrap().seq, 2);
}

#[test]
fn a_large_file_of_version_3_is_brought_up_in_its_own_room() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file().parent().unwrap()).unwrap();
    folder.edit(&[VERSION_1, "DROP INDEX records_by_request; DROP TABLE records; DROP TABLE profiles;"].concat());
    folder.edit(
        "CREATE TABLE records (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash BLOB NOT NULL, request_id TEXT) STRICT;
         CREATE INDEX records_by_request ON records (request_id);
         CREATE TABLE shared (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE turns (seq INTEGER PRIMARY KEY) STRICT; PRAGMA journal_mode = WAL; PRAGMA user_version = 3;",
    );
    let mut connection = Connection::open(folder.file()).unwrap();
    let (transaction, mut hash) = (connection.transaction().unwrap(), Hash::GENESIS);
    for seq in 1..=2500 {
        let id = format!("req_{seq:09}");
        let text = RECORD_OF_VERSION_1.replace("req_old", &id);
        hash = hash.then(text.as_bytes());
        transaction.execute("INSERT INTO records VALUES (?1, ?2, ?3, ?4)", (seq, text, hash.bytes(), id)).unwrap();
    }
    transaction.commit().unwrap();
    drop(connection);
    let length = || std::fs::metadata(folder.file()).unwrap().len();
    let before = length();
    let reader = folder.reader();
    assert!(length() < before * 5 / 4, "{} bytes of {before}", length());
    let known = Head { seq: 2500, hash };
    assert_eq!((reader.head().unwrap(), reader.verify(&[known]).unwrap().faults), (known, vec![]));
    for seq in [1, 1000, 1001, 2500] {
        assert_eq!(reader.receipt(&format!("req_{seq:09}")).unwrap().unwrap().newest.head.seq, seq);
    }
}

#[test]
fn what_is_a_little_too_much_goes_also_where_that_is_less_than_a_block() {
    let folder = Folder::new();
    for n in 0..4 {
        written_together(&folder, (0..100).map(|i| Settlement { begun_ms: BEGUN_MS + i, ..settlement(n * 100 + i) }));
    }
    let (_, bytes) = folder.reader().size().unwrap();
    let ledger = Ledger::open(&folder.file(), LedgerLimits { bytes_max: bytes - 1, ..limits() }).unwrap();
    ledger.settled(&settlement(900));
    assert!(ledger.flush());
    drop(ledger);
    let verified = folder.reader().verify(&[]).unwrap();
    assert_eq!((verified.anchor.seq, verified.head.seq, verified.faults), (100, 401, vec![]));
}
