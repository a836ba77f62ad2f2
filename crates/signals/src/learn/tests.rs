//! Training on made-up traffic whose rule is known.

use serde_json::json;

use super::*;
use crate::classify::heads::{FEATURES, Heads, QualityHead, VECTOR_DIMENSIONS};

const RANK: usize = 4;

/// Heads whose projection is the first features, one by one, with a tiny head that knows little.
fn heads() -> Heads {
    let one_hot = |at: usize, size: usize| (0..size).map(|n| if n == at { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let mut covariance = vec![vec![0.0; RANK + 1]; RANK + 1];
    covariance.iter_mut().enumerate().for_each(|(n, row)| row[n] = 0.5);
    let head = json!({"size_class": "tiny", "rows": 0, "vector": [0.3, 0.0, 0.0, 0.0], "bias": 0.0, "weights": null,
        "calibration": {"slope": 1.0, "intercept": 0.0}, "covariance": covariance});
    let projection: Vec<_> = (0..RANK).map(|n| one_hot(n, FEATURES)).collect();
    let json = json!({
        "format": 1, "name": "made-up", "encoder": "static",
        "features": {"hand": crate::classify::hand::NAMES, "mean": vec![0.0; FEATURES], "scale": vec![1.0; FEATURES]},
        "quality": {"projection": projection, "targets": {}, "size_classes": {"tiny": head}},
        "task": {"labels": ["a", "b"], "weights": [one_hot(1, FEATURES), one_hot(2, FEATURES)], "bias": [0.0, 0.0], "temperature": 1.0},
        "injection": {"weights": vec![0.0; FEATURES], "bias": 0.0, "calibration": {"slope": 1.0, "intercept": 0.0}, "threshold": 0.5},
        "out_of_distribution": {"mean": vec![0.0; VECTOR_DIMENSIONS], "components": [one_hot(0, VECTOR_DIMENSIONS)],
            "variance": [1.0], "residual_variance": 1.0, "threshold": 1e6,
            "per_token": 0.0, "wide_share_max": 1.0, "languages": ["en"]},
    });
    Heads::parse(json.to_string().as_bytes()).unwrap()
}

/// Requests whose answers are good with the probability that `logit` says of their features.
fn traffic(rows: usize, seed: u64, logit: impl Fn(&[f32; FEATURES]) -> f64) -> Vec<Row> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut normal = move || (0..12).map(|_| random.f32()).sum::<f32>() - 6.0;
    let mut coin = fastrand::Rng::with_seed(seed + 1);
    let row = |_| {
        let mut features = Box::new([0.0; FEATURES]);
        features.iter_mut().for_each(|feature| *feature = normal());
        let good = coin.f64() < logistic::sigmoid(logit(&features));
        Row { features, label: f32::from(u8::from(good)), weight: 1.0, other: None }
    };
    (0..rows).map(row).collect()
}

/// What nobody shipped: the second feature counts, a feature outside of the projection too, and most answers are bad.
fn own_rule(features: &[f32; FEATURES]) -> f64 {
    f64::from(1.5 * features[0] - 1.5 * features[1] + 1.5 * features[10] - 0.5)
}

fn tiny(heads: &Heads) -> &QualityHead {
    &heads.quality.size_classes["tiny"]
}

#[test]
fn own_labels_make_a_better_head_that_is_calibrated() {
    let heads = heads();
    let trained = train(&heads, tiny(&heads), tiny(&heads), &traffic(2000, 1, own_rule)).unwrap();
    assert_eq!(trained.decision, Decision::Activate);
    assert!(matches!(trained.refit, Refit::Weights { .. }), "{:?}", trained.refit);
    let line = |name| &trained.lines.iter().find(|line| line.name == name).unwrap().scores;
    let (new, current) = (line("new head"), line("current head"));
    assert!(new.auc > current.auc + 0.1 && new.auc > 0.8, "{new:?} {current:?}");
    assert!(new.apgr > line("length").apgr && new.apgr > line("task prior").apgr && new.ece < 0.06, "{new:?}");
    let interval = trained.lines[3].intervals[0];
    assert!(interval.low < new.auc && new.auc < interval.high && interval.high - interval.low < 0.1, "{interval:?}");
    assert_eq!((trained.training + trained.held_out, trained.pairs), (2000, 0));
    // The head is one that a classifier takes.
    let mut with = heads.clone();
    with.quality.targets.insert("own".to_owned(), trained.head.clone());
    assert_eq!(Heads::parse(&serde_json::to_vec(&with).unwrap()).unwrap(), with);
    assert_eq!(train(&heads, tiny(&heads), tiny(&heads), &traffic(2000, 1, own_rule)).unwrap(), trained, "seeded");
}

#[test]
fn a_head_that_is_no_better_is_not_activated() {
    let heads = heads();
    let first = train(&heads, tiny(&heads), tiny(&heads), &traffic(3000, 1, own_rule)).unwrap().head;
    // Over other draws of the same traffic, what can be learnt of 600 labels is no better than what 3000 taught.
    for seed in 2..6 {
        let again = train(&heads, tiny(&heads), &first, &traffic(600, seed, own_rule)).unwrap();
        assert_eq!(again.decision, Decision::Keep, "{:?} {:?}", again.log_loss_difference, again.apgr_difference);
    }
    // Nothing to be learnt: the shipped head is right already.
    let shipped_rule = |features: &[f32; FEATURES]| f64::from(0.3 * features[0]);
    let kept = (10..20).filter(|seed| {
        let trained = train(&heads, tiny(&heads), tiny(&heads), &traffic(800, *seed, shipped_rule)).unwrap();
        trained.decision == Decision::Keep
    });
    assert!(kept.count() >= 9);
}

#[test]
fn few_labels_mend_the_calibration_and_nothing_else() {
    let heads = heads();
    // In the right order, but far too sure of itself.
    let rule = |features: &[f32; FEATURES]| f64::from(0.3 * features[0]) - 2.0;
    let trained = train(&heads, tiny(&heads), tiny(&heads), &traffic(240, 3, rule)).unwrap();
    assert_eq!((trained.refit, trained.decision), (Refit::Calibration, Decision::Activate));
    assert_eq!((&trained.head.vector, trained.head.bias), (&tiny(&heads).vector, tiny(&heads).bias));
    let ece = |at: usize| trained.lines[at].scores.ece;
    assert!(ece(3) < 0.1 && ece(2) > 0.3, "{} {}", ece(3), ece(2));
    let too_few = train(&heads, tiny(&heads), tiny(&heads), &traffic(40, 1, own_rule)).unwrap_err();
    assert!(too_few.to_string().contains("of 40 labels are held out"), "{too_few}");
    let one_sided = train(&heads, tiny(&heads), tiny(&heads), &traffic(400, 1, |_| 50.0)).unwrap_err();
    assert!(one_sided.to_string().contains(" 0 bad"), "{one_sided}");
}

#[test]
fn more_labels_make_a_head_more_certain() {
    let heads = heads();
    let vector_rule = |features: &[f32; FEATURES]| f64::from(features[0] - features[1]);
    let error = |rows| {
        let head = train(&heads, tiny(&heads), tiny(&heads), &traffic(rows, 5, vector_rule)).unwrap().head;
        let mut features = [0.0; FEATURES];
        (features[0], features[2]) = (0.5, 1.0);
        head.estimate(&features, &heads.project(&features)).standard_error
    };
    let (few, many) = (error(600), error(4000));
    assert!(many < few && few < 0.1 && many > 0.001, "{few} {many}");
}

#[test]
fn weak_labels_count_less_and_pairs_are_used() {
    let heads = heads();
    let mut rows = traffic(1500, 7, own_rule);
    // As many again that say the opposite, at a fiftieth of the weight.
    let against: Vec<Row> =
        rows.iter().map(|row| Row { label: 1.0 - row.label, weight: 0.02, ..row.clone() }).collect();
    rows.extend(against);
    rows.iter_mut().for_each(|row| row.other = Some(0.9));
    let trained = train(&heads, tiny(&heads), tiny(&heads), &rows).unwrap();
    assert_eq!((trained.decision, trained.pairs), (Decision::Activate, trained.held_out));
    assert!(trained.lines[3].scores.apgr > 0.65);
}
