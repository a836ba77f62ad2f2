//! Several installers of one artifact, in one process and in two; what a crash leaves.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use artifacts::{Error, Home, Manifest, SilentProgress, Store};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::support::server::{FileServer, Reply};
use crate::support::{MODEL, Place, Recorder, body, manifest, settings};

/// Tells the second process where to install; the manifest lies beside.
const HOME: &str = "ARTIFACTS_TEST_HOME";

#[tokio::test]
async fn the_second_installer_waits_and_uses_what_the_first_fetched() {
    let (place, body, go) = (Place::new(), body(100_000), Arc::new(Notify::new()));
    let server = FileServer::start(&body, [("/f", vec![Reply::GoodAfter(Arc::clone(&go)), Reply::Good])]).await;
    let text = manifest(&body, &[server.url("/f")]);
    let first = tokio::spawn({
        let store = place.store(&text);
        async move { store.install(MODEL, &SilentProgress).await }
    });
    server.asked.notified().await;
    let store = place.store(&text);
    assert!(matches!(store.remove(MODEL), Err(Error::Busy { .. })));
    let recorder = Arc::new(Recorder::default());
    let second = tokio::spawn({
        let recorder = Arc::clone(&recorder);
        async move { store.install(MODEL, &*recorder).await }
    });
    recorder.noted.notified().await;
    assert!(recorder.noted("another process"));
    go.notify_one();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first, second);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(std::fs::read(first.path).unwrap(), body);
}

#[tokio::test]
async fn two_processes_fetch_once() {
    let (place, body, go) = (Place::new(), body(100_000), Arc::new(Notify::new()));
    let server = FileServer::start(&body, [("/f", vec![Reply::GoodAfter(Arc::clone(&go)), Reply::Good])]).await;
    let text = manifest(&body, &[server.url("/f")]);
    place.file("manifest.yaml", text.as_bytes());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "concurrency::the_other_process", "--ignored"])
        .env(HOME, place.home())
        .kill_on_drop(true)
        .stdout(Stdio::null());
    let mut child = child.spawn().unwrap();
    server.asked.notified().await;
    let recorder = Recorder::default();
    let store = place.store(&text);
    let (here, ()) = tokio::join!(store.install(MODEL, &recorder), async {
        recorder.noted.notified().await;
        go.notify_one();
    });
    assert!(child.wait().await.unwrap().success());
    assert_eq!(std::fs::read(here.unwrap().path).unwrap(), body);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
#[ignore = "the second process of two_processes_fetch_once, which starts it"]
async fn the_other_process() {
    let home = PathBuf::from(std::env::var_os(HOME).unwrap());
    let text = std::fs::read_to_string(home.with_file_name("manifest.yaml")).unwrap();
    let store = Store::new(Home::at(home), Manifest::parse(&text).unwrap(), settings());
    store.install(MODEL, &SilentProgress).await.unwrap();
}

#[tokio::test]
async fn an_installer_that_is_given_up_frees_the_lock_and_leaves_its_part() {
    let (place, body) = (Place::new(), body(2_500_000));
    let server = FileServer::start(&body, [("/f", vec![Reply::StallAfter(2_200_000), Reply::Good])]).await;
    let text = manifest(&body, &[server.url("/f")]);
    let store = place.store(&text);
    let recorder = Arc::new(Recorder::default());
    let first = tokio::spawn({
        let recorder = Arc::clone(&recorder);
        async move { store.install(MODEL, &*recorder).await }
    });
    while *recorder.advanced.lock().unwrap() < 2_200_000 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    place.store(&text).install(MODEL, &Recorder::default()).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
    assert!(server.ranges()[1].is_some());
}

#[tokio::test]
async fn what_a_crash_left_is_no_obstacle() {
    let (place, body) = (Place::new(), body(100_000));
    let server = FileServer::start(&body, [("/f", vec![Reply::Good])]).await;
    std::fs::create_dir_all(place.home().join("locks")).unwrap();
    std::fs::write(place.home().join("locks/model.lock"), "1234").unwrap();
    std::fs::write(place.part(&body), &body[..60_000]).unwrap();
    // A file without a receipt was not installed completely, whatever it holds.
    std::fs::create_dir_all(place.installed().parent().unwrap()).unwrap();
    std::fs::write(place.installed(), vec![0; 100_000]).unwrap();
    let store = place.store(&manifest(&body, &[server.url("/f")]));
    assert_eq!(store.find(MODEL).unwrap(), None);
    store.install(MODEL, &SilentProgress).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
    assert_eq!(server.ranges(), [Some("bytes=60000-".to_owned())]);
}
