//! Runs the listeners until a signal, then drains: running requests may finish within the grace period.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::Port;
use crate::gateway::Gateway;
use crate::listen::Listener;
use crate::threads::{Place, ServingThreads};
use crate::{outbox, policies};

/// How often draining looks at what still runs.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long it may take to drop what is cut off.
const CUT_OFF_MAX: Duration = Duration::from_secs(2);

/// Serves on the given ports until SIGTERM or SIGINT and stops within the grace period; a second signal stops at once.
///
/// `hangup` reloads the policies.
pub(crate) async fn run(gateway: Arc<Gateway>, listeners: [(Listener, Port); 2], hangup: Signal) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let (stop_data, data_stopped) = watch::channel(false);
    let (stop_admin, admin_stopped) = watch::channel(false);
    tokio::spawn(policies::watch(Arc::clone(&gateway)));
    tokio::spawn(Arc::clone(gateway.dispatcher.network()).watch());
    tokio::spawn(reload_on_hangup(Arc::clone(&gateway), hangup));
    tokio::spawn(outbox::run(Arc::clone(&gateway)));
    let threads = ServingThreads::start().context("no thread to serve with")?;
    for (listener, port) in listeners {
        let (places, stopped) = match port {
            Port::Data => (threads.places(), data_stopped.clone()),
            Port::Admin => (vec![Place::here()], admin_stopped.clone()),
        };
        tokio::spawn(listener.serve(Arc::clone(&gateway), port, places, stopped));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    gateway.drain();
    // Held by every connection; a failure means that none is left.
    let _ = stop_data.send(true);
    let running = gateway.metrics.in_flight();
    let grace_s = gateway.config.limits.grace_period.as_secs_f32();
    info!(running, grace_s, "stopping: running requests may finish");
    let drained = async {
        while gateway.metrics.in_flight() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(gateway.config.limits.grace_period) => {
            warn!(running = gateway.metrics.in_flight(), "grace period over, requests are cut off");
        }
        _ = terminate.recv() => warn!("second signal, requests are cut off"),
        _ = interrupt.recv() => warn!("second signal, requests are cut off"),
    }
    let _ = stop_admin.send(true);
    settle_the_rest(&gateway, threads).await;
    let workers = gateway.workers.all();
    join_all(workers.iter().map(|(_, worker)| worker.stop())).await;
    // What is written behind a queue. Fails only in a panic.
    let written = Arc::clone(&gateway);
    let write = tokio::task::spawn_blocking(move || {
        let gateway = written;
        gateway.learning.iter().for_each(|learning| learning.store().flush());
        gateway.recall.iter().for_each(|recall| recall.flush());
        gateway.recording.iter().for_each(|recording| recording.ledger.close());
    });
    let export = async {
        if let Some(traces) = &gateway.traces {
            traces.close().await;
        }
    };
    let _ = tokio::join!(write, export);
    info!("stopped");
    Ok(())
}

/// Cuts off what still runs and waits until it is settled, so that nothing is missing in what is written last.
async fn settle_the_rest(gateway: &Gateway, threads: ServingThreads) {
    gateway.cut_off();
    // First what runs beside the serving threads: it may use a connection that one of these drives.
    let settled = async {
        while !gateway.is_idle() {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    };
    if tokio::time::timeout(CUT_OFF_MAX, settled).await.is_err() {
        warn!(running = gateway.metrics.in_flight(), "requests do not end, and are not recorded");
    }
    threads.stop().await;
}

/// SIGHUP loads the policies anew, whether or not their files seem to have changed.
async fn reload_on_hangup(gateway: Arc<Gateway>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // A failure is logged, counted and kept by the reload itself.
        let _ = gateway.reload_policies().await;
    }
}
