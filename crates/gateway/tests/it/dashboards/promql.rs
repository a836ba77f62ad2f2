//! Reads the names out of queries: metrics with their matchers, and the labels that are grouped by.
//!
//! Knows just enough of PromQL to tell names from functions and keywords, and refuses what it does not know. Whether a query is one is
//! Prometheus' to say, which runs each of them in `live`. The crates that parse all of PromQL bring 25 others along.

/// Functions and operators that take a list in parentheses.
const FUNCTIONS: [&str; 14] = [
    "absent",
    "clamp_min",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "min",
    "rate",
    "scalar",
    "sum",
    "topk",
    "avg",
    "vector",
];
const KEYWORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
/// A list of labels follows.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What a query names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query {
    pub(super) selectors: Vec<Selector>,
    pub(super) groupings: Vec<Grouping>,
}

/// A metric, with label, operator and value of each matcher.
#[derive(Debug, PartialEq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) matchers: Vec<(String, String, String)>,
}

/// Labels that are grouped by or matched on.
#[derive(Debug, PartialEq)]
pub(super) struct Grouping {
    pub(super) labels: Vec<String>,
}

/// Reads one.
pub(super) fn read(query: &str) -> Result<Query, String> {
    let mut read = Query::default();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        if is_name(first) && !first.is_ascii_digit() {
            let (name, after) = name(rest);
            let after = after.trim_start();
            rest = if GROUPINGS.contains(&name) {
                let (inside, after) = enclosed(after, '(', ')')?;
                let labels = inside.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
                read.groupings.push(Grouping { labels: labels.collect() });
                after
            } else if after.starts_with('(') || FUNCTIONS.contains(&name) {
                if !FUNCTIONS.contains(&name) {
                    return Err(format!("{name} is no function that this knows"));
                }
                after
            } else if KEYWORDS.contains(&name) {
                after
            } else {
                let (matchers, after) = matchers(after)?;
                read.selectors.push(Selector { name: name.to_owned(), matchers });
                after
            };
        } else if first == '[' {
            (_, rest) = enclosed(rest, '[', ']')?;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if "()+-*/^,><=!%".contains(first) || first.is_whitespace() {
            rest = &rest[1..];
        } else {
            return Err(format!("{first:?} is nothing that this knows, in {query}"));
        }
    }
    Ok(read)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()))
}

/// What stands between two marks that are not nested, and what follows.
fn enclosed(text: &str, open: char, close: char) -> Result<(&str, &str), String> {
    let inside = text.strip_prefix(open).ok_or_else(|| format!("{open} is missing before {text}"))?;
    inside.split_once(close).ok_or_else(|| format!("{close} is missing in {text}"))
}

type Matchers = Vec<(String, String, String)>;

/// The matchers behind a name, if there are any.
fn matchers(text: &str) -> Result<(Matchers, &str), String> {
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((Vec::new(), text)) };
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((matchers, after));
        }
        let (label, after) = name(rest);
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| after.starts_with(operator));
        let operator = operator.ok_or_else(|| format!("no matcher: {rest}"))?;
        let (value, after) = enclosed(&after[operator.len()..], '"', '"')?;
        matchers.push((label.to_owned(), operator.to_owned(), value.to_owned()));
        rest = after;
    }
}

#[test]
fn names_are_told_from_functions_and_keywords() {
    let query = r#"histogram_quantile(0.95, sum by (le, target) (rate(a_bucket{x="1", y!~"p|q"}[5m]))) / (b:c > 2^30) and on (instance) d"#;
    let selector = |name: &str, matchers: &[[&str; 3]]| Selector {
        name: name.to_owned(),
        matchers: matchers.iter().map(|[a, b, c]| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect(),
    };
    let grouping = |labels: &[&str]| Grouping { labels: labels.iter().map(|label| (*label).to_owned()).collect() };
    let expected = Query {
        selectors: vec![
            selector("a_bucket", &[["x", "=", "1"], ["y", "!~", "p|q"]]),
            selector("b:c", &[]),
            selector("d", &[]),
        ],
        groupings: vec![grouping(&["le", "target"]), grouping(&["instance"])],
    };
    assert_eq!(read(query), Ok(expected));
    for broken in ["rate(a[5m)", "a{x}", "sum by le (a)", "frobnicate(a)", "a ; b"] {
        assert!(read(broken).is_err(), "{broken}");
    }
}
