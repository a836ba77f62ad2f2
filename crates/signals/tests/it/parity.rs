//! Serving computes what training computed: every example of `parity.json`, made by `training/parity.py`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use signals::Classifier;
use signals::classify::heads::Estimate;
use signals::classify::{TextVector, Turn, hand, request_vector, windows};

use super::{classifier, folder, layers2, layers2_folder};

/// How far two values may be apart: this much, or this part of them.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    messages: Vec<(String, String)>,
    first_window: Vec<u32>,
    vector: Vec<f64>,
    vector_norm: f64,
    hand: Vec<f64>,
    scaled: Vec<f64>,
    quality: BTreeMap<String, (f64, f64)>,
    task: Vec<f64>,
    injection: f64,
    distance: f64,
}

#[track_caller]
fn same(what: &str, served: &[f32], trained: &[f64]) {
    for (n, (served, trained)) in served.iter().zip(trained).enumerate() {
        let apart = (f64::from(*served) - trained).abs();
        assert!(apart <= TOLERANCE * trained.abs().max(1.0), "{what}[{n}]: served {served}, trained {trained}");
    }
}

#[test]
fn features_and_probabilities_are_those_of_training() {
    check_all(classifier(), &folder());
}

#[test]
fn so_are_those_of_the_profile_with_transformer_layers() {
    check_all(layers2(), &layers2_folder());
}

fn check_all(classifier: &Classifier, folder: &Path) {
    let examples: Vec<Example> = serde_json::from_slice(&std::fs::read(folder.join("parity.json")).unwrap()).unwrap();
    assert!(examples.len() >= 60, "{}", examples.len());
    examples.iter().enumerate().for_each(|(n, example)| check(classifier, n, example));
}

fn check(classifier: &Classifier, n: usize, example: &Example) {
    let later = Instant::now() + Duration::from_secs(600);
    let turn = example.messages.iter().rposition(|(role, _)| role == "user").unwrap_or(example.messages.len() - 1);
    let text = |index: usize| classifier.encoder().encode(&example.messages[index].1, later).unwrap();
    let others: Vec<_> = (0..example.messages.len()).filter(|index| *index != turn).collect();
    let context: Vec<TextVector> =
        windows::context_messages(others.len()).into_iter().map(|index| text(others[index])).collect();
    let turn_vector = text(turn);
    if !example.first_window.is_empty() {
        assert!(turn_vector.tokens >= example.first_window.len(), "{n}");
    }
    let vector = request_vector(&turn_vector, context.iter());
    let hand = hand::features(&example.messages[turn].1);
    let of = |what: &str| format!("example {n}, {what}");
    same(&of("hand"), &hand, &example.hand);
    same(&of("vector"), &vector, &example.vector);
    same(&of("vector_norm"), &[vector.iter().map(|value| value * value).sum::<f32>().sqrt()], &[example.vector_norm]);
    let said = classifier.classify(&vector, &Turn { hand: &hand, tokens: turn_vector.tokens, language: None });
    same(&of("scaled"), &said.features[..], &example.scaled);
    same(&of("injection"), &[said.injection], &[example.injection]);
    same(&of("task"), &classifier.heads().tasks(&said.features), &example.task);
    let out = &classifier.heads().out_of_distribution;
    same(&of("distance"), &[out.distance(&vector)], &[example.distance]);
    for (name, (probability, standard_error)) in &example.quality {
        let heads = &classifier.heads().quality;
        let (kind, name) = name.split_once('.').unwrap();
        let head = if kind == "targets" { &heads.targets[name] } else { &heads.size_classes[name] };
        let served: Estimate = head.estimate(&said.features, &classifier.heads().project(&said.features));
        same(&of(name), &[served.probability, served.standard_error], &[*probability, *standard_error]);
    }
}
