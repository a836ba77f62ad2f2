//! The bounds of histograms: powers of two and four, which are bounds of native histograms too, so that the one can be made of the other
//! without a loss.
//!
//! Local and cloud targets share them: what they are compared by has to be counted alike.

/// Times until a first token and the like: 8 ms to 128 s.
pub(super) const WAITS: &[f64] =
    &[0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Times of whole requests: 8 ms to 1024 s.
pub(super) const DURATIONS: &[f64] = &[
    0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0,
    1024.0,
];
/// Times of one token: 1 ms to 1 s.
pub(super) const STEPS: &[f64] =
    &[0.0009765625, 0.001953125, 0.00390625, 0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0];
/// Times of the gateway's own stages: 1 us to 4 s, by four.
pub(super) const STAGES: &[f64] = &[
    9.5367431640625e-7,
    3.814697265625e-6,
    1.52587890625e-5,
    6.103515625e-5,
    0.000244140625,
    0.0009765625,
    0.00390625,
    0.015625,
    0.0625,
    0.25,
    1.0,
    4.0,
];
/// Times until a slot is free: fine where the promise is.
pub(super) const CANCELLATION: &[f64] =
    &[0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Errors of predictions, as a share.
pub(super) const ERRORS: &[f64] = &[0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0];
/// Waits that are mostly none and may be long: 1 ms to 256 s, by four.
pub(super) const QUEUE: &[f64] = &[0.0009765625, 0.00390625, 0.015625, 0.0625, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0];
