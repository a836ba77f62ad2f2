//! The official Python client against the built gateway, with the real local model and a scripted cloud.

use std::process::Command;

use testkit::{Behaviour, Gateway, ScriptedUpstream};

use crate::real_engine;
use crate::support::push_clouds;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_openai_client_works() {
    let python = std::env::var("TIDEGATE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("TIDEGATE_TEST_PYTHON is not set; run `make test`, which makes the environment of the client")
    });
    let cloud = ScriptedUpstream::start().await;
    cloud.set_default(Behaviour::answer("from the cloud"));
    let mut config = real_engine::config();
    push_clouds(&mut config, &[&cloud]);
    let gateway = Gateway::start(&config).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python_client.py");
    let run = tokio::task::spawn_blocking({
        let base_url = gateway.url("/v1");
        move || Command::new(python).args([script, &base_url]).output().unwrap()
    });
    let output = run.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{}", gateway.logs().join("\n"));
    assert_eq!(out.trim().lines().last(), Some("10 checks passed"), "{out}");
}
