//! The JSON Schema of policy files, checked in for editors.

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/policy.schema.json");

/// `TIDEGATE_WRITE_SCHEMAS=1 cargo test -p policy schema` writes it anew.
#[test]
fn the_schema_is_that_of_the_types() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(PolicyDocument)).unwrap() + "\n";
    if std::env::var_os("TIDEGATE_WRITE_SCHEMAS").is_some() {
        std::fs::write(FILE, &schema).unwrap();
    }
    let checked_in = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(checked_in == schema, "{FILE} is stale: TIDEGATE_WRITE_SCHEMAS=1 cargo test -p policy schema");
}
