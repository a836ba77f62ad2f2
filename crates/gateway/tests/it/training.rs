//! `tidegate train` on made-up labels: a better head comes into force, one that is no better does not, and back again.

use std::path::Path;
use std::process::{Command, Output};

use account::labels::{AnswerRecord, LabelLimits, LabelStore, OutcomeRecord, OutcomeSource};
use policy::Privacy;
use serde_json::Value;
use signals::classify::heads::{FEATURES, Heads};
use testkit::bin;

const CONFIG: &str =
    "targets: [{id: cloud/m, provider: openai, model: m, size_class: tiny, base_url: 'http://127.0.0.1:9/v1'}]\n";

fn tidegate(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(bin("tidegate"));
    command.args(args).current_dir(home).env("TIDEGATE_HOME", home).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// The heads that come with this version.
fn shipped() -> Heads {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/router-v1/heads.json");
    Heads::parse(&std::fs::read(path).unwrap()).unwrap()
}

/// Numbers that look random, from 0 to 1.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// Writes labels of requests whose answers are good where the second feature is low, one in ten the other way.
pub(crate) fn fill(home: &Path, target: &str, model: &str, rows: u64) {
    let classifier = shipped().name;
    let store = LabelStore::open(&home.join("learning/labels.sqlite3"), LabelLimits::default()).unwrap();
    let mut number = numbers(7);
    for n in 0..rows {
        let features: Box<[f32]> = (0..FEATURES).map(|_| number() * 3.4 - 1.7).collect();
        let good = (features[1] < 0.0) != (number() < 0.1);
        let request_id = n.to_string();
        store.answered(AnswerRecord {
            request_id: request_id.clone(),
            at_s: n,
            target: target.to_owned(),
            model: model.to_owned(),
            privacy: if n % 3 == 0 { Privacy::Confidential } else { Privacy::Internal },
            task: None,
            features: Some((classifier.clone(), features)),
        });
        let (score, source) = (f64::from(u8::from(good)), OutcomeSource::Feedback);
        store.outcome(OutcomeRecord { request_id, at_s: n, source, score, weight: 1.0 });
        if n % 256 == 0 {
            store.flush();
        }
    }
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("t.yaml"), CONFIG).unwrap();
    home
}

#[test]
fn a_better_head_comes_into_force_one_that_is_not_does_not_and_it_goes_back() {
    let home = home();
    let run = |args: &[&str]| said(&tidegate(home.path(), &[&["train", "--config", "t.yaml"], args].concat()));
    let missing = tidegate(home.path(), &["train", "--config", "t.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there are no labels yet"));

    fill(home.path(), "cloud/m", "m", 900);
    let tried = run(&["--dry-run"]);
    assert!(tried.contains(": better\n") && tried.contains("nothing is activated: only tried"), "{tried}");
    for part in ["length", "task prior", "current head", "new head", "AUC", "APGR", "CPT(50)", "CPT(80)", "ECE"] {
        assert!(tried.contains(part), "{part} in {tried}");
    }
    assert!(!home.path().join("learning/active").exists());

    let first = run(&["--target", "cloud/m"]);
    assert!(first.contains("v1 is active"), "{first}");
    let learnt = std::fs::read(home.path().join("learning/heads/v1/heads.json")).unwrap();
    let learnt = Heads::parse(&learnt).unwrap();
    let probability = |second: f32| {
        let mut features = [0.0; FEATURES];
        features[1] = second;
        learnt.quality.targets["m"].estimate(&features, &learnt.project(&features)).probability
    };
    assert!(probability(-1.0) > 0.65 && probability(1.0) < 0.4, "{} {}", probability(-1.0), probability(1.0));
    let about = std::fs::read(home.path().join("learning/heads/v1/about.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert!(about["parent"].is_null() && about["targets"][0]["target"] == "cloud/m", "{about}");

    // The same labels again teach nothing new.
    let second = run(&[]);
    assert!(second.contains(": not better") && second.contains("no head is better"), "{second}");
    assert_eq!(std::fs::read_to_string(home.path().join("learning/active")).unwrap(), "v1\n");

    let back = run(&["--rollback"]);
    assert!(back.contains("v1 is no longer active; the heads that came with the classifier are in force"), "{back}");
    assert!(!home.path().join("learning/active").exists());
    let nothing = tidegate(home.path(), &["train", "--rollback"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no learnt version is active"));
}

#[test]
fn few_labels_say_so_and_an_export_leaves_out_what_stays_on_the_device() {
    let home = home();
    fill(home.path(), "cloud/m", "m", 30);
    let few = said(&tidegate(home.path(), &["train", "--config", "t.yaml"]));
    assert!(few.contains("of 30 labels are held out") && few.contains("nothing is activated"), "{few}");
    let stats = said(&tidegate(home.path(), &["labels", "stats"]));
    assert!(stats.lines().any(|line| line.starts_with("cloud/m") && line.contains(" 30 ")), "{stats}");
    let export = said(&tidegate(home.path(), &["labels", "export", "some.jsonl"]));
    assert!(
        export.contains("20 labels written") && export.contains("10 of requests that stay on the device"),
        "{export}"
    );
    let line = std::fs::read_to_string(home.path().join("some.jsonl")).unwrap();
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!((line["features"].as_array().unwrap().len(), &line["source"]), (FEATURES, &"feedback".into()));
    let all = said(&tidegate(home.path(), &["labels", "export", "all.jsonl", "--confidential"]));
    assert!(all.contains("30 labels written"), "{all}");
    assert_eq!(tidegate(home.path(), &["labels", "export", "all.jsonl"]).status.code(), Some(1), "not written over");
}
