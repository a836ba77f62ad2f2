//! `tidegate explain`: how a request would be decided, over targets that are as the configuration says and otherwise ready.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ::signals::Reader;
use anyhow::{Context as _, anyhow, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{FactValue, Facts, TargetFacts, TargetState, decide};

use crate::classifier::{self, ENTITIES};
use crate::cli::ExplainArgs;
use crate::compose;
use crate::config::Config;
use crate::explanation::Explanation;
use crate::facts;
use crate::policies::{Context, InForce, load_file, with_stack};

/// What is asked when no request is given.
const EXAMPLE: &str = r#"{"model":"auto","messages":[{"role":"user","content":"Why is the sky blue?"}]}"#;

/// Prints the account of one decision.
///
/// # Errors
/// Everything wrong with configuration or policy; what the caller of the request would be told; an argument that does not fit.
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let file = args.policy.as_deref().or(config.policy.file.as_deref());
    let active = with_stack(|| load_file(file, &Context::of(&config)))?;
    let in_force = InForce { generation: 1, active, shadow: None };
    let facts = given_facts(args, &config, in_force.reads(ENTITIES))?;
    let targets = given_targets(args, &config)?;
    let plan = decide(in_force.policy(), &facts, &targets).map_err(|refusal| anyhow!("refused: {refusal}"))?;
    let explanation = Explanation::of(&in_force, &facts, &targets, &plan);
    if args.json {
        say!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        say!("{explanation}");
    }
    Ok(())
}

fn given_facts(args: &ExplainArgs, config: &Config, tag: bool) -> anyhow::Result<Facts> {
    let body = match args.request.as_deref() {
        None => EXAMPLE.to_owned(),
        Some(path) => read(path, config.limits.body_bytes_max)?,
    };
    let mut headers = HeaderMap::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| anyhow!("{header:?} is not NAME: VALUE"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| anyhow!("{name:?} is no name of a header"))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| anyhow!("{header:?} holds no header's value"))?;
        headers.append(name, value);
    }
    let reader = reader(config, tag)?;
    let mut facts =
        facts::of_example(body.into(), &headers, config, &reader).map_err(|error| anyhow!("refused: {error}"))?;
    for fact in &args.facts {
        let (name, value) = fact.split_once('=').ok_or_else(|| anyhow!("{fact:?} is not NAME=VALUE"))?;
        facts.set(name.trim(), &value_of(value)).map_err(|error| anyhow!("{name}: {error}"))?;
    }
    Ok(facts)
}

/// What the gateway would read the request with, as far as that is on this machine; nothing is fetched.
fn reader(config: &Config, tag: bool) -> anyhow::Result<Reader> {
    let loaded = classifier::reader(config, &compose::source(config)?, tag);
    if let Some(missing) = loaded.missing {
        eprintln!("not classified: {missing}");
    }
    if let Some(missing) = loaded.no_tagger {
        eprintln!("names are not looked for: {missing}");
    }
    Ok(loaded.reader)
}

/// A list where there is a comma, absent where there is nothing.
fn value_of(text: &str) -> FactValue {
    match text.trim() {
        "" => FactValue::Absent,
        text if text.contains(',') => FactValue::Many(text.split(',').map(|word| word.trim().to_owned()).collect()),
        text => FactValue::One(text.to_owned()),
    }
}

fn read(path: &Path, limit: usize) -> anyhow::Result<String> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?)
    };
    let mut text = String::new();
    let read = source.take(limit as u64 + 1).read_to_string(&mut text);
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    if text.len() > limit {
        bail!("{} is longer than limits.body_bytes_max ({limit} bytes)", path.display());
    }
    Ok(text)
}

fn given_targets(args: &ExplainArgs, config: &Config) -> anyhow::Result<Vec<TargetFacts>> {
    let ready = |profile| TargetFacts::new(profile, TargetState::Ready);
    let mut targets: Vec<_> = config.targets.iter().map(|target| ready(Arc::clone(&target.profile))).collect();
    for given in &args.targets {
        let (id, state) = given.split_once('=').ok_or_else(|| anyhow!("{given:?} is not ID=STATE"))?;
        let target = targets.iter_mut().find(|target| target.id().as_str() == id);
        let target = target.ok_or_else(|| anyhow!("there is no target {id:?}"))?;
        target.state = TargetState::parse(state).map_err(|error| anyhow!("{id}: {error}"))?;
    }
    Ok(targets)
}
