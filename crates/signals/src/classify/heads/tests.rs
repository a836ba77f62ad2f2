use serde_json::{Value, json};

use super::*;

/// A small set of heads: rank 1, two tasks, one component; every number is chosen so that results are easy to follow.
fn small() -> Value {
    let one_hot = |at: usize| (0..FEATURES).map(|n| if n == at { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let head = json!({"size_class": "tiny", "rows": 10, "vector": [2.0], "bias": -1.0, "weights": null,
        "calibration": {"slope": 1.0, "intercept": 0.0}, "covariance": [[0.04, 0.0], [0.0, 0.01]]});
    json!({
        "format": 1, "name": "small", "encoder": "static",
        "features": {"hand": crate::classify::hand::NAMES, "mean": vec![1.0; FEATURES], "scale": vec![2.0; FEATURES]},
        "quality": {"projection": [one_hot(0)], "targets": {"m": head.clone()}, "size_classes": {"tiny": head}},
        "task": {"labels": ["a", "b"], "weights": [one_hot(1), one_hot(2)], "bias": [0.0, 0.0], "temperature": 2.0},
        "injection": {"weights": one_hot(3), "bias": 0.0, "calibration": {"slope": 1.0, "intercept": 0.0}, "threshold": 0.5},
        "out_of_distribution": {"mean": vec![0.0; VECTOR_DIMENSIONS], "components": [one_hot(0)[..VECTOR_DIMENSIONS]],
            "variance": [4.0], "residual_variance": 0.5, "threshold": 9.0,
            "per_token": 10.0, "wide_share_max": 0.3, "languages": ["en"]},
    })
}

fn parse(json: &Value) -> Result<Heads, String> {
    Heads::parse(json.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_head_computes_what_the_description_says() {
    let heads = parse(&small()).unwrap();
    let mut features = [1.0; FEATURES];
    (features[0], features[2], features[3]) = (3.0, 5.0, -1.0);
    heads.scale(&mut features);
    assert_eq!((features[0], features[1], features[2], features[3]), (1.0, 0.0, 2.0, -1.0));
    let estimate = heads.quality_head(Some("m"), None).unwrap().estimate(&features, &heads.project(&features));
    let p = 1.0 / (1.0 + (-1f32).exp());
    assert!((estimate.probability - p).abs() < 1e-6);
    assert!((estimate.standard_error - p * (1.0 - p) * 0.05f32.sqrt()).abs() < 1e-6);
    let tasks = heads.tasks(&features);
    assert!((tasks[1] / tasks[0] - 1f32.exp()).abs() < 1e-5 && (tasks[0] + tasks[1] - 1.0).abs() < 1e-6);
    assert!((heads.injection(&features) - (1.0 - p)).abs() < 1e-6);
    let mut vector = [0.0; VECTOR_DIMENSIONS];
    (vector[0], vector[5]) = (4.0, 1.0);
    assert!((heads.out_of_distribution.distance(&vector) - (4.0 + 2.0)).abs() < 1e-5);
    let cases = [
        ((18.0, 1, 0.0, Some("en")), false),
        ((18.0, 2, 0.0, None), true),
        ((1.0, 2, 0.4, None), true),
        ((1.0, 2, 0.0, Some("de")), true),
        ((1.0, 0, 0.0, None), false),
    ];
    for (case, expected) in cases {
        let (distance, tokens, wide, language) = case;
        assert_eq!(heads.out_of_distribution.is_unlike(distance, tokens, wide, language), expected, "{case:?}");
    }
}

#[test]
fn a_model_without_a_head_has_that_of_its_size_class_or_none() {
    let heads = parse(&small()).unwrap();
    assert!(heads.quality_head(Some("unknown"), Some("tiny")).is_some());
    assert!(heads.quality_head(Some("unknown"), Some("huge")).is_none());
    assert!(heads.quality_head(None, None).is_none());
}

#[test]
fn what_is_written_is_read_again() {
    let heads = parse(&small()).unwrap();
    let again = Heads::parse(&serde_json::to_vec(&heads).unwrap()).unwrap();
    assert_eq!(heads, again);
}

#[test]
fn a_file_that_cannot_be_is_refused_with_the_field_at_fault() {
    let cases: [(&str, Value, &str); 9] = [
        ("/format", json!(2), "format: is 2"),
        ("/features/hand", json!(["a"]), "features.hand"),
        ("/features/mean", json!([1.0]), "features.mean: has 1 numbers instead of 400"),
        ("/features/scale/7", json!(0.0), "features.scale: must be greater than 0"),
        ("/quality/targets/m/vector", json!([1.0, 2.0]), "quality.targets.m.vector: has 2 numbers instead of 1"),
        ("/quality/size_classes/tiny/covariance", json!([[1.0, 0.0]]), "quality.size_classes.tiny.covariance"),
        ("/task/labels", json!(["a"]), "task.labels"),
        ("/injection/weights/0", json!(1e20), "injection.weights: holds a number beyond"),
        ("/out_of_distribution/variance", json!([0.0]), "out_of_distribution.variance"),
    ];
    for (pointer, value, expected) in cases {
        let mut json = small();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = parse(&json).unwrap_err();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    assert!(parse(&json!({"format": 1, "colour": 2})).unwrap_err().contains("colour"));
}
