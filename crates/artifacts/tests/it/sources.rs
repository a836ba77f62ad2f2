//! Several sources of one artifact, local files, and what a failure leaves.

use artifacts::{Error, Origin};

use crate::support::server::{FileServer, Reply};
use crate::support::{MODEL, Place, Recorder, body, manifest, manifest_sized, names};

#[tokio::test]
async fn wrong_bytes_from_the_first_source_lead_to_the_second() {
    let (place, body) = (Place::new(), body(5000));
    let server =
        FileServer::start(&body, [("/bad", vec![Reply::Other(vec![9; 5000])]), ("/good", vec![Reply::Good])]).await;
    let store = place.store(&manifest(&body, &[server.url("/bad"), server.url("/good")]));
    let recorder = Recorder::default();
    let found = store.install(MODEL, &recorder).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), body);
    assert!(recorder.noted("/bad") && recorder.noted("sha256"));
    let receipt = std::fs::read_to_string(place.home().join("artifacts/model/1/receipt.json")).unwrap();
    assert!(receipt.contains("/good") && !receipt.contains("/bad"), "{receipt}");
}

#[tokio::test]
async fn what_one_source_began_another_goes_on_with() {
    let (place, body) = (Place::new(), body(200_000));
    let server = FileServer::start(
        &body,
        [("/a", vec![Reply::CutAfter(90_000), Reply::Status(404)]), ("/b", vec![Reply::Good])],
    )
    .await;
    let store = place.store(&manifest(&body, &[server.url("/a"), server.url("/b")]));
    store.install(MODEL, &Recorder::default()).await.unwrap();
    let last = server.seen().pop().unwrap();
    assert_eq!((last.range.as_deref(), last.if_range), (Some("bytes=90000-"), None));
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
}

#[tokio::test]
async fn when_all_fail_each_is_named_with_its_reason() {
    let (place, body) = (Place::new(), body(100));
    let server = FileServer::start(&body, [("/bad", vec![Reply::Other(vec![9; 100])])]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sources =
        [server.url("/none"), server.url("/bad"), format!("http://{closed}/f"), "file:/nowhere/model.gguf".to_owned()];
    let store = place.store(&manifest(&body, &sources));
    let error = store.install(MODEL, &Recorder::default()).await.unwrap_err();
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("model") && lines[0].contains('4'), "{text}");
    for (line, (source, reason)) in
        lines[1..].iter().zip(sources.iter().zip(["404", "sha256", "no answer", "No such file"]))
    {
        assert!(line.contains(source) && line.contains(reason), "{line}");
    }
    assert_eq!(lines.len(), 5);
    assert_eq!(names(&place.home().join("artifacts")), Vec::<String>::new());
}

#[tokio::test]
async fn a_local_file_is_copied_and_may_then_go() {
    let (place, body) = (Place::new(), body(3_000_000));
    let source = place.file("source", &body);
    let store = place.store(&manifest(&body, &[format!("file:{}", source.display())]));
    let found = store.install(MODEL, &Recorder::default()).await.unwrap();
    assert_eq!(found.origin, Origin::Installed);
    std::fs::remove_file(source).unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), body);
}

#[tokio::test]
async fn a_local_file_with_other_bytes_or_size_is_refused() {
    for other in [vec![1; 1000], vec![1; 999], vec![1; 1001]] {
        let (place, body) = (Place::new(), body(1000));
        let source = place.file("source", &other);
        let store = place.store(&manifest(&body, &[format!("file:{}", source.display())]));
        assert!(matches!(store.install(MODEL, &Recorder::default()).await, Err(Error::Sources { .. })));
        assert!(!place.installed().exists());
        assert_eq!(place.downloads(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_told_before_anything_is_asked() {
    let place = Place::new();
    let server = FileServer::start(b"x", [("/f", vec![Reply::Good])]).await;
    let store = place.store(&manifest_sized(b"x", 1 << 60, &[server.url("/f")]));
    let error = store.install(MODEL, &Recorder::default()).await.unwrap_err();
    let Error::DiskFull { need_bytes, available_bytes, .. } = &error else { panic!("{error}") };
    assert!(*need_bytes >= 1 << 60 && *available_bytes < 1 << 60);
    let text = error.to_string();
    assert!(text.contains(&need_bytes.to_string()) && text.contains(&available_bytes.to_string()), "{text}");
    assert!(server.seen().is_empty());
}
