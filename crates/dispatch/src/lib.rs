//! Runs a plan against its targets; the only way out of this machine for a prompt.
//!
//! [`Dispatcher::execute`] tries the attempts of a plan in order and yields one [`Answer`] or one [`Failure`]: `execute` is the
//! way through the plan, `attempt` one try, `leg` the stream of one target, `output` what of it goes to the caller, `relay` the
//! stream after its first content. Everything is driven by the caller: dropping a future or a [`Relay`] closes the
//! connection upstream, and nothing is read from a target before the caller has taken what came before.

mod admission;
mod answer;
mod asking;
mod assemble;
mod attempt;
mod counted;
mod delivered;
mod destination;
mod egress;
mod execute;
mod forecast;
mod health;
mod hedge;
mod http1;
mod journal;
mod leg;
mod llama_cpp;
mod meter;
mod network;
mod observation;
mod openai;
mod output;
mod probe;
mod provider;
mod refusal;
mod relay;
mod remote_speed;
mod sent;
mod trace;
mod way;
mod worker_slots;

pub use admission::{AdmissionLimits, Flow, Load};
pub use answer::{Answer, Content, Failure, TargetFailure};
pub use asking::Asking;
pub use destination::{Destination, DestinationError};
pub use execute::{Dispatcher, Target};
pub use health::{HealthStatus, RATE_LIMITED_MAX, SILENT_AFTER, TargetHealth, UNREACHABLE_FOR};
pub use hedge::HedgeLimits;
pub use journal::{AttemptRecord, Journal};
pub use llama_cpp::{LlamaCpp, LlamaCppSettings, Supply};
pub use meter::{Meter, NoMeter, Situation};
pub use network::{Network, NetworkStatus};
pub use observation::Observation;
pub use openai::OpenAi;
pub use probe::{CaptiveProbe, ProbeConfig, ProbeError};
pub use provider::{Lead, Provider, Timeouts, Unavailable};
pub use relay::{Relay, StreamEnd};
pub use remote_speed::RemoteSpeed;
pub use trace::{AttemptSpan, Trace};

#[cfg(test)]
mod tests;
