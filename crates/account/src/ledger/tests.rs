//! What is written is read again, and what cannot be written harms nobody.

mod kept;
mod read;
mod verified;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::{
    Facts, Latency, LimitsDocument, Locality, Outcome, Plan, PolicyDocument, Prediction, Price, QualitySignal,
    RouteDocument, TargetFacts, TargetId, TargetProfile, TargetState, WhenNoneDocument,
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
    plan_of(RouteDocument::default(), facts, targets)
}

fn plan_of(route: RouteDocument, facts: &Facts, targets: &[TargetFacts]) -> Arc<Plan> {
    let routes = vec![RouteDocument { id: Some("rest".to_owned()), ..route }];
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

/// What is written says, member by member, what the type says that it is read as.
#[test]
fn every_member_is_written_as_it_is_read() {
    let folder = Folder::new();
    let mut full = settlement(1);
    let mut target = targets()[0].clone();
    let prediction = Prediction { mean: 12.5, spread: 0.1 };
    target.latency = Some(Latency { ttft_ms: prediction, tokens_per_s: prediction });
    (target.queue_depth, target.prompt_tokens) = (Some(3), Some(77));
    let mut facts = Facts::default();
    facts.request.tags = vec!["a".into(), "b".into()];
    facts.signals.quality = vec![(id("cloud/large"), QualitySignal { probability: 0.75, standard_error: 0.1 })];
    facts.history.output_tokens = Arc::from([(Arc::from("rest"), 42.0)]);
    let (targets, facts) = (Arc::new(vec![target]), Arc::new(facts));
    let limits = LimitsDocument { ttft_slo_ms: Some(1500.25), min_quality: Some(0.9), ..LimitsDocument::default() };
    let when_none = WhenNoneDocument { relax: Some("min_quality".to_owned()), refuse: None };
    let route = RouteDocument { limits, when_none, ..RouteDocument::default() };
    let plan = plan_of(route, &facts, &targets);
    full.decided = Some(Decided { plan, facts, targets, policy_hash: "abc".into() });
    let some = |micros| Some(Duration::from_micros(micros));
    full.stages = StageTimes { parse: some(0), signals: some(7), decide: some(u64::MAX) };
    let tokens = Tokens { input: 1, cached: 1, output: 0, is_estimated: true };
    let price = Price { input_usd_per_mtok: 0.15, ..Price::FREE };
    let hedge = attempt("cloud/large", Outcome::HedgeLost, Some(0.01));
    full.attempts.push(AttemptMade { is_hedge: true, tokens: Some(tokens), price: Some(price), ..hedge });
    full.left_with_another = true;
    let bare = Settlement::begun(ExchangeKind::Comparison, "a \"quoted\" id\n".to_owned(), BEGUN_MS);
    written(&folder, [full, settlement(2), bare]);
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let rows = folder.reader().rows(&Filter::default()).unwrap();
    for row in &rows {
        assert_eq!(value(&row.json), value(&serde_json::to_string(&row.record).unwrap()));
    }
    assert_eq!(rows[2].record.request_id, "a \"quoted\" id\n");
    for optional in [
        "target",
        "locality",
        "route",
        "parse_ms",
        "signals_ms",
        "decide_ms",
        "ttft_ms",
        "tokens",
        "left_with_another",
        "cost_usd",
        "reference",
        "cost_avoided_usd",
        "decision",
        "ttft_slo_ms",
        "relaxed",
        "base",
        "queue_depth",
        "latency",
        "prompt_tokens",
        "cached",
        "estimated",
        "status",
        "price",
        "hedge",
    ] {
        assert!(rows[0].json.contains(&format!("\"{optional}\":")), "{optional} is not looked at here");
    }
}

/// A record is read whatever came of some arithmetic.
#[test]
fn what_is_no_number_keeps_no_record_from_being_read() {
    let folder = Folder::new();
    let mut odd = settlement(1);
    let mut target = targets()[1].clone();
    let prediction = |mean| Prediction { mean, spread: 1.0 };
    target.latency = Some(Latency { ttft_ms: prediction(f64::INFINITY), tokens_per_s: prediction(f64::NAN) });
    let mut facts = Facts::default();
    facts.signals.quality =
        vec![(id("cloud/large"), QualitySignal { probability: f64::NAN, standard_error: f64::INFINITY })];
    (facts.signals.task_probability, facts.budget.remaining_usd) = (Some(f64::NAN), Some(f64::NEG_INFINITY));
    let (targets, facts) = (Arc::new(vec![target]), Arc::new(facts));
    odd.decided = Some(Decided { plan: plan(&facts, &targets), facts, targets, policy_hash: "abc".into() });
    (odd.cost_usd, odd.cost_avoided_usd, odd.attempts[1].cost_usd) =
        (Some(f64::NAN), Some(f64::INFINITY), Some(f64::NAN));
    odd.attempts[1].price = Some(Price { input_usd_per_mtok: f64::INFINITY, ..Price::FREE });
    written(&folder, [odd, settlement(2)]);
    let reader = folder.reader();
    let rows = reader.rows(&Filter::default()).unwrap();
    let odd = &rows[0].record;
    assert_eq!((rows.len(), odd.cost_usd, odd.attempts[1].price), (2, None, None));
    let decision = odd.decision.as_ref().unwrap();
    assert_eq!(decision.targets[0].latency, None);
    let (facts, unknown) = reader.facts(decision).unwrap().unwrap().facts();
    assert_eq!((facts.signals.task_probability, facts.signals.quality.len(), unknown), (None, 0, vec![]));
    let summary = reader.summary(&Filter::default()).unwrap();
    assert_eq!((summary.requests, summary.unreadable, summary.cost_unknown), (2, 0, 1));
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

/// SQLite would write to what nobody can read any more.
#[test]
fn a_file_that_was_removed_is_told_and_one_that_is_back_is_written() {
    let folder = Folder::new();
    let ledger = Ledger::open(&folder.file(), limits()).unwrap();
    ledger.settled(&settlement(1));
    assert!(ledger.flush());
    let away = folder.0.path().join("away");
    for put in [None, Some("another one")] {
        std::fs::rename(folder.file(), &away).unwrap();
        if let Some(text) = put {
            std::fs::write(folder.file(), text).unwrap();
        }
        ledger.settled(&settlement(2));
        assert!(!ledger.flush() && !ledger.can_write());
        assert!(ledger.health().failure.is_some_and(|failure| failure.contains("was removed")), "{put:?}");
        std::fs::rename(&away, folder.file()).unwrap();
        while ledger.health().failure.is_some() {
            std::thread::yield_now();
        }
    }
    drop(ledger);
    assert_eq!((folder.reader().head().unwrap().seq, folder.faults()), (3, vec![]));
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
