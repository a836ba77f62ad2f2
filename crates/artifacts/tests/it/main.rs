//! The crate as its users see it: real files, real sockets on port 0, scripted servers and a scripted pip.
//!
//! Nothing here leaves the loopback interface or depends on what is installed besides `sh`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is tests; clippy.toml's allowance reaches #[test] functions only"
)]

mod build;
mod concurrency;
mod downloads;
mod pypi;
mod sources;
mod store;
mod support;
