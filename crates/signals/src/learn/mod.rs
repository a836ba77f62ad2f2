//! Learning from labelled answers, in pure Rust: what an answer is worth, and heads fitted anew.
//!
//! No I/O and no clock; randomness is seeded, so that the same labels give the same result. Nothing here keeps a text.

mod curves;
mod labelled;
mod linear;
mod logistic;
mod refit;
mod resample;
mod rows;
mod score;
mod train;

#[cfg(test)]
mod tests;

pub use curves::Scores;
pub use labelled::{LABELLED_LINE_BYTES_MAX, LabelledError, LabelledRow};
pub use refit::{HEAD_ROWS_LEAST, Refit};
pub use resample::{BOOTSTRAP_RESAMPLES, Interval, mean, mean_interval};
pub use rows::Row;
pub use score::{GoldError, Metric, SCHEMA_DEPTH_MAX, Schema, SchemaError, Scorer};
pub use train::{Decision, EITHER_SIDE_LEAST, HELD_OUT_LEAST, Line, TrainError, Trained, train};
