//! Writes a request for a target: its own name of the model, usage asked for, Tidegate's own metadata taken out.
//!
//! Everything else goes byte for byte and in order, white space included.

use super::request::{ChatRequest, Nested};
use crate::json::{Edit, quote, rewrite};

/// Whether a target is asked to report usage in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageInStream {
    /// As the caller asked, changing nothing.
    AsAsked,
    /// Always, for accounting. What the caller did not ask for has to be hidden from the caller.
    Always,
}

impl ChatRequest {
    /// The body for a target that knows the model as `upstream_model`. For a stream with [`UsageInStream::Always`],
    /// `stream_options.include_usage` is true in it. `metadata.tidegate_*` is not in it, and no `metadata` at all when it
    /// held nothing else.
    #[must_use]
    pub fn for_upstream(&self, upstream_model: &str, usage: UsageInStream) -> Vec<u8> {
        let add_usage = usage == UsageInStream::Always && self.stream() && !self.include_usage();
        let options = self.layout.stream_options.as_ref();
        let append = add_usage && options.is_none();
        let edit = |index: usize| {
            if index == self.layout.model {
                return Edit::Replace(quote(upstream_model).into_bytes());
            }
            if let Some(options) = options.filter(|options| add_usage && options.index == index) {
                return Edit::Replace(self.with_usage(options));
            }
            match &self.layout.metadata {
                Some(metadata) if metadata.index == index => self.without_own(metadata),
                _ => Edit::Keep,
            }
        };
        let append = append.then_some(br#""stream_options":{"include_usage":true}"#.as_slice());
        rewrite(&self.body, 0..self.body.len(), &self.layout.spans, edit, append)
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
