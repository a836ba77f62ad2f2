//! The cases of `tests/decisions/*.yaml`: each file is a policy with its tests.

use super::*;

const FILES: [(&str, &str); 5] = [
    ("built_in.yaml", include_str!("../../tests/decisions/built_in.yaml")),
    ("placement.yaml", include_str!("../../tests/decisions/placement.yaml")),
    ("routes.yaml", include_str!("../../tests/decisions/routes.yaml")),
    ("stickiness.yaml", include_str!("../../tests/decisions/stickiness.yaml")),
    ("peers.yaml", include_str!("../../tests/decisions/peers.yaml")),
];

/// The policies that are shipped. Their tests with a `request` need the gateway and are run there.
const SHIPPED: [(&str, &str); 5] = [
    ("default.yaml", include_str!("../../../../policies/default.yaml")),
    ("offline-first.yaml", include_str!("../../../../policies/offline-first.yaml")),
    ("strict-privacy.yaml", include_str!("../../../../policies/strict-privacy.yaml")),
    ("cost-saver.yaml", include_str!("../../../../policies/cost-saver.yaml")),
    ("team-gateway.yaml", include_str!("../../../../policies/team-gateway.yaml")),
];

#[test]
fn every_case_comes_out_as_it_says() {
    let mut report = String::new();
    for (file, yaml) in FILES.into_iter().chain(SHIPPED) {
        let (document, policy) = (document(yaml), policy(yaml));
        let by_facts = |test: &&TestCase| document.tests[test.index()].request.is_none();
        for test in policy.tests().iter().filter(by_facts) {
            for Difference { what, expected, found } in test.run(&policy, Facts::default(), &[]) {
                report += &format!("{file}: {}\n  {what}\n  - {expected}\n  + {found}\n", test.name());
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// Each expectation of each case, turned into something else, has to be noticed.
#[test]
fn no_case_passes_whatever_comes_out() {
    for (file, yaml) in FILES {
        let mut document = document(yaml);
        for test in &mut document.tests {
            let expect = &mut test.expect;
            for word in [&mut expect.target, &mut expect.refused].into_iter().flatten() {
                *word = "nobody/nothing".to_owned();
            }
            for list in [&mut expect.attempts].into_iter().flatten() {
                list.push("nobody/nothing".to_owned());
            }
            for code in expect.dropped.values_mut() {
                *code = if code == "down" { "downloading" } else { "down" }.to_owned();
            }
        }
        let policy = Policy::compile(&document).unwrap_or_else(|problems| panic!("{problems:#?}"));
        for (test, document) in policy.tests().iter().zip(&document.tests) {
            let expect = &document.expect;
            let changed = [&expect.target, &expect.refused].into_iter().filter(|word| word.is_some()).count()
                + usize::from(expect.attempts.is_some())
                + expect.dropped.len();
            let differences = test.run(&policy, Facts::default(), &[]);
            assert!(differences.len() >= changed.min(1), "{file}: {}: {differences:?}", test.name());
            if expect.refused.is_none() {
                assert!(differences.len() >= changed, "{file}: {}: {differences:?}", test.name());
            }
        }
    }
}

#[test]
fn every_reason_for_a_drop_has_a_case() {
    let yaml: String = FILES.iter().map(|(_, yaml)| *yaml).collect();
    let unseen = ["lacks_tools", "lacks_json_schema", "lacks_logprobs"];
    for code in DropReason::CODES.iter().filter(|code| !unseen.contains(code)) {
        assert!(yaml.contains(&format!(": {code}")), "{code}");
    }
}
