//! The classifier's files: those that came with this version, unpacked into the data folder once, or those of a configured
//! folder; and loading them.
//!
//! A classifier that cannot be had keeps nothing from working: the gateway says so and decides without.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use ::signals::{Classifier, Reader};
use anyhow::Context as _;
use sha2::{Digest, Sha256};

use crate::config::Config;

/// The files of the built-in classifier.
const BUILT_IN: [(&str, &[u8]); 5] = [
    ("tokenizer.json", include_bytes!("../../../models/router-v1/tokenizer.json")),
    ("encoder.onnx", include_bytes!("../../../models/router-v1/encoder.onnx")),
    ("heads.json", include_bytes!("../../../models/router-v1/heads.json")),
    ("MODEL_CARD.md", include_bytes!("../../../models/router-v1/MODEL_CARD.md")),
    ("SHA256SUMS", include_bytes!("../../../models/router-v1/SHA256SUMS")),
];

/// What reads requests, with the classifier that the configuration wants, or why there is none. `home` is the data folder,
/// `runtime` the ONNX Runtime library. Reads files and takes a fraction of a second.
pub(crate) fn reader(config: &Config, home: &Path, runtime: Result<PathBuf, String>) -> (Reader, Option<String>) {
    let loaded = match config.classifier.enabled {
        true => load(config, home, runtime).map(Some).map_err(|error| format!("{error:#}")),
        false => Ok(None),
    };
    let (classifier, missing) = match loaded {
        Ok(classifier) => (classifier, None),
        Err(error) => (None, Some(error)),
    };
    (Reader::new(Arc::clone(&config.scanner), classifier, config.classifier.deadline), missing)
}

fn load(config: &Config, home: &Path, runtime: Result<PathBuf, String>) -> anyhow::Result<Classifier> {
    let runtime = runtime.map_err(|error| anyhow::anyhow!("ONNX Runtime is not there: {error}"))?;
    let folder = match &config.classifier.folder {
        Some(folder) => folder.clone(),
        None => unpacked(home).context("its files cannot be unpacked")?,
    };
    Classifier::load(&folder, &runtime).with_context(|| format!("the classifier in {}", folder.display()))
}

/// The folder of the built-in classifier, which is written when it is not there. What is there is not written again: whether
/// it is damaged is seen when it is read.
fn unpacked(home: &Path) -> io::Result<PathBuf> {
    let sums = BUILT_IN.last().map_or(&[][..], |(_, sums)| sums);
    let version: String = Sha256::digest(sums).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let parent = home.join("classifier");
    let folder = parent.join(format!("router-v1-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = parent.join(format!(".{version}-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    for (name, bytes) in BUILT_IN {
        fs::write(unfinished.join(name), bytes)?;
    }
    match fs::rename(&unfinished, &folder) {
        // Another process was first.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&unfinished)?,
        renamed => renamed?,
    }
    Ok(folder)
}
