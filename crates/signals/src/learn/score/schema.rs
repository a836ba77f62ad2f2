//! The part of JSON Schema that answers are checked with: `type`, `required`, `properties`, `additionalProperties` (true
//! or false), `items` (one schema), `enum`, `const`, `minimum`, `maximum`, `minLength`, `maxLength`, `minItems`,
//! `maxItems`; `title`, `description`, `default`, `examples`, `$schema` and `$id` say nothing.
//!
//! Any other keyword is refused when a schema is read: one that is passed over would call answers good that are not. The
//! crates that know all of JSON Schema bring regular expressions, big numbers and fetching of references with them.

use serde_json::{Map, Value};

/// How deep a schema may be nested.
pub const SCHEMA_DEPTH_MAX: usize = 32;
const ANNOTATIONS: [&str; 6] = ["title", "description", "default", "examples", "$schema", "$id"];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// Why a schema is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A keyword that is not known.
    #[error("{place}: the keyword {keyword:?} is not supported")]
    Keyword {
        /// Where, as a JSON pointer.
        place: String,
        /// Which.
        keyword: String,
    },
    /// A keyword that holds what it cannot hold.
    #[error("{place}: {keyword} has to be {wanted}")]
    Value {
        /// Where, as a JSON pointer.
        place: String,
        /// Which.
        keyword: &'static str,
        /// What is expected.
        wanted: &'static str,
    },
    /// Nested deeper than [`SCHEMA_DEPTH_MAX`].
    #[error("the schema is nested deeper than {SCHEMA_DEPTH_MAX} levels")]
    TooDeep,
}

/// A schema whose every keyword is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    types: Vec<String>,
    required: Vec<String>,
    properties: Vec<(String, Schema)>,
    is_closed: bool,
    items: Option<Box<Schema>>,
    allowed: Option<Vec<Value>>,
    number: (Option<f64>, Option<f64>),
    length: (Option<u64>, Option<u64>),
    count: (Option<u64>, Option<u64>),
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaError`] names the keyword that is not known or holds what it cannot hold.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Reader { place: String::new(), depth: 0 }.read(schema)
    }

    /// Whether this text is one JSON value, alone or in a fenced block, that the schema allows.
    #[must_use]
    pub fn allows_text(&self, text: &str) -> bool {
        serde_json::from_str::<Value>(unfenced(text)).is_ok_and(|value| self.allows(&value))
    }

    /// Whether the schema allows this value.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        let types = self.types.is_empty() || self.types.iter().any(|name| is_type(name, value));
        let among = self.allowed.as_ref().is_none_or(|allowed| allowed.contains(value));
        types
            && among
            && match value {
                Value::Object(members) => self.allows_members(members),
                Value::Array(all) => {
                    within(all.len() as u64, self.count)
                        && self.items.as_ref().is_none_or(|schema| all.iter().all(|item| schema.allows(item)))
                }
                Value::String(text) => within(text.chars().count() as u64, self.length),
                Value::Number(number) => number.as_f64().is_some_and(|number| within(number, self.number)),
                Value::Bool(_) | Value::Null => true,
            }
    }

    fn allows_members(&self, members: &Map<String, Value>) -> bool {
        let known = |name: &String| self.properties.iter().find(|(property, _)| property == name);
        self.required.iter().all(|name| members.contains_key(name))
            && members.iter().all(|(name, value)| match known(name) {
                Some((_, schema)) => schema.allows(value),
                None => !self.is_closed,
            })
    }
}

fn within<T: PartialOrd>(value: T, (least, most): (Option<T>, Option<T>)) -> bool {
    least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most)
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}

/// The inside of the only fenced block, else the text.
fn unfenced(text: &str) -> &str {
    let inside = text.trim().strip_prefix("```").and_then(|rest| rest.trim_end().strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text.trim(), |(_, body)| body)
}

/// Reads schemas, knowing where it is.
struct Reader {
    place: String,
    depth: usize,
}

impl Reader {
    fn read(&self, schema: &Value) -> Result<Schema, SchemaError> {
        if self.depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        let mut read = Schema::default();
        let members = schema.as_object().ok_or_else(|| self.wrong("a schema", "an object"))?;
        for (keyword, value) in members {
            match keyword.as_str() {
                "type" => read.types = self.types(value)?,
                "required" => {
                    read.required = strings(value).ok_or_else(|| self.wrong("required", "a list of names"))?;
                }
                "properties" => {
                    let all = value.as_object().ok_or_else(|| self.wrong("properties", "an object"))?;
                    let each = all.iter().map(|(name, schema)| Ok((name.clone(), self.inside(name).read(schema)?)));
                    read.properties = each.collect::<Result<_, _>>()?;
                }
                "additionalProperties" => {
                    let open = value.as_bool().ok_or_else(|| self.wrong("additionalProperties", "true or false"))?;
                    read.is_closed = !open;
                }
                "items" => read.items = Some(Box::new(self.inside("items").read(value)?)),
                "enum" => {
                    let all = value.as_array().ok_or_else(|| self.wrong("enum", "a list"))?;
                    read.allowed = Some(all.clone());
                }
                "const" => read.allowed = Some(vec![value.clone()]),
                "minimum" => read.number.0 = Some(self.number("minimum", value)?),
                "maximum" => read.number.1 = Some(self.number("maximum", value)?),
                "minLength" => read.length.0 = Some(self.size("minLength", value)?),
                "maxLength" => read.length.1 = Some(self.size("maxLength", value)?),
                "minItems" => read.count.0 = Some(self.size("minItems", value)?),
                "maxItems" => read.count.1 = Some(self.size("maxItems", value)?),
                known if ANNOTATIONS.contains(&known) => {}
                _ => {
                    let keyword = keyword.chars().take(40).collect();
                    return Err(SchemaError::Keyword { place: self.place(), keyword });
                }
            }
        }
        Ok(read)
    }

    fn inside(&self, name: &str) -> Self {
        Self { place: format!("{}/{name}", self.place), depth: self.depth + 1 }
    }

    fn place(&self) -> String {
        if self.place.is_empty() { "/".to_owned() } else { self.place.clone() }
    }

    fn wrong(&self, keyword: &'static str, wanted: &'static str) -> SchemaError {
        SchemaError::Value { place: self.place(), keyword, wanted }
    }

    fn types(&self, value: &Value) -> Result<Vec<String>, SchemaError> {
        let names = value.as_str().map(|name| vec![name.to_owned()]).or_else(|| strings(value));
        names
            .filter(|names| names.iter().all(|name| TYPES.contains(&name.as_str())))
            .ok_or_else(|| self.wrong("type", "one of JSON's types or a list of them"))
    }

    fn number(&self, keyword: &'static str, value: &Value) -> Result<f64, SchemaError> {
        value.as_f64().ok_or_else(|| self.wrong(keyword, "a number"))
    }

    fn size(&self, keyword: &'static str, value: &Value) -> Result<u64, SchemaError> {
        value.as_u64().ok_or_else(|| self.wrong(keyword, "a whole number"))
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}
