//! Whatever is done to the file, `verify` finds it.

use super::*;

#[test]
fn whatever_is_done_to_a_record_is_found() {
    let check = |sql: &str, expected: &[&str]| {
        let folder = Folder::new();
        written_apart(&folder, (1..=20).map(settlement));
        assert_eq!(folder.faults(), [""; 0], "whole before {sql}");
        folder.edit_records(sql);
        assert_eq!(folder.faults(), expected, "{sql}");
    };
    check("UPDATE records SET record = replace(record, '0.0004', '0.0001') WHERE seq = 7", &["record 7 was edited"]);
    check("UPDATE records SET hash = zeroblob(32) WHERE seq = 20", &["record 20 was edited"]);
    check("UPDATE records SET hash = zeroblob(3) WHERE seq = 20", &["record 20 was edited"]);
    check("DELETE FROM records WHERE seq = 1", &["record 1 was removed"]);
    check("DELETE FROM records WHERE seq BETWEEN 4 AND 6", &["records 4 to 6 were removed"]);
    check(
        "DELETE FROM records WHERE seq = 5; UPDATE records SET seq = -seq WHERE seq > 5;
         UPDATE records SET seq = -seq - 1 WHERE seq < 0",
        &["record 5 was edited"],
    );
    let swap = "UPDATE records SET seq = 0 WHERE seq = 8; UPDATE records SET seq = 8 WHERE seq = 9;
                UPDATE records SET seq = 9 WHERE seq = 0";
    check(
        swap,
        &[
            "record 8 was moved: before was what is now record 9",
            "record 9 was moved: before was what is now record 7",
            "record 10 was moved: before was what is now record 8",
        ],
    );
}

#[test]
fn what_records_share_and_the_column_of_its_own_are_looked_over_too() {
    let check = |sql: &str, start: &str, end: &str| {
        let folder = Folder::new();
        written_together(&folder, (1..=3).map(settlement));
        folder.edit(sql);
        let faults = folder.faults();
        let is_told = |fault: &String| fault.starts_with(start) && fault.ends_with(end);
        assert!(matches!(&faults[..], [fault] if is_told(fault)), "{sql}: {faults:?}");
    };
    check("UPDATE shared SET value = replace(value, '0.3', '0.2')", "what records share under", "was edited");
    check("DELETE FROM shared WHERE value LIKE '%cloud/large%'", "what record 1 shares", "was removed");
    check("DELETE FROM shared WHERE value LIKE '%request.mode%'", "what record 1 shares", "was removed");
    let keys = "UPDATE blocks SET keys = CAST(x'00000000' || substr(keys, 5) AS BLOB)";
    check(keys, "record 1 is kept under the id", "another request");
    check(
        "UPDATE blocks SET keys = CAST(substr(keys, 1, 8) || zeroblob(4) AS BLOB)",
        "record 3 is kept under the id",
        "another request",
    );
    check("UPDATE blocks SET min_ms = min_ms - 1", "records 1 to 3 were put under times", "not theirs");
    check("UPDATE blocks SET max_ms = 0", "records 1 to 3 were put under times", "not theirs");
}

#[test]
fn a_block_that_was_changed_is_told_and_keeps_no_other_from_being_read() {
    let folder = Folder::new();
    // Three blocks: of 100, of one and of 10 records.
    for n in [1..=100, 101..=101, 102..=111] {
        written_together(&folder, n.map(|n| Settlement { begun_ms: BEGUN_MS + n, ..settlement(n) }));
    }
    let connection = Connection::open(folder.file()).unwrap();
    let packed: Vec<u8> =
        connection.query_row("SELECT records FROM blocks WHERE seq = 100", [], |row| row.get(0)).unwrap();
    let text = String::from_utf8(lz4_flex::block::decompress_size_prepended(&packed).unwrap()).unwrap();
    let pack = |text: &str| lz4_flex::block::compress_prepend_size(text.as_bytes());
    let huge = [0xff, 0xff, 0xff, 0x7f].iter().chain(&packed[4..]).copied().collect::<Vec<_>>();
    let put = |packed: &[u8]| connection.execute("UPDATE blocks SET records = ?1 WHERE seq = 100", [packed]).unwrap();
    let edited = "records 1 to 100 were edited".to_owned();
    put(&pack(&text.replacen("0.0004", "0.0001", 1)));
    assert_eq!(folder.faults(), [&*edited]);
    // One that is gone from the middle, and two that changed their places.
    let lines = text.split('\n').collect::<Vec<_>>();
    put(&pack(&[&lines[..50], &lines[51..]].concat().join("\n")));
    assert_eq!(folder.faults()[..2], [&*edited, "record 51 is kept under the id of another request"]);
    put(&pack(&[&lines[..50], &[lines[51], lines[50]], &lines[52..]].concat().join("\n")));
    assert!(folder.faults().contains(&edited));
    for broken in [&packed[..packed.len() - 1], &[], &[1, 2], &huge] {
        put(broken);
        let misdated = "records 1 to 100 were put under times that are not theirs".to_owned();
        assert_eq!(folder.faults(), [edited.clone(), misdated]);
        let summary = folder.reader().summary(&Filter::default()).unwrap();
        assert_eq!((summary.requests, summary.unreadable), (11, 100));
        assert!(
            folder.reader().receipt("req_105").unwrap().is_some()
                && folder.reader().receipt("req_5").unwrap().is_none()
        );
    }
    put(&packed);
    assert_eq!(folder.faults(), [""; 0]);
    connection.execute("UPDATE blocks SET hash = x'00' WHERE seq = 111", []).unwrap();
    written(&folder, [settlement(600)]);
    assert_eq!(folder.reader().head().unwrap().seq, 112, "it goes on behind a hash that is none");
    assert_eq!(folder.faults(), ["records 102 to 111 were edited"]);
    connection.execute("UPDATE blocks SET seq = 300 WHERE seq = 111", []).unwrap();
    assert!(folder.faults().contains(&"records 102 to 111 were removed".to_owned()), "{:?}", folder.faults());
}

#[test]
fn a_tail_that_is_cut_off_or_written_anew_is_found_by_a_head_that_is_known() {
    let folder = Folder::new();
    written_apart(&folder, (1..=9).map(settlement));
    let known = folder.reader().head().unwrap();
    assert_eq!(folder.reader().verify(&[known]).unwrap().faults, []);
    folder.edit_records("DELETE FROM records WHERE seq > 6");
    assert_eq!(folder.faults(), [""; 0]);
    let fault = |seq, kind| Fault { seq, kind };
    assert_eq!(folder.reader().verify(&[known]).unwrap().faults, [fault(7, FaultKind::Cut)]);
    // Somebody goes on from there.
    written_apart(&folder, (20..=30).map(settlement));
    assert_eq!(folder.faults(), [""; 0]);
    assert_eq!(folder.reader().verify(&[known]).unwrap().faults, [fault(9, FaultKind::Rewritten)]);
}

#[test]
fn what_cannot_stand_where_it_stands_or_is_no_text_any_more_is_a_fault_and_no_failure() {
    let check = |sql: &str, expected: &[&str]| {
        let folder = Folder::new();
        written_apart(&folder, (1..=5).map(settlement));
        folder.edit_records(sql);
        assert_eq!(folder.faults(), expected, "{sql}");
        assert!(folder.reader().size().unwrap().0 <= 5, "{sql}");
    };
    let copy = |place: i64| format!("INSERT INTO records SELECT {place}, record, hash FROM records WHERE seq = 2");
    let before = |place: i64| {
        format!("record {place} was inserted: it stands before the begin of the ledger, or where another one does")
    };
    check(&copy(0), &[&before(0)]);
    check(&copy(-7), &[&before(-7)]);
    let anchor = "INSERT INTO anchor SELECT 0, 3, hash FROM records WHERE seq = 3";
    check(anchor, &[&before(1), &before(2), &before(3)]);
    check(
        "INSERT INTO anchor VALUES (0, 9, zeroblob(32))",
        &[1, 2, 3, 4, 5].map(before).each_ref().map(|text| &**text),
    );
    let broken = "UPDATE records SET record = CAST(x'7bff7d' AS TEXT) WHERE seq = 4";
    check(broken, &["record 4 was edited"]);
    check("UPDATE records SET record = 'x' WHERE seq = 4", &["record 4 was edited"]);
}

/// What a reader says of a file: all that it gives, or that something is wrong.
fn said(file: &Path) -> Result<Vec<String>, String> {
    let read = || -> Result<_, LedgerError> {
        let reader = LedgerReader::open(file)?;
        let faults = reader.verify(&[])?.faults;
        if !faults.is_empty() {
            return Ok(Err(format!("{faults:?}")));
        }
        let since = Filter { since_ms: Some(BEGUN_MS + 12_000), ..Filter::default() };
        let rows = reader.rows(&Filter::default())?.into_iter().chain(reader.rows(&since)?);
        let mut all: Vec<_> = rows.map(|row| format!("{} {}", row.head, row.json)).collect();
        for n in 1..=40 {
            all.push(format!("{:?}", reader.receipt(&format!("req_{n}"))?.map(|found| found.newest.head)));
        }
        all.push(format!("{:?}", reader.summary(&since)?));
        Ok(Ok(all))
    };
    read().unwrap_or_else(|error| Err(error.to_string()))
}

#[test]
fn a_bit_that_has_changed_in_the_file_is_told_or_changes_nothing() {
    let folder = Folder::new();
    written_apart(&folder, (1..=20).map(settlement));
    written_together(&folder, (21..=40).map(|n| Settlement { begun_ms: BEGUN_MS + 30_000 + n, ..settlement(n) }));
    let (whole, copy) = (std::fs::read(folder.file()).unwrap(), folder.0.path().join("copy.sqlite3"));
    let right = said(&folder.file()).unwrap();
    let is_told = |at: usize, bit: u64| {
        let mut changed = whole.clone();
        changed[at] ^= 1 << bit;
        std::fs::write(&copy, changed).unwrap();
        said(&copy).inspect(|found| assert!(*found == right, "bit {bit} of byte {at}")).is_err()
    };
    // Of the table and of the index; where it lies once more that is of no use any more.
    let key = block::key("req_7");
    let keys = (0..whole.len()).filter(|at| whole[*at..].starts_with(&key) && is_told(*at, 0));
    assert_eq!(keys.count(), 2);
    let (mut state, mut told) = (1_u64, 0);
    for _ in 0..60 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        told += u32::from(is_told((state >> 33) as usize % whole.len(), (state >> 20) % 8));
    }
    assert!(told >= 6, "{told}");
}
