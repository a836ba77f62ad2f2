//! The manifest's mistakes, told all at once with their lines; and the checked-in manifest.

use super::*;

const DIGEST: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

fn file_artifact(name: &str, source: &str) -> String {
    format!(
        "  - name: {name}\n    version: '1'\n    role: model\n    licence: MIT\n    about: a\n    file_name: f.gguf\n    files:\n      - sha256: {DIGEST}\n        size_bytes: 3\n        sources:\n          - from: {source}\n"
    )
}

fn problems(artifacts: &str) -> Vec<String> {
    match Manifest::parse(&format!("artifacts:\n{artifacts}")) {
        Err(Error::Manifest(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

/// The artifact with one text replaced has exactly one problem, at this line, which says this.
fn check(from: &str, to: &str, line: usize, expected: &str) {
    let text = file_artifact("m", "file:/f");
    assert!(text.contains(from), "{from}");
    let found = problems(&text.replacen(from, to, 1));
    let [problem] = &found[..] else { panic!("{to}: {found:?}") };
    assert!(problem.starts_with(&format!("line {line}: ")) && problem.contains(expected), "{to}: {problem}");
}

#[test]
fn every_entry_of_the_embedded_manifest_loads() {
    let manifest = Manifest::embedded().unwrap();
    for platform in ["linux-x86_64", "linux-aarch64"].map(Platform::named) {
        for artifact in manifest.artifacts() {
            let plan = artifact.plan(&platform).unwrap_or_else(|| panic!("{} for {platform}", artifact.name()));
            assert!(plan.fetch_bytes() > 0 && plan.disk_bytes() > plan.fetch_bytes(), "{}", artifact.name());
            assert!(!artifact.licence().is_empty() && !artifact.about().is_empty());
        }
    }
    let names =
        [Role::Engine, Role::Model, Role::OnnxRuntime, Role::Encoder].map(|role| manifest.first(role).unwrap().name());
    assert_eq!(names, ["llama-server", "smollm2-135m-instruct", "onnxruntime", "minilm-l6-v2"]);
    let model = manifest.first(Role::Model).unwrap().plan(&Platform::current()).unwrap();
    assert_eq!((model.fetch_bytes(), model.disk_bytes()), (92_871_040, 2 * 92_871_040 + 98_362_432));
    let engine = manifest.get("llama-server").unwrap();
    assert!(engine.plan(&Platform::named("plan9-mips")).is_none());
    let Some(Plan::Build(build, _)) = engine.plan(&Platform::named("linux-x86_64")) else { panic!() };
    assert!(build.definitions.contains(&"BUILD_SHARED_LIBS=OFF".to_owned()));
}

#[test]
fn one_mistake_is_told_with_its_line() {
    assert_eq!(problems(&file_artifact("m", "file:/f")), Vec::<String>::new());
    check("name: m", "name: M", 2, "lower-case");
    check("name: m", "name: ../m", 2, "lower-case");
    check("version: '1'", "version: '..'", 3, "a version");
    check("version: '1'", "version: '1/2'", 3, "a version");
    check("role: model", "role: hat", 4, "unknown variant");
    check("file_name: f.gguf", "file_name: a/f.gguf", 7, "plain file name");
    check("file_name: f.gguf", "file_name: ..", 7, "plain file name");
    check("file_name: f.gguf", "file_name: receipt.json", 7, "receipt");
    check(&DIGEST[..8], "xyz", 9, "64 hexadecimal");
    check("size_bytes: 3", "size_bytes: 0", 9, "size_bytes");
    check("file:/f", "ftp://host/f", 12, "unknown");
    check("file:/f", "http://example.org/f", 12, "https:");
    check("file:/f", "file:/f\n            member: x", 12, "only a pypi: source");
    check("file:/f", "pypi:p==1\n            member: x", 12, "or none of them");
    check("about: a", "abuot: a", 6, "abuot");
}

#[test]
fn all_mistakes_are_told_together() {
    let text = file_artifact("m", "ftp:x") + &file_artifact("m", "file:relative").replace("'1'", "'/'");
    let found = problems(&text);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("is taken")), "{found:?}");
    let text = Manifest::parse(&format!("artifacts:\n{text}")).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[test]
fn an_artifact_is_fetched_or_built_and_not_both() {
    let neither = "  - {name: n, version: '1', role: model, licence: MIT, about: a, file_name: f}\n";
    assert!(problems(neither)[0].contains("either files or a build"));
}

#[test]
fn a_build_needs_tools_with_executables_and_paths_that_stay_inside() {
    let archive = |extra: &str| {
        format!(
            "[{{sha256: {DIGEST}, size_bytes: 3, sources: [{{from: 'pypi:p==1'}}], folder: f, unpacked_bytes: 9{extra}}}]"
        )
    };
    let build = |tree: &str, tool: &str, output: &str, definition: &str| {
        problems(&format!(
            "  - name: b\n    version: '1'\n    role: engine\n    licence: MIT\n    about: a\n    file_name: f\n    build:\n      tree: {tree}\n      cmake: {tool}\n      ninja: {tool}\n      definitions: {{{definition}: x}}\n      target: t\n      output: {output}\n      scratch_bytes: 1\n"
        ))
    };
    let (tree, tool) = (archive(""), archive(", executable: bin/x"));
    assert_eq!(build(&tree, &tool, "bin/f", "A_B"), Vec::<String>::new());
    assert_eq!(build(&tool, &tree, "bin/f", "A_B").len(), 3);
    assert!(build(&tree, &tool, "../f", "A_B")[0].contains("output"));
    assert!(build(&tree, &tool, "bin/f", "'A=B -D'")[0].contains("definition"));
    assert!(build("[]", &tool, "bin/f", "A_B")[0].contains("no tree"));
    assert!(build(&archive("").replace("folder: f", "folder: ../f"), &tool, "bin/f", "A")[0].contains("without '..'"));
    let member = "{from: 'pypi:p==1', member: m, wheel_sha256: ".to_owned() + DIGEST + ", wheel_size_bytes: 3}";
    assert!(
        build(&archive("").replace("{from: 'pypi:p==1'}", &member), &tool, "bin/f", "A")[0].contains("whole wheel")
    );
}

#[test]
fn manifests_join_unless_a_name_is_in_both() {
    let of = |name: &str| Manifest::parse(&format!("artifacts:\n{}", file_artifact(name, "file:/f"))).unwrap();
    let joined = of("a").joined_with(of("b")).unwrap();
    assert_eq!(joined.artifacts().map(Artifact::name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(joined.joined_with(of("b")).unwrap_err().to_string().contains("\"b\" is in both"));
}

#[test]
fn the_first_variant_for_a_platform_is_taken() {
    let variant = |platforms: &[&str], value| Variant {
        platforms: platforms.iter().map(|name| Platform::named(*name)).collect(),
        value,
    };
    let variants = [variant(&["a", "b"], 1), variant(&["b"], 2), variant(&[], 3)];
    let of = |name: &str| pick(&variants, &Platform::named(name)).copied();
    assert_eq!((of("a"), of("b"), of("c")), (Some(1), Some(1), Some(3)));
    assert_eq!(pick(&variants[..2], &Platform::named("c")), None);
}
