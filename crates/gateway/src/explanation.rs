//! The account of a decision: facts, rules, every target kept or dropped and why, the order and the estimates. The same for
//! `POST /v1/route` and `tidegate explain`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use policy::{Estimate, FACTS, FactRef, Facts, Locality, Plan, QualitySignal, TargetFacts, TargetId, Values};
use serde::Serialize;
use serde_json::Value;

use crate::policies::InForce;

/// An account, in the shape of its JSON.
#[derive(Serialize)]
pub(crate) struct Explanation {
    object: &'static str,
    /// The short form, as in `x-tidegate-reason`.
    reason: String,
    policy: PolicyUsed,
    model: String,
    mode: &'static str,
    /// The class that holds, with that of the conversation.
    privacy: &'static str,
    facts: BTreeMap<&'static str, Value>,
    placement: Vec<&'static str>,
    /// What first narrowed it: `privacy`, `conversation_privacy`, `mode` or a rule.
    narrowed_by: Option<String>,
    placement_rules: Vec<RuleApplied>,
    rule: String,
    objective: Option<&'static str>,
    passed_over: Vec<RuleApplied>,
    stay: Option<&'static str>,
    relaxed: Option<&'static str>,
    /// Why the target that would have been tried first is not, where that passes by itself.
    substituted: Option<&'static str>,
    refusal: Option<String>,
    /// After how long without content the next target is asked beside the first, as far as `hedging` allows.
    hedge_after_ms: Option<u128>,
    /// Whether the route wants a request that cannot be answered now to be kept for later.
    respond_async: bool,
    /// Seconds for which the route lets an answer be given again.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_ttl_s: Option<u64>,
    attempts: Vec<Kept>,
    dropped: Vec<Left>,
}

#[derive(Serialize)]
struct PolicyUsed {
    file: String,
    generation: u64,
    hash: String,
}

#[derive(Serialize)]
struct RuleApplied {
    id: String,
    /// Why its condition could not be evaluated: a placement rule then applies, a route is passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

#[derive(Serialize)]
struct Kept {
    target: String,
    locality: &'static str,
    state: &'static str,
    #[serde(flatten)]
    estimate: Estimated,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_deadline_ms: Option<u128>,
}

/// `null` is "not known".
#[derive(Serialize)]
struct Estimated {
    cost_usd: Option<f64>,
    ttft_ms: Option<f64>,
    total_ms: Option<f64>,
    quality: Option<f64>,
    /// Where the quality was predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_stderr: Option<f64>,
}

#[derive(Serialize)]
struct Left {
    target: String,
    locality: &'static str,
    state: &'static str,
    reason: &'static str,
    detail: String,
}

impl Explanation {
    /// The account of `plan`, which was decided for `facts` over `targets`.
    pub(crate) fn of(in_force: &InForce, facts: &Facts, targets: &[TargetFacts], plan: &Plan) -> Self {
        let (placement, values) = (plan.placement(), Values::of(facts, targets));
        let state =
            |id: &TargetId| targets.iter().find(|target| target.id() == id).map_or("unknown", |t| t.state.as_str());
        let applied = |id: &str, failed: Option<&String>| RuleApplied { id: id.to_owned(), failed: failed.cloned() };
        let kept = plan.attempts().iter().map(|attempt| Kept {
            target: attempt.target().to_string(),
            locality: attempt.locality().as_str(),
            state: state(attempt.target()),
            estimate: estimated(attempt.estimate(), facts.predicted_quality(attempt.target())),
            ttft_deadline_ms: attempt.ttft_deadline().map(|deadline| deadline.as_millis()),
        });
        let left = plan.dropped().iter().map(|dropped| Left {
            target: dropped.profile.id.to_string(),
            locality: dropped.profile.locality.as_str(),
            state: state(&dropped.profile.id),
            reason: dropped.reason.code(),
            detail: dropped.reason.explain(),
        });
        let of_request = FACTS.iter().filter(|fact| !fact.is_of_target());
        Self {
            object: "route",
            reason: plan.reason(),
            policy: PolicyUsed {
                file: in_force.active.name.clone(),
                generation: in_force.generation,
                hash: in_force.active.hash.to_string(),
            },
            model: values_text(&values, "request.model"),
            mode: facts.request.mode.as_str(),
            privacy: facts.effective_privacy().as_str(),
            facts: of_request.map(|fact| (fact.name, json(values.get(fact)))).collect(),
            placement: placement.localities().into_iter().map(Locality::as_str).collect(),
            narrowed_by: placement.narrowed_by().map(|cause| cause.as_str().to_owned()),
            placement_rules: placement.matched().iter().map(|rule| applied(&rule.id, rule.failed.as_ref())).collect(),
            rule: plan.rule().as_str().to_owned(),
            objective: plan.rule().objective().map(policy::Objective::as_str),
            passed_over: plan.passed_over().iter().map(|over| applied(&over.route, Some(&over.failed))).collect(),
            stay: plan.stay().map(policy::Stay::as_str),
            relaxed: plan.relaxed().map(policy::Limit::as_str),
            substituted: plan.substituted(),
            refusal: plan.refusal().map(str::to_owned),
            hedge_after_ms: plan.hedge_after().map(|after| after.as_millis()),
            respond_async: plan.respond_async(),
            cache_ttl_s: plan.cache().map(|cache| cache.ttl.as_secs()),
            attempts: kept.collect(),
            dropped: left.collect(),
        }
    }
}

fn values_text(values: &Values<'_>, name: &str) -> String {
    policy::Fact::named(name).map_or_else(String::new, |fact| values.get(fact).to_string())
}

fn estimated(estimate: &Estimate, predicted: Option<QualitySignal>) -> Estimated {
    let Estimate { cost_usd, ttft_ms, total_ms, quality, .. } = *estimate;
    Estimated { cost_usd, ttft_ms, total_ms, quality, quality_stderr: predicted.map(|signal| signal.standard_error) }
}

fn json(value: FactRef<'_>) -> Value {
    match value {
        FactRef::Absent => Value::Null,
        FactRef::Bool(value) => value.into(),
        // Whole numbers without a fraction, as people write them.
        FactRef::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => (value as i64).into(),
        FactRef::Number(value) => value.into(),
        FactRef::Text(value) => value.into(),
        FactRef::Words(words) => words.into(),
    }
}

/// For people: facts that are known, rules, and one line for each target.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        writeln!(f, "policy     {} (hash {}, generation {})", policy.file, policy.hash, policy.generation)?;
        writeln!(f, "reason     {}", self.reason)?;
        writeln!(
            f,
            "placement  {}",
            if self.placement.is_empty() { "nowhere".into() } else { self.placement.join(", ") }
        )?;
        rules(f, "", &self.placement_rules, "applies")?;
        writeln!(f, "route      {}{}", self.rule, self.objective.map_or(String::new(), |word| format!(" ({word})")))?;
        rules(f, "", &self.passed_over, "passed over")?;
        let notes = [
            ("stay", self.stay.map(str::to_owned)),
            ("relaxed", self.relaxed.map(str::to_owned)),
            ("stands in", self.substituted.map(|code| format!("the first target would be another one ({code})"))),
            ("refusal", self.refusal.clone()),
            (
                "hedge",
                self.hedge_after_ms
                    .map(|after| format!("after {after} ms without content, the next target beside the first")),
            ),
            ("cache", self.cache_ttl_s.map(|ttl| format!("an answer may be given again for {ttl} s"))),
            ("later", self.respond_async.then(|| "what cannot be answered now is kept".to_owned())),
        ];
        for (name, note) in notes {
            note.iter().try_for_each(|note| writeln!(f, "{name:<11}{note}"))?;
        }
        self.targets(f)?;
        writeln!(f, "\nfacts")?;
        for (name, value) in self.facts.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(f, "  {name:<30} {text}")?;
        }
        let absent: Vec<_> = self.facts.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| *name).collect();
        write!(f, "  absent: {}", absent.join(", "))
    }
}

fn rules(f: &mut fmt::Formatter<'_>, indent: &str, rules: &[RuleApplied], what: &str) -> fmt::Result {
    rules.iter().try_for_each(|rule| match &rule.failed {
        None => writeln!(f, "{indent}  {what}: {}", rule.id),
        Some(failed) => writeln!(f, "{indent}  {what}: {} ({failed})", rule.id),
    })
}

impl Explanation {
    /// One line for each target: its place in the order or `-`, its estimates or why it was dropped.
    fn targets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.attempts.iter().map(|kept| &kept.target).chain(self.dropped.iter().map(|left| &left.target));
        let width = ids.map(String::len).max().unwrap_or(0).max(6);
        writeln!(f, "\n     {:<width$}  {:<8} {:<12} estimates, or why not", "target", "locality", "state")?;
        for (n, kept) in self.attempts.iter().enumerate() {
            let Kept { target, locality, state, estimate, ttft_deadline_ms } = kept;
            let deadline = ttft_deadline_ms.map_or_else(String::new, |ms| format!(", first token due in {ms} ms"));
            writeln!(f, "{:>3}. {target:<width$}  {locality:<8} {state:<12} {}{deadline}", n + 1, estimate.line())?;
        }
        for Left { target, locality, state, reason, detail } in &self.dropped {
            writeln!(f, "  -  {target:<width$}  {locality:<8} {state:<12} {reason}: {detail}")?;
        }
        Ok(())
    }
}

impl Estimated {
    fn line(&self) -> String {
        let mut line = match self.cost_usd {
            Some(cost) => format!("cost {cost:.6} USD"),
            None => "cost unknown".to_owned(),
        };
        let parts =
            [("first token", self.ttft_ms, " ms"), ("total", self.total_ms, " ms"), ("quality", self.quality, "")];
        for (name, value, unit) in parts {
            // Writing to a text does not fail.
            let _ = match value {
                Some(value) if unit.is_empty() => write!(line, ", {name} {value:.2}"),
                Some(value) => write!(line, ", {name} {value:.0}{unit}"),
                None => Ok(()),
            };
        }
        if let Some(error) = self.quality_stderr {
            let _ = write!(line, " ± {error:.2}");
        }
        line
    }
}
