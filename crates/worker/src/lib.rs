//! Supervised `llama-server` children: started on first need or at boot, watched, restarted, stopped.
//!
//! A [`Worker`] is a cloneable handle to one owner task, the single writer of the state; that task runs a pure
//! state machine (`machine.rs`, with the transition table) and performs what it asks for through `effects.rs`.
//! [`Worker::ensure_ready`] is what a caller needs; the rest is for status pages and shutdown.
//!
//! What this crate never knows: requests, prompts, policy. It reads no answer of the child but `/health`.
//!
//! # What happens when the parent dies
//!
//! On Linux the child is killed by the kernel when its parent ends in any way, SIGKILL included
//! (`PR_SET_PDEATHSIG`; not for an executable with set-uid or file capabilities, for which the kernel drops it).
//! Other Unixes have no such thing: there a parent that ends by itself, or whose runtime is shut down, stops the
//! child, and a parent that is killed with SIGKILL leaves it running. Windows is not supported.

mod child;
mod config;
mod diagnose;
mod effects;
mod environment;
mod error;
mod handle;
mod health;
mod launch;
mod log;
mod machine;
mod process;
mod socket;
mod status;
mod supervisor;

pub use config::{Backoff, Liveness, WorkerConfig};
pub use error::StartError;
pub use handle::Worker;
pub use launch::check_extra_args;
pub use status::{Endpoint, Ready, StateName, Status};
