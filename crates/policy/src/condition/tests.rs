//! What conditions accept, what they refuse and where, and what absence does to them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::*;

fn facts() -> Facts {
    let mut facts = Facts::default();
    let set = [
        ("request.tags", FactValue::Many(vec!["finance".into(), "eu-customer".into()])),
        ("request.prompt_tokens", FactValue::One("1500".into())),
        ("request.privacy", FactValue::One("internal".into())),
        ("request.stream", FactValue::One("true".into())),
        ("signals.injection", FactValue::One("0.25".into())),
        ("moment.minute_of_day", FactValue::One("90".into())),
        ("moment.weekday", FactValue::One("7".into())),
    ];
    for (name, value) in set {
        facts.set(name, &value).unwrap();
    }
    facts
}

/// `true`, `false` or why it cannot be told.
fn come_to(source: &str) -> String {
    let target = TargetFacts::new(
        Arc::new(TargetProfile::new(TargetId::new("local/small").unwrap(), Locality::Device)),
        TargetState::Ready,
    );
    let (facts, targets) = (facts(), [target.clone()]);
    let values = Values::of(&facts, &targets).with_target(&target);
    let condition = Condition::compile(source, Scope::Target).unwrap_or_else(|errors| panic!("{source}: {errors:?}"));
    match condition.evaluate(&values) {
        Truth::True => "true".to_owned(),
        Truth::False => "false".to_owned(),
        Truth::Unknown(why) => why.to_string(),
    }
}

#[test]
fn conditions_mean_what_cel_says() {
    let cases = [
        ("true && !false", "true"),
        ("request.prompt_tokens > 1000", "true"),
        ("request.prompt_tokens >= 1500 && request.prompt_tokens <= 1500", "true"),
        ("request.prompt_tokens / 1000 == 1", "true"),
        ("request.prompt_tokens / 1000.0 == 1.5", "true"),
        ("request.prompt_tokens % 1000 == 500", "true"),
        ("request.prompt_tokens * 2 - 1000 + 1 == 2001", "true"),
        ("-request.prompt_tokens < 0", "true"),
        ("signals.injection > 0.2 && signals.injection < 1", "true"),
        ("\"finance\" in request.tags", "true"),
        ("\"fin\" in request.tags", "false"),
        ("request.privacy in [\"public\", \"internal\"]", "true"),
        ("request.privacy_level >= 2", "false"),
        ("moment.hour == 1 && moment.weekday in [6, 7]", "true"),
        ("request.tags.exists(t, t.startsWith(\"eu-\"))", "true"),
        ("request.tags.all(t, t.size() > 3)", "true"),
        ("request.tags.all(t, t.endsWith(\"e\"))", "false"),
        ("request.tags.exists(a, request.tags.exists(b, a != b && b.contains(\"cust\")))", "true"),
        ("size(request.tags) == 2", "true"),
        ("request.tags.exists(t, t.matches(\"^eu-[a-z]+$\"))", "true"),
        ("request.model.matches(\"^auto$\")", "true"),
        ("request.stream ? request.messages == 1 : false", "true"),
        ("(request.stream ? 1 : 2) == 1", "true"),
        ("(request.stream ? \"a\" : \"b\") == \"a\"", "true"),
        ("request.stream == true && request.tools != true", "true"),
        ("has(signals.injection) && !has(signals.task)", "true"),
        ("has(request.max_tokens)", "false"),
        ("request.language == \"é\" || request.stream", "true"),
        ("available.device == 1 && available.cloud == 0", "true"),
        ("target.locality == \"device\" && target.input_usd_per_mtok == 0.0", "true"),
        ("target.id.startsWith(\"local/\")", "true"),
        ("request.prompt_tokens / 0 == 1", "division by zero"),
        ("request.prompt_tokens % 0 == 1", "division by zero"),
        ("target.region == \"eu\"", "target.region is absent"),
    ];
    for (source, expected) in cases {
        assert_eq!(come_to(source), expected, "{source}");
    }
}

/// What is absent decides nothing, and what decides without it does.
#[test]
fn absence_is_kleenes_unknown() {
    const ABSENT: &str = "signals.secrets is absent";
    let cases = [
        ("signals.secrets > 0", ABSENT),
        ("!(signals.secrets > 0)", ABSENT),
        ("signals.secrets == 0", ABSENT),
        ("signals.secrets > 0 && false", "false"),
        ("false && signals.secrets > 0", "false"),
        ("signals.secrets > 0 && true", ABSENT),
        ("true && signals.secrets > 0", ABSENT),
        ("signals.secrets > 0 || true", "true"),
        ("true || signals.secrets > 0", "true"),
        ("signals.secrets > 0 || false", ABSENT),
        ("false || signals.secrets > 0", ABSENT),
        ("signals.secrets > 0 || signals.personal_data > 0", ABSENT),
        ("signals.secrets > 0 ? true : true", ABSENT),
        ("true ? true : signals.secrets > 0", "true"),
        ("has(signals.secrets) && signals.secrets > 0", "false"),
        ("signals.secrets + 1 > 0", ABSENT),
        ("request.tags.exists(t, t == \"finance\" || signals.secrets > 0)", "true"),
        ("request.tags.exists(t, signals.secrets > 0)", ABSENT),
        ("request.tags.all(t, t == \"none\" && signals.secrets > 0)", "false"),
        ("caller.tags.exists(t, signals.secrets > 0)", "false"),
    ];
    for (source, expected) in cases {
        assert_eq!(come_to(source), expected, "{source}");
    }
}

/// The place at fault between brackets, and part of what is said about it.
#[test]
fn mistakes_are_shown_where_they_are() {
    let cases = [
        ("[request.privcy] == \"public\"", "did you mean request.privacy?"),
        ("request.stream && [signals.pii] > 0", "is no fact"),
        ("[foo] > 1", "foo is no fact"),
        ("[request] == 1", "is a group of facts"),
        ("request.privacy == [\"confidental\"]", "one of public, internal, confidential, restricted"),
        ("request.privacy in [[\"secret\"]]", "holds \"secret\""),
        ("[request.privacy > \"public\"]", "request.privacy_level is ordered"),
        ("[request.prompt_tokens == \"many\"]", "compares a int with a string"),
        ("[request.tags == \"x\"]", "write \"x\" in list"),
        ("[request.prompt_tokens in [\"a\"]]", "looks for a int in a list of strings"),
        ("[request.prompt_tokens]", "is a int; a condition is a bool"),
        ("[request.model] && true", "where a bool is needed"),
        ("request.model.matches([\"(\"])", "is no regular expression"),
        ("request.model.matches([request.mode])", "has to be a literal"),
        ("[target.region] == \"eu\" && true", "belongs into require"),
        ("[request.tags.map(t, t)] == request.tags", "is not supported"),
        ("request.model == [null]", "has(fact)"),
        ("[request.model.reverse()] == \"x\"", "reverse is not supported"),
        ("request.language == \"é\" && [request.privcy] == \"x\"", "did you mean"),
    ];
    for (marked, expected) in cases {
        let source = marked.replacen('[', "\u{1}", 1);
        let mut source = source.chars().rev().collect::<String>().replacen(']', "\u{2}", 1);
        source = source.chars().rev().collect();
        let start = source.find('\u{1}').unwrap();
        let end = source.find('\u{2}').unwrap() - 1;
        let source = source.replace(['\u{1}', '\u{2}'], "");
        let errors = Condition::compile(&source, Scope::Request).map(|_| ()).unwrap_err();
        let error = &errors[0];
        assert!(error.message.contains(expected), "{source}: {errors:?}");
        // A closing bracket is no part of what the parser says about a list or a call.
        assert_eq!(error.start, start, "{source}: {error:?}");
        assert!(error.end > start && (end - 1..=end).contains(&error.end), "{source}: {error:?} {end}");
    }
}

#[test]
fn a_condition_is_told_all_that_is_wrong_with_it() {
    let source = "request.privcy == \"x\" && request.mode == \"cloud\" && target.region == \"eu\"";
    let errors = Condition::compile(source, Scope::Request).map(|_| ()).unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.iter().all(|error| error.end > error.start && error.end <= source.len()), "{errors:?}");
}

#[test]
fn syntax_errors_have_a_place() {
    for source in ["request.stream &&", "request.mode = \"x\"", "(true", "true)", "\"open", "a b", "&&", "1 +"] {
        let errors = Condition::compile(source, Scope::Request).map(|_| ()).unwrap_err();
        assert!(!errors.is_empty() && errors.iter().all(|error| error.start <= source.len()), "{source}: {errors:?}");
        for error in errors {
            assert!(error.caret(source).contains('^'), "{source}");
        }
    }
}

#[test]
fn carets_stand_under_their_place() {
    let error = |start, end| ConditionError { start, end, message: String::new() };
    assert_eq!(error(0, 3).caret("abc"), "abc\n^~~");
    assert_eq!(error(6, 8).caret("abc\n\tdef"), "\tdef\n\t ^~");
    let source = "\"é\" == x";
    assert_eq!(error(source.len() - 1, source.len()).caret(source), format!("{source}\n       ^"));
    assert_eq!(error(100, 200).caret("abc"), "abc\n   ^");
}

#[test]
fn hostile_conditions_are_refused_and_crash_nothing() {
    let deep = |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
    let sources = [
        deep("(", ")", 500),
        deep("!", "", 3000),
        format!("true{}", " && true".repeat(400)),
        format!("1{} > 0", "+1".repeat(1500)),
        "x".repeat(CONDITION_BYTES_MAX + 1),
        "[".repeat(2000),
        "\u{0}".to_owned(),
        "request.model.matches(\"(a{1000}){1000}\")".to_owned(),
        String::new(),
    ];
    for source in sources {
        // Either is fine; a crash is not.
        let _ = Condition::compile(&source, Scope::Request).map(|condition| {
            let facts = Facts::default();
            condition.evaluate(&Values::of(&facts, &[]))
        });
    }
}

#[test]
fn constant_conditions_are_known_as_such() {
    let always = |source| Condition::compile(source, Scope::Request).unwrap().always();
    assert_eq!(always("1 < 2"), Some(true));
    assert_eq!(always("true && false"), Some(false));
    assert_eq!(always("request.stream || true"), None);
}

/// Each fact reads as the type the table says, and is absent only where the table says that it may be.
#[test]
fn the_table_of_facts_is_true() {
    let mut profile = TargetProfile::new(TargetId::new("a/b").unwrap(), Locality::Cloud);
    profile.region = Some("eu".into());
    let target = TargetFacts::new(Arc::new(profile), TargetState::Ready);
    let (facts, targets) = (facts(), [target.clone()]);
    let values = Values::of(&facts, &targets).with_target(&target);
    for fact in FACTS {
        let fits = match (fact.kind, values.get(fact)) {
            (_, FactRef::Absent) => !fact.when_absent.is_empty(),
            (FactKind::Bool, FactRef::Bool(_)) | (FactKind::Words, FactRef::Words(_)) => true,
            (FactKind::Int | FactKind::Double, FactRef::Number(_)) | (FactKind::Text, FactRef::Text(_)) => true,
            (FactKind::Word(words), FactRef::Text(word)) => words.contains(&word),
            _ => false,
        };
        assert!(fits, "{}: {:?}", fact.name, values.get(fact));
        assert!(facts_table().contains(&format!("| `{}` |", fact.name)));
    }
    let mut names: Vec<_> = FACTS.iter().map(|fact| fact.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FACTS.len());
}

/// Expressions over facts that may be absent, with their negation.
fn any_expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "true",
        "false",
        "signals.secrets > 0",
        "signals.injection < 0.5",
        "request.stream",
        "has(signals.task)",
        "\"finance\" in request.tags",
        "request.max_tokens == 5",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 32, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) || ({b})")),
        ]
    })
}

fn evaluated(source: &str, facts: &Facts) -> Truth {
    Condition::compile(source, Scope::Request).unwrap().evaluate(&Values::of(facts, &[]))
}

proptest! {
    #[test]
    fn the_laws_of_three_valued_logic_hold(a in any_expression(), b in any_expression(), known in any::<bool>()) {
        let facts = if known { facts() } else { Facts::default() };
        let truth = |source: &str| evaluated(source, &facts);
        let is_unknown = |truth: Truth| matches!(truth, Truth::Unknown(_));
        prop_assert_eq!(truth(&a), truth(&a));
        prop_assert_eq!(is_unknown(truth(&a)), is_unknown(truth(&format!("!({a})"))));
        prop_assert_eq!(truth(&format!("({a}) && false")), Truth::False);
        prop_assert_eq!(truth(&format!("false && ({a})")), Truth::False);
        prop_assert_eq!(truth(&format!("({a}) || true")), Truth::True);
        let kind = |truth: Truth| match truth { Truth::True => 1, Truth::False => 0, Truth::Unknown(_) => 2 };
        prop_assert_eq!(kind(truth(&format!("({a}) && ({b})"))), kind(truth(&format!("({b}) && ({a})"))));
        prop_assert_eq!(
            kind(truth(&format!("!(({a}) && ({b}))"))),
            kind(truth(&format!("!({a}) || !({b})")))
        );
    }

    /// Learning a fact may settle what was open, and never turns what was settled.
    #[test]
    fn what_is_settled_without_a_fact_stays_so_with_it(a in any_expression(), secrets in 0u64..3, max in 0u64..9) {
        let ignorant = Facts::default();
        let mut knowing = Facts::default();
        knowing.signals.secrets = Some(secrets);
        knowing.signals.injection = Some(0.7);
        knowing.request.max_tokens = Some(max);
        let without = evaluated(&a, &ignorant);
        if !matches!(without, Truth::Unknown(_)) && !a.contains("has(") {
            prop_assert_eq!(without, evaluated(&a, &knowing));
        }
    }

    #[test]
    fn nothing_that_is_written_crashes_the_checker(source in "[ -~é]{0,60}") {
        let _ = Condition::compile(&source, Scope::Target);
    }
}
