//! `tidegate up`: compose, listen, announce, run, drain; what is missing is fetched meanwhile.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::Port;
use crate::config::Config;
use crate::listen::Listener;
use crate::{announce, compose, logging, serve};

/// Runs the gateway until it is told to stop.
pub(crate) async fn up(file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    logging::init(&config.log);
    for (id, variable) in &config.disabled {
        info!(target_id = id, variable, "target is off: its variable is not set");
    }
    for (name, address) in [("listen", config.listen), ("admin_listen", config.admin_listen)] {
        if !address.ip().is_loopback() {
            warn!(%address, "{name} is not a loopback address and there is no authentication: anybody who reaches it may use it");
        }
    }
    // From here on a hangup reloads and no longer kills.
    let hangup = signal(SignalKind::hangup()).context("signals cannot be received")?;
    // Ports first: a second gateway on the same ports fails before it fetches anything.
    let data = Listener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let admin = Listener::bind(config.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.admin_listen))?;
    let (data_address, admin_address) = (data.address, admin.address);

    let gateway = compose::compose(config).await?.begin();
    say!("{}", announce::announcement(&gateway, data_address, admin_address));
    info!(data_addr = %data_address, admin_addr = %admin_address, "gateway ready");
    serve::run(gateway, [(data, Port::Data), (admin, Port::Admin)], hangup).await
}
