//! What is written is found again: by its id, by what is asked for, and added up.

use super::*;

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
    // Of these two something has left: one was sent elsewhere before, and one shares the answer to what was.
    let after = Settlement { target: Some((id("local/small"), Locality::Device)), ..settlement(9) };
    let after = Settlement { cost_usd: Some(0.0), cost_avoided_usd: Some(0.0), ..after };
    let shared = Settlement { cache: CacheUse::Coalesced, left_with_another: true, attempts: vec![], ..settlement(10) };
    let shared = Settlement { cost_usd: Some(0.0), ..shared };
    written(&folder, [local(1), local(2), settlement(3), unknown, hit, hedged, compared, nobody, after, shared]);
    let summary = folder.reader().summary(&Filter::default()).unwrap();
    assert_eq!((summary.requests, summary.answered, summary.stayed), (9, 8, 3));
    assert_eq!(summary.stayed_share(), Some(0.375));
    assert_eq!((summary.cost_unknown, summary.cost_avoided_known), (1, 7));
    assert!((summary.cost_usd - 0.0008).abs() < 1e-12, "{}", summary.cost_usd);
    assert_eq!((summary.lost_hedges_usd, summary.comparisons), (0.01, (1, 0.0004)));
    let small = &summary.targets["local/small"];
    assert_eq!((small.requests, small.again, small.tokens, small.ttft_ms.len()), (3, 0, (300, 90), 3));
    assert_eq!(small.duration_ms, [101.0, 102.0, 109.0]);
    // Two that it was not asked for say nothing of how fast it is.
    let large = &summary.targets["cloud/large"];
    assert_eq!((large.requests, large.answered, large.again, large.tokens), (5, 5, 2, (300, 90)));
    assert_eq!(large.duration_ms, [103.0, 104.0, 106.0]);
    assert_eq!(folder.reader().spent("comparison", BEGUN_MS).unwrap(), Spent { count: 1, usd: 0.0004 });
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
fn records_that_were_settled_together_lie_together_and_each_is_found_by_its_own_id_and_time() {
    let folder = Folder::new();
    let at = |n: u64| Settlement { begun_ms: BEGUN_MS + n, ..settlement(n) };
    written_together(&folder, (1..=600).map(at));
    let count =
        |sql: &str| -> i64 { Connection::open(folder.file()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap() };
    // As many as fill two blocks woke the writer; what was there when it came is one, or more.
    assert!((5..=8).contains(&count("SELECT count(*) FROM blocks")), "{}", count("SELECT count(*) FROM blocks"));
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
