//! The supervisor with real children: `fake-llama-server` of the crate `testkit`, which misbehaves on request.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Place, Watched, chat, get, kill};
use worker::{Endpoint, StartError, StateName, Worker, WorkerConfig};

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hello"}]}"#;

/// The fake, where cargo puts the binaries of the same profile.
fn fake() -> PathBuf {
    let folder = std::env::var_os("TIDEGATE_TEST_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).expect("tests lie in <profile>/deps").to_owned()
    });
    let path = folder.join("fake-llama-server");
    assert!(path.exists(), "{} is missing: run `cargo build -p testkit --bin fake-llama-server`", path.display());
    path
}

fn place(extra_args: &[&str]) -> Place {
    let mut place = Place::new(fake(), PathBuf::new());
    place.config.model = place.folder.path().join("m.gguf");
    std::fs::write(&place.config.model, "GGUF").unwrap();
    let starts = place.folder.path().join("starts");
    place.config.extra_args = vec!["--fake-start-log".into(), starts.to_str().unwrap().into()];
    place.config.extra_args.extend(extra_args.iter().map(ToString::to_string));
    place
}

fn starts(place: &Place) -> usize {
    std::fs::read_to_string(place.folder.path().join("starts")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_hundred_callers_start_one_child() {
    let place = place(&["--fake-healthy-after", "3"]);
    let worker = Worker::start(place.config.clone());
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.ensure_ready().await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().generation, 1);
    }
    let ready = worker.ensure_ready().await.unwrap();
    assert!(chat(&ready, CHAT).await.unwrap().contains("fake worker answers: 1"));
    assert_eq!(starts(&place), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_child_killed_between_two_requests_is_replaced() {
    let place = place(&[]);
    let worker = Worker::start(place.config.clone());
    let first = worker.ensure_ready().await.unwrap();
    chat(&first, CHAT).await.unwrap();
    kill(worker.status().pid.unwrap());
    // What a caller does: a connection that fails is reported, and asked for again. Once is enough.
    let mut ready = worker.ensure_ready().await.unwrap();
    if chat(&ready, CHAT).await.is_err() {
        worker.report_lost(ready.generation);
        ready = worker.ensure_ready().await.unwrap();
        assert!(chat(&ready, CHAT).await.unwrap().contains("200"));
    }
    assert_eq!((ready.generation, starts(&place)), (2, 2));
    assert_eq!(worker.status().restarts_total, 1);
    assert_ne!(ready.endpoint, first.endpoint);
    worker.stop().await;
}

#[tokio::test]
async fn a_child_that_crashes_on_a_request_is_replaced() {
    let place = place(&["--fake-crash-on-chat", "1"]);
    let worker = Worker::start(place.config.clone());
    let first = worker.ensure_ready().await.unwrap();
    let mut watch = worker.watch();
    assert!(chat(&first, CHAT).await.is_err());
    watch.wait_for(|status| status.state == StateName::Ready && status.generation == 2).await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn stop_ends_the_child_and_its_socket() {
    let place = place(&[]);
    let worker = Worker::start(place.config.clone());
    let ready = worker.ensure_ready().await.unwrap();
    let Endpoint::Unix(socket) = &ready.endpoint else { panic!("{ready:?}") };
    assert!(socket.starts_with(place.folder.path()) && socket.exists());
    let child = Watched::open(worker.status().pid.unwrap());
    worker.stop().await;
    child.ended().await;
    assert!(!socket.exists());
    assert_eq!((worker.status().state, worker.status().pid), (StateName::Stopped, None));
    assert!(place.log().contains("SIGTERM"), "{}", place.log());
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed() {
    let mut place = place(&["--fake-ignore-sigterm"]);
    place.config.stop_timeout = Duration::from_millis(200);
    let worker = Worker::start(place.config.clone());
    worker.ensure_ready().await.unwrap();
    let child = Watched::open(worker.status().pid.unwrap());
    let before = Instant::now();
    worker.stop().await;
    assert!(before.elapsed() >= place.config.stop_timeout);
    child.ended().await;
    assert!(place.log().contains("SIGKILL"), "{}", place.log());
}

#[tokio::test]
async fn a_child_that_never_gets_ready_is_killed() {
    let mut place = place(&["--fake-never-healthy", "--fake-say", "still loading"]);
    place.config.start_timeout = Duration::from_millis(300);
    place.config.start_attempts_max = 1;
    let worker = Worker::start(place.config.clone());
    let error = worker.ensure_ready().await.unwrap_err();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error}");
    assert_eq!(error.last_lines()[0], "still loading");
    assert_eq!(worker.status().pid, None);
}

#[tokio::test]
async fn a_child_that_stops_answering_is_replaced() {
    let mut place = place(&["--fake-silent-after", "1"]);
    place.config.liveness.interval = Duration::from_millis(10);
    place.config.liveness.timeout = Duration::from_millis(50);
    let worker = Worker::start(place.config.clone());
    worker.ensure_ready().await.unwrap();
    let mut watch = worker.watch();
    watch.wait_for(|status| status.generation == 2).await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn a_bad_model_file_is_reported_after_one_start() {
    let said = "E gguf_init_from_reader: failed to read magic";
    let place = place(&["--fake-say", "first", "--fake-say", said, "--fake-exit", "1"]);
    let worker = Worker::start(place.config.clone());
    let error = worker.ensure_ready().await.unwrap_err();
    assert_eq!(error.last_lines(), ["first", said]);
    assert!(error.is_permanent());
    assert!(error.to_string().contains("not a GGUF file") && error.to_string().contains("exit status: 1"), "{error}");
    assert_eq!(worker.ensure_ready().await, Err(error));
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn a_start_that_fails_for_another_reason_is_tried_again() {
    let mut place = place(&["--fake-say", "E cudaMalloc failed: out of memory", "--fake-exit", "1"]);
    place.config.backoff.initial = Duration::from_millis(1);
    let worker = Worker::start(place.config.clone());
    let error = worker.ensure_ready().await.unwrap_err();
    assert!(error.to_string().contains("too little memory"), "{error}");
    assert_eq!(starts(&place), 3);
}

#[tokio::test]
async fn a_missing_file_is_told_without_a_start() {
    let mut place = place(&[]);
    place.config.cool_down = Duration::from_millis(1);
    std::fs::remove_file(&place.config.model).unwrap();
    let worker = Worker::start(place.config.clone());
    let error = worker.ensure_ready().await.unwrap_err();
    assert!(error.to_string().contains("m.gguf"), "{error}");
    assert_eq!(starts(&place), 0);
    // And the file that comes later is used.
    worker.watch().wait_for(|status| status.state == StateName::Stopped).await.unwrap();
    std::fs::write(&place.config.model, "GGUF").unwrap();
    worker.ensure_ready().await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn an_executable_that_cannot_run_is_told_without_a_retry() {
    let mut place = place(&[]);
    place.config.executable = place.folder.path().join("llama-server");
    std::fs::write(&place.config.executable, "#!/nonexistent/interpreter").unwrap();
    std::fs::set_permissions(&place.config.executable, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = Worker::start(place.config.clone()).ensure_ready().await.unwrap_err();
    assert!(matches!(error, StartError::Misconfigured { .. }), "{error}");
    assert!(error.to_string().contains("cannot run"), "{error}");
}

#[tokio::test]
async fn a_loopback_port_is_used_when_it_is_given() {
    let mut place = place(&[]);
    // Free a moment ago; the kernel does not give it to another soon.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.config.loopback_port = Some(free.port());
    let worker = Worker::start(place.config.clone());
    let ready = worker.ensure_ready().await.unwrap();
    assert_eq!(ready.endpoint, Endpoint::Tcp(free));
    assert!(get(&ready, "/slots").await.unwrap().contains("\"n_ctx\":4096"));
    worker.stop().await;
}

#[tokio::test]
async fn the_child_does_not_see_our_environment() {
    let place = place(&[]);
    let worker = Worker::start(place.config.clone());
    worker.ensure_ready().await.unwrap();
    let seen = std::fs::read(format!("/proc/{}/environ", worker.status().pid.unwrap())).unwrap();
    let names: Vec<String> = String::from_utf8_lossy(&seen)
        .split('\0')
        .filter_map(|variable| variable.split_once('=').map(|(name, _)| name.to_owned()))
        .collect();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "tests are run by cargo");
    assert!(names.iter().any(|name| name == "PATH"));
    assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    worker.stop().await;
}

#[tokio::test]
async fn text_of_requests_stays_out_of_the_log() {
    let place = place(&["--fake-say", "before ready", "--fake-say-on-chat", "E grammar: SECRET"]);
    let worker = Worker::start(place.config.clone());
    let ready = worker.ensure_ready().await.unwrap();
    chat(&ready, CHAT).await.unwrap();
    worker.stop().await;
    let log = place.log();
    assert!(log.contains("before ready") && log.contains("1 lines withheld"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[tokio::test]
async fn the_log_is_bounded() {
    let line = "x".repeat(100);
    let say: Vec<&str> = std::iter::repeat_n(["--fake-say", line.as_str()], 100).flatten().collect();
    let mut place = place(&say);
    place.config.log_bytes_max = 2000;
    let worker = Worker::start(place.config.clone());
    worker.ensure_ready().await.unwrap();
    worker.stop().await;
    for name in ["local.log", "local.log.1"] {
        let bytes = place.config.log_dir.join(name).metadata().unwrap().len();
        assert!(bytes > 0 && bytes <= 2000, "{name}: {bytes}");
    }
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_child_along() {
    let place = place(&["--fake-ignore-sigterm"]);
    let outer = tokio::runtime::Runtime::new().unwrap();
    let inner = tokio::runtime::Runtime::new().unwrap();
    let worker = inner.block_on(async {
        let worker = Worker::start(place.config.clone());
        worker.ensure_ready().await.unwrap();
        worker
    });
    let _entered = outer.enter();
    let child = Watched::open(worker.status().pid.unwrap());
    drop(inner);
    outer.block_on(child.ended());
    assert_eq!(outer.block_on(worker.ensure_ready()), Err(StartError::Gone));
    assert_eq!(worker.status().state, StateName::Stopped);
}

const PARENT_PLACE: &str = "TIDEGATE_TEST_PARENT_PLACE";

/// Not a test: the process that `a_killed_parent_leaves_no_child` starts and kills.
#[test]
#[ignore = "the parent process of another test"]
fn parent_that_is_killed() {
    let folder =
        PathBuf::from(std::env::var_os(PARENT_PLACE).expect("only started by a_killed_parent_leaves_no_child"));
    let mut config = WorkerConfig::new("local", fake(), folder.join("m.gguf"), folder.join("run"), folder.join("log"));
    config.extra_args = vec!["--fake-ignore-sigterm".into()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let worker = Worker::start(config);
        worker.ensure_ready().await.unwrap();
        println!("\nchild {}", worker.status().pid.unwrap());
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_killed_parent_leaves_no_child() {
    let place = place(&[]);
    let mut parent = spawn_parent(place.folder.path());
    let output = BufReader::new(parent.stdout.take().unwrap());
    let child: u32 = output
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("child ").map(|pid| pid.parse().unwrap()))
        .expect("the parent tells its child");
    let child = Watched::open(child);
    parent.kill().unwrap();
    parent.wait().unwrap();
    child.ended().await;
}

fn spawn_parent(folder: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "parent_that_is_killed", "--nocapture"])
        .env(PARENT_PLACE, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
