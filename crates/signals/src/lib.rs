//! What is known of a prompt before it is routed, computed from its text: pure functions of values.

pub mod scan;
