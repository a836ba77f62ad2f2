//! Attributes of spans: each value bounded, absent where there is nothing to say.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

/// Longest text of an attribute, in bytes; what is longer is cut.
pub(crate) const TEXT_BYTES_MAX: usize = 256;
/// Most members of a list.
pub(crate) const LIST_MAX: usize = 32;

/// The attributes of one span.
#[derive(Default)]
pub(crate) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        self.add(key, Some(string(text)));
    }

    pub(crate) fn maybe_text(&mut self, key: &str, text: Option<&str>) {
        self.add(key, text.map(string));
    }

    pub(crate) fn number(&mut self, key: &str, number: impl TryInto<i64>) {
        self.maybe_number(key, Some(number));
    }

    pub(crate) fn maybe_number(&mut self, key: &str, number: Option<impl TryInto<i64>>) {
        self.add(key, number.map(|number| Value::IntValue(number.try_into().unwrap_or(i64::MAX))));
    }

    pub(crate) fn maybe_real(&mut self, key: &str, real: Option<f64>) {
        self.add(key, real.filter(|real| real.is_finite()).map(Value::DoubleValue));
    }

    /// Only where it is so.
    pub(crate) fn flag(&mut self, key: &str, is_so: bool) {
        self.add(key, is_so.then_some(Value::BoolValue(true)));
    }

    /// Only where there are any.
    pub(crate) fn list<T: AsRef<str>>(&mut self, key: &str, texts: impl IntoIterator<Item = T>) {
        let values: Vec<_> = texts.into_iter().take(LIST_MAX).map(|text| any(string(text.as_ref()))).collect();
        self.add(key, (!values.is_empty()).then_some(Value::ArrayValue(ArrayValue { values })));
    }

    pub(crate) fn into_inner(self) -> Vec<KeyValue> {
        self.0
    }

    fn add(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.push(KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() });
        }
    }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn string(text: &str) -> Value {
    Value::StringValue(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_bounded() {
        let mut attributes = Attributes::default();
        attributes.text("text", &"\u{e9}".repeat(1000));
        attributes.list("list", std::iter::repeat_n("x".repeat(1000), 1000));
        attributes.number("number", u64::MAX);
        attributes.maybe_real("real", Some(f64::NAN));
        attributes.maybe_text("none", None);
        attributes.flag("no", false);
        attributes.list("empty", std::iter::empty::<&str>());
        let read = attributes.into_inner();
        let value = |at: usize| read[at].value.clone().unwrap().value.unwrap();
        assert_eq!(read.len(), 3, "{read:?}");
        assert_eq!(value(0), Value::StringValue("\u{e9}".repeat(TEXT_BYTES_MAX / 2)));
        let Value::ArrayValue(list) = value(1) else { panic!("{read:?}") };
        assert_eq!(list.values.len(), LIST_MAX);
        assert!(list.values.iter().all(|text| *text == any(Value::StringValue("x".repeat(TEXT_BYTES_MAX)))));
        assert_eq!(value(2), Value::IntValue(i64::MAX));
    }
}
