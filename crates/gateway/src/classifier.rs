//! The classifier's files: those that came with this version, unpacked into the data folder once, or those of a configured
//! folder; and loading them.
//!
//! A classifier that cannot be had keeps nothing from working: the gateway says so and decides without.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use ::signals::classify::Files;
use ::signals::classify::heads::Heads;
use ::signals::{Classifier, Reader};
use anyhow::Context as _;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::config::Config;
use crate::learning::versions::Versions;

/// The files of the built-in classifier.
const BUILT_IN: [(&str, &[u8]); 5] = [
    ("tokenizer.json", include_bytes!("../../../models/router-v1/tokenizer.json")),
    ("encoder.onnx", include_bytes!("../../../models/router-v1/encoder.onnx")),
    ("heads.json", include_bytes!("../../../models/router-v1/heads.json")),
    ("MODEL_CARD.md", include_bytes!("../../../models/router-v1/MODEL_CARD.md")),
    ("SHA256SUMS", include_bytes!("../../../models/router-v1/SHA256SUMS")),
];

/// What a classifier is loaded from beside its files.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The data folder.
    pub home: PathBuf,
    /// The ONNX Runtime library, or why it is not there.
    pub runtime: Result<PathBuf, String>,
}

/// What reads requests.
pub(crate) struct Loaded {
    pub reader: Reader,
    /// Why there is no classifier, where one is wanted.
    pub missing: Option<String>,
    /// The version of learnt heads that is in force; `None` for those that came with the classifier.
    pub learnt: Option<String>,
}

/// What reads requests, with the classifier that the configuration wants, or why there is none. Reads files and takes a
/// fraction of a second.
pub(crate) fn reader(config: &Config, source: &Source) -> Loaded {
    let loaded = match config.classifier.enabled {
        true => load(config, source).map(Some).map_err(|error| format!("{error:#}")),
        false => Ok(None),
    };
    let (classifier, learnt, missing) = match loaded {
        Ok(Some((classifier, learnt))) => (Some(classifier), learnt, None),
        Ok(None) => (None, None, None),
        Err(error) => (None, None, Some(error)),
    };
    let reader = Reader::new(Arc::clone(&config.scanner), classifier, config.classifier.deadline);
    Loaded { reader, missing, learnt }
}

/// The classifier, with the heads that were learnt on this machine where there are any for it, and their version.
fn load(config: &Config, source: &Source) -> anyhow::Result<(Classifier, Option<String>)> {
    let runtime = source.runtime.as_ref().map_err(|error| anyhow::anyhow!("ONNX Runtime is not there: {error}"))?;
    let mut files = files(config, &source.home)?;
    let learnt = match Versions::below(&source.home).in_force(&files.heads) {
        Ok(Some(learnt)) => Heads::parse(&learnt.heads).map(|_| Some(learnt)).map_err(|error| error.to_string()),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let learnt = learnt.unwrap_or_else(|error| {
        warn!(error, "learnt heads cannot be used; those that came with the classifier are");
        None
    });
    let version = learnt.map(|learnt| {
        files.heads = learnt.heads;
        learnt.version
    });
    Ok((Classifier::new(&files, runtime)?, version))
}

/// The files of the classifier as they came.
///
/// # Errors
/// When they cannot be unpacked or read, or are damaged.
pub(crate) fn files(config: &Config, home: &Path) -> anyhow::Result<Files> {
    let folder = match &config.classifier.folder {
        Some(folder) => folder.clone(),
        None => unpacked(home).context("its files cannot be unpacked")?,
    };
    Files::read(&folder).with_context(|| format!("the classifier in {}", folder.display()))
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
