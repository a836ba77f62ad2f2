//! Structured logs on standard error: for people on a terminal, one JSON object a line otherwise.
//!
//! Only Tidegate's own crates log below `warn`: libraries may put pieces of what they carry into debug lines. The
//! `RUST_LOG` variable is not read for the same reason.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

const OWN_CRATES: [&str; 6] = ["tidegate", "artifacts", "worker", "dispatch", "account", "traces"];

/// Sets logging up for the process. Later calls change nothing.
pub(crate) fn init(config: &LogConfig) {
    let level = config.level.parse().unwrap_or(LevelFilter::INFO);
    let filter = Targets::new().with_default(LevelFilter::OFF).with_targets(OWN_CRATES.map(|name| (name, level)));
    let human = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Fails only when logging is set up already.
    let _ = if human {
        registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()
    } else {
        registry.with(layer.json()).try_init()
    };
}
