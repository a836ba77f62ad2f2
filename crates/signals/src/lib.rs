//! From a request to what policies decide by: how well each target is likely to answer it, what kind of task it is, whether it
//! holds personal data or secrets, whether somebody tries to subvert the model.
//!
//! Knows no HTTP and no targets of its own; it never fails a request: what is not known is absent.

pub mod classify;
mod language;
pub mod learn;
mod reader;
pub mod scan;
mod scan_report;
pub mod tokens;

pub use classify::Classifier;
pub use reader::{NotClassified, Reader, Report, SCAN_TIME_MAX};
pub use scan_report::ScanReport;
