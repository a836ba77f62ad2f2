//! How long `train` takes: a head fitted to rows of a made-up rule, cross-validated, compared and decided on.

use std::collections::BTreeMap;

use signals::classify::hand::NAMES;
use signals::classify::heads::{
    Calibration, Distribution, FEATURES, Heads, InjectionHead, Quality, QualityHead, Scaling, TaskHead,
    VECTOR_DIMENSIONS,
};
use signals::learn::{Row, train};

const RANK: usize = 32;

fn main() {
    divan::main();
}

fn heads(random: &mut fastrand::Rng) -> Heads {
    let mut row = |size: usize| (0..size).map(|_| (random.f32() - 0.5) * 0.2).collect::<Vec<f32>>();
    let calibration = Calibration { slope: 1.0, intercept: 0.0 };
    let head = QualityHead {
        size_class: "tiny".to_owned(),
        rows: 0,
        vector: row(RANK),
        bias: 0.0,
        weights: None,
        calibration,
        covariance: vec![vec![0.0; RANK + 1]; RANK + 1],
    };
    Heads {
        format: 1,
        name: "bench".to_owned(),
        encoder: "static".to_owned(),
        features: Scaling {
            hand: NAMES.map(str::to_owned).to_vec(),
            mean: vec![0.0; FEATURES],
            scale: vec![1.0; FEATURES],
        },
        quality: Quality {
            projection: (0..RANK).map(|_| row(FEATURES)).collect(),
            targets: BTreeMap::new(),
            size_classes: BTreeMap::from([("tiny".to_owned(), head)]),
        },
        task: TaskHead {
            labels: (0..12).map(|n| n.to_string()).collect(),
            weights: (0..12).map(|_| row(FEATURES)).collect(),
            bias: vec![0.0; 12],
            temperature: 1.0,
        },
        injection: InjectionHead { weights: vec![0.0; FEATURES], bias: 0.0, calibration, threshold: 0.5 },
        out_of_distribution: Distribution {
            mean: vec![0.0; VECTOR_DIMENSIONS],
            components: vec![vec![0.0; VECTOR_DIMENSIONS]],
            variance: vec![1.0],
            residual_variance: 1.0,
            threshold: 1e9,
            per_token: 0.0,
            wide_share_max: 1.0,
            languages: Vec::new(),
        },
    }
}

#[divan::bench(args = [300, 1500, 10_000], sample_count = 3, sample_size = 1)]
fn labels(bencher: divan::Bencher<'_, '_>, rows: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let heads = heads(&mut random);
    let truth: Vec<f32> = (0..FEATURES).map(|_| (random.f32() - 0.5) * 0.3).collect();
    let rows: Vec<Row> = (0..rows)
        .map(|_| {
            let mut features = Box::new([0.0; FEATURES]);
            features.iter_mut().for_each(|feature| *feature = (0..12).map(|_| random.f32()).sum::<f32>() - 6.0);
            let sum: f32 = features.iter().zip(&truth).map(|(feature, weight)| feature * weight).sum();
            let label = f32::from(u8::from(random.f32() < 1.0 / (1.0 + (-sum).exp())));
            Row { features, label, weight: 1.0, other: None }
        })
        .collect();
    let tiny = &heads.quality.size_classes["tiny"];
    bencher.bench(|| train(&heads, tiny, tiny, &rows));
}
