//! The command line: what it prints and with which status it ends.

use std::process::{Command, Output};

use testkit::bin;

fn tidegate(folder: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(bin("tidegate"));
    command.args(args).current_dir(folder).env_remove("OPENAI_API_KEY").env("TIDEGATE_HOME", folder.join("home"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn init_writes_a_file_that_check_accepts_and_does_not_overwrite() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| tidegate(folder.path(), args);
    assert!(run(&["init"]).status.success());
    let written = std::fs::read_to_string(folder.path().join("tidegate.yaml")).unwrap();
    assert!(written.contains("targets:"));
    let check = run(&["check", "--config", "tidegate.yaml"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("openai/gpt-4o-mini (off: OPENAI_API_KEY is not set)"));

    let again = run(&["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"));
    assert!(run(&["init", "--force"]).status.success());
}

#[test]
fn check_reports_every_error_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), "listen: here\ntargetz: []\n").unwrap();
    let check = tidegate(folder.path(), &["check", "--config", "t.yaml"]);
    assert_eq!(check.status.code(), Some(78));
    let errors = text(&check.stderr);
    assert!(errors.contains("t.yaml:1:9: listen:") && errors.contains("t.yaml:2:1: targetz: unknown key"), "{errors}");
    let missing = tidegate(folder.path(), &["up", "--config", "none.yaml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(text(&missing.stderr).contains("none.yaml: cannot be read"));
}

#[test]
fn bad_usage_exits_64_and_help_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(tidegate(folder.path(), &["upp"]).status.code(), Some(64));
    assert_eq!(tidegate(folder.path(), &[]).status.code(), Some(64));
    let help = tidegate(folder.path(), &["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("artifacts"));
    assert!(text(&tidegate(folder.path(), &["--version"]).stdout).starts_with("tidegate 0."));
}

#[test]
fn artifacts_list_shows_the_manifest_without_installing() {
    let folder = tempfile::tempdir().unwrap();
    let list = tidegate(folder.path(), &["artifacts", "list"]);
    assert!(list.status.success(), "{}", text(&list.stderr));
    let out = text(&list.stdout);
    for name in ["llama-server", "smollm2-135m-instruct", "onnxruntime"] {
        assert!(out.contains(name), "{name} in {out}");
    }
    let remove = tidegate(folder.path(), &["artifacts", "remove", "nothing"]);
    assert_eq!(remove.status.code(), Some(1));
}
