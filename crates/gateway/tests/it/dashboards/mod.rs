//! Dashboards, recording rules and alerts against the table of metrics, and against a real Prometheus that scrapes a real gateway.

mod deploy;
mod live;
mod promql;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use account::metrics::{Kind, Row, TABLE, Values};
use marked_yaml::Node;
use serde_json::Value;

use promql::{Grouping, Query, Selector};

/// Labels that Prometheus adds.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> PathBuf {
    root().join("dashboards")
}

/// One query, and where it stands.
#[derive(Clone, Debug)]
struct Found {
    place: String,
    query: String,
}

/// The queries of all panels, variables of Grafana included.
fn of_dashboards() -> Vec<Found> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{} / {} / {}", dashboard["title"], panel["title"], target["refId"]);
                found.push(Found { place, query: target["expr"].as_str().unwrap().to_owned() });
            }
        }
    }
    assert!(found.len() > 60, "the queries are found: {}", found.len());
    found
}

/// The rules of a file: the name they record or alert by, and the expression.
fn rules(file: &str) -> Vec<(String, Found)> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let node = marked_yaml::parse_yaml(0, &text).unwrap();
    let text_of = |rule: &Node, key: &str| {
        rule.as_mapping().and_then(|rule| rule.get_scalar(key)).map(|scalar| scalar.as_str().to_owned())
    };
    let groups = node.as_mapping().unwrap().get_sequence("groups").unwrap();
    let mut found = Vec::new();
    for group in groups.iter() {
        for rule in group.as_mapping().unwrap().get_sequence("rules").unwrap().iter() {
            let name = text_of(rule, "record").or_else(|| text_of(rule, "alert")).unwrap();
            let query = text_of(rule, "expr").unwrap();
            found.push((name.clone(), Found { place: format!("{file} / {name}"), query }));
        }
    }
    found
}

/// What Grafana puts in for its variables.
fn filled(query: &str, interval: &str) -> String {
    query.replace("$__rate_interval", interval).replace("$__range", interval).replace("$instance", ".+")
}

/// The row that a name of the exposition belongs to, and whether it is that of buckets.
fn row(name: &str) -> Option<(&'static Row, bool)> {
    let rows = || TABLE.iter().flat_map(|area| area.rows).copied();
    let of = |base: &str| rows().find(|row| row.name == base);
    let parts = ["_bucket", "_sum", "_count"].into_iter();
    let mut of_histogram = parts.filter_map(|part| Some((of(name.strip_suffix(part)?)?, part == "_bucket")));
    let of_histogram = of_histogram.find(|(row, _)| matches!(row.kind, Kind::Histogram(_)));
    of_histogram.or_else(|| of(name).filter(|row| !matches!(row.kind, Kind::Histogram(_))).map(|row| (row, false)))
}

/// The labels of a metric; those of a recorded one are what its rule leaves.
fn labels_of(name: &str, recorded: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    if let Some(labels) = recorded.get(name) {
        return Some(labels.clone());
    }
    let (row, is_buckets) = row(name)?;
    let mut labels: Vec<_> = row.labels.iter().map(|label| label.name.to_owned()).collect();
    labels.extend(TARGET_LABELS.map(str::to_owned));
    labels.extend(is_buckets.then(|| "le".to_owned()));
    Some(labels)
}

/// What a query says that the table does not have.
fn problems(query: &str, recorded: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let Query { selectors, groupings } = match promql::read(&filled(query, "5m")) {
        Ok(query) => query,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    let mut all = Vec::new();
    for Selector { name, matchers } in &selectors {
        let Some(labels) = labels_of(name, recorded) else {
            problems.push(format!("there is no metric {name}"));
            continue;
        };
        for (label, operator, value) in matchers {
            if !labels.contains(label) {
                problems.push(format!("{name} has no label {label}"));
            }
            problems.extend(impossible(name, label, operator, value));
        }
        all.extend(labels);
    }
    for Grouping { labels } in &groupings {
        for label in labels.iter().filter(|label| !all.contains(*label)) {
            problems.push(format!("no metric of the query has a label {label}"));
        }
    }
    if selectors.is_empty() {
        problems.push("it asks for no metric".to_owned());
    }
    problems
}

/// Values of a closed list that are not on it.
fn impossible(name: &str, label: &str, operator: &str, value: &str) -> Vec<String> {
    let known = row(name).and_then(|(row, _)| row.labels.iter().find(|known| known.name == label));
    let Some(Values::Closed(list)) = known.map(|label| label.values) else { return Vec::new() };
    let is_pattern = operator.ends_with('~');
    let values = if is_pattern { value.split('|').collect() } else { vec![value] };
    let unknown = values.into_iter().filter(|value| !list().contains(value));
    unknown.map(|value| format!("{name}: {label} is never {value:?}")).collect()
}

/// What recording rules leave, by their names.
fn recorded() -> BTreeMap<String, Vec<String>> {
    let labels = |query: &str| {
        let grouped = promql::read(query).unwrap().groupings;
        grouped.first().unwrap().labels.iter().filter(|label| *label != "le").cloned().collect()
    };
    rules("recording.yml").into_iter().map(|(name, found)| (name, labels(&found.query))).collect()
}

#[test]
fn every_query_asks_for_what_the_table_has() {
    let recorded = recorded();
    let rules = ["recording.yml", "alerts.yml"].into_iter().flat_map(rules).map(|(_, found)| found);
    let mut wrong = Vec::new();
    for Found { place, query } in of_dashboards().into_iter().chain(rules) {
        wrong.extend(problems(&query, &recorded).into_iter().map(|problem| format!("{place}: {problem}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The test above can fail.
#[test]
fn queries_that_ask_for_what_there_is_not_are_found() {
    for (query, problem) in [
        ("rate(tidegate_request_total[5m])", "there is no metric tidegate_request_total"),
        ("tidegate_request_duration_seconds", "there is no metric tidegate_request_duration_seconds"),
        ("sum by (model) (tidegate_requests_total)", "no metric of the query has a label model"),
        (r#"tidegate_requests_total{model="a"}"#, "tidegate_requests_total has no label model"),
        (r#"tidegate_requests_total{outcome=~"answered|lost"}"#, r#"tidegate_requests_total: outcome is never "lost""#),
        ("sum by (le) (tidegate_request_duration_seconds_count)", "no metric of the query has a label le"),
        ("sum(1)", "it asks for no metric"),
    ] {
        assert_eq!(problems(query, &BTreeMap::new()), [problem], "{query}");
    }
}

#[test]
fn every_alert_has_its_page_and_every_dashboard_is_made_of_its_source() {
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let headings: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let names: Vec<_> = rules("alerts.yml").into_iter().map(|(name, _)| name).collect();
    assert_eq!(headings, names, "the runbook has the alerts in their order");
    let text = std::fs::read_to_string(folder().join("alerts.yml")).unwrap();
    for name in &names {
        assert!(text.contains(&format!("runbook: docs/runbook.md#{}\n", name.to_lowercase())), "{name}");
    }
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let check = Command::new(python).arg(folder().join("panels.py")).arg("check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// The commands of a text: in back quotes, or a line of a block.
fn commands(text: &str) -> Vec<Vec<&str>> {
    let inline = text.split('`').skip(1).step_by(2);
    let lines = text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines);
    let own = inline.chain(lines).filter(|command| command.starts_with("tidegate ") && !command.contains('\n'));
    own.map(|command| command.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect()).collect()
}

#[test]
fn the_binary_knows_every_command_of_the_runbook() {
    let text = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let found = commands(&text);
    assert!(found.len() > 10, "{found:?}");
    for arguments in found {
        // Read up to there, and not run.
        let output = Command::new(testkit::bin("tidegate")).args(&arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = "`tidegate a` b\n```sh\ntidegate c --d e  # f\nls\n```\n`g`";
    assert_eq!(commands(text), [vec!["a"], vec!["c", "--d", "e"]]);
}

#[test]
fn dashboards_can_be_imported() {
    let mut uids = Vec::new();
    for name in ["overview", "local-engine", "routing-privacy"] {
        let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&dashboard["schemaVersion"], &dashboard["id"]), (&42.into(), &Value::Null));
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: std::collections::BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: each panel has an id of its own");
        for panel in panels {
            let place = &panel["gridPos"];
            let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
            assert!(right <= 24, "{name}: {} stands beside the page", panel["title"]);
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {}", panel["title"]);
            }
        }
        uids.push(dashboard["uid"].as_str().unwrap().to_owned());
        assert!(text.matches("\"url\": \"/d/tidegate-").count() == 2, "{name}: the other two are linked");
    }
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 3);
}

#[test]
fn prometheus_takes_the_rules_and_their_tests_pass() {
    let Some(bin) = live::prometheus() else { return };
    let run = |arguments: &[&str]| {
        let output = Command::new(bin.join("promtool")).args(arguments).current_dir(folder()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
    };
    run(&["check", "rules", "recording.yml", "alerts.yml"]);
    run(&["test", "rules", "rules_test.yml"]);
}
