//! One policy file: read, compiled, looked over, and its own tests run. Everything found comes in one list, each with file,
//! line and column.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{
    Difference, Facts, Policy, PolicyDocument, Problem, Severity, TargetFacts, TargetId, TargetProfile, TargetState,
};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::config::yaml::{self, Document};
use crate::facts;

/// The policy of a gateway that is given none.
pub(crate) const DEFAULT_POLICY: &str = include_str!("../../../../policies/default.yaml");
/// Largest policy file in bytes.
const POLICY_BYTES_MAX: u64 = 4 << 20;
/// Findings that are shown at most.
const FINDINGS_SHOWN_MAX: usize = 100;
/// Hexadecimal digits of the hash that is shown.
const HASH_DIGITS: usize = 12;

/// What a policy is checked against.
pub(crate) struct Context<'a> {
    /// Says what a caller may set, for the requests of tests.
    pub config: &'a Config,
    /// The configured targets, in order.
    pub targets: Vec<Arc<TargetProfile>>,
    /// Targets of the configuration that are switched off; globs may name them.
    pub disabled: Vec<TargetId>,
}

impl<'a> Context<'a> {
    /// The targets of a configuration.
    pub(crate) fn of(config: &'a Config) -> Self {
        let targets = config.targets.iter().map(|target| Arc::clone(&target.profile)).collect();
        let disabled = config.disabled.iter().filter_map(|(id, _)| TargetId::new(id).ok()).collect();
        Self { config, targets, disabled }
    }
}

/// A policy that can be used.
#[derive(Debug)]
pub(crate) struct LoadedPolicy {
    pub policy: Policy,
    /// The file, or `built-in default`.
    pub name: String,
    /// First digits of the SHA-256 of the text.
    pub hash: Arc<str>,
    /// How many tests it brought along; all passed.
    pub tests: usize,
    /// What is most likely a mistake and can be used all the same.
    pub warnings: Vec<Finding>,
}

/// Something found in a policy file.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    file: String,
    severity: Severity,
    /// Line and column, from 1.
    at: Option<(usize, usize)>,
    path: String,
    message: String,
    /// Further lines: the condition with a caret, or what differs.
    detail: Vec<String>,
}

impl Finding {
    /// An error about a file as a whole.
    fn of_file(file: &str, message: String) -> Self {
        let (file, severity) = (file.to_owned(), Severity::Error);
        Self { file, severity, at: None, path: String::new(), message, detail: Vec::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if self.severity == Severity::Warning {
            f.write_str(": warning")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        self.detail.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Everything found in a policy that cannot be used, warnings among it.
#[derive(Debug, Default)]
pub(crate) struct PolicyErrors(Vec<Finding>);

impl PolicyErrors {
    /// That nothing could be looked at.
    pub(crate) fn not_loaded(why: &str) -> Self {
        Self(vec![Finding::of_file("policy", why.to_owned())])
    }

    /// Adds what was found in another file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::error::Error for PolicyErrors {}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().take(FINDINGS_SHOWN_MAX).enumerate() {
            write!(f, "{}{finding}", if n > 0 { "\n" } else { "" })?;
        }
        match self.0.len().saturating_sub(FINDINGS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// Loads `file`, or the built-in default.
///
/// # Errors
/// Everything found, when some of it is an error or a test of the policy comes out differently.
pub(crate) fn load_file(file: Option<&Path>, context: &Context<'_>) -> Result<LoadedPolicy, PolicyErrors> {
    let Some(path) = file else { return load_text("built-in default", DEFAULT_POLICY, context) };
    let name = path.display().to_string();
    let unreadable = |message: String| PolicyErrors(vec![Finding::of_file(&name, message)]);
    let text = read(path).map_err(unreadable)?;
    load_text(&name, &text, context)
}

/// The text of a regular file; what never ends, or never begins, is not waited for.
fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(POLICY_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > POLICY_BYTES_MAX {
        return Err(format!("is longer than {POLICY_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Loads a policy from its text; `name` stands in what is found.
///
/// # Errors
/// As [`load_file`].
pub(crate) fn load_text(name: &str, text: &str, context: &Context<'_>) -> Result<LoadedPolicy, PolicyErrors> {
    let place = |problem: yaml::Problem| Finding {
        file: name.to_owned(),
        severity: Severity::Error,
        at: problem.at,
        path: problem.path,
        message: problem.message,
        detail: Vec::new(),
    };
    let read = yaml::read::<PolicyDocument>(text);
    let (raw, document, problems) = read.map_err(|problems| PolicyErrors(problems.into_iter().map(place).collect()))?;
    let mut findings: Vec<Finding> = problems.into_iter().map(place).collect();
    let reader = Reader { name, text, document: &document };
    let compiled = match Policy::compile(&raw) {
        Ok(policy) => Some(policy),
        Err(problems) => {
            findings.extend(problems.into_iter().map(|problem| reader.finding(problem)));
            None
        }
    };
    if let Some(policy) = &compiled {
        findings.extend(
            policy.lint(&context.targets, &context.disabled).into_iter().map(|problem| reader.finding(problem)),
        );
        if !context.config.outbox.enabled {
            findings.extend(policy.lint_respond_async().into_iter().map(|problem| reader.finding(problem)));
        }
        if !context.config.cache.enabled {
            findings.extend(policy.lint_cache().into_iter().map(|problem| reader.finding(problem)));
        }
        findings.extend(reader.failed_tests(policy, &raw, context));
    }
    findings.sort_by_key(|finding| finding.at);
    match compiled {
        Some(policy) if findings.iter().all(|finding| finding.severity == Severity::Warning) => {
            let digest = Sha256::digest(text.as_bytes());
            let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let hash = hash[..HASH_DIGITS].into();
            let tests = policy.tests().len();
            Ok(LoadedPolicy { policy, name: name.to_owned(), hash, tests, warnings: findings })
        }
        _ => Err(PolicyErrors(findings)),
    }
}

/// Tells where in a text things stand.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    document: &'a Document,
}

impl Reader<'_> {
    fn finding(&self, problem: Problem) -> Finding {
        let at = self.document.problem(&problem.path, "").at;
        Finding {
            file: self.name.to_owned(),
            severity: problem.severity,
            at: at.map(|(line, column)| match &problem.excerpt {
                Some(_) => self.within(line, column, problem.offset),
                None => (line, column),
            }),
            path: problem.path,
            message: problem.message,
            detail: problem.excerpt.iter().flat_map(|excerpt| excerpt.lines()).map(str::to_owned).collect(),
        }
    }

    /// The place `offset` bytes into the scalar that begins at line and column. Goes through its lines, each of which ends in a
    /// line break or, folded, in a blank; escapes and deeper indentation move the column, not the line.
    fn within(&self, line: usize, column: usize, mut offset: usize) -> (usize, usize) {
        let mut place = (line, column);
        for (n, text) in self.text.lines().enumerate().skip(line - 1) {
            let content = if n + 1 == line { text.get(column - 1..).unwrap_or_default() } else { text.trim_start() };
            let quote = usize::from(n + 1 == line && content.starts_with(['"', '\'']));
            let length = content.trim_end().len().saturating_sub(quote);
            place = (n + 1, text.len() - content.len() + 1 + quote + offset.min(length));
            if offset <= length {
                break;
            }
            offset -= length + 1;
        }
        place
    }

    /// The tests of the policy that come out differently. A policy with targets of its own for its tests is tested by itself,
    /// so that it means the same everywhere: its requests are read as by the built-in configuration. Others are tested
    /// against the configuration they are loaded with.
    fn failed_tests(&self, policy: &Policy, raw: &PolicyDocument, context: &Context<'_>) -> Vec<Finding> {
        let ready = |profile: &Arc<TargetProfile>| TargetFacts::new(Arc::clone(profile), TargetState::Ready);
        let targets: Vec<TargetFacts> = context.targets.iter().map(ready).collect();
        let by_itself = (!raw.test_targets.is_empty()).then(Config::built_in).and_then(Result::ok);
        let config = by_itself.as_ref().unwrap_or(context.config);
        let mut found = Vec::new();
        for test in policy.tests() {
            let path = format!("tests[{}]", test.index());
            let headers = raw.tests.get(test.index()).map(|test| &test.headers);
            let base = match self.document.json(&format!("{path}.request")) {
                None => Ok(Facts::default()),
                Some(body) => example(&body, headers.into_iter().flatten(), config),
            };
            let (message, detail) = match base {
                Err(error) => (format!("{:?}: its request is refused: {error}", test.name()), Vec::new()),
                Ok(base) => match test.run(policy, base, &targets) {
                    differences if differences.is_empty() => continue,
                    differences => (format!("{:?} comes out differently", test.name()), diff(&differences)),
                },
            };
            let at = self.document.problem(&path, "").at;
            let (file, severity) = (self.name.to_owned(), Severity::Error);
            found.push(Finding { file, severity, at, path, message, detail });
        }
        found
    }
}

/// The facts of a test's request, or what its caller would be told.
fn example<'a>(
    body: &serde_json::Value,
    headers: impl Iterator<Item = (&'a String, &'a String)>,
    config: &Config,
) -> Result<Facts, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| format!("the value of {name} is no header's"))?;
        map.append(name, value);
    }
    // Without a classifier: a policy's tests come out the same on every machine.
    let reader = ::signals::Reader::new(Arc::clone(&config.scanner), None, Duration::ZERO);
    facts::of_example(body.to_string().into(), &map, config, &reader)
}

/// What differs, as a diff: `-` what the test expects, `+` what came out.
fn diff(differences: &[Difference]) -> Vec<String> {
    let lines = |d: &Difference| [format!("- {}: {}", d.what, d.expected), format!("+ {}: {}", d.what, d.found)];
    differences.iter().flat_map(lines).collect()
}
