//! The store with real files.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use super::*;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("learning").join("labels.sqlite3")
    }

    fn store(&self, limits: LabelLimits) -> LabelStore {
        LabelStore::open(&self.path(), limits).unwrap()
    }

    fn reader(&self) -> LabelReader {
        LabelReader::open(&self.path()).unwrap()
    }
}

fn answer(id: &str, at_s: u64) -> AnswerRecord {
    AnswerRecord {
        request_id: id.to_owned(),
        at_s,
        target: "local/m".to_owned(),
        model: "m".to_owned(),
        privacy: Privacy::Confidential,
        task: Some("code".to_owned()),
        features: Some(("router-v1".to_owned(), vec![1.5, -2.0].into())),
    }
}

fn outcome(id: &str, source: OutcomeSource, score: f64) -> OutcomeRecord {
    OutcomeRecord { request_id: id.to_owned(), at_s: 7, source, score, weight: 1.0 }
}

/// What became of an outcome.
fn recorded(store: &LabelStore, outcome: OutcomeRecord) -> Recorded {
    let (sender, receiver) = channel();
    store.outcome_then(outcome, move |recorded| sender.send(recorded).unwrap());
    receiver.recv().unwrap().unwrap()
}

#[test]
fn an_answer_gets_its_outcome_and_is_read_with_its_features() {
    let folder = Folder::new();
    let store = folder.store(LabelLimits::default());
    store.answered(answer("one", 5));
    store.answered(AnswerRecord { target: "cloud/a".to_owned(), features: None, ..answer("two", 6) });
    assert_eq!(recorded(&store, outcome("one", OutcomeSource::Feedback, 0.75)), Recorded::Written);
    assert_eq!(recorded(&store, outcome("two", OutcomeSource::Feedback, 1.0)), Recorded::Written);
    assert_eq!(recorded(&store, outcome("three", OutcomeSource::Feedback, 1.0)), Recorded::Unknown);
    let reader = folder.reader();
    let [row] = reader.training(None).unwrap().try_into().unwrap();
    assert_eq!(
        (row.features.as_slice(), row.classifier.as_str(), row.model.as_str()),
        (&[1.5, -2.0][..], "router-v1", "m")
    );
    assert_eq!(row.listed.outcome, Some((OutcomeSource::Feedback, 0.75, 1.0)));
    assert_eq!(
        (row.listed.privacy, row.listed.task.as_deref(), row.listed.at_s),
        (Privacy::Confidential, Some("code"), 5)
    );
    let targets = reader.targets().unwrap();
    let counts: Vec<_> = targets.iter().map(|t| (t.target.as_str(), t.answers, t.labelled, t.usable)).collect();
    assert_eq!(counts, [("cloud/a", 1, 1, 0), ("local/m", 1, 1, 1)]);
    assert_eq!(store.counts(), LabelCounts { written: 5, overflowed: 0, failed: 0 });
}

#[test]
fn the_last_rating_holds_and_the_most_trusted_source_before_others() {
    let folder = Folder::new();
    let store = folder.store(LabelLimits::default());
    store.answered(answer("one", 5));
    let held = |source, score| {
        recorded(&store, outcome("one", source, score));
        let newest = folder.reader().newest(Some("local/m"), 9).unwrap();
        newest[0].outcome.map(|(source, score, _)| (source, score)).unwrap()
    };
    use OutcomeSource::{Evaluation, Feedback, Retry, Verifier};
    assert_eq!(held(Retry, 0.0), (Retry, 0.0));
    assert_eq!(held(Verifier, 1.0), (Verifier, 1.0));
    assert_eq!(held(Feedback, 1.0), (Feedback, 1.0));
    assert_eq!(held(Feedback, 0.25), (Feedback, 0.25));
    assert_eq!(held(Evaluation, 1.0), (Feedback, 0.25));
    assert_eq!(folder.reader().targets().unwrap()[0].by_source, [1, 1, 1, 1]);
    // The id is given to another request: what was said of the first does not count for it.
    store.answered(answer("one", 6));
    store.flush();
    let newest = folder.reader().newest(None, 9).unwrap();
    assert_eq!((newest.len(), newest[0].outcome, newest[0].at_s), (1, None, 6));
}

#[test]
fn what_is_too_old_or_too_many_goes_and_labels_go_last() {
    let folder = Folder::new();
    let seconds = Duration::from_secs;
    let store = folder.store(LabelLimits { rows_max: 100, age_max: seconds(10_000), wait_max: seconds(1_000) });
    store.answered(answer("ancient", 100));
    store.answered(answer("old", 10_000));
    store.answered(answer("old and labelled", 10_000));
    for id in ["ancient", "old and labelled"] {
        recorded(&store, outcome(id, OutcomeSource::Feedback, 1.0));
    }
    (0..300).for_each(|n| store.answered(answer(&format!("new {n}"), 12_000 + n)));
    store.flush();
    drop(store);
    let kept = folder.reader().newest(None, 1000).unwrap();
    let has = |id: &str| kept.iter().any(|answer| answer.request_id == id);
    assert!(has("old and labelled") && !has("old") && !has("ancient"));
    assert!(has("new 299") && !has("new 0") && kept.len() < 200, "{}", kept.len());
}

#[test]
fn the_file_is_its_owners_alone_is_there_after_a_restart_and_a_newer_one_is_left_alone() {
    let folder = Folder::new();
    let store = folder.store(LabelLimits::default());
    store.answered(answer("one", 5));
    drop(store);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path()), mode(folder.path().parent().unwrap())), (0o600, 0o700));
    let store = folder.store(LabelLimits::default());
    assert_eq!(recorded(&store, outcome("one", OutcomeSource::Feedback, 1.0)), Recorded::Written);
    drop(store);
    let connection = rusqlite::Connection::open(folder.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = LabelStore::open(&folder.path(), LabelLimits::default()).err().unwrap();
    assert!(matches!(error, LabelError::Newer { found: 99, known: 1 }), "{error}");
    std::fs::write(folder.path(), "no database, but longer than its header would be: ".repeat(9)).unwrap();
    assert!(LabelStore::open(&folder.path(), LabelLimits::default()).is_err());
}

#[test]
fn a_full_queue_loses_and_counts_and_nobody_waits() {
    let folder = Folder::new();
    let store = folder.store(LabelLimits::default());
    // Another process that writes for a while: the thread waits for it, the queue fills up.
    let connection = rusqlite::Connection::open(folder.path()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sent = 2 * QUEUE_MAX as u64 + 200;
    (0..sent).for_each(|n| store.answered(answer(&n.to_string(), 1)));
    let (sender, receiver) = channel();
    store.outcome_then(outcome("x", OutcomeSource::Feedback, 1.0), move |recorded| sender.send(recorded).unwrap());
    // Where all this takes as long as the thread waits, a batch has failed and there is room; the reply is gone with the next one.
    assert!(matches!(receiver.recv(), Ok(Err(LabelError::Busy)) | Err(_)));
    connection.execute_batch("COMMIT").unwrap();
    store.flush();
    let counts = store.counts();
    assert_eq!(counts.written + counts.overflowed + counts.failed, sent + 1);
    assert!(counts.overflowed > QUEUE_MAX as u64 / 2, "{counts:?}");
}
