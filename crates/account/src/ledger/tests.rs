//! What is written is read again, edits are found, and what cannot be written harms nobody.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::{
    Facts, Latency, Locality, Outcome, Plan, PolicyDocument, Prediction, Price, RouteDocument, TargetFacts, TargetId,
    TargetProfile, TargetState,
};
use rusqlite::Connection;

use super::*;
use crate::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, StageTimes, Tokens};

const BEGUN_MS: u64 = 1_760_000_000_000;

fn limits() -> LedgerLimits {
    LedgerLimits { flush_every: Duration::from_millis(5), ..LedgerLimits::default() }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("ledger/ledger.sqlite3")
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(&self.file()).unwrap()
    }

    fn edit(&self, sql: &str) {
        Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }

    /// Does this to records that lie alone as if they were rows.
    fn edit_records(&self, sql: &str) {
        let mut connection = Connection::open(self.file()).unwrap();
        let transaction = connection.transaction().unwrap();
        transaction.execute_batch("CREATE TABLE records (seq INTEGER PRIMARY KEY, record, hash)").unwrap();
        {
            let mut insert = transaction.prepare("INSERT INTO records VALUES (?1, ?2, ?3)").unwrap();
            let mut select = transaction.prepare("SELECT seq, hash, keys, records FROM blocks").unwrap();
            for block in select.query_map([], block::Block::read).unwrap() {
                let block = block.unwrap();
                assert_eq!(block.count, 1);
                let text = std::str::from_utf8(&block.texts).unwrap();
                insert.execute((block.last, text, block.hash.unwrap().bytes())).unwrap();
            }
        }
        transaction.execute_batch("DROP TABLE blocks").unwrap();
        transaction.execute_batch(sql).unwrap();
        schema::from_3(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    fn faults(&self) -> Vec<String> {
        self.reader().verify(&[]).unwrap().faults.iter().map(ToString::to_string).collect()
    }
}

fn id(text: &str) -> TargetId {
    TargetId::new(text).unwrap()
}

fn targets() -> Arc<Vec<TargetFacts>> {
    let mut cloud = TargetProfile::new(id("cloud/large"), Locality::Cloud);
    cloud.price = Some(Price { input_usd_per_mtok: 3.0, cached_input_usd_per_mtok: 0.3, output_usd_per_mtok: 15.0 });
    (cloud.region, cloud.tags, cloud.context_tokens) = (Some("eu".to_owned()), vec!["fast".to_owned()], Some(128_000));
    cloud.capabilities.vision = false;
    let mut cloud = TargetFacts::new(Arc::new(cloud), TargetState::Ready);
    let prediction = |mean, spread| Prediction { mean, spread };
    cloud.latency = Some(Latency { ttft_ms: prediction(300.5, 20.25), tokens_per_s: prediction(80.0, 5.0) });
    let local = TargetProfile::new(id("local/small"), Locality::Device);
    let mut local = TargetFacts::new(Arc::new(local), TargetState::Loading);
    (local.queue_depth, local.prompt_tokens) = (Some(2), Some(12));
    Arc::new(vec![local, cloud])
}

fn plan(facts: &Facts, targets: &[TargetFacts]) -> Arc<Plan> {
    let routes = vec![RouteDocument { id: Some("rest".to_owned()), ..RouteDocument::default() }];
    let document = PolicyDocument { version: Some(1), routes, ..PolicyDocument::default() };
    let policy = policy::Policy::compile(&document).unwrap();
    Arc::new(policy::decide(&policy, facts, targets).unwrap())
}

fn attempt(target: &str, outcome: Outcome, cost_usd: Option<f64>) -> AttemptMade {
    AttemptMade {
        target: id(target),
        locality: if target.starts_with("local/") { Locality::Device } else { Locality::Cloud },
        outcome,
        begun_after: Duration::from_micros(250),
        duration: Duration::from_millis(90),
        time_to_first_token: Some(Duration::from_millis(30)),
        tokens: cost_usd.map(|_| Tokens { input: 100, cached: 20, output: 30, is_estimated: false }),
        price: None,
        cost_usd,
        sent_bytes: 512,
        skipped_events: 0,
        is_hedge: false,
    }
}

/// The `n`th exchange: one answered in the cloud after a failure on the device, `n` seconds after the first.
fn settlement(n: u64) -> Settlement {
    let (targets, facts) = (targets(), Arc::new(Facts::default()));
    let mut settlement = Settlement {
        stream: true,
        decided: Some(Decided { plan: plan(&facts, &targets), facts, targets, policy_hash: "abc".into() }),
        target: Some((id("cloud/large"), Locality::Cloud)),
        outcome: RequestOutcome::Answered,
        duration: Duration::from_millis(100 + n),
        stages: StageTimes { decide: Some(Duration::from_nanos(4_321)), ..StageTimes::default() },
        time_to_first_token: Some(Duration::from_millis(40)),
        tokens: Some(Tokens { input: 100, cached: 20, output: 30, is_estimated: false }),
        request_bytes: 500,
        response_bytes: 900,
        reference: Some((id("cloud/dear"), Price { input_usd_per_mtok: 10.0, ..Price::FREE })),
        attempts: vec![
            attempt("local/small", Outcome::Status(500), None),
            attempt("cloud/large", Outcome::Answered, Some(0.0004)),
        ],
        ..Settlement::begun(ExchangeKind::Request, format!("req_{n}"), BEGUN_MS + n * 1000)
    };
    settlement.add_up();
    settlement
}

fn written(folder: &Folder, settlements: impl IntoIterator<Item = Settlement>) {
    // Each in a transaction of its own or a few together, as it comes.
    written_with(folder, limits(), settlements);
}

/// As many as fit into a block together.
fn written_together(folder: &Folder, settlements: impl IntoIterator<Item = Settlement>) {
    written_with(folder, LedgerLimits { flush_every: Duration::from_secs(3600), ..limits() }, settlements);
}

/// Each by itself.
fn written_apart(folder: &Folder, settlements: impl IntoIterator<Item = Settlement>) {
    let ledger = Ledger::open(&folder.file(), limits()).unwrap();
    for settlement in settlements {
        ledger.settled(&settlement);
        assert!(ledger.flush());
    }
}

fn written_with(folder: &Folder, limits: LedgerLimits, settlements: impl IntoIterator<Item = Settlement>) {
    let ledger = Ledger::open(&folder.file(), limits).unwrap();
    for settlement in settlements {
        ledger.settled(&settlement);
    }
    assert!(ledger.flush());
    assert_eq!(ledger.health().waiting, 0);
}

#[test]
fn what_is_settled_is_read_again_with_all_that_it_was_decided_by() {
    let folder = Folder::new();
    let one = settlement(1);
    let decided = one.decided.clone().unwrap();
    written(&folder, [one]);
    let reader = folder.reader();
    let Receipt { newest, earlier, comparisons } = reader.receipt("req_1").unwrap().unwrap();
    assert!(earlier.is_empty() && comparisons.is_empty() && reader.receipt("req_2").unwrap().is_none());
    assert_eq!(newest.head, reader.head().unwrap());
    assert_eq!(newest.head.seq, 1);
    assert_eq!(Head::parse(&newest.head.to_string()), Some(newest.head));
    let record = newest.record;
    assert_eq!((record.at_ms, record.duration_ms), (BEGUN_MS + 1101, 101.0));
    assert_eq!((record.decide_ms, record.ttft_ms), (Some(0.004), Some(40.0)));
    assert_eq!((&*record.outcome, record.target.as_deref()), ("answered", Some("cloud/large")));
    assert_eq!(record.cost_usd, Some(0.0004));
    // 100 tokens at 10 dollars a million, 20 of them cached and free.
    assert!((record.cost_avoided_usd.unwrap() - 0.0004).abs() < 1e-12);
    assert_eq!(record.left_device(), ("text", 512));
    let failed = &record.attempts[0];
    assert_eq!((&*failed.outcome, failed.status, failed.cost_usd), ("server_error", Some(500), None));
    let decision = record.decision.unwrap();
    assert_eq!((&*decision.policy, &*decision.reason), ("abc", "rule=rest"));
    assert_eq!(decision.placement, ["device", "network", "cloud"]);
    assert_eq!(reader.facts(&decision).unwrap().unwrap().facts(), (Facts::clone(&decided.facts), vec![]));
    assert_eq!(reader.targets(&decision.targets).unwrap(), (decided.targets.to_vec(), 0));
}

#[test]
fn an_id_that_comes_again_stands_for_the_newest_and_the_others_are_told() {
    let folder = Folder::new();
    let named = |n, kind| Settlement { request_id: "mine".to_owned(), kind, ..settlement(n) };
    let comparison = named(3, ExchangeKind::Comparison);
    written(&folder, [named(1, ExchangeKind::Request), named(2, ExchangeKind::Outbox), comparison]);
    let receipt = folder.reader().receipt("mine").unwrap().unwrap();
    assert_eq!((&*receipt.newest.record.kind, receipt.newest.head.seq), ("outbox", 2));
    assert_eq!(receipt.earlier.iter().map(|row| row.head.seq).collect::<Vec<_>>(), [1]);
    assert_eq!(receipt.comparisons.iter().map(|row| row.head.seq).collect::<Vec<_>>(), [3]);
    let alone = Folder::new();
    written(&alone, [named(3, ExchangeKind::Comparison)]);
    assert!(alone.reader().receipt("mine").unwrap().is_none(), "nobody asked for that");
}

#[test]
fn queries_find_by_time_target_route_outcome_and_kind() {
    let folder = Folder::new();
    let other = |n| Settlement { outcome: RequestOutcome::NoTarget, target: None, decided: None, ..settlement(n) };
    written(&folder, (1..=2000).map(|n| if n % 10 == 0 { other(n) } else { settlement(n) }));
    let reader = folder.reader();
    let seqs = |filter: &Filter| reader.rows(filter).unwrap().iter().map(|row| row.head.seq).collect::<Vec<_>>();
    let all = Filter::default();
    assert_eq!(seqs(&all).len(), 2000);
    assert_eq!(seqs(&Filter { newest: Some(3), ..all.clone() }), [1998, 1999, 2000]);
    assert_eq!(seqs(&Filter { after_seq: Some(1998), ..all.clone() }), [1999, 2000]);
    // Settled after 100 ms and one more for each.
    let between = Filter { since_ms: Some(BEGUN_MS + 1_500_000), until_ms: Some(BEGUN_MS + 1_502_000), ..all.clone() };
    assert_eq!(seqs(&between), [1499, 1500]);
    let of = |target: &str| seqs(&Filter { target: Some(target.to_owned()), ..all.clone() }).len();
    assert_eq!((of("cloud/large"), of("none"), of("local/small")), (1800, 200, 0));
    assert_eq!(seqs(&Filter { outcome: Some("no_target".to_owned()), ..all.clone() }).len(), 200);
    assert_eq!(seqs(&Filter { route: Some("rest".to_owned()), ..all.clone() }).len(), 1800);
    assert_eq!(seqs(&Filter { kind: Some("outbox".to_owned()), ..all }).len(), 0);
}

#[test]
fn a_summary_adds_up_what_is_known_and_counts_what_is_not() {
    let folder = Folder::new();
    let local = |n| {
        let attempts = vec![attempt("local/small", Outcome::Answered, Some(0.0))];
        let mut local = Settlement { target: Some((id("local/small"), Locality::Device)), attempts, ..settlement(n) };
        local.add_up();
        local
    };
    let unknown = Settlement { cost_usd: None, cost_avoided_usd: None, ..settlement(4) };
    let hit = Settlement { cache: CacheUse::Hit, attempts: vec![], cost_usd: Some(0.0), ..settlement(5) };
    let mut hedged = settlement(6);
    hedged.attempts.push(AttemptMade { is_hedge: true, ..attempt("cloud/large", Outcome::HedgeLost, Some(0.01)) });
    let compared = Settlement { kind: ExchangeKind::Comparison, ..settlement(7) };
    let nobody = Settlement { outcome: RequestOutcome::NoTarget, target: None, attempts: vec![], ..settlement(8) };
    let nobody = Settlement { cost_usd: None, cost_avoided_usd: None, tokens: None, ..nobody };
    written(&folder, [local(1), local(2), settlement(3), unknown, hit, hedged, compared, nobody]);
    let summary = folder.reader().summary(&Filter::default()).unwrap();
    assert_eq!((summary.requests, summary.answered, summary.stayed), (7, 6, 3));
    assert_eq!(summary.stayed_share(), Some(0.5));
    assert_eq!((summary.cost_unknown, summary.cost_avoided_known), (1, 5));
    assert!((summary.cost_usd - 0.0008).abs() < 1e-12, "{}", summary.cost_usd);
    assert_eq!((summary.lost_hedges_usd, summary.comparisons), (0.01, (1, 0.0004)));
    let small = &summary.targets["local/small"];
    assert_eq!((small.requests, small.tokens, small.ttft_ms.len()), (2, (200, 60), 2));
    assert_eq!(small.duration_ms, [101.0, 102.0]);
    assert_eq!(folder.reader().spent("comparison", BEGUN_MS).unwrap(), Spent { count: 1, usd: 0.0004 });
}

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
    // Three blocks: of 200, of one and of 10 records.
    for n in [1..=200, 201..=201, 202..=211] {
        written_together(&folder, n.map(|n| Settlement { begun_ms: BEGUN_MS + n, ..settlement(n) }));
    }
    let connection = Connection::open(folder.file()).unwrap();
    let packed: Vec<u8> =
        connection.query_row("SELECT records FROM blocks WHERE seq = 200", [], |row| row.get(0)).unwrap();
    let text = String::from_utf8(lz4_flex::block::decompress_size_prepended(&packed).unwrap()).unwrap();
    let pack = |text: &str| lz4_flex::block::compress_prepend_size(text.as_bytes());
    let huge = [0xff, 0xff, 0xff, 0x7f].iter().chain(&packed[4..]).copied().collect::<Vec<_>>();
    let put = |packed: &[u8]| connection.execute("UPDATE blocks SET records = ?1 WHERE seq = 200", [packed]).unwrap();
    let edited = "records 1 to 200 were edited".to_owned();
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
        let misdated = "records 1 to 200 were put under times that are not theirs".to_owned();
        assert_eq!(folder.faults(), [edited.clone(), misdated]);
        let summary = folder.reader().summary(&Filter::default()).unwrap();
        assert_eq!((summary.requests, summary.unreadable), (11, 200));
        assert!(
            folder.reader().receipt("req_205").unwrap().is_some()
                && folder.reader().receipt("req_5").unwrap().is_none()
        );
    }
    put(&packed);
    assert_eq!(folder.faults(), [""; 0]);
    connection.execute("UPDATE blocks SET hash = x'00' WHERE seq = 211", []).unwrap();
    written(&folder, [settlement(600)]);
    assert_eq!(folder.reader().head().unwrap().seq, 212, "it goes on behind a hash that is none");
    assert_eq!(folder.faults(), ["records 202 to 211 were edited"]);
    connection.execute("UPDATE blocks SET seq = 300 WHERE seq = 211", []).unwrap();
    assert!(folder.faults().contains(&"records 202 to 211 were removed".to_owned()), "{:?}", folder.faults());
}

#[test]
fn records_that_were_settled_together_lie_together_and_each_is_found_by_its_own_id_and_time() {
    let folder = Folder::new();
    let at = |n: u64| Settlement { begun_ms: BEGUN_MS + n, ..settlement(n) };
    written_together(&folder, (1..=600).map(at));
    let count =
        |sql: &str| -> i64 { Connection::open(folder.file()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap() };
    // As many as fill a block woke the writer; what was there when it came is one, or more.
    assert!((3..=5).contains(&count("SELECT count(*) FROM blocks")), "{}", count("SELECT count(*) FROM blocks"));
    assert!(count("SELECT sum(length(records)) FROM blocks") < 600 * 200);
    let reader = folder.reader();
    for n in [1, 64, 256, 257, 512, 600] {
        assert_eq!(reader.receipt(&format!("req_{n}")).unwrap().unwrap().newest.head.seq, n);
    }
    assert!(reader.receipt("req_601").unwrap().is_none());
    let settled = |n: u64| at(n).settled_ms();
    let between = Filter { since_ms: Some(settled(60)), until_ms: Some(settled(70)), ..Filter::default() };
    let seqs = |filter: &Filter| reader.rows(filter).unwrap().iter().map(|row| row.head.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&between), (60..70).collect::<Vec<_>>());
    assert_eq!(seqs(&Filter { newest: Some(3), ..between }), [67, 68, 69]);
    assert_eq!(seqs(&Filter { after_seq: Some(62), until_ms: Some(settled(66)), ..Filter::default() }), [63, 64, 65]);
    let head = reader.rows(&Filter { newest: Some(100), ..Filter::default() }).unwrap()[0].head;
    assert_eq!((head.seq, reader.verify(&[head]).unwrap().faults), (501, vec![]));
    let other = Head { hash: Hash::GENESIS, ..head };
    assert_eq!(reader.verify(&[other]).unwrap().faults, [Fault { seq: 501, kind: FaultKind::Rewritten }]);
}

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
fn a_full_queue_loses_what_comes_and_counts_it() {
    let folder = Folder::new();
    let slow = LedgerLimits { queue_max: 10, flush_every: Duration::from_secs(3600), ..limits() };
    let ledger = Ledger::open(&folder.file(), slow).unwrap();
    for n in 0..15 {
        ledger.settled(&settlement(n));
    }
    assert!(!ledger.can_write());
    assert_eq!(ledger.health().counts.overflowed, 5);
    assert!(ledger.flush() && ledger.can_write());
    drop(ledger);
    assert_eq!(folder.reader().head().unwrap().seq, 10);
}

#[test]
fn what_cannot_be_written_waits_and_is_written_when_that_has_passed() {
    let folder = Folder::new();
    let ledger = Ledger::open(&folder.file(), limits()).unwrap();
    ledger.settled(&settlement(1));
    assert!(ledger.flush());
    folder.edit("ALTER TABLE blocks RENAME TO away");
    ledger.settled(&settlement(2));
    assert!(!ledger.flush(), "whoever waits is told");
    assert!(!ledger.can_write());
    let health = ledger.health();
    assert!(health.failure.is_some_and(|failure| failure.contains("blocks")) && health.waiting == 1);
    folder.edit("ALTER TABLE away RENAME TO blocks");
    while ledger.health().failure.is_some() {
        std::thread::yield_now();
    }
    assert!(ledger.can_write());
    drop(ledger);
    assert_eq!((folder.reader().head().unwrap().seq, folder.faults()), (2, vec![]));
}

#[test]
fn several_gateways_may_write_to_one_file() {
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| written(&folder, (0..200).map(settlement)));
        }
    });
    let verified = folder.reader().verify(&[]).unwrap();
    assert_eq!((verified.records, verified.faults.len()), (600, 0));
}

#[test]
fn the_file_is_its_owners_alone_and_one_of_a_newer_version_is_left_alone() {
    let folder = Folder::new();
    written(&folder, [settlement(1)]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.file()), mode(folder.file().parent().unwrap())), (0o600, 0o700));
    folder.edit("PRAGMA user_version = 99");
    let newer = Ledger::open(&folder.file(), limits()).err().map(|error| error.to_string());
    assert_eq!(newer.as_deref(), Some("the ledger has schema version 99, and this version of Tidegate knows 4"));
    assert!(LedgerReader::open(&folder.file()).is_err());
}

#[test]
fn no_text_is_recorded_beside_names_of_closed_shape() {
    let folder = Folder::new();
    written(&folder, [settlement(1)]);
    let json = folder.reader().rows(&Filter::default()).unwrap().remove(0).json;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "{}[]\":,._-/= ;".contains(c);
    assert_eq!(json.chars().find(|c| !allowed(*c)), None, "{json}");
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
fn whoever_reads_slowly_does_not_make_the_log_grow() {
    let folder = Folder::new();
    written(&folder, (0..1200).map(settlement));
    let (reader, other) = (folder.reader(), Connection::open(folder.file()).unwrap());
    let mut seen = 0_u64;
    let until = Filter { until_ms: Some(BEGUN_MS + 2_000_000), ..Filter::default() };
    let look = |row: Row| {
        seen += 1;
        assert_eq!(row.head.seq, seen);
        if seen.is_multiple_of(400) {
            written(&folder, [settlement(9000)]);
            // Begins the log anew, which is not possible while somebody holds what is in it.
            let is_held: bool = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
            assert!(!is_held, "at record {seen}");
        }
        true
    };
    reader.each(&until, look).unwrap();
    assert_eq!(seen, 1200);
}

#[test]
fn a_clock_that_was_set_back_hides_no_record_from_a_query() {
    let folder = Folder::new();
    let unset = |n: u64| Settlement { begun_ms: n * 1000, ..settlement(n) };
    written(&folder, (1..=100).map(settlement).chain((101..=200).map(unset)).chain((201..=210).map(settlement)));
    let since = Filter { since_ms: Some(BEGUN_MS), ..Filter::default() };
    let found = |folder: &Folder| folder.reader().rows(&since).unwrap().len();
    assert_eq!(found(&folder), 110);
    let all = LedgerLimits { keep: Duration::from_secs(5), ..limits() };
    let ledger = Ledger::open(&folder.file(), all).unwrap();
    ledger.settled(&settlement(220));
    assert!(ledger.flush());
    drop(ledger);
    assert_eq!((folder.faults(), found(&folder)), (vec![], 1));
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
        written_together(&folder, (0..200).map(|i| Settlement { begun_ms: BEGUN_MS + i, ..settlement(n * 200 + i) }));
    }
    let (_, bytes) = folder.reader().size().unwrap();
    let ledger = Ledger::open(&folder.file(), LedgerLimits { bytes_max: bytes - 1, ..limits() }).unwrap();
    ledger.settled(&settlement(900));
    assert!(ledger.flush());
    drop(ledger);
    let verified = folder.reader().verify(&[]).unwrap();
    assert_eq!((verified.anchor.seq, verified.head.seq, verified.faults), (200, 801, vec![]));
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
