//! The crate from outside: golden files, properties of any cutting and any field, hostile input.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod chunkings;
mod golden;
mod hostile;
mod pass_through;
