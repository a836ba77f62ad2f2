//! The gateway harness against a shell script that plays the gateway.

use rustix::process::{Signal, WaitOptions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use testkit::{Behaviour, Gateway, GatewayBuilder, ScriptedUpstream, http_client};

/// A program that says it is ready at this address and waits for signals.
fn ready_at(addr: std::net::SocketAddr) -> String {
    format!(
        r#"echo "config=$(cat "$3") home=$TIDEGATE_HOME extra=$EXTRA leaked=$http_proxy args=$*" >&2
trap 'echo reloaded >&2' USR1
trap 'echo stopping >&2; exit 3' TERM
echo '{{"level":"INFO","fields":{{"message":"gateway ready","data_addr":"{addr}","admin_addr":"{addr}"}}}}' >&2
while :; do read -r line <> "$TIDEGATE_HOME/pipe" || :; done"#
    )
}

fn builder(folder: &tempfile::TempDir, script: &str) -> GatewayBuilder {
    let program = folder.path().join("gateway.sh");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let made = std::process::Command::new("mkfifo").arg(home.join("pipe")).status().unwrap();
    assert!(made.success());
    Gateway::builder("listen: 127.0.0.1:0").program(program).home(home).env("EXTRA", "set").arg("--flag")
}

#[tokio::test]
async fn it_starts_speaks_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start().await;
    upstream.set_probe(Some(Behaviour::Raw {
        status: 200,
        headers: Vec::new(),
        body: "x_total{a=\"1\"} 2\nx_total{a=\"2\"} 3\n".to_owned(),
    }));
    let mut gateway = builder(&folder, &ready_at(upstream.addr())).start().await;
    let first = gateway.wait_for_log("config=").await;
    for part in ["config=listen: 127.0.0.1:0 ", "extra=set", "leaked= ", "args=up --config ", "--flag"] {
        assert!(first.contains(part), "{first}");
    }
    assert!(first.contains(&format!("home={} ", gateway.home().display())));
    assert_eq!(gateway.data_addr(), upstream.addr());

    let answer = gateway.chat_stream(&super::chat(false)).await;
    assert!(answer.is_complete());
    assert_eq!(gateway.metric("x_total", &[]).await, Some(5.0));
    assert_eq!(gateway.metric("x_total", &[("a", "2")]).await, Some(3.0));
    assert!(gateway.resident_bytes() > 0);

    // Not HUP: a shell that was started with HUP ignored, as by nohup, cannot trap it.
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("reloaded").await;
    assert_eq!(gateway.terminate().await.code(), Some(3));
    gateway.wait_for_log("stopping").await;
}

#[tokio::test]
async fn dropping_it_kills_it() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = builder(&folder, &ready_at(upstream.addr())).start().await;
    assert_eq!(gateway.kill().await.signal(), Some(9));
    std::fs::remove_file(folder.path().join("home/pipe")).unwrap();
    let gateway = builder(&folder, &ready_at(upstream.addr())).start().await;
    let pid = rustix::process::Pid::from_raw(gateway.pid().try_into().unwrap()).unwrap();
    drop(gateway);
    // Whether this wait or the runtime's own collects the child: both return only once it has ended.
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(rustix::process::waitpid(Some(pid), WaitOptions::empty()).is_ok()));
    let ended = tokio::time::timeout(testkit::PATIENCE, ended).await;
    assert!(ended.expect("the process outlived its handle").is_ok());
}

#[tokio::test]
async fn a_refused_configuration_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    let exited = builder(&folder, "echo out; echo 'no such key' >&2; exit 64").run_to_exit().await;
    assert_eq!((exited.status.code(), exited.stdout.as_str()), (Some(64), "out\n"));
    assert_eq!(exited.stderr, "no such key\n");
}

#[tokio::test]
#[should_panic(expected = "cannot bind")]
async fn a_start_that_fails_shows_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    builder(&folder, "echo 'cannot bind' >&2; exit 1").start().await;
}

#[test]
#[should_panic(expected = "build it first: make test")]
fn a_missing_binary_says_how_to_build_it() {
    testkit::bin("no-such-program");
}

#[tokio::test]
async fn the_client_can_be_made_twice() {
    drop(http_client());
    drop(http_client());
    assert!(testkit::bin("bench-upstream").is_file());
}
