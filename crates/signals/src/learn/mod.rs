//! Learning from labelled answers, in pure Rust: what an answer is worth, and heads fitted anew.
//!
//! No I/O and no clock; randomness is seeded, so that the same labels give the same result. Nothing here keeps a text.

mod labelled;
mod resample;
mod score;

pub use labelled::{LABELLED_LINE_BYTES_MAX, LabelledError, LabelledRow};
pub use resample::{BOOTSTRAP_RESAMPLES, Interval, mean, mean_interval};
pub use score::{GoldError, Metric, SCHEMA_DEPTH_MAX, Schema, SchemaError, Scorer};
