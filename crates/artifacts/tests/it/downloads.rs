//! HTTP downloads against servers that behave and that do not.

use std::time::Duration;

use artifacts::{SourceError, Store};

use crate::support::server::{FileServer, Reply};
use crate::support::{MODEL, Place, Recorder, body, failures, manifest, settings};

const LEN: usize = 300_000;

struct Case {
    place: Place,
    server: FileServer,
    store: Store,
    body: Vec<u8>,
}

/// A home, and a server that answers `/f` like this.
async fn case(replies: Vec<Reply>) -> Case {
    let (place, body) = (Place::new(), body(LEN));
    let server = FileServer::start(&body, [("/f", replies)]).await;
    let store = place.store(&manifest(&body, &[server.url("/f")]));
    Case { place, server, store, body }
}

impl Case {
    async fn install_well(&self) {
        let found = self.store.install(MODEL, &Recorder::default()).await.unwrap();
        assert_eq!(std::fs::read(&found.path).unwrap(), self.body);
        assert_eq!((found.path, self.place.downloads()), (self.place.installed(), Vec::new()));
    }

    async fn install_badly(&self) -> SourceError {
        let error = self.store.install(MODEL, &Recorder::default()).await.unwrap_err();
        assert!(!self.place.installed().exists());
        assert!(self.store.find(MODEL).unwrap().is_none());
        failures(error).remove(0)
    }

    fn ranges(&self) -> Vec<String> {
        self.server.ranges().into_iter().map(Option::unwrap_or_default).collect()
    }
}

#[tokio::test]
async fn a_download_reports_its_bytes() {
    let case = case(vec![Reply::Good]).await;
    let recorder = Recorder::default();
    case.store.install(MODEL, &recorder).await.unwrap();
    assert_eq!(*recorder.stages.lock().unwrap(), [("downloading model".to_owned(), 0, Some(LEN as u64))]);
    assert_eq!(*recorder.advanced.lock().unwrap(), LEN as u64);
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_was_cut() {
    let case = case(vec![Reply::CutAfter(100_000), Reply::CutAfter(50_000), Reply::Good]).await;
    case.install_well().await;
    assert_eq!(case.ranges(), ["", "bytes=100000-", "bytes=150000-"]);
    assert_eq!(case.server.seen()[1].if_range.as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn a_later_install_goes_on_with_what_an_earlier_one_left() {
    let case =
        case(vec![Reply::CutAfter(70_000), Reply::CutAfter(0), Reply::CutAfter(0), Reply::CutAfter(0), Reply::Good])
            .await;
    let error = case.install_badly().await;
    assert!(matches!(error, SourceError::Cut { got_bytes: 70_000, .. }), "{error}");
    let recorder = Recorder::default();
    case.store.install(MODEL, &recorder).await.unwrap();
    assert_eq!(recorder.stages.lock().unwrap()[0].1, 70_000);
    assert_eq!(case.ranges().last().unwrap(), "bytes=70000-");
    assert_eq!(std::fs::read(case.place.installed()).unwrap(), case.body);
}

#[tokio::test]
async fn a_server_that_ignores_the_range_is_taken_from_the_start() {
    let case = case(vec![Reply::CutAfter(100_000), Reply::IgnoringRange]).await;
    case.install_well().await;
    assert_eq!(case.ranges(), ["", "bytes=100000-"]);
}

#[tokio::test]
async fn a_refused_or_wrong_range_begins_anew() {
    for reply in [Reply::Status(416), Reply::WrongRange] {
        let case = case(vec![Reply::CutAfter(100_000), reply, Reply::Good]).await;
        case.install_well().await;
        assert_eq!(case.ranges(), ["", "bytes=100000-", ""]);
    }
}

#[tokio::test]
async fn a_server_that_only_sends_wrong_ranges_is_given_up() {
    let case = case(vec![Reply::WrongRange]).await;
    let error = case.install_badly().await;
    assert!(matches!(error, SourceError::WrongRange { .. }), "{error}");
    assert_eq!(case.ranges().len(), 2);
}

#[tokio::test]
async fn a_partial_file_with_other_bytes_is_dropped_and_fetched_again() {
    let case = case(vec![Reply::Good]).await;
    std::fs::write(case.place.part(&case.body), vec![7; 1000]).unwrap();
    case.install_well().await;
    assert_eq!(case.ranges(), ["bytes=1000-", ""]);
}

#[tokio::test]
async fn a_partial_file_that_is_whole_or_too_long_needs_no_special_server() {
    let whole = case(vec![Reply::Good]).await;
    std::fs::write(whole.place.part(&whole.body), &whole.body).unwrap();
    whole.install_well().await;
    assert!(whole.server.seen().is_empty());
    let long = case(vec![Reply::Good]).await;
    std::fs::write(long.place.part(&long.body), vec![1; LEN + 1]).unwrap();
    long.install_well().await;
    assert_eq!(long.ranges(), [""]);
}

#[tokio::test]
async fn other_bytes_never_get_the_name_and_leave_nothing_behind() {
    let case = case(vec![Reply::Other(vec![1; LEN])]).await;
    let error = case.install_badly().await;
    let SourceError::WrongDigest { expected, actual, .. } = error else { panic!("{error}") };
    assert_eq!(expected.to_string(), crate::support::sha256(&case.body));
    assert_eq!(actual.to_string(), crate::support::sha256(&vec![1; LEN]));
    assert_eq!(case.place.downloads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stated_length_that_is_not_the_pinned_one_is_refused_at_once() {
    for len in [LEN - 1, LEN + 1] {
        let case = case(vec![Reply::Other(vec![1; len])]).await;
        let error = case.install_badly().await;
        let SourceError::WrongSize { actual_bytes, .. } = error else { panic!("{error}") };
        assert_eq!((actual_bytes, case.server.seen().len()), (len as u64, 1));
    }
}

#[tokio::test]
async fn a_body_without_length_may_be_neither_longer_nor_shorter() {
    let mut long = body(LEN);
    long.push(0);
    let longer = case(vec![Reply::OtherWithoutLength(long)]).await;
    let error = longer.install_badly().await;
    assert!(matches!(error, SourceError::TooLong { expected_bytes } if expected_bytes == LEN as u64), "{error}");
    assert_eq!(longer.place.downloads(), Vec::<String>::new());
    let shorter = case(vec![Reply::ShortWithoutLength(LEN - 5), Reply::Good]).await;
    shorter.install_well().await;
    assert_eq!(shorter.ranges(), ["", &format!("bytes={}-", LEN - 5)]);
}

#[tokio::test]
async fn silence_in_the_middle_is_a_cut() {
    let (place, body) = (Place::new(), body(LEN));
    let server = FileServer::start(&body, [("/f", vec![Reply::StallAfter(100_000), Reply::Good])]).await;
    let settings = artifacts::Settings { stall_timeout: Duration::from_millis(500), ..settings() };
    let store = place.store_with(&manifest(&body, &[server.url("/f")]), settings);
    let found = store.install(MODEL, &Recorder::default()).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), body);
    assert_eq!(server.ranges()[1].as_deref(), Some("bytes=100000-"));
}

#[tokio::test]
async fn passing_troubles_of_a_server_are_waited_out_and_others_are_not() {
    let passing = case(vec![Reply::Status(503), Reply::Status(429), Reply::Good]).await;
    passing.install_well().await;
    let lasting = case(vec![Reply::Status(503)]).await;
    assert!(matches!(lasting.install_badly().await, SourceError::Status { status: 503 }));
    assert_eq!(lasting.server.seen().len(), 3);
    let gone = case(vec![Reply::Status(404)]).await;
    assert!(matches!(gone.install_badly().await, SourceError::Status { status: 404 }));
    assert_eq!(gone.server.seen().len(), 1);
}

#[tokio::test]
async fn redirects_are_followed_on_this_machine_and_not_to_plain_http_elsewhere() {
    let near = case(vec![Reply::Redirect("/f".into()), Reply::Good]).await;
    near.install_well().await;
    let far = case(vec![Reply::Redirect("http://192.0.2.1/f".into())]).await;
    let error = far.install_badly().await.to_string();
    assert!(error.contains("http://192.0.2.1, which is not https"), "{error}");
    let endless = case(vec![Reply::Redirect("/f".into())]).await;
    let error = endless.install_badly().await.to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
    assert_eq!(endless.server.seen().len(), 11);
}

#[tokio::test]
async fn https_to_a_server_that_does_not_speak_it_fails_and_keeps_the_secret() {
    let (place, body) = (Place::new(), body(10));
    let server = FileServer::start(&body, [("/f", vec![Reply::Good])]).await;
    let url = server.url("/f").replace("http://", "https://me:secret@");
    let error =
        place.store(&manifest(&body, &[url])).install(MODEL, &Recorder::default()).await.unwrap_err().to_string();
    assert!(error.contains("no answer") && !error.contains("secret"), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn hub_addresses_are_asked_of_the_configured_mirror() {
    let (place, body) = (Place::new(), body(1000));
    let server = FileServer::start(&body, [("/hub/owner/repo/resolve/v1/sub/m.gguf", vec![Reply::Good])]).await;
    let settings = artifacts::Settings { hub_base: server.url("/hub/"), ..settings() };
    let store = place.store_with(&manifest(&body, &["hf:owner/repo@v1/sub/m.gguf".into()]), settings);
    store.install(MODEL, &Recorder::default()).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
}

#[tokio::test]
async fn a_hub_base_that_is_no_address_is_named() {
    let place = Place::new();
    let settings = artifacts::Settings { hub_base: "mirror".into(), ..settings() };
    let store = place.store_with(&manifest(b"x", &["hf:o/r@v1/m".into()]), settings);
    let error = store.install(MODEL, &Recorder::default()).await.unwrap_err().to_string();
    assert!(error.contains("hf:o/r@v1/m: \"mirror/o/r/resolve/v1/m\" is not a usable address"), "{error}");
}
