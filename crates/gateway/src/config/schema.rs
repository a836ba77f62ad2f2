//! The JSON Schema of the configuration file, checked in for editors.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::raw::{RawConfig, RawFrom, RawValue};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/tidegate.schema.json");

impl JsonSchema for RawValue {
    fn schema_name() -> Cow<'static, str> {
        "RawValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, or `{env: NAME, default: text}`, or `{file: PATH}`. Secrets are never given as text.",
            "anyOf": [{"type": ["string", "number"]}, generator.subschema_for::<RawFrom>()]
        })
    }
}

/// `TIDEGATE_WRITE_SCHEMAS=1 cargo test -p gateway schema` writes it anew.
#[test]
fn the_schema_is_that_of_the_types() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(RawConfig)).unwrap() + "\n";
    if std::env::var_os("TIDEGATE_WRITE_SCHEMAS").is_some() {
        std::fs::write(FILE, &schema).unwrap();
    }
    let checked_in = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(checked_in == schema, "{FILE} is stale: TIDEGATE_WRITE_SCHEMAS=1 cargo test -p gateway schema");
}
