//! What is allowed in a policy and yet most likely a mistake.

use std::sync::Arc;

use crate::route::{Route, Selector};
use crate::{
    Condition, Facts, Locality, Policy, Problem, TargetFacts, TargetId, TargetProfile, TargetState, Truth, Values,
};

impl Policy {
    /// Looks the policy over, against the targets of the configuration. Of targets that are switched off only the ids are
    /// known: they count for globs over ids, and where there are any, no tag and no requirement is said to match nothing. An
    /// exact id that names no target is an error; everything else is a warning.
    #[must_use]
    pub fn lint(&self, targets: &[Arc<TargetProfile>], switched_off: &[TargetId]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let switched_off: Vec<_> =
            switched_off.iter().map(|id| TargetProfile::new(id.clone(), Locality::Cloud)).collect();
        self.lint_references(targets, &switched_off, &mut problems);
        self.never_matching(&mut problems);
        for (n, rule) in self.placement.iter().enumerate() {
            let path = format!("placement[{n}]");
            lint_condition(&format!("{path}.when"), rule.when.as_ref(), &mut problems);
            if let Some(providers) = &rule.providers {
                let known = |word: &String| {
                    targets.iter().map(|target| &**target).chain(&switched_off).any(|target| target.provider == *word)
                };
                for (i, word) in providers.iter().enumerate().filter(|(_, word)| !known(word)) {
                    let message = format!("no target has the provider {word:?}");
                    problems.push(Problem::warning(format!("{path}.allow.providers[{i}]"), message));
                }
            }
        }
        for (n, route) in self.routes.iter().enumerate() {
            let path = format!("routes[{n}]");
            lint_condition(&format!("{path}.when"), route.when.as_ref(), &mut problems);
            lint_condition(&format!("{path}.require"), route.require.as_ref(), &mut problems);
            lint_candidates(&path, route, targets, &switched_off, &mut problems);
            if switched_off.is_empty() {
                lint_require(&path, route, targets, &mut problems);
            }
        }
        problems
    }

    /// Whom answers are priced against has to exist and to have a price.
    fn lint_references(
        &self,
        targets: &[Arc<TargetProfile>],
        switched_off: &[TargetProfile],
        problems: &mut Vec<Problem>,
    ) {
        let of_routes = self.routes.iter().enumerate();
        let of_routes = of_routes.map(|(n, route)| (format!("routes[{n}].reference"), &route.reference));
        let references = std::iter::once(("reference".to_owned(), &self.reference)).chain(of_routes);
        for (path, id) in references.filter_map(|(path, id)| Some((path, id.as_deref()?))) {
            match targets.iter().find(|target| target.id == *id) {
                Some(target) if target.price.is_none() => {
                    let message = format!("what {id} charges is not known, so nothing avoided is known either");
                    problems.push(Problem::warning(path, message));
                }
                None if !switched_off.iter().any(|target| target.id == *id) => {
                    problems.push(Problem::error(path, format!("there is no target \"{id}\"")));
                }
                Some(_) | None => {}
            }
        }
    }

    /// Warnings for a gateway that keeps nothing for later.
    #[must_use]
    pub fn lint_respond_async(&self) -> Vec<Problem> {
        let wanting = self.routes.iter().enumerate().filter(|(_, route)| route.respond_async);
        let message = "has no effect: outbox.enabled is false in the configuration";
        wanting.map(|(n, _)| Problem::warning(format!("routes[{n}].respond_async"), message)).collect()
    }

    /// Warnings for a gateway that gives no answer again.
    #[must_use]
    pub fn lint_cache(&self) -> Vec<Problem> {
        let wanting = self.routes.iter().enumerate().filter(|(_, route)| route.cache.is_some());
        let message = "has no effect: cache.enabled is false in the configuration";
        wanting.map(|(n, _)| Problem::warning(format!("routes[{n}].cache"), message)).collect()
    }

    /// Routes behind one that always matches, or behind one with the same condition.
    fn never_matching(&self, problems: &mut Vec<Problem>) {
        for (n, route) in self.routes.iter().enumerate() {
            let path = format!("routes[{n}].when");
            if route.when.as_ref().and_then(Condition::always) == Some(false) {
                problems.push(Problem::warning(path, "is never true"));
                continue;
            }
            let shadow = self.routes[..n].iter().find(|earlier| match (&earlier.when, &route.when) {
                (None, _) => true,
                (Some(earlier), _) if earlier.always() == Some(true) => true,
                (Some(earlier), Some(later)) => normal(earlier.source()) == normal(later.source()),
                (Some(_), None) => false,
            });
            if let Some(earlier) = shadow {
                let message = format!("never decides: the earlier route {:?} matches whenever it does", &*earlier.id);
                problems.push(Problem::warning(format!("routes[{n}].id"), message));
            }
        }
        for (n, rule) in self.placement.iter().enumerate() {
            if rule.when.as_ref().and_then(Condition::always) == Some(false) {
                problems.push(Problem::warning(format!("placement[{n}].when"), "is never true"));
            }
        }
    }
}

/// Without the spaces, where these mean nothing; enough to see that somebody pasted a condition twice.
fn normal(source: &str) -> String {
    if source.contains(['"', '\'']) { source.to_owned() } else { source.split_whitespace().collect() }
}

fn lint_condition(path: &str, condition: Option<&Condition>, problems: &mut Vec<Problem>) {
    for fact in condition.into_iter().flat_map(Condition::facts).filter(|fact| !fact.produced) {
        let message = format!("{} is never produced by this version: {}", fact.name, fact.when_absent);
        problems.push(Problem::warning(path, message));
    }
}

fn lint_candidates(
    path: &str,
    route: &Route,
    targets: &[Arc<TargetProfile>],
    switched_off: &[TargetProfile],
    problems: &mut Vec<Problem>,
) {
    for (n, selector) in route.candidates.iter().enumerate() {
        let mut known = targets.iter().map(|target| &**target).chain(switched_off);
        let unknown_tags = matches!(selector, Selector::Tag(_)) && !switched_off.is_empty();
        if unknown_tags || known.any(|target| selector.selects(target)) {
            continue;
        }
        let path = format!("{path}.candidates[{n}]");
        problems.push(match selector {
            Selector::Id(id) if !id.contains('*') => Problem::error(path, format!("there is no target {id:?}")),
            Selector::Id(glob) => Problem::warning(path, format!("{glob:?} matches no target")),
            Selector::Tag(glob) => Problem::warning(path, format!("no target has a tag {glob:?}")),
        });
    }
}

/// A requirement that none of its candidates meets even when all are ready.
fn lint_require(path: &str, route: &Route, targets: &[Arc<TargetProfile>], problems: &mut Vec<Problem>) {
    let Some(require) = &route.require else { return };
    let facts = Facts::default();
    let ready = |profile: &Arc<TargetProfile>| TargetFacts::new(Arc::clone(profile), TargetState::Ready);
    let targets: Vec<_> = targets.iter().filter(|target| route.position(target).is_some()).map(ready).collect();
    let values = Values::of(&facts, &targets);
    let fits = |target: &TargetFacts| matches!(require.evaluate(&values.with_target(target)), Truth::True);
    let depends_on_request = require.facts().iter().any(|fact| !fact.name.starts_with("target."));
    if !targets.is_empty() && !depends_on_request && !targets.iter().any(fits) {
        problems.push(Problem::warning(format!("{path}.require"), "no candidate meets it"));
    }
}
