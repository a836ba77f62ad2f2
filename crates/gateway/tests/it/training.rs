//! `tidegate train` on made-up labels: a better head comes into force, one that is no better does not, and back again.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use account::labels::{AnswerRecord, LabelLimits, LabelStore, OutcomeRecord, OutcomeSource};
use policy::Privacy;
use serde_json::Value;
use signals::classify::hand::NAMES;
use signals::classify::heads::{
    Calibration, Distribution, FEATURES, Heads, InjectionHead, Quality, QualityHead, Scaling, TaskHead,
    VECTOR_DIMENSIONS,
};
use testkit::bin;

const CONFIG: &str = "targets: [{id: cloud/m, provider: openai, model: m, base_url: 'http://127.0.0.1:9/v1'}]\n";
const RANK: usize = 2;

fn tidegate(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(bin("tidegate"));
    command.args(args).current_dir(home).env("TIDEGATE_HOME", home).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// Heads that project on the first features and know nothing of any model.
fn heads() -> Heads {
    let one_hot = |at: usize, size: usize| (0..size).map(|n| if n == at { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    let calibration = Calibration { slope: 1.0, intercept: 0.0 };
    let head = QualityHead {
        size_class: "tiny".to_owned(),
        rows: 0,
        vector: vec![0.1; RANK],
        bias: 0.0,
        weights: None,
        calibration,
        covariance: (0..=RANK).map(|n| one_hot(n, RANK + 1)).collect(),
    };
    Heads {
        format: 1,
        name: "made-up".to_owned(),
        encoder: "static".to_owned(),
        features: Scaling {
            hand: NAMES.map(str::to_owned).to_vec(),
            mean: vec![0.0; FEATURES],
            scale: vec![1.0; FEATURES],
        },
        quality: Quality {
            projection: (0..RANK).map(|n| one_hot(n, FEATURES)).collect(),
            targets: BTreeMap::new(),
            size_classes: BTreeMap::from([("tiny".to_owned(), head)]),
        },
        task: TaskHead {
            labels: vec!["chat".to_owned()],
            weights: vec![one_hot(3, FEATURES)],
            bias: vec![0.0],
            temperature: 1.0,
        },
        injection: InjectionHead { weights: vec![0.0; FEATURES], bias: 0.0, calibration, threshold: 0.5 },
        out_of_distribution: Distribution {
            mean: vec![0.0; VECTOR_DIMENSIONS],
            components: vec![one_hot(0, VECTOR_DIMENSIONS)],
            variance: vec![1.0],
            residual_variance: 1.0,
            threshold: 1e9,
        },
    }
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
fn fill(home: &Path, rows: u64) {
    let store = LabelStore::open(&home.join("learning/labels.sqlite3"), LabelLimits::default()).unwrap();
    let mut number = numbers(7);
    for n in 0..rows {
        let features: Box<[f32]> = (0..FEATURES).map(|_| number() * 3.4 - 1.7).collect();
        let good = (features[1] < 0.0) != (number() < 0.1);
        let request_id = n.to_string();
        store.answered(AnswerRecord {
            request_id: request_id.clone(),
            at_s: n,
            target: "cloud/m".to_owned(),
            model: "m".to_owned(),
            privacy: if n % 3 == 0 { Privacy::Confidential } else { Privacy::Internal },
            task: None,
            features: Some(("made-up".to_owned(), features)),
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
    std::fs::create_dir(home.path().join("classifier")).unwrap();
    std::fs::write(home.path().join("classifier/heads.json"), serde_json::to_vec(&heads()).unwrap()).unwrap();
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

    fill(home.path(), 900);
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
    assert!(probability(-1.0) > 0.7 && probability(1.0) < 0.3, "{} {}", probability(-1.0), probability(1.0));
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
    fill(home.path(), 30);
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
