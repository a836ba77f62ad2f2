//! The key `learning`: what is kept of answers, and who judges them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use account::labels::LabelLimits;
use policy::{TAG_FORM, TargetId, is_tag};
use serde_json::{Value, json};
use signals::learn::Schema;

use super::compile::Check;
use super::raw::{RawComparison, RawLearning, RawVerifier};

/// Verifiers of one configuration at most.
const VERIFIERS_MAX: usize = 64;
/// Largest file of a schema, in bytes.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// How long the same question again counts as a retry, when not configured.
const RETRY_WINDOW: Duration = Duration::from_secs(600);
/// How much a retry counts, when not configured: people also ask again out of curiosity.
const RETRY_WEIGHT: f64 = 0.2;
/// How long a command may take, when not configured.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86_400);

/// Learning as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LearningConfig {
    /// Whether answers are kept.
    pub enabled: bool,
    /// How many, how long.
    pub limits: LabelLimits,
    /// How long the same question again counts as a retry.
    pub retry_window: Duration,
    /// How much a retry counts; 0 for not at all.
    pub retry_weight: f64,
    /// Who judges answers, in order.
    pub verifiers: Vec<Verifier>,
    /// Which requests are answered twice.
    pub comparison: Option<ComparisonConfig>,
}

/// The comparison sample as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComparisonConfig {
    /// Compared with each other.
    pub targets: Vec<TargetId>,
    /// Share of the judged requests.
    pub share: f64,
    /// At most in a day of UTC.
    pub requests_per_day: u64,
    /// At most in a day of UTC; not limited when absent.
    pub usd_per_day: Option<f64>,
}

/// Judges the answers that it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verifier {
    /// Only of requests with this tag.
    pub tag: Option<String>,
    /// Only of requests of this kind.
    pub task: Option<String>,
    /// How.
    pub kind: VerifierKind,
}

/// How an answer is judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VerifierKind {
    /// It is JSON that the schema allows.
    Json(Schema),
    /// A program says so.
    Command {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

/// `ids` are the targets of the configuration, those that are switched off included.
pub(super) fn compile_learning(check: &mut Check<'_>, raw: RawLearning, ids: &HashSet<String>) -> LearningConfig {
    let default = LabelLimits::default();
    let days = |check: &mut Check<'_>, path: &str, value, default: Duration| {
        let default_days = default.as_secs() / DAY.as_secs();
        DAY * u32::try_from(check.number(path, value, default_days, (1, 3650))).unwrap_or(u32::MAX)
    };
    let limits = LabelLimits {
        rows_max: check.number("learning.rows_max", raw.rows_max, default.rows_max, (100, 1_000_000)),
        age_max: days(check, "learning.keep_days", raw.keep_days, default.age_max),
        wait_max: days(check, "learning.wait_days", raw.wait_days, default.wait_max),
    };
    let retry_weight = raw.retry_weight.unwrap_or(RETRY_WEIGHT);
    if !(0.0..=1.0).contains(&retry_weight) {
        check.problem("learning.retry_weight", "is out of range; allowed are 0 to 1");
    }
    if raw.verifiers.len() > VERIFIERS_MAX {
        let count = raw.verifiers.len();
        check.problem("learning.verifiers", format!("has {count} entries; the limit is {VERIFIERS_MAX}"));
    }
    if raw.comparison.is_some() && raw.verifiers.is_empty() {
        check.problem("learning.comparison", "needs learning.verifiers: only what is judged is compared");
    }
    let comparison = raw.comparison.and_then(|raw| comparison(check, raw, ids));
    let verifiers = raw.verifiers.into_iter().enumerate();
    LearningConfig {
        enabled: raw.enabled.unwrap_or(false),
        limits,
        retry_window: check.millis("learning.retry_window_ms", raw.retry_window_ms, RETRY_WINDOW),
        retry_weight,
        verifiers: verifiers
            .filter_map(|(index, raw)| verifier(check, &format!("learning.verifiers[{index}]"), raw))
            .collect(),
        comparison,
    }
}

fn comparison(check: &mut Check<'_>, raw: RawComparison, ids: &HashSet<String>) -> Option<ComparisonConfig> {
    let key = |name: &str| format!("learning.comparison.{name}");
    let named: HashSet<&String> = raw.targets.iter().collect();
    if named.len() < 2 || named.len() != raw.targets.len() {
        check.problem(&key("targets"), "has to name two targets or more, each once");
    }
    for (n, id) in raw.targets.iter().enumerate().filter(|(_, id)| !ids.contains(*id)) {
        check.problem(&key(&format!("targets[{n}]")), format!("{id:?} is no target of this configuration"));
    }
    let targets = raw.targets.iter().filter_map(|id| TargetId::new(id).ok()).collect();
    let share = raw.share.filter(|share| *share > 0.0 && *share <= 1.0);
    let requests_per_day = raw.requests_per_day.filter(|most| *most > 0);
    if share.is_none() {
        check.problem(&key("share"), "has to be given, above 0 to 1");
    }
    if requests_per_day.is_none() {
        check.problem(&key("requests_per_day"), "has to be given, 1 or more: there is no comparison without a budget");
    }
    if raw.usd_per_day.is_some_and(|usd| !(usd >= 0.0 && usd.is_finite())) {
        check.problem(&key("usd_per_day"), "has to be a number from 0");
    }
    Some(ComparisonConfig { targets, share: share?, requests_per_day: requests_per_day?, usd_per_day: raw.usd_per_day })
}

fn verifier(check: &mut Check<'_>, path: &str, raw: RawVerifier) -> Option<Verifier> {
    let key = |name: &str| format!("{path}.{name}");
    if raw.when.tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
        check.problem(&key("when.tag"), format!("is not {TAG_FORM}"));
    }
    let (is_json, is_command) = (raw.kind.as_deref() == Some("json"), raw.kind.as_deref() == Some("command"));
    for (name, is_given, has_meaning) in [
        ("required", raw.required.is_some(), is_json),
        ("schema_file", raw.schema_file.is_some(), is_json),
        ("command", raw.command.is_some(), is_command),
        ("timeout_ms", raw.timeout_ms.is_some(), is_command),
    ] {
        if is_given && !has_meaning && (is_json || is_command) {
            check.problem(&key(name), format!("has no meaning for kind {}", raw.kind.as_deref().unwrap_or_default()));
        }
    }
    let kind = match raw.kind.as_deref() {
        Some("json") => VerifierKind::Json(schema(check, path, raw.required, raw.schema_file)?),
        Some("command") => {
            let timeout = check.millis(&key("timeout_ms"), raw.timeout_ms, COMMAND_TIMEOUT);
            let mut words = raw.command.unwrap_or_default().into_iter();
            let program = words.next().filter(|program| !program.is_empty());
            let Some(program) = program else {
                check.problem(&key("command"), "is missing: program and arguments as a list");
                return None;
            };
            // With a folder in it, it is taken from that of the configuration; else looked for in PATH.
            let program = if program.contains('/') { check.folder.join(program) } else { program.into() };
            VerifierKind::Command { program, arguments: words.collect(), timeout }
        }
        other => {
            let found = other.map_or_else(|| "is missing;".to_owned(), |word| format!("{word:?} is not"));
            check.problem(&key("kind"), format!("{found} one of json, command"));
            return None;
        }
    };
    Some(Verifier { tag: raw.when.tag, task: raw.when.task, kind })
}

fn schema(check: &mut Check<'_>, path: &str, required: Option<Vec<String>>, file: Option<String>) -> Option<Schema> {
    let place = format!("{path}.schema_file");
    let schema = match (required, file) {
        (Some(_), Some(_)) => {
            check.problem(&place, "is given beside required; give one of them");
            return None;
        }
        (None, None) => json!({}),
        (Some(required), None) => json!({"type": "object", "required": required}),
        (None, Some(file)) => {
            let file = check.folder.join(file);
            let size = std::fs::metadata(&file).map(|found| found.len());
            if size.as_ref().is_ok_and(|size| *size > SCHEMA_BYTES_MAX) {
                check.problem(&place, format!("{} is longer than {SCHEMA_BYTES_MAX} bytes", file.display()));
                return None;
            }
            let read = size.and_then(|_| std::fs::read(&file));
            let read = read.map_err(|error| format!("{} cannot be read: {error}", file.display()));
            let text = check.ok(&place, read)?;
            let parsed = serde_json::from_slice::<Value>(&text);
            check.ok(&place, parsed.map_err(|error| format!("{}: {error}", file.display())))?
        }
    };
    let compiled = Schema::compile(&schema);
    check.ok(&place, compiled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(learning: &str) -> Result<LearningConfig, String> {
        let text = format!(
            "targets: [{{id: a/b, provider: openai, model: m, base_url: 'http://h/v1'}}]\nlearning: {learning}\n"
        );
        Config::parse("t.yaml", &text, &|_| None).map(|config| config.learning).map_err(|errors| errors.to_string())
    }

    #[test]
    fn it_is_off_and_has_its_defaults_when_nothing_is_said() {
        let learning = parse("{}").unwrap();
        assert!(!learning.enabled && learning.verifiers.is_empty());
        assert_eq!((learning.limits, learning.retry_weight), (LabelLimits::default(), 0.2));
    }

    #[test]
    fn verifiers_are_read() {
        let learning = parse(
            "{enabled: true, keep_days: 30, verifiers: [{when: {tag: bill}, kind: json, required: [total]}, \
             {when: {task: sql}, kind: command, command: [tool/check, --strict], timeout_ms: 100}, {kind: json}]}",
        )
        .unwrap();
        assert_eq!(learning.limits.age_max, Duration::from_secs(30 * 86_400));
        let [bill, sql, any] = learning.verifiers.as_slice() else { panic!("three verifiers") };
        let VerifierKind::Json(schema) = &bill.kind else { panic!("json") };
        assert!(schema.allows_text(r#"{"total": 1}"#) && !schema.allows_text("{}"));
        assert_eq!((bill.tag.as_deref(), any.tag.as_deref(), any.task.as_deref()), (Some("bill"), None, None));
        let VerifierKind::Command { program, arguments, timeout } = &sql.kind else { panic!("command") };
        assert_eq!((program.to_str(), arguments.as_slice()), (Some("tool/check"), &["--strict".to_owned()][..]));
        assert_eq!(*timeout, Duration::from_millis(100));
    }

    #[test]
    fn a_comparison_needs_targets_a_share_a_budget_and_somebody_who_judges() {
        let verifiers = "verifiers: [{kind: json}]";
        let error = |comparison: &str| parse(&format!("{{{verifiers}, comparison: {comparison}}}")).unwrap_err();
        for (comparison, part) in [
            ("{share: 0.1, requests_per_day: 5}", "comparison.targets: has to name two"),
            ("{targets: [a/b, a/b], share: 0.1, requests_per_day: 5}", "each once"),
            ("{targets: [a/b, c/d], share: 0.1, requests_per_day: 5}", "comparison.targets[1]: \"c/d\" is no target"),
            ("{targets: [a/b, c/d], share: 0, requests_per_day: 5}", "comparison.share: has to be given"),
            ("{targets: [a/b, c/d], share: 1}", "comparison.requests_per_day: has to be given"),
            ("{targets: [a/b, c/d], share: 1, requests_per_day: 1, usd_per_day: -1}", "comparison.usd_per_day"),
        ] {
            assert!(error(comparison).contains(part), "{part} in {}", error(comparison));
        }
        let alone = parse("{comparison: {targets: [a/b, c/d], share: 1, requests_per_day: 1}}").unwrap_err();
        assert!(alone.contains("needs learning.verifiers"), "{alone}");
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let errors = parse(
            "{rows_max: 1, retry_weight: 2, verifiers: [{kind: exact}, {kind: json, command: [x]}, {kind: command}, \
             {kind: json, schema_file: none.json}, {kind: json, schema_file: a, required: [b]}, {when: {tag: 'B B'}, kind: json}]}",
        )
        .unwrap_err();
        for part in [
            "learning.rows_max: 1 is out of range",
            "learning.retry_weight: is out of range",
            "learning.verifiers[0].kind: \"exact\" is not one of json, command",
            "learning.verifiers[1].command: has no meaning for kind json",
            "learning.verifiers[2].command: is missing",
            "learning.verifiers[3].schema_file: none.json cannot be read",
            "learning.verifiers[4].schema_file: is given beside required",
            "learning.verifiers[5].when.tag: is not",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
}
