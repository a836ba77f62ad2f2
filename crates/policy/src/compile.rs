//! A policy document into a policy. Every problem is noted and checking goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::document::{
    AllowDocument, CacheDocument, LimitsDocument, PlacementDocument, PolicyDocument, RouteDocument, StickinessDocument,
    WhenNoneDocument,
};
use crate::placement::PlacementRule;
use crate::route::{CacheRule, Limits, MAX_ATTEMPTS_DEFAULT, MAX_ATTEMPTS_MAX, Route, Selector, WhenNone};
use crate::{Condition, Limit, Locality, Objective, Problem, Scope, Stickiness, StickyBy, TargetId, expectation};

/// Version of the policy language.
pub const POLICY_VERSION: u32 = 1;
/// Placement rules, and routes, in one policy at most.
pub const RULES_MAX: usize = 500;
/// Tests in one policy at most.
pub const TESTS_MAX: usize = 1000;
/// Regular expressions in one policy at most.
pub const REGEXES_MAX: usize = 50;
/// Candidates of one route at most.
pub const CANDIDATES_MAX: usize = 100;
/// Longest time for which a route may give an answer again, in seconds: 30 days.
pub const CACHE_TTL_MAX_S: u64 = 30 * 86_400;
/// Longest id of a rule in bytes; ids become header and metric label values.
pub const RULE_ID_BYTES_MAX: usize = 64;
/// Words that stand beside the ids of rules.
const RESERVED_IDS: [&str; 6] = ["privacy", "conversation_privacy", "mode", "pinned_model", "no_route", "fallback"];

/// A compiled policy. Made by [`Policy::compile`] only.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub(crate) placement: Vec<PlacementRule>,
    pub(crate) routes: Vec<Route>,
    /// Against which answers are priced where no route says otherwise.
    pub(crate) reference: Option<Arc<TargetId>>,
    pub(crate) stickiness: Stickiness,
    pub(crate) test_targets: Vec<crate::TargetFacts>,
    pub(crate) tests: Vec<expectation::TestCase>,
}

impl Policy {
    /// Checks and compiles a document.
    ///
    /// # Errors
    /// Every problem of the document, each with the key at fault and, inside a condition, the place in it.
    pub fn compile(document: &PolicyDocument) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler::default();
        let policy = compiler.policy(document);
        if compiler.problems.is_empty() { Ok(policy) } else { Err(compiler.problems) }
    }

    /// How conversations stay where they are.
    #[must_use]
    pub fn stickiness(&self) -> &Stickiness {
        &self.stickiness
    }

    /// Whether a condition of it reads this fact.
    #[must_use]
    pub fn reads(&self, fact: &str) -> bool {
        let of_rules = self.placement.iter().map(|rule| &rule.when);
        let of_routes = self.routes.iter().flat_map(|route| [&route.when, &route.require]);
        let mut conditions = of_rules.chain(of_routes).flatten();
        conditions.any(|condition| condition.facts().iter().any(|read| read.name == fact))
    }

    /// The ids of the routes, in order.
    pub fn route_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().map(|route| &route.id)
    }

    /// The ids of the placement rules, in order.
    pub fn placement_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.placement.iter().map(|rule| &rule.id)
    }
}

/// What checking needs at every place.
#[derive(Default)]
pub(crate) struct Compiler {
    pub(crate) problems: Vec<Problem>,
    ids: HashSet<String>,
    regexes: usize,
}

impl Compiler {
    pub(crate) fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message));
    }

    /// The value, or its error noted and `None`.
    pub(crate) fn ok<T, E: std::fmt::Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(path, error.to_string())).ok()
    }

    fn policy(&mut self, document: &PolicyDocument) -> Policy {
        match document.version {
            Some(POLICY_VERSION) => {}
            Some(other) => self.error("version", format!("{other} is not known; this is version {POLICY_VERSION}")),
            None => self.error("version", format!("is missing; write version: {POLICY_VERSION}")),
        }
        self.at_most("placement", document.placement.len(), RULES_MAX);
        self.at_most("routes", document.routes.len(), RULES_MAX);
        self.at_most("tests", document.tests.len(), TESTS_MAX);
        if document.routes.is_empty() {
            self.error("routes", "is empty; at least one route is needed");
        }
        let rules = document.placement.iter().take(RULES_MAX).enumerate();
        let placement: Vec<_> = rules.map(|(n, rule)| self.placement_rule(&format!("placement[{n}]"), rule)).collect();
        let routes = document.routes.iter().take(RULES_MAX).enumerate();
        let routes: Vec<_> = routes.map(|(n, route)| self.route(&format!("routes[{n}]"), route)).collect();
        let reference = self.reference("reference", document.reference.as_deref());
        let stickiness = self.stickiness(&document.stickiness);
        let mut policy = Policy { placement, routes, reference, stickiness, ..Policy::default() };
        expectation::compile(self, document, &mut policy);
        policy
    }

    fn at_most(&mut self, path: &str, found: usize, limit: usize) {
        if found > limit {
            self.error(path, format!("has {found} entries; the limit is {limit}"));
        }
    }

    fn id(&mut self, path: &str, id: Option<&String>) -> Arc<str> {
        let path = format!("{path}.id");
        let Some(id) = id else {
            self.error(path, "is missing");
            return "".into();
        };
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if id.is_empty() || id.len() > RULE_ID_BYTES_MAX || !id.chars().all(allowed) {
            self.error(path, format!("has to be 1 to {RULE_ID_BYTES_MAX} of a-z, 0-9, -, _ and ."));
        } else if RESERVED_IDS.contains(&id.as_str()) {
            self.error(path, format!("{id:?} is reserved; also {}", RESERVED_IDS.join(", ")));
        } else if !self.ids.insert(id.clone()) {
            self.error(path, format!("{id:?} is used by an earlier rule"));
        }
        id.as_str().into()
    }

    fn condition(&mut self, path: &str, source: Option<&String>, scope: Scope) -> Option<Condition> {
        let source = source?;
        match Condition::compile(source, scope) {
            Ok(condition) => {
                self.regexes += source.matches("matches").count();
                if self.regexes > REGEXES_MAX {
                    self.error(path, format!("is beyond the {REGEXES_MAX} regular expressions that a policy may hold"));
                }
                Some(condition)
            }
            Err(errors) => {
                self.problems.extend(errors.into_iter().map(|error| Problem::in_condition(path, source, error)));
                None
            }
        }
    }

    fn placement_rule(&mut self, path: &str, rule: &PlacementDocument) -> PlacementRule {
        let AllowDocument { localities, providers, regions } = &rule.allow;
        let redact = rule.redact.unwrap_or(false);
        if localities.is_none() && providers.is_none() && regions.is_none() && !redact {
            self.error(format!("{path}.allow"), "is missing; a rule that leaves everything allowed does nothing");
        }
        let id = self.id(path, rule.id.as_ref());
        let when = self.condition(&format!("{path}.when"), rule.when.as_ref(), Scope::Request);
        let localities = localities.as_ref().map(|words| {
            let read =
                |(n, word): (usize, &String)| self.ok(&format!("{path}.allow.localities[{n}]"), Locality::parse(word));
            words.iter().enumerate().filter_map(read).collect::<Vec<_>>()
        });
        let lists = [
            ("localities", localities.as_ref().map(Vec::len)),
            ("providers", providers.as_ref().map(Vec::len)),
            ("regions", regions.as_ref().map(Vec::len)),
        ];
        for (key, _) in lists.iter().filter(|(_, length)| *length == Some(0)) {
            self.error(format!("{path}.allow.{key}"), "is empty; nothing would be left");
        }
        let shared = |words: &Option<Vec<String>>| words.as_ref().map(|words| Arc::from(words.as_slice()));
        PlacementRule { id, when, localities, providers: shared(providers), regions: shared(regions), redact }
    }

    fn route(&mut self, path: &str, route: &RouteDocument) -> Route {
        let id = self.id(path, route.id.as_ref());
        let when = self.condition(&format!("{path}.when"), route.when.as_ref(), Scope::Request);
        let require = self.condition(&format!("{path}.require"), route.require.as_ref(), Scope::Target);
        let candidates = match &route.candidates {
            None => vec![Selector::Id("*".to_owned())],
            Some(globs) => {
                self.at_most(&format!("{path}.candidates"), globs.len(), CANDIDATES_MAX);
                if globs.is_empty() {
                    self.error(format!("{path}.candidates"), "is empty; leave it out to mean every target");
                }
                globs.iter().map(|glob| Selector::parse(glob)).collect()
            }
        };
        let objective = route
            .objective
            .as_deref()
            .map_or(Some(Objective::default()), |word| self.ok(&format!("{path}.objective"), Objective::parse(word)));
        let (limits, max_attempts, hedge_after) = self.limits(&format!("{path}.limits"), &route.limits);
        let when_none = self.when_none(&format!("{path}.when_none"), &route.when_none, &limits);
        let objective = objective.unwrap_or_default();
        let respond_async = route.respond_async.unwrap_or(false);
        let reference = self.reference(&format!("{path}.reference"), route.reference.as_deref());
        let cache = route.cache.as_ref().and_then(|cache| self.cache(&format!("{path}.cache"), cache));
        Route {
            id,
            when,
            candidates,
            require,
            objective,
            limits,
            max_attempts,
            hedge_after,
            when_none,
            respond_async,
            reference,
            cache,
        }
    }

    fn reference(&mut self, path: &str, id: Option<&str>) -> Option<Arc<TargetId>> {
        self.ok(path, TargetId::new(id?)).map(Arc::new)
    }

    fn cache(&mut self, path: &str, cache: &CacheDocument) -> Option<CacheRule> {
        let only_deterministic = cache.only_deterministic.unwrap_or(true);
        let path = format!("{path}.ttl_s");
        match cache.ttl_s {
            Some(seconds @ 1..=CACHE_TTL_MAX_S) => {
                Some(CacheRule { ttl: Duration::from_secs(seconds), only_deterministic })
            }
            Some(other) => {
                self.error(path, format!("{other} is out of range; allowed are 1 to {CACHE_TTL_MAX_S}"));
                None
            }
            None => {
                self.error(path, "is missing; it says for how long an answer may be given again");
                None
            }
        }
    }

    fn number(&mut self, path: String, value: Option<f64>, range: (f64, f64)) -> Option<f64> {
        let value = value?;
        if value >= range.0 && value <= range.1 {
            return Some(value);
        }
        self.error(path, format!("{value} is out of range; allowed are {} to {}", range.0, range.1));
        None
    }

    fn limits(&mut self, path: &str, limits: &LimitsDocument) -> (Limits, usize, Option<Duration>) {
        const DAY_MS: f64 = 86_400_000.0;
        let mut number = |key: &str, value, range| self.number(format!("{path}.{key}"), value, range);
        let compiled = Limits {
            max_cost_usd: number("max_cost_usd", limits.max_cost_usd, (0.0, 1e6)),
            ttft_slo_ms: number("ttft_slo_ms", limits.ttft_slo_ms, (1.0, DAY_MS)),
            total_slo_ms: number("total_slo_ms", limits.total_slo_ms, (1.0, DAY_MS)),
            min_quality: number("min_quality", limits.min_quality, (0.0, 1.0)),
        };
        let hedge = number("hedge_after_ms", limits.hedge_after_ms, (1.0, DAY_MS));
        let hedge = hedge.map(|ms| Duration::from_secs_f64(ms / 1000.0));
        let attempts = match limits.max_attempts.map(usize::try_from) {
            None => MAX_ATTEMPTS_DEFAULT,
            Some(Ok(attempts @ 1..=MAX_ATTEMPTS_MAX)) => attempts,
            Some(_) => {
                self.error(
                    format!("{path}.max_attempts"),
                    format!("is out of range; allowed are 1 to {MAX_ATTEMPTS_MAX}"),
                );
                MAX_ATTEMPTS_DEFAULT
            }
        };
        (compiled, attempts, hedge)
    }

    fn when_none(&mut self, path: &str, when_none: &WhenNoneDocument, limits: &Limits) -> WhenNone {
        match (&when_none.relax, &when_none.refuse) {
            (None, None) => WhenNone::Refuse,
            (None, Some(message)) => WhenNone::RefuseWith(message.as_str().into()),
            (Some(word), None) => match Limit::ALL.into_iter().find(|limit| limit.as_str() == word) {
                Some(limit) if limits.has(limit) => WhenNone::Relax(limit),
                Some(_) => {
                    self.error(format!("{path}.relax"), format!("the route has no {word} to relax"));
                    WhenNone::Refuse
                }
                None => {
                    let known = Limit::ALL.map(Limit::as_str).join(", ");
                    self.error(format!("{path}.relax"), format!("{word:?} is not one of {known}"));
                    WhenNone::Refuse
                }
            },
            (Some(_), Some(_)) => {
                self.error(format!("{path}.refuse"), "is given beside relax; give one of them");
                WhenNone::Refuse
            }
        }
    }

    fn stickiness(&mut self, document: &StickinessDocument) -> Stickiness {
        let default = Stickiness::default();
        let by = match document.by.as_deref() {
            None | Some("conversation") => StickyBy::Conversation,
            Some("session") => StickyBy::Session,
            Some("none") => StickyBy::None,
            Some(other) => {
                self.error("stickiness.by", format!("{other:?} is not one of conversation, session, none"));
                StickyBy::default()
            }
        };
        let ttl = match document.ttl_s {
            None => default.ttl,
            Some(seconds @ 1..=604_800) => Duration::from_secs(seconds),
            Some(other) => {
                self.error("stickiness.ttl_s", format!("{other} is out of range; allowed are 1 to 604800"));
                default.ttl
            }
        };
        let mut cost = |key: &str, value, default| {
            self.number(format!("stickiness.switch_cost.{key}"), value, (0.0, 1e6)).unwrap_or(default)
        };
        Stickiness {
            by,
            ttl,
            pin_in_tool_loop: document.pin_in_tool_loop.unwrap_or(default.pin_in_tool_loop),
            switch_cost_usd: cost("usd", document.switch_cost.usd, default.switch_cost_usd),
            switch_cost_ttft_ms: cost("ttft_ms", document.switch_cost.ttft_ms, default.switch_cost_ttft_ms),
            switch_cost_quality: cost("quality", document.switch_cost.quality, default.switch_cost_quality),
        }
    }
}
