//! `tidegate status`: what a running gateway says of itself, for people and for programs.

use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, bin};

use crate::support::{BARE, LISTEN, Reply, chat, hello, push_clouds};

async fn tidegate_status(arguments: Vec<String>) -> (Option<i32>, String, String) {
    let run = move || Command::new(bin("tidegate")).arg("status").args(arguments).output().unwrap();
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn it_shows_targets_breakers_network_workers_and_policy() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let a = ScriptedUpstream::start().await;
    let mut config = format!(
        "{BARE}network: {{metered: true, probe: {{enabled: false}}}}\nengine: {{path: '{}'}}\ntargets:\n  - {{id: local/m, provider: llama_cpp, model_path: '{}', eager: true}}\n",
        bin("fake-llama-server").display(),
        model.display()
    );
    push_clouds(&mut config, &[&a]);
    let gateway = Gateway::start(&config).await;
    gateway.wait_for_log("\"state\":\"ready\"").await;
    a.set_default(Behaviour::status(401));
    let mut pinned = hello();
    pinned["model"] = json!("cloud/a");
    Reply::of(chat(&gateway, &pinned)).await;

    let admin = vec!["--admin".to_owned(), gateway.admin_addr().to_string()];
    let (code, table, stderr) = tidegate_status(admin.clone()).await;
    assert_eq!(code, Some(0), "{table}{stderr}");
    let line = |begin: &str| {
        let found = table.lines().find(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("{begin} in {table}")).to_owned()
    };
    assert!(line("gateway").contains("ready, version "), "{table}");
    assert!(line("requests").contains("0 in flight"), "{table}");
    assert!(line("policy").contains("generation 1"), "{table}");
    assert!(line("network").ends_with("online, metered"), "{table}");
    let target: Vec<_> = line("local/m ").split_whitespace().map(str::to_owned).collect();
    assert_eq!(target[..4], ["local/m", "device", "ready", "closed"], "{table}");
    let target = line("cloud/a ");
    assert!(target.contains("breaker_open") && target.contains("open misconfigured, "), "{table}");
    let workers = table.split("\n\n").nth(2).unwrap_or_else(|| panic!("{table}"));
    assert!(workers.contains("local/m") && workers.contains("ready"), "{table}");

    let (code, text, _) = tidegate_status([admin, vec!["--json".to_owned()]].concat()).await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &shown["targets"][1]["breaker"]["cause"]), (Some(0), &json!("misconfigured")));
    assert_eq!((&shown["network"]["metered"], &shown["network"]["offline"]), (&json!(true), &json!("auto")));
    assert_eq!(shown["workers"][0]["state"], "ready");

    // The configuration says where the admin port is.
    let file = folder.path().join("c.yaml");
    let named = config.replace("admin_listen: 127.0.0.1:0", &format!("admin_listen: {}", gateway.admin_addr()));
    std::fs::write(&file, named).unwrap();
    let (code, ..) = tidegate_status(vec!["--config".to_owned(), file.display().to_string()]).await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_gateway_that_is_not_ready_is_shown_and_fails_and_one_that_is_not_there_is_named() {
    let config =
        format!("{LISTEN}targets:\n  - {{id: local/m, provider: llama_cpp, model_path: /nonexistent/m.gguf}}\n");
    let gateway = Gateway::builder(&config).env("PATH", "/nonexistent").start().await;
    let (code, table, stderr) = tidegate_status(vec!["--admin".to_owned(), gateway.admin_url("/")]).await;
    assert_eq!((code, stderr.as_str()), (Some(1), "tidegate: the gateway is not ready\n"), "{table}");
    assert!(table.contains("not ready") && table.contains("engine: "), "{table}");

    let (code, _, stderr) = tidegate_status(vec!["--admin".to_owned(), gateway.data_addr().to_string()]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("it answers with status 404: is this the admin port?"), "{stderr}");

    let nobody = ScriptedUpstream::start_down().await;
    let (code, _, stderr) = tidegate_status(vec!["--admin".to_owned(), nobody.addr().to_string()]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with(&format!("tidegate: no gateway answers on {}: ", nobody.addr())), "{stderr}");
}
