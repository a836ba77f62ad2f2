//! The tests that a policy brings along.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::compile::{Compiler, Policy};
use crate::document::{ExpectDocument, FactValue, PolicyDocument, TestDocument, TestTargetDocument};
use crate::{
    Capabilities, DropReason, Facts, Latency, Locality, Plan, Prediction, Price, Refusal, TargetFacts, TargetId,
    TargetProfile, TargetState, decide,
};

/// One test of a policy.
#[derive(Clone, Debug)]
pub struct TestCase {
    name: String,
    /// Its number in the document.
    index: usize,
    facts: BTreeMap<String, FactValue>,
    states: BTreeMap<String, TargetState>,
    expect: ExpectDocument,
}

/// Something a test expects that is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key under `expect`.
    pub what: String,
    /// What the test expects.
    pub expected: String,
    /// What came out.
    pub found: String,
}

impl TestCase {
    /// What it shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number among the tests of the document, from 0; its `request` stands there.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Runs the test: `base` holds the facts of its request (or the default), `targets` those of the configuration. Returns
    /// what differs.
    #[must_use]
    pub fn run(&self, policy: &Policy, mut base: Facts, targets: &[TargetFacts]) -> Vec<Difference> {
        for (name, value) in &self.facts {
            if let Err(error) = base.set(name, value) {
                return vec![difference(&format!("facts.{name}"), "a value that fits", error)];
            }
        }
        let mut targets = if policy.test_targets.is_empty() { targets.to_vec() } else { policy.test_targets.clone() };
        for (id, state) in &self.states {
            match targets.iter_mut().find(|target| target.id().as_str() == id) {
                Some(target) => target.state = state.clone(),
                None => {
                    return vec![difference(&format!("targets.{id}"), "a target", "there is none of this id".into())];
                }
            }
        }
        match decide(policy, &base, &targets) {
            Ok(plan) => self.expect.differences(&plan),
            Err(refusal) => self.expect.differences_of_refusal(&refusal),
        }
    }
}

fn difference(what: &str, expected: &str, found: String) -> Difference {
    Difference { what: what.to_owned(), expected: expected.to_owned(), found }
}

impl ExpectDocument {
    fn is_empty(&self) -> bool {
        let Self { target, attempts, placement, placement_rules, rule, dropped, refused, respond_async, cache } = self;
        let lists = [attempts, placement, placement_rules];
        target.is_none()
            && rule.is_none()
            && refused.is_none()
            && respond_async.is_none()
            && cache.is_none()
            && dropped.is_empty()
            && lists.iter().all(|list| list.is_none())
    }

    fn differences(&self, plan: &Plan) -> Vec<Difference> {
        let mut found = Vec::new();
        let attempts: Vec<&str> = plan.attempts().iter().map(|attempt| attempt.target().as_str()).collect();
        let localities: Vec<&str> = plan.placement().localities().into_iter().map(Locality::as_str).collect();
        let rules: Vec<&str> = plan.placement().matched().iter().map(|rule| &*rule.id).collect();
        let first = attempts.first().copied().unwrap_or("none");
        let lists = [
            ("attempts", &self.attempts, &attempts),
            ("placement", &self.placement, &localities),
            ("placement_rules", &self.placement_rules, &rules),
        ];
        for (what, expected, actual) in lists {
            if let Some(expected) = expected.as_ref().filter(|expected| !expected.iter().eq(actual.iter())) {
                found.push(difference(what, &format!("[{}]", expected.join(", ")), format!("[{}]", actual.join(", "))));
            }
        }
        for (what, expected, actual) in [("target", &self.target, first), ("rule", &self.rule, plan.rule().as_str())] {
            if let Some(expected) = expected.as_ref().filter(|expected| *expected != actual) {
                found.push(difference(what, expected, actual.to_owned()));
            }
        }
        for (id, expected) in &self.dropped {
            let dropped = plan.dropped().iter().find(|dropped| dropped.profile.id.as_str() == id);
            let actual = dropped.map_or("not dropped", |dropped| dropped.reason.code());
            if actual != expected {
                found.push(difference(&format!("dropped.{id}"), expected, actual.to_owned()));
            }
        }
        if let Some(expected) = &self.refused
            && !plan.refusal().is_some_and(|message| plan.attempts().is_empty() && message.contains(expected))
        {
            let said = plan.refusal().map_or_else(|| format!("a plan: {first}"), str::to_owned);
            found.push(difference("refused", expected, said));
        }
        if let Some(expected) = self.respond_async.filter(|expected| *expected != plan.respond_async()) {
            found.push(difference("respond_async", &expected.to_string(), plan.respond_async().to_string()));
        }
        if let Some(expected) = self.cache.filter(|expected| *expected != plan.cache().is_some()) {
            found.push(difference("cache", &expected.to_string(), plan.cache().is_some().to_string()));
        }
        found
    }

    fn differences_of_refusal(&self, refusal: &Refusal) -> Vec<Difference> {
        let found = || format!("refused: {refusal}");
        let mut differences = match &self.refused {
            Some(expected) if refusal.to_string().contains(expected) => Vec::new(),
            Some(expected) => vec![difference("refused", expected, refusal.to_string())],
            None => vec![difference("refused", "a plan", refusal.to_string())],
        };
        // There is no plan that anything else could hold for, but that nothing is tried.
        let words = [("target", &self.target), ("rule", &self.rule)];
        for (what, expected) in words.into_iter().filter_map(|(what, word)| Some((what, word.as_ref()?))) {
            differences.push(difference(what, expected, found()));
        }
        let tried = self.attempts.as_ref().filter(|attempts| !attempts.is_empty());
        let lists = [
            ("attempts", tried),
            ("placement", self.placement.as_ref()),
            ("placement_rules", self.placement_rules.as_ref()),
        ];
        for (what, expected) in lists.into_iter().filter_map(|(what, list)| Some((what, list?))) {
            differences.push(difference(what, &format!("[{}]", expected.join(", ")), found()));
        }
        for (id, expected) in &self.dropped {
            differences.push(difference(&format!("dropped.{id}"), expected, found()));
        }
        for (what, expected) in [("respond_async", self.respond_async), ("cache", self.cache)] {
            if let Some(expected) = expected.filter(|expected| *expected) {
                differences.push(difference(what, &expected.to_string(), found()));
            }
        }
        differences
    }
}

impl Policy {
    /// The tests it brings along, in order.
    #[must_use]
    pub fn tests(&self) -> &[TestCase] {
        &self.tests
    }
}

/// Compiles `test_targets` and `tests` of a document into `policy`, whose rules are compiled already.
pub(crate) fn compile(compiler: &mut Compiler, document: &PolicyDocument, policy: &mut Policy) {
    let mut ids = HashSet::new();
    for (n, target) in document.test_targets.iter().enumerate() {
        let path = format!("test_targets[{n}]");
        if let Some(target) = test_target(compiler, &path, target) {
            if !ids.insert(target.id().clone()) {
                compiler.error(format!("{path}.id"), "is used by an earlier target");
            }
            policy.test_targets.push(target);
        }
    }
    let mut names = HashSet::new();
    for (index, test) in document.tests.iter().take(crate::TESTS_MAX).enumerate() {
        let path = format!("tests[{index}]");
        let Some(name) = &test.name else {
            compiler.error(format!("{path}.name"), "is missing");
            continue;
        };
        if !names.insert(name) {
            compiler.error(format!("{path}.name"), format!("{name:?} is used by an earlier test"));
        }
        let case = test_case(compiler, &path, index, name, test, policy);
        policy.tests.push(case);
    }
}

fn test_case(
    compiler: &mut Compiler,
    path: &str,
    index: usize,
    name: &str,
    test: &TestDocument,
    policy: &Policy,
) -> TestCase {
    if test.expect.is_empty() {
        compiler.error(format!("{path}.expect"), "is empty; the test tests nothing");
    }
    if test.expect.refused.as_deref() == Some("") {
        compiler.error(format!("{path}.expect.refused"), "is empty, which every message holds; give a part of it");
    }
    if test.request.is_none() && !test.headers.is_empty() {
        compiler.error(format!("{path}.headers"), "are given without a request");
    }
    for (fact, value) in &test.facts {
        compiler.ok(&format!("{path}.facts.{fact}"), Facts::default().set(fact, value));
    }
    let read = |(id, word): (&String, &String)| {
        Some((id.clone(), compiler.ok(&format!("{path}.targets.{id}"), TargetState::parse(word))?))
    };
    let states = test.targets.iter().filter_map(read).collect();
    for (id, code) in &test.expect.dropped {
        if !DropReason::CODES.contains(&code.as_str()) {
            let known = DropReason::CODES.join(", ");
            compiler.error(format!("{path}.expect.dropped.{id}"), format!("{code:?} is not one of {known}"));
        }
    }
    expected_ids(compiler, path, &test.expect, policy);
    TestCase { name: name.to_owned(), index, facts: test.facts.clone(), states, expect: test.expect.clone() }
}

/// An expected rule that does not exist would only show as a difference when it is run.
fn expected_ids(compiler: &mut Compiler, path: &str, expect: &ExpectDocument, policy: &Policy) {
    let builtin = ["pinned_model", "no_route"];
    if let Some(rule) = &expect.rule
        && !builtin.contains(&rule.as_str())
        && !policy.route_ids().any(|id| **id == *rule.as_str())
    {
        compiler.error(format!("{path}.expect.rule"), format!("there is no route {rule:?}"));
    }
    for (n, rule) in expect.placement_rules.iter().flatten().enumerate() {
        if !policy.placement_ids().any(|id| **id == *rule.as_str()) {
            compiler
                .error(format!("{path}.expect.placement_rules[{n}]"), format!("there is no placement rule {rule:?}"));
        }
    }
    for (n, word) in expect.placement.iter().flatten().enumerate() {
        compiler.ok(&format!("{path}.expect.placement[{n}]"), Locality::parse(word));
    }
}

fn test_target(compiler: &mut Compiler, path: &str, target: &TestTargetDocument) -> Option<TargetFacts> {
    let id = target.id.as_deref().unwrap_or_default();
    let id = compiler.ok(&format!("{path}.id"), TargetId::new(id));
    let locality = target.locality.as_deref().unwrap_or_default();
    let locality = compiler.ok(&format!("{path}.locality"), Locality::parse(locality));
    let state = target.state.as_deref().unwrap_or("ready");
    let state = compiler.ok(&format!("{path}.state"), TargetState::parse(state));
    let capabilities = offered(compiler, path, &target.lacks);
    let mut profile = TargetProfile::new(id?, locality?);
    if let (Some(input), Some(output)) = (target.input_usd_per_mtok, target.output_usd_per_mtok) {
        let cached = input;
        profile.price =
            Some(Price { input_usd_per_mtok: input, cached_input_usd_per_mtok: cached, output_usd_per_mtok: output });
    } else if target.input_usd_per_mtok.or(target.output_usd_per_mtok).is_some() {
        compiler.error(path, "has one price; give both input_usd_per_mtok and output_usd_per_mtok");
    }
    if let (Some(ttft), Some(rate)) = (target.ttft_ms, target.tokens_per_s) {
        let exactly = |mean| Prediction { mean, spread: 0.0 };
        profile.latency = Some(Latency { ttft_ms: exactly(ttft), tokens_per_s: exactly(rate) });
    } else if target.ttft_ms.or(target.tokens_per_s).is_some() {
        compiler.error(path, "has half a speed; give both ttft_ms and tokens_per_s");
    }
    profile.region.clone_from(&target.region);
    profile.tags.clone_from(&target.tags);
    profile.context_tokens = target.context_tokens;
    profile.quality = target.quality;
    profile.capabilities = capabilities;
    Some(TargetFacts::new(Arc::new(profile), state?))
}

fn offered(compiler: &mut Compiler, path: &str, lacks: &[String]) -> Capabilities {
    let mut offered = Capabilities::ALL;
    for (n, word) in lacks.iter().enumerate() {
        match word.as_str() {
            "tools" => offered.tools = false,
            "vision" => offered.vision = false,
            "json_schema" => offered.json_schema = false,
            "logprobs" => offered.logprobs = false,
            other => {
                let message = format!("{other:?} is not one of tools, vision, json_schema, logprobs");
                compiler.error(format!("{path}.lacks[{n}]"), message);
            }
        }
    }
    offered
}
