//! What is found out about a request before it is decided: the privacy scan and the classifier, off the threads that serve.
//!
//! Fails no request: what is not known is absent from the facts and counted.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use account::{Metrics, SignalsOutcome};
use policy::{QualitySignal, SignalFacts, TargetId};
use signals::{NotClassified, Reader, Report};
use tracing::{info, warn};
use wire::ChatRequest;

use crate::aside::Aside;
use crate::classifier::{self, Loaded, Source};
use crate::compose;
use crate::config::{ClassifiedAs, Config, Profile};
use crate::learning::Features;
use crate::learning::versions::Versions;

/// A request of at most this many bytes is read on the thread that serves it: that takes about as long as handing it over.
const INLINE_BYTES_MAX: usize = 4096;

/// The readers of requests.
pub(crate) struct Signals {
    reader: RwLock<Arc<Reader>>,
    targets: Vec<(TargetId, ClassifiedAs)>,
    /// Why there is no classifier, where one is wanted.
    missing: RwLock<Option<String>>,
    /// The version of learnt heads in force.
    learnt: RwLock<Option<String>>,
    /// Why there is no tagger, where one is wanted.
    no_tagger: RwLock<Option<String>>,
    /// Whether every request is tagged, whatever policies ask.
    always_tags: bool,
    source: RwLock<Source>,
    /// Where long requests are read.
    pub aside: Aside,
}

/// What is known of one request.
pub(crate) struct Signalled {
    pub facts: SignalFacts,
    /// ISO 639-1 code of the language of the turn.
    pub language: Option<&'static str>,
    /// What the device learns from.
    pub features: Option<Features>,
}

impl Signals {
    /// `source` is what was loaded from.
    pub(crate) fn new(loaded: Loaded, source: Source, config: &Config) -> Self {
        let targets = config.targets.iter().map(|target| (target.id().clone(), target.classified_as.clone())).collect();
        Self {
            reader: RwLock::new(Arc::new(loaded.reader)),
            targets,
            missing: RwLock::new(loaded.missing),
            learnt: RwLock::new(loaded.learnt),
            no_tagger: RwLock::new(loaded.no_tagger),
            always_tags: config.classifier.enabled && config.classifier.profile == Profile::Layers2,
            source: RwLock::new(source),
            aside: Aside::new(),
        }
    }

    /// Why there is no classifier; `None` where there is one, or none is wanted.
    pub(crate) fn missing(&self) -> Option<String> {
        self.missing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The version of learnt heads in force; `None` for those that came with the classifier.
    pub(crate) fn learnt(&self) -> Option<String> {
        self.learnt.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why there is no tagger; `None` where there is one, or none is wanted.
    pub(crate) fn no_tagger(&self) -> Option<String> {
        self.no_tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether names are looked for where a policy asks for them.
    pub(crate) fn has_tagger(&self) -> bool {
        self.reader().has_tagger()
    }

    /// Loads classifier and tagger anew where another version of learnt heads is active than the one in force, or `tag` wants a tagger and
    /// there is none. What cannot be loaded changes nothing. Blocks while it reads files.
    pub(crate) fn take_up(&self, config: &Config, tag: bool) {
        let active = Versions::below(&self.source().home).active();
        let has_heads = !config.classifier.enabled || active.as_ref().is_ok_and(|active| *active == self.learnt());
        if has_heads && (!tag || self.has_tagger()) {
            return;
        }
        // What was installed since the start counts.
        let source = compose::source(config).unwrap_or_else(|_| self.source());
        let loaded = classifier::reader(config, &source, tag);
        self.note_tagger(&loaded);
        if let Some(reason) = &loaded.missing {
            warn!(reason, "the classifier cannot be loaded anew; the one before stays");
            return;
        }
        info!(learnt = loaded.learnt, tagger = loaded.reader.has_tagger(), "heads in force");
        self.put_in_force(loaded);
    }

    /// Loads classifier and tagger with what has been fetched, or notes why it cannot be had. Blocks while it reads files.
    pub(crate) fn take_up_fetched(
        &self,
        config: &Config,
        runtime: Option<Result<PathBuf, String>>,
        weights: Option<Result<PathBuf, String>>,
        tag: bool,
    ) {
        let before = self.source();
        let source = Source {
            home: before.home,
            runtime: runtime.unwrap_or(before.runtime),
            weights: weights.unwrap_or(before.weights),
        };
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = source.clone();
        let loaded = classifier::reader(config, &source, tag);
        self.note_tagger(&loaded);
        match &loaded.missing {
            Some(reason) => {
                warn!(reason, "requests are not classified; what policies ask of the classifier is absent");
                *self.missing.write().unwrap_or_else(PoisonError::into_inner) = loaded.missing;
            }
            None => {
                info!(
                    learnt = loaded.learnt,
                    tagger = loaded.reader.has_tagger(),
                    "requests are classified from now on"
                );
                self.put_in_force(loaded);
            }
        }
    }

    /// Notes whether there is a tagger now.
    fn note_tagger(&self, loaded: &Loaded) {
        self.no_tagger.write().unwrap_or_else(PoisonError::into_inner).clone_from(&loaded.no_tagger);
        if let Some(reason) = &loaded.no_tagger {
            warn!(reason, "names are not looked for; signals.entities is absent");
        }
    }

    fn source(&self) -> Source {
        self.source.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put_in_force(&self, loaded: Loaded) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded.reader);
        *self.missing.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.learnt.write().unwrap_or_else(PoisonError::into_inner) = loaded.learnt;
    }

    /// Whether requests are classified.
    pub(crate) fn has_classifier(&self) -> bool {
        self.reader().classifier().is_some()
    }

    fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads one request; `tag` when what decides it asks for names.
    pub(crate) async fn read(&self, request: &ChatRequest, metrics: &Metrics, tag: bool) -> Signalled {
        let (began, reader, tag) = (Instant::now(), self.reader(), tag || self.always_tags);
        let report = if request.body().len() <= INLINE_BYTES_MAX && reader.is_quick(tag) {
            Some(reader.read(request, began, tag))
        } else {
            let (reader, request) = (Arc::clone(&reader), request.clone());
            self.aside.run(move || reader.read(&request, began, tag)).await
        };
        let outcome = report.as_ref().map_or(SignalsOutcome::FAILED, outcome);
        metrics.signals_read(&outcome, began.elapsed());
        if let Some(took) = report.as_ref().and_then(|report| report.classified_in) {
            metrics.classified(took);
        }
        let Some(report) = report else {
            warn!("reading a request failed; it is decided without signals");
            return Signalled { facts: SignalFacts::default(), language: None, features: None };
        };
        if let Some(scan) = &report.scan {
            metrics.scan_found(scan.kinds.iter().map(|(kind, count)| (kind.as_ref(), *count)));
        }
        if let Some(entities) = &report.entities {
            metrics.scan_found(entities.iter().map(|(kind, count)| (kind.as_ref(), *count)));
        }
        let facts = facts(&reader, &report, self.targets.iter().map(|(id, of)| (id, of)));
        let features = match (reader.classifier(), report.classification) {
            (Some(classifier), Ok(said)) => Some((classifier.heads().name.clone(), said.features)),
            _ => None,
        };
        Signalled { facts, language: report.language, features }
    }
}

/// What is known of a request by this report: the scan, and what the classifier says about `targets`.
pub(crate) fn facts<'a>(
    reader: &Reader,
    report: &Report,
    targets: impl Iterator<Item = (&'a TargetId, &'a ClassifiedAs)>,
) -> SignalFacts {
    let mut facts = scanned(report);
    let (Some(classifier), Ok(said)) = (reader.classifier(), &report.classification) else { return facts };
    let predicted = targets.filter_map(|(id, of)| {
        let estimate = classifier.quality(said, Some(&of.model), of.size_class)?;
        let (probability, standard_error) = (estimate.probability.into(), estimate.standard_error.into());
        Some((id.clone(), QualitySignal { probability, standard_error }))
    });
    facts.quality = predicted.collect();
    facts.task = classifier.task_label(said.task).map(str::to_owned);
    facts.task_probability = Some(said.task_probability.into());
    facts.injection = Some(said.injection.into());
    facts.out_of_distribution = Some(said.out_of_distribution);
    facts.seen_share = Some(report.seen_share);
    facts
}

/// The facts that the privacy scan gives.
fn scanned(report: &Report) -> SignalFacts {
    let Some(scan) = &report.scan else { return SignalFacts::default() };
    SignalFacts {
        personal_data: Some(scan.personal_data),
        secrets: Some(scan.secrets),
        kinds: Some(scan.kinds.keys().map(|kind| kind.as_ref().to_owned()).collect()),
        opaque_parts: Some(scan.opaque),
        entities: report.entities.as_ref().map(|found| found.keys().map(|kind| kind.as_ref().to_owned()).collect()),
        ..SignalFacts::default()
    }
}

fn outcome(report: &Report) -> SignalsOutcome {
    SignalsOutcome {
        scan: if report.scan.is_some() { "ok" } else { "late" },
        classifier: match &report.classification {
            Ok(said) if said.out_of_distribution => "out_of_distribution",
            Ok(_) => "ok",
            Err(NotClassified::Unavailable) => "unavailable",
            Err(NotClassified::Late) => "late",
            Err(NotClassified::Failed) => "failed",
            Err(NotClassified::Empty) => "empty",
        },
    }
}
