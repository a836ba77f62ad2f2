//! The shipped classifier through ONNX Runtime.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod hostile;
mod parity;
mod shipped;
mod tagger;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use artifacts::{Home, Manifest, Settings, Store};
use signals::Classifier;
use signals::classify::Files;
use signals::classify::layers2::encoder_model;

/// The folder of the shipped classifier.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1")
}

/// The folder of what is checked in of the profile `layers2`.
fn layers2_folder() -> PathBuf {
    folder().join("layers2")
}

/// What `tidegate artifacts install` brought.
fn installed(name: &str) -> PathBuf {
    let store = Store::new(Home::from_env().unwrap(), Manifest::embedded().unwrap(), Settings::from_env());
    store.find(name).unwrap().unwrap_or_else(|| panic!("tidegate artifacts install {name}")).path
}

fn runtime() -> PathBuf {
    installed("onnxruntime")
}

/// The files of the profile `layers2`, the encoder made of the published weights and like its checksum, which training wrote.
fn layers2_files() -> Files {
    let whole = tempfile::tempdir().unwrap();
    for file in ["heads.json", "tagger.json", "SHA256SUMS"] {
        std::fs::copy(layers2_folder().join(file), whole.path().join(file)).unwrap();
    }
    std::fs::copy(folder().join("tokenizer.json"), whole.path().join("tokenizer.json")).unwrap();
    let graph = std::fs::read(layers2_folder().join("graph.onnx")).unwrap();
    let encoder = encoder_model(&graph, &installed("minilm-l6-v2")).unwrap();
    std::fs::write(whole.path().join("encoder.onnx"), encoder).unwrap();
    Files::read(whole.path()).unwrap()
}

/// The classifier of the profile `layers2`, loaded once.
fn layers2() -> &'static Classifier {
    static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| Classifier::new(&layers2_files(), &runtime()).unwrap());
    &CLASSIFIER
}

/// The shipped classifier, loaded once.
fn classifier() -> &'static Classifier {
    static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| Classifier::load(&folder(), &runtime()).unwrap());
    &CLASSIFIER
}
