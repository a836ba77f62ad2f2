//! Writes a request for a target: its own name of the model, a stream and usage asked for, Tidegate's own metadata
//! taken out.
//!
//! Everything else goes byte for byte and in order, white space included.

use super::request::{ChatRequest, Nested};
use super::request_error::RequestError;
use crate::json::{Edit, quote, rewrite, unescape};

/// Whether a target is asked to report usage in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageInStream {
    /// As the caller asked, changing nothing.
    AsAsked,
    /// Always, for accounting. What the caller did not ask for has to be hidden from the caller.
    Always,
}

/// Whether a target is asked for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamForm {
    /// As the caller asked.
    AsAsked,
    /// Always. For a caller who did not ask, [`crate::Assembler`] puts the answer together. llama-server refuses
    /// `logprobs` together with tools in a stream only.
    Always,
}

/// What a target is asked for beside what the caller asked for.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamForm<'a> {
    /// The name by which the target knows the model.
    pub model: &'a str,
    /// Counts for what the target streams, whatever the caller asked for.
    pub usage: UsageInStream,
    /// Whether the target streams.
    pub stream: StreamForm,
    /// Top-level members that the target gets, name and raw JSON value, whatever the caller said of them. Must name none of
    /// the fields that [`ChatRequest`] reads.
    pub extra: &'a [(&'a str, &'a str)],
    /// The beginning of the answer, which the target is to go on with: a message of the assistant behind the others.
    pub prefix: Option<&'a str>,
}

impl ChatRequest {
    /// The body for a target. With [`StreamForm::Always`] `stream` is true in it. For what is a stream then, with
    /// [`UsageInStream::Always`], `stream_options.include_usage` is true in it. `metadata.tidegate_*` is not in it, and
    /// no `metadata` at all when it held nothing else. A `prefix` stands behind the messages.
    #[must_use]
    pub fn for_upstream(&self, form: &UpstreamForm<'_>) -> Vec<u8> {
        let begin_stream = form.stream == StreamForm::Always && !self.stream();
        let streams = begin_stream || self.stream();
        let add_usage = form.usage == UsageInStream::Always && streams && !self.include_usage();
        let options = self.layout.stream_options.as_ref();
        let edit = |index: usize| {
            if index == self.layout.model {
                return Edit::Replace(quote(form.model).into_bytes());
            }
            if let Some(prefix) = form.prefix.filter(|_| index == self.layout.messages) {
                return Edit::Replace(self.with_prefix(prefix));
            }
            if let Some(value) = self.extra_at(index, form) {
                return Edit::Replace(value.as_bytes().to_vec());
            }
            if begin_stream && self.layout.stream == Some(index) {
                return Edit::Replace(b"true".to_vec());
            }
            if let Some(options) = options.filter(|options| add_usage && options.index == index) {
                return Edit::Replace(self.with_usage(options));
            }
            match &self.layout.metadata {
                Some(metadata) if metadata.index == index => self.without_own(metadata),
                _ => Edit::Keep,
            }
        };
        let mut added = Vec::new();
        if begin_stream && self.layout.stream.is_none() {
            added.push(r#""stream":true"#.to_owned());
        }
        if add_usage && options.is_none() {
            added.push(r#""stream_options":{"include_usage":true}"#.to_owned());
        }
        let missing = form.extra.iter().filter(|(name, _)| !self.has_member(name));
        added.extend(missing.map(|(name, value)| format!("{}:{value}", quote(name))));
        let added = (!added.is_empty()).then(|| added.join(","));
        rewrite(&self.body, 0..self.body.len(), &self.layout.spans, edit, added.as_deref().map(str::as_bytes))
    }

    fn with_prefix(&self, prefix: &str) -> Vec<u8> {
        let mut messages = self.messages_json().to_vec();
        // Valid and not empty: the last byte closes the list.
        messages.pop();
        messages.extend_from_slice(format!(r#",{{"role":"assistant","content":{}}}]"#, quote(prefix)).as_bytes());
        messages
    }

    /// The body as it came, but for a whole answer: without `stream` and `stream_options`.
    #[must_use]
    pub fn without_stream(&self) -> Vec<u8> {
        let options = self.layout.stream_options.as_ref().map(|options| options.index);
        let edit = |index: usize| match self.layout.stream == Some(index) || options == Some(index) {
            true => Edit::Drop,
            false => Edit::Keep,
        };
        rewrite(&self.body, 0..self.body.len(), &self.layout.spans, edit, None)
    }

    /// The same request, whose stream reports usage. As it is where no stream is asked for.
    ///
    /// # Errors
    /// None, as a valid body stays one.
    pub fn asking_for_usage(&self) -> Result<Self, RequestError> {
        if !self.stream() || self.include_usage() {
            return Ok(self.clone());
        }
        let options = self.layout.stream_options.as_ref();
        let edit = |index: usize| match options.filter(|options| options.index == index) {
            Some(options) => Edit::Replace(self.with_usage(options)),
            None => Edit::Keep,
        };
        let added = options.is_none().then_some(br#""stream_options":{"include_usage":true}"#.as_slice());
        Self::parse(rewrite(&self.body, 0..self.body.len(), &self.layout.spans, edit, added).into())
    }

    /// The value that stands in for the top-level field `index`.
    fn extra_at<'f>(&self, index: usize, form: &UpstreamForm<'f>) -> Option<&'f str> {
        if form.extra.is_empty() {
            return None;
        }
        let key = self.body.get(self.layout.spans.get(index)?.key.clone())?;
        let key = unescape(std::str::from_utf8(key).ok()?)?;
        form.extra.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn with_usage(&self, options: &Nested) -> Vec<u8> {
        if options.is_null {
            return br#"{"include_usage":true}"#.to_vec();
        }
        let edit = |index| if options.own.contains(&index) { Edit::Replace(b"true".to_vec()) } else { Edit::Keep };
        let append = options.own.is_empty().then_some(br#""include_usage":true"#.as_slice());
        rewrite(&self.body, options.object.clone(), &options.spans, edit, append)
    }

    fn without_own(&self, metadata: &Nested) -> Edit {
        if metadata.own.is_empty() {
            return Edit::Keep;
        }
        if metadata.own.len() == metadata.spans.len() {
            return Edit::Drop;
        }
        let edit = |index| if metadata.own.contains(&index) { Edit::Drop } else { Edit::Keep };
        Edit::Replace(rewrite(&self.body, metadata.object.clone(), &metadata.spans, edit, None))
    }
}
