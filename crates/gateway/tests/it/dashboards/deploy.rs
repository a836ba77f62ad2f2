//! `deploy/`, as far as it can be checked without a container engine: what it names is there, and programs take the files that are theirs.

use std::path::Path;
use std::process::Command;

use marked_yaml::Node;
use testkit::bin;

fn parsed(path: &Path) -> Node {
    marked_yaml::parse_yaml(0, std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What stands at keys and numbers that follow each other.
fn at<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, key| match node {
        Node::Mapping(mapping) => mapping.get_node(key).unwrap_or_else(|| panic!("no {key} of {path:?}")),
        Node::Sequence(sequence) => sequence.get_node(key.parse().unwrap()).unwrap(),
        Node::Scalar(_) => panic!("nothing in a scalar: {path:?}"),
    })
}

fn texts(node: &Node) -> Vec<String> {
    node.as_sequence().unwrap().iter().map(|item| item.as_scalar().unwrap().as_str().to_owned()).collect()
}

fn text(node: &Node) -> String {
    node.as_scalar().unwrap().as_str().to_owned()
}

#[test]
fn what_compose_mounts_is_there_and_is_where_it_is_read() {
    let root = super::root();
    let deploy = root.join("deploy");
    let compose = parsed(&deploy.join("compose.yaml"));
    let mut mounted = Vec::new();
    for service in ["tidegate", "prometheus", "grafana"] {
        for volume in texts(at(&compose, &["services", service, "volumes"])) {
            let (source, rest) = volume.split_once(':').unwrap();
            match source.starts_with('.') {
                true => {
                    let file = deploy.join(source);
                    assert!(file.exists(), "{service}: {source} is not there");
                    mounted.push((rest.trim_end_matches(":ro").to_owned(), file));
                }
                // Declared, or this panics.
                false => _ = at(&compose, &["volumes", source]),
            }
        }
        for port in texts(at(&compose, &["services", service, "ports"])) {
            assert!(port.starts_with("127.0.0.1:"), "{service}: {port} is open to others");
        }
    }
    for service in ["prometheus", "grafana"] {
        let image = text(at(&compose, &["services", service, "image"]));
        let (name, digest) = image.split_once("@sha256:").unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{image}");
        assert!(name.rsplit_once(':').is_some_and(|(_, tag)| tag.contains('.')), "{image} says no version");
    }
    let is_mounted = |path: &str| mounted.iter().any(|(at, _)| at == path);
    let context = deploy.join(text(at(&compose, &["services", "tidegate", "build", "context"])));
    let dockerfile = context.join(text(at(&compose, &["services", "tidegate", "build", "dockerfile"])));
    let dockerfile = std::fs::read_to_string(dockerfile).unwrap();
    assert!(dockerfile.contains("\"/etc/tidegate/tidegate.yaml\"") && is_mounted("/etc/tidegate/tidegate.yaml"));
    // The engine of the local target is built where the gateway runs.
    let (_, runs_in) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(runs_in.contains(" g++ "), "no compiler in the last stage: {runs_in}");

    let prometheus = parsed(&deploy.join("prometheus.yml"));
    for rules in texts(at(&prometheus, &["rule_files"])) {
        assert!(is_mounted(&rules), "{rules} is mounted nowhere");
    }
    let scraped = texts(at(&prometheus, &["scrape_configs", "0", "static_configs", "0", "targets"]));
    assert_eq!(scraped, ["tidegate:8788"], "the name of the service and its admin port");

    let provisioning = deploy.join("grafana/provisioning");
    let source = parsed(&provisioning.join("datasources/prometheus.yaml"));
    assert_eq!(text(at(&source, &["datasources", "0", "url"])), "http://prometheus:9090");
    let interval = text(at(&source, &["datasources", "0", "jsonData", "timeInterval"]));
    assert_eq!(interval, text(at(&prometheus, &["global", "scrape_interval"])));
    let folder =
        text(at(&parsed(&provisioning.join("dashboards/tidegate.yaml")), &["providers", "0", "options", "path"]));
    for name in ["overview", "local-engine", "routing-privacy"] {
        assert!(is_mounted(&format!("{folder}/{name}.json")), "{name} is not provisioned");
    }
    let home = text(at(&compose, &["services", "grafana", "environment", "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]));
    assert!(is_mounted(&home), "{home}");
}

#[test]
fn the_gateway_and_prometheus_take_their_configurations() {
    let deploy = super::root().join("deploy");
    let mut check = Command::new(bin("tidegate"));
    let check = check.args(["check", "--config"]).arg(deploy.join("tidegate.yaml")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let Some(prometheus) = super::live::prometheus() else { return };
    let check = Command::new(prometheus.join("promtool"))
        .args(["check", "config", "--syntax-only"])
        .arg(deploy.join("prometheus.yml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
