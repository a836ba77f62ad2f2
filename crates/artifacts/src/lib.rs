//! Files this machine needs (engine, models, ONNX Runtime): where from, verified how, where kept.
//!
//! Does not know requests, policies or configuration files; the gateway hands it a [`Home`], a
//! [`Manifest`] and [`Settings`], and asks the resulting [`Store`]. [`Store::find`] never touches the
//! network, so a machine with everything installed starts offline.

mod build;
mod child;
mod digest;
mod disk;
mod engine;
mod error;
mod fetch;
mod home;
mod http;
mod install;
mod lock;
mod manifest;
mod part;
mod progress;
mod receipt;
mod settings;
mod source;
mod store;
mod unpack;
mod wheel;

pub use digest::Digest;
pub use engine::{VERSION_OUTPUT_LINES_MAX, VERSION_TIMEOUT, engine_version};
pub use error::{Error, Problem, SourceError, SourceFailure};
pub use home::Home;
pub use manifest::{Artifact, Manifest, Platform, Role};
pub use progress::{LogProgress, Progress, SilentProgress, Stage, TerminalProgress, Unit, progress_for_stderr};
pub use settings::Settings;
pub use store::{Check, Found, Listed, Origin, State, Store, Verified};
