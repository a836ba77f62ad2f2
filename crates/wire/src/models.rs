//! The answer to `GET /v1/models`.
//!
//! Knows no target and no clock: ids and time come in.

use bytes::Bytes;

use crate::json::quote;

/// Who owns every model of the list.
const OWNED_BY: &str = "tidegate";

/// The models that a caller may name, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelList {
    ids: Vec<String>,
    created_s: u64,
}

impl ModelList {
    /// `created_s` is in seconds since the Unix epoch and the same for all.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a str>, created_s: u64) -> Self {
        Self { ids: ids.into_iter().map(str::to_owned).collect(), created_s }
    }

    /// The list in OpenAI's shape.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let models: Vec<String> = self.ids.iter().map(|id| self.model(id)).collect();
        format!(r#"{{"object":"list","data":[{}]}}"#, models.join(",")).into()
    }

    /// One model, the answer to `GET /v1/models/{id}`; `None` when it is not in the list.
    #[must_use]
    pub fn one_to_json(&self, id: &str) -> Option<Bytes> {
        self.ids.iter().find(|known| *known == id).map(|id| self.model(id).into())
    }

    fn model(&self, id: &str) -> String {
        let (id, created, owner) = (quote(id), self.created_s, quote(OWNED_BY));
        format!(r#"{{"id":{id},"object":"model","created":{created},"owned_by":{owner}}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_openai_shape() {
        let list = ModelList::new(["auto", "a\"b"], 7);
        assert_eq!(
            list.to_json(),
            concat!(
                r#"{"object":"list","data":[{"id":"auto","object":"model","created":7,"owned_by":"tidegate"},"#,
                r#"{"id":"a\"b","object":"model","created":7,"owned_by":"tidegate"}]}"#
            )
        );
        assert_eq!(
            list.one_to_json("auto").unwrap(),
            r#"{"id":"auto","object":"model","created":7,"owned_by":"tidegate"}"#
        );
        assert_eq!(list.one_to_json("b"), None);
        assert_eq!(ModelList::new([], 7).to_json(), r#"{"object":"list","data":[]}"#);
    }
}
