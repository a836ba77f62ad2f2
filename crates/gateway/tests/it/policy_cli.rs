//! `tidegate check` and `tidegate explain` over policies.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::bin;

fn tidegate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(bin("tidegate"));
    command.args(args).current_dir(folder).env_remove("OPENAI_API_KEY").env("TIDEGATE_HOME", folder.join("home"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

#[test]
fn the_shipped_policies_pass_their_own_tests() {
    let folder = tempfile::tempdir().unwrap();
    let check = tidegate(folder.path(), &["check", shipped().to_str().unwrap()]);
    let (out, err) = (text(&check.stdout), text(&check.stderr));
    assert!(check.status.success(), "{out}{err}");
    for name in ["default", "team-gateway", "offline-first", "strict-privacy", "cost-saver"] {
        assert!(out.contains(&format!("{name}.yaml: ok, ")), "{name} in {out}");
    }
    assert_eq!(out.matches(" tests passed").count(), 5, "{out}");
}

/// Every YAML block of `policies/README.md` is a whole policy with tests that pass, or marked as a fragment.
#[test]
fn the_examples_of_the_reference_are_policies_that_pass_their_tests() {
    let reference = std::fs::read_to_string(shipped().join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut examples, mut fragments) = (0, 0);
    for block in reference.split("\n```yaml").skip(1) {
        let (mark, rest) = block.split_once('\n').unwrap();
        let (text, _) = rest.split_once("\n```").expect("the end of a block");
        if text.starts_with("version: 1\n") {
            assert!(mark.is_empty() && text.contains("\ntests:"), "an example has tests: {text}");
            std::fs::write(folder.path().join(format!("example-{examples:02}.yaml")), format!("{text}\n")).unwrap();
            examples += 1;
        } else {
            assert_eq!(mark, " fragment", "no whole policy, and not marked as a fragment: {text}");
            fragments += 1;
        }
    }
    assert!(examples >= 6 && fragments <= 3, "{examples} examples, {fragments} fragments");
    let check = tidegate(folder.path(), &["check", "."]);
    let (out, err) = (text(&check.stdout), text(&check.stderr));
    assert!(check.status.success(), "{out}{err}");
    assert_eq!(out.matches(" tests passed").count(), examples, "{out}");
    assert!(!out.contains(" 0 tests passed"), "{out}");
}

#[test]
fn seven_mistakes_in_a_folder_are_all_reported_each_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let files = [
        (
            "a.yaml",
            "version: 1\nplacement:\n  - id: twice\n    when: request.privcy == \"restricted\"\n    allow: {localities: [device]}\n\
             routes:\n  - id: twice\n    candidates: [local/none]\n    objective: cheepest\n",
        ),
        (
            "b.yaml",
            "version: 1\nroutes:\n  - id: big\n    when: \"request.messages > \\\"many\\\"\"\n  - id: odd\n    colour: red\n",
        ),
        (
            "c.yaml",
            "version: 1\nroutes:\n  - id: device\n    objective: prefer_on_device\n\
             test_targets:\n  - {id: local/m, locality: device}\n  - {id: cloud/m, locality: cloud}\n\
             tests:\n  - name: goes to the cloud\n    expect: {target: cloud/m}\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(policies.join(name), text).unwrap();
    }
    // The names that candidates are checked against come from the configuration, once the rest of a file is in order.
    std::fs::write(policies.join("d.yaml"), "version: 1\nroutes:\n  - id: r\n    candidates: [local/none]\n").unwrap();
    let check = tidegate(folder.path(), &["check", "policies"]);
    assert_eq!(check.status.code(), Some(78));
    let errors = text(&check.stderr);
    let expected = [
        "policies/a.yaml:4:11: placement[0].when: request.privcy is no fact; did you mean request.privacy?",
        "policies/a.yaml:7:9: routes[0].id: \"twice\" is used by an earlier rule",
        "policies/a.yaml:9:16: routes[0].objective: \"cheepest\" is not one of",
        "policies/b.yaml:4:12: routes[0].when: compares a int with a string",
        "policies/b.yaml:6:5: routes[1].colour: unknown key",
        "policies/c.yaml:9:5: tests[0]: \"goes to the cloud\" comes out differently\n    - target: cloud/m\n    + target: local/m",
        "policies/d.yaml:4:18: routes[0].candidates[0]: there is no target \"local/none\"",
    ];
    for part in expected {
        assert!(errors.contains(part), "{part}\n---\n{errors}");
    }
    assert!(errors.contains("    request.privcy == \"restricted\"\n    ^~~~~~~~~~~~~~"), "a caret: {errors}");
}

#[test]
fn mistakes_are_found_in_folded_scalars_and_under_keys_with_dots() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "version: 1\nroutes:\n  - id: literal\n    when: |-\n      request.stream ||\n      request.nonsense\n  - id: folded\n    \
                  when: >-\n      request.stream ||\n      request.tools ||\n      request.absurd\n  - id: plain\n    when: request.stream ||\n      \
                  request.silly\ntests:\n  - name: n\n    facts:\n      request.stream: true\n      request.foo: 1\n    expect:\n      \
                  rule: literal\n      refused: ''\n";
    std::fs::write(folder.path().join("p.yaml"), policy).unwrap();
    let errors = text(&tidegate(folder.path(), &["check", "p.yaml"]).stderr);
    for part in [
        "p.yaml:6:7: routes[0].when: request.nonsense",
        "p.yaml:11:7: routes[1].when: request.absurd",
        "p.yaml:14:7: routes[2].when: request.silly",
        "p.yaml:19:20: tests[0].facts.request.foo: is not a fact",
        "p.yaml:22:16: tests[0].expect.refused: is empty",
    ] {
        assert!(errors.contains(part), "{part}\n---\n{errors}");
    }
}

#[test]
fn hostile_policies_are_refused_and_crash_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let condition = |text: String| format!("version: 1\nroutes:\n  - id: a\n    when: '{text}'\n");
    let policies = [
        format!("version: 1\nroutes:\n - {}a\n", "- ".repeat(20_000)),
        format!("version: 1\nroutes: {}\n", "[".repeat(20_000)),
        (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        condition("\"\"in".repeat(900)),
        condition("1+".repeat(1500)),
        condition("(".repeat(3000)),
        format!("{}{}", "version: 1\nroutes:\n", "  - {when: nonsense}\n".repeat(499)),
        format!(
            "version: 1\nroutes:\n{}",
            (0..60)
                .map(|n| format!("  - {{id: r{n}, when: 'request.model.matches(\"\\w{{12}}\")'}}\n"))
                .collect::<String>()
        ),
    ];
    for policy in policies {
        std::fs::write(&file, &policy).unwrap();
        let check = tidegate(folder.path(), &["check", "p.yaml"]);
        let (code, errors) = (check.status.code(), text(&check.stderr));
        assert_eq!(code, Some(78), "{} ... {}", &policy[..policy.len().min(60)], &errors[..errors.len().min(600)]);
        assert!(errors.len() < 64 << 10, "{} bytes of errors", errors.len());
    }
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    assert_eq!(tidegate(folder.path(), &["check", "p.yaml"]).status.code(), Some(78));
}

#[test]
fn explain_prints_the_account_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let config = "targets:\n  - {id: home/m, provider: openai, model: m, base_url: 'http://127.0.0.1:9/v1', locality: device}\n  \
                  - {id: cloud/m, provider: openai, model: m, base_url: 'http://h/v1', price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}}\n";
    std::fs::write(folder.path().join("t.yaml"), config).unwrap();
    let body = r#"{"model":"auto","max_tokens":100,"messages":[{"role":"user","content":"the secret word is xyzzy"}]}"#;
    std::fs::write(folder.path().join("r.json"), body).unwrap();
    let explain = |more: &[&str]| {
        let mut args = vec!["explain", "--config", "t.yaml", "--request", "r.json"];
        args.extend(more);
        tidegate(folder.path(), &args)
    };
    let people = text(&explain(&["-H", "x-tidegate-mode: prefer_in_cloud", "--target", "home/m=cold"]).stdout);
    for part in [
        "rule=caller-prefers-cloud",
        "  1. cloud/m",
        "cost 0.000",
        "  2. home/m",
        "cold",
        "request.max_tokens",
        "absent: ",
    ] {
        assert!(people.contains(part), "{part} in {people}");
    }
    let programs = explain(&["--json", "-H", "x-tidegate-privacy: restricted", "--fact", "moment.hour=3"]);
    let json: serde_json::Value = serde_json::from_slice(&programs.stdout).unwrap();
    assert_eq!(
        (&json["attempts"][0]["target"], &json["dropped"][0]["reason"]),
        (&"home/m".into(), &"forbidden_by_privacy".into())
    );
    assert_eq!((&json["facts"]["moment.hour"], &json["facts"]["signals.task"]), (&3.into(), &serde_json::Value::Null));
    assert!(!people.contains("xyzzy") && !text(&programs.stdout).contains("xyzzy"), "no prompt text");

    for (args, said) in [
        (vec!["--fact", "request.nonsense=1"], "is not a fact"),
        (vec!["--target", "no/body=down"], "there is no target"),
        (vec!["-H", "x-tidegate-mode: sideways"], "x-tidegate-mode"),
        (
            vec!["-H", "x-tidegate-mode: only_in_cloud", "-H", "x-tidegate-privacy: restricted"],
            "never leaves the device",
        ),
    ] {
        let failed = explain(&args);
        assert_eq!(failed.status.code(), Some(1));
        assert!(text(&failed.stderr).contains(said), "{said} in {}", text(&failed.stderr));
    }
}
