//! Every metric through one table: metric, right answer, answer, worth.

use serde_json::{Value, json};

use super::*;

fn check(metric: &str, cases: &[(Value, &str, f64)]) {
    for (gold, answer, wanted) in cases {
        let scorer = Scorer::new(metric, gold).unwrap();
        let score = scorer.score(answer);
        assert!((score - wanted).abs() < 1e-9, "{metric} {gold} {answer:?}: {score} instead of {wanted}");
    }
}

#[test]
fn exact_compares_words() {
    check(
        "exact",
        &[
            (json!("The Eiffel Tower"), "eiffel tower!", 1.0),
            (json!("Paris"), "It is Paris", 0.0),
            (json!(["USA", "United States"]), "the United  States.", 1.0),
            (json!(42), "42", 1.0),
            (json!(true), "True.", 1.0),
            (json!("a"), "the", 0.0),
            (json!("a"), "A.", 1.0),
            (json!("] ) >"), "] ) >", 1.0),
            (json!("] ) >"), "] >", 0.0),
            (json!("Zürich"), "zürich", 1.0),
            (json!("yes"), "<think>no?</think>\nYes", 1.0),
            (json!("yes"), "<think>yes", 0.0),
        ],
    );
}

#[test]
fn contains_looks_for_whole_words_in_a_row() {
    check(
        "contains",
        &[
            (json!("New York"), "She lives in New York, I think.", 1.0),
            (json!("New York"), "York is new", 0.0),
            (json!("art"), "a heart", 0.0),
            (json!(["no", "nein"]), "Nein!", 1.0),
        ],
    );
}

#[test]
fn a_choice_is_found_in_the_ways_that_models_say_it() {
    let b = json!("B");
    check(
        "choice",
        &[
            (b.clone(), "B", 1.0),
            (b.clone(), "b", 1.0),
            (json!("(B)"), "(B) Paris", 1.0),
            (b.clone(), "B. Paris", 1.0),
            (b.clone(), "**B**", 1.0),
            (b.clone(), "B Paris", 1.0),
            (b.clone(), "The correct answer is B.", 1.0),
            (b.clone(), "The answer is (b) Paris", 1.0),
            (b.clone(), "Answer: A? No. The answer is B", 1.0),
            (b.clone(), "A is wrong, so the answer must be option B, not C.", 1.0),
            (b.clone(), "$\\boxed{B}$", 1.0),
            (b.clone(), "I think (B) because it rains.", 1.0),
            (b.clone(), "It can only be B", 1.0),
            (b.clone(), "The answer is a matter of taste: B", 1.0),
            // An echo of the options chooses none.
            (json!("A"), "A. one\nB. two\nC. three", 0.0),
            (json!("A"), "A. one\n\nbecause one is less than two", 1.0),
            (json!("A"), "A cat sat on the mat", 0.0),
            (b.clone(), "Beijing", 0.0),
            (b.clone(), "Either (A) or (B)", 0.0),
            (b.clone(), "", 0.0),
            (b, "C", 0.0),
        ],
    );
}

#[test]
fn the_last_number_counts() {
    check(
        "number",
        &[
            (json!(18), "9 eggs at 2 dollars are $18.", 1.0),
            (json!("#### 1,234"), "So the answer is 1234", 1.0),
            (json!(1234.5), "about 1,234.50 in all", 1.0),
            (json!(-3), "x = -3", 1.0),
            (json!(-3), "it is \u{2212}3.", 1.0),
            (json!(3), "10-3", 1.0),
            (json!(-5), "-$5", 1.0),
            (json!(4), "options 3, 4", 1.0),
            (json!(0.5), "50%", 0.0),
            (json!(1e-4), "1e-4", 1.0),
            (json!(7), "seven", 0.0),
            (json!(7), "7 and then 8", 0.0),
            (json!(0.333333), "0.3333331", 1.0),
        ],
    );
}

#[test]
fn f1_is_that_of_squad() {
    check(
        "f1",
        &[
            (json!("quick brown fox"), "the brown fox", 0.8),
            (json!("fox"), "fox fox fox", 0.5),
            (json!("fox"), "dog", 0.0),
            (json!(["dog", "red fox"]), "a red fox", 1.0),
        ],
    );
}

#[test]
fn an_answer_is_json_that_the_schema_allows() {
    let schema = json!({
        "type": "object", "title": "a person", "required": ["name", "age"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 5},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 2},
            "kind": {"const": "p"}, "note": {"type": ["string", "null"]}
        }
    });
    check(
        "json_schema",
        &[
            (schema.clone(), r#"{"name":"Ann","age":7}"#, 1.0),
            (schema.clone(), "```json\n{\"name\":\"Ann\",\"age\":7.0}\n```", 1.0),
            (schema.clone(), r#"{"name":"Ann","age":7,"tags":["x"],"kind":"p","note":null}"#, 1.0),
            (schema.clone(), r#"Sure: {"name":"Ann","age":7}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann"}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":7.5}"#, 0.0),
            (schema.clone(), r#"{"name":"","age":7}"#, 0.0),
            (schema.clone(), r#"{"name":"Annabel","age":7}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":200}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":7,"tags":[]}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":7,"tags":["z"]}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":7,"kind":"q"}"#, 0.0),
            (schema.clone(), r#"{"name":"Ann","age":7,"other":1}"#, 0.0),
            (schema, "[]", 0.0),
            (json!({}), "[1, 2]", 1.0),
            (json!({}), "[1, 2", 0.0),
        ],
    );
}

#[test]
fn nonempty_wants_anything() {
    check("nonempty", &[(Value::Null, "x", 1.0), (Value::Null, " \n", 0.0), (Value::Null, "<think>x</think> ", 0.0)]);
}

#[test]
fn what_cannot_be_compared_with_is_refused() {
    let deep = (0..SCHEMA_DEPTH_MAX + 2).fold(json!({}), |inner, _| json!({"items": inner}));
    let cases = [
        ("bleu", json!("x"), "not one of"),
        ("exact", json!(""), "has to be a text"),
        ("exact", json!([]), "has to be a text"),
        ("exact", json!({"a": 1}), "has to be a text"),
        ("choice", json!("first"), "one letter"),
        ("number", json!("none"), "a number"),
        ("json_schema", json!({"properties": {"a": {"pattern": "x"}}}), "/a: the keyword \"pattern\" is not supported"),
        ("json_schema", json!({"type": "text"}), "/: type has to be one of"),
        ("json_schema", json!({"minLength": -1}), "a whole number"),
        ("json_schema", json!([]), "an object"),
        ("json_schema", deep, "deeper"),
    ];
    for (metric, gold, part) in cases {
        let error = Scorer::new(metric, &gold).unwrap_err().to_string();
        assert!(error.contains(part), "{metric}: {error}");
    }
}
