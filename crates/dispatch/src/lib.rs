//! Runs a plan against its targets; the only way out of this machine for a prompt.
//!
//! [`Dispatcher::execute`] tries the attempts of a plan in order and yields one [`Answer`] or one [`Failure`].
//! Everything is driven by the caller: dropping a future or a [`Relay`] closes the connection upstream, and
//! nothing is read from a target before the caller has taken what came before.

mod answer;
mod assemble;
mod destination;
mod egress;
mod execute;
mod http1;
mod llama_cpp;
mod openai;
mod provider;
mod relay;

pub use answer::{Answer, AttemptRecord, Content, Failure, TargetFailure};
pub use destination::{Destination, DestinationError};
pub use execute::{Dispatcher, Target};
pub use llama_cpp::LlamaCpp;
pub use openai::{OpenAi, UNREACHABLE_FOR};
pub use provider::{Lead, Provider, Timeouts, Unavailable};
pub use relay::{Relay, StreamEnd};

#[cfg(test)]
mod tests;
