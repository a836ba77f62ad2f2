//! What is generated and checked in: the JSON Schema of policy files and the table of facts. `TIDEGATE_WRITE_SCHEMAS=1` makes
//! these tests write it anew.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::*;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/policy.schema.json");
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/README.md");
const FACTS_BEGIN: &str = "<!-- facts: begin; written by TIDEGATE_WRITE_SCHEMAS=1 cargo test -p policy schema -->\n";
const FACTS_END: &str = "<!-- facts: end -->\n";

/// Derived, it would take the words for texts, where YAML has numbers, `true` and `false`.
impl JsonSchema for FactValue {
    fn schema_name() -> Cow<'static, str> {
        "FactValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The value of a fact: text, a number, true or false, null for absent, or a list of words.",
            "type": ["string", "number", "boolean", "null", "array"],
            "items": {"type": "string"}
        })
    }
}

/// Compares a file that is checked in with what it has to hold, or writes it.
fn is_current(file: &str, expected: &str) {
    if std::env::var_os("TIDEGATE_WRITE_SCHEMAS").is_some() {
        std::fs::write(file, expected).unwrap();
    }
    let checked_in = std::fs::read_to_string(file).unwrap_or_default();
    assert!(checked_in == expected, "{file} is stale: TIDEGATE_WRITE_SCHEMAS=1 cargo test -p policy schema");
}

#[test]
fn the_schema_is_that_of_the_types() {
    is_current(SCHEMA, &(serde_json::to_string_pretty(&schemars::schema_for!(PolicyDocument)).unwrap() + "\n"));
}

#[test]
fn the_reference_lists_the_facts_there_are() {
    let text = std::fs::read_to_string(REFERENCE).unwrap();
    let (before, rest) = text.split_once(FACTS_BEGIN).expect("the first marker");
    let (_, after) = rest.split_once(FACTS_END).expect("the second marker");
    is_current(REFERENCE, &format!("{before}{FACTS_BEGIN}{}{FACTS_END}{after}", facts_table()));
}
