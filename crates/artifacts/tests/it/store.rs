//! What counts as present, in which order; verify, remove and list.

use std::os::unix::fs::PermissionsExt;

use artifacts::{
    Check, Error, Home, Manifest, Origin, Platform, Settings, SilentProgress, State, Store, engine_version,
};

use crate::support::server::{FileServer, Reply};
use crate::support::wheels::executable;
use crate::support::{MODEL, Place, Recorder, body, entry, manifest, settings, sha256};

/// A manifest with an engine, a runtime and a model, each from a local file of that name.
fn all_three(place: &Place) -> String {
    let script = b"#!/bin/sh\necho 'version: 7 (installed)'\n";
    let entries = [
        ("llama-server", "engine", "llama-server"),
        ("ort", "onnxruntime", "libort.so"),
        (MODEL, "model", "model.gguf"),
    ];
    let entries = entries.map(|(name, role, file)| {
        let source = format!("file:{}", place.file(&format!("source-{name}"), script).display());
        entry(name, role, file, &sha256(script), script.len() as u64, &[source])
    });
    format!("artifacts:\n{}", entries.concat())
}

fn origin(store: &Store, name: &str) -> Option<Origin> {
    store.find(name).unwrap().map(|found| found.origin)
}

#[tokio::test]
async fn an_engine_is_taken_from_the_configuration_then_the_home_then_the_path() {
    let place = Place::new();
    let text = all_three(&place);
    let folder = place.folder().join("bin");
    std::fs::create_dir(&folder).unwrap();
    executable(&folder.join("llama-server"), "#!/bin/sh\necho 'version: 9 (on path)' >&2\n");
    let on_path = Settings { search_path: Some(folder.clone().into_os_string()), ..settings() };
    let mut configured = on_path.clone();
    configured.overrides.insert("llama-server".into(), folder.join("llama-server"));

    assert_eq!(origin(&place.store(&text), "llama-server"), None);
    let store = place.store_with(&text, on_path);
    let found = store.install("llama-server", &SilentProgress).await.unwrap();
    assert_eq!((found.origin, &found.path, found.version), (Origin::Path, &folder.join("llama-server"), None));
    assert_eq!(engine_version(&found.path).await.unwrap(), "9 (on path)");

    let own = store.install_own("llama-server", &SilentProgress).await.unwrap();
    assert_eq!((own.origin, own.version.as_deref()), (Origin::Installed, Some("1")));
    assert_eq!(origin(&store, "llama-server"), Some(Origin::Installed));
    assert_eq!(engine_version(&own.path).await.unwrap(), "7 (installed)");
    assert_eq!(own.path.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(origin(&place.store_with(&text, configured), "llama-server"), Some(Origin::Configured));
}

#[tokio::test]
async fn a_file_on_the_path_that_is_not_executable_is_no_engine() {
    let place = Place::new();
    place.file("llama-server", b"text");
    let settings = Settings { search_path: Some(place.folder().into()), ..settings() };
    assert_eq!(origin(&place.store_with(&all_three(&place), settings), "llama-server"), None);
}

#[tokio::test]
async fn a_runtime_is_taken_from_the_configuration_then_the_variable_then_the_home() {
    let place = Place::new();
    let text = all_three(&place);
    let library = place.file("libelse.so", b"x");
    let named = Settings { ort_dylib_path: Some(library.clone()), ..settings() };
    let mut configured = named.clone();
    configured.overrides.insert("ort".into(), library);
    let bare = Settings { ort_dylib_path: Some("libonnxruntime.so".into()), ..settings() };

    place.store(&text).install("ort", &SilentProgress).await.unwrap();
    assert_eq!(origin(&place.store(&text), "ort"), Some(Origin::Installed));
    assert_eq!(origin(&place.store_with(&text, named), "ort"), Some(Origin::Environment));
    assert_eq!(origin(&place.store_with(&text, configured), "ort"), Some(Origin::Configured));
    assert_eq!(place.store_with(&text, bare).find("ort").unwrap().unwrap().path.to_str(), Some("libonnxruntime.so"));
}

#[tokio::test]
async fn a_named_file_that_is_not_there_is_an_error_and_not_passed_over() {
    let place = Place::new();
    let text = all_three(&place);
    let mut settings = Settings { ort_dylib_path: Some("/nowhere/libonnxruntime.so".into()), ..settings() };
    settings.overrides.insert("llama-server".into(), place.file("plain", b"not executable"));
    let store = place.store_with(&text, settings);
    let error = store.find("ort").unwrap_err().to_string();
    assert!(error.contains("ORT_DYLIB_PATH names /nowhere/libonnxruntime.so"), "{error}");
    let error = store.install("llama-server", &SilentProgress).await.unwrap_err().to_string();
    assert!(error.contains("the configuration names") && error.contains("executable"), "{error}");
    let states: Vec<State> = store.list().await.into_iter().map(|listed| listed.state).collect();
    assert_eq!(states, [State::Misconfigured, State::Misconfigured, State::Missing]);
}

#[tokio::test]
async fn with_everything_installed_nothing_is_asked_of_the_network() {
    let (place, body) = (Place::new(), body(100));
    let server = FileServer::start(&body, [("/f", vec![Reply::Good])]).await;
    let text = manifest(&body, &[server.url("/f")]);
    place.store(&text).install(MODEL, &Recorder::default()).await.unwrap();
    assert_eq!(server.seen().len(), 1);
    let store = place.store(&text);
    assert!(store.find(MODEL).unwrap().is_some());
    let recorder = Recorder::default();
    store.install(MODEL, &recorder).await.unwrap();
    store.verify(MODEL).await.unwrap();
    store.list().await;
    assert_eq!(server.seen().len(), 1);
    assert!(recorder.stages.lock().unwrap().is_empty() && recorder.notes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_flipped_byte_is_found_and_a_cut_file_is_installed_again() {
    let (place, body) = (Place::new(), body(100));
    let source = format!("file:{}", place.file("source", &body).display());
    let store = place.store(&manifest(&body, &[source]));
    assert!(matches!(store.verify(MODEL).await, Err(Error::NotInstalled { .. })));
    store.install(MODEL, &SilentProgress).await.unwrap();
    let verified = store.verify(MODEL).await.unwrap();
    assert_eq!(
        (verified.check, verified.sha256.to_string(), verified.size_bytes),
        (Check::Matches, sha256(&body), 100)
    );

    let mut flipped = body.clone();
    flipped[50] ^= 1;
    std::fs::write(place.installed(), &flipped).unwrap();
    let error = store.verify(MODEL).await.unwrap_err().to_string();
    assert!(error.contains(&sha256(&body)) && error.contains(&sha256(&flipped)), "{error}");

    std::fs::write(place.installed(), &body[..99]).unwrap();
    assert_eq!(store.find(MODEL).unwrap(), None);
    assert!(matches!(store.verify(MODEL).await, Err(Error::Corrupt { .. })));
    assert_eq!(store.list().await[0].state, State::Corrupt);
    store.install(MODEL, &SilentProgress).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
}

#[tokio::test]
async fn another_digest_in_the_manifest_makes_an_installed_file_stale() {
    let place = Place::new();
    let of = |bytes: &[u8]| manifest(bytes, &[format!("file:{}", place.file(&sha256(bytes), bytes).display())]);
    place.store(&of(b"old")).install(MODEL, &SilentProgress).await.unwrap();
    let store = place.store(&of(b"new"));
    assert_eq!(store.find(MODEL).unwrap(), None);
    store.install(MODEL, &SilentProgress).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), b"new");
}

#[tokio::test]
async fn a_file_from_elsewhere_is_hashed_without_a_verdict_and_never_removed() {
    let place = Place::new();
    let mut settings = settings();
    let path = place.file("own.gguf", b"own");
    settings.overrides.insert(MODEL.into(), path.clone());
    let store = place.store_with(&all_three(&place), settings);
    let verified = store.verify(MODEL).await.unwrap();
    assert_eq!((verified.check, verified.origin), (Check::NotPinned, Origin::Configured));
    assert!(matches!(store.remove(MODEL), Err(Error::NotInstalled { .. })));
    assert!(path.exists());
}

#[tokio::test]
async fn removing_takes_every_version_and_partial_files_of_that_name_only() {
    let (place, body) = (Place::new(), body(100));
    let source = format!("file:{}", place.file("source", &body).display());
    let store = place.store(&manifest(&body, &[source]));
    store.install(MODEL, &SilentProgress).await.unwrap();
    std::fs::create_dir(place.home().join("artifacts/model/0.9")).unwrap();
    let part = place.part(&body);
    std::fs::write(&part, "x").unwrap();
    let other = part.with_file_name(format!("model-b-{}.part", sha256(b"b")));
    std::fs::write(&other, "x").unwrap();
    std::fs::create_dir(part.with_extension("pip")).unwrap();
    store.remove(MODEL).unwrap();
    assert!(!place.home().join("artifacts/model").exists());
    assert_eq!(place.downloads(), [other.file_name().unwrap().to_str().unwrap()]);
    assert!(matches!(store.remove(MODEL), Err(Error::NotInstalled { .. })));
}

#[tokio::test]
async fn the_list_tells_what_is_where() {
    let place = Place::new();
    let store = place.store(&all_three(&place));
    store.install(MODEL, &SilentProgress).await.unwrap();
    let bin = place.folder().join("llama-server");
    executable(&bin, "#!/bin/sh\necho 'version: 9 (x)'\n");
    let settings = Settings { search_path: Some(place.folder().into()), ..settings() };
    let listed = place.store_with(&all_three(&place), settings).list().await;
    let brief: Vec<_> =
        listed.iter().map(|it| (it.name.as_str(), it.state, it.found_version.as_deref(), it.origin)).collect();
    assert_eq!(brief[0], ("llama-server", State::Elsewhere, Some("9 (x)"), Some(Origin::Path)));
    assert_eq!(brief[1], ("ort", State::Missing, None, None));
    assert_eq!(brief[2], (MODEL, State::Installed, Some("1"), Some(Origin::Installed)));
    assert_eq!(
        (listed[1].size_bytes, listed[1].fetch_bytes.is_some(), listed[2].size_bytes.is_some()),
        (None, true, true)
    );
}

#[tokio::test]
async fn unknown_names_and_platforms_are_told() {
    let place = Place::new();
    let error = place.store(&all_three(&place)).find("modle").unwrap_err().to_string();
    assert!(error.contains("\"modle\"") && error.contains("llama-server, ort, model"), "{error}");
    let settings = Settings { platform: Platform::named("plan9-mips"), ..settings() };
    let store = Store::new(Home::at(place.home()), Manifest::embedded().unwrap(), settings);
    let error = store.install("llama-server", &SilentProgress).await.unwrap_err().to_string();
    assert!(error.contains("plan9-mips"), "{error}");
    assert_eq!(store.list().await[0].state, State::Unsupported);
    assert!(!place.home().exists());
}
