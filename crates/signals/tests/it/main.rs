//! The shipped classifier through ONNX Runtime.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod parity;
mod shipped;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use artifacts::{Home, Manifest, Settings, Store};
use signals::Classifier;

/// The folder of the shipped classifier.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1")
}

/// The ONNX Runtime library that `tidegate artifacts install` brought.
fn runtime() -> PathBuf {
    let store = Store::new(Home::from_env().unwrap(), Manifest::embedded().unwrap(), Settings::from_env());
    store.find("onnxruntime").unwrap().expect("ONNX Runtime is installed: tidegate artifacts install").path
}

/// The shipped classifier, loaded once.
fn classifier() -> &'static Classifier {
    static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| Classifier::load(&folder(), &runtime()).unwrap());
    &CLASSIFIER
}
