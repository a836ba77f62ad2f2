//! `tidegate status`: what a running gateway says of itself on its admin port.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::status::{
    LedgerReadiness, Offline, OutboxReadiness, Status, TargetReadiness, TracesReadiness, WorkerReadiness,
};

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes: 256 targets with their reasons are far below.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Prints the state of the gateway whose admin port is named, or configured.
///
/// # Errors
/// When no gateway answers there, and when it answers that it is not ready.
pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let address = match &args.admin {
        Some(text) => resolve(text)?,
        None => reachable(Config::load(args.config.as_deref())?.admin_listen),
    };
    let body = ask(address).with_context(|| format!("no gateway answers on {address}"))?;
    let status: Status = serde_json::from_slice(&body)
        .with_context(|| format!("what answers on {address} is no gateway of this version"))?;
    if args.json {
        say!("{}", String::from_utf8_lossy(&body));
    } else {
        say!("{}", Table { status: &status, address });
    }
    ensure!(status.ready, "the gateway is not ready");
    Ok(())
}

fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let bare = text.trim_start_matches("http://").trim_end_matches('/');
    let mut found = bare.to_socket_addrs().with_context(|| format!("{text:?} is no address such as 127.0.0.1:8788"))?;
    found.next().with_context(|| format!("{text:?} leads nowhere"))
}

/// A gateway that listens everywhere is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The body of `/readyz`, by HTTP/1.0: one answer, whose end is that of the connection.
fn ask(address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("it does not speak HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    match head.split_whitespace().nth(1) {
        // Not ready is an answer, too.
        Some("200" | "503") => Ok(answer.split_off(end + 4)),
        Some(status) => bail!("it answers with status {status}: is this the admin port?"),
        None => bail!("it does not speak HTTP"),
    }
}

/// The state for people.
struct Table<'a> {
    status: &'a Status,
    address: SocketAddr,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            ready,
            draining,
            version,
            in_flight,
            policy,
            classifier,
            network,
            ledger,
            outbox,
            traces,
            fetching,
            targets,
            workers,
        } = self.status;
        let state = match (ready, draining) {
            (_, true) => "draining",
            (true, _) => "ready",
            (false, _) => "not ready",
        };
        writeln!(f, "gateway     {state}, version {version}, admin port {}", self.address)?;
        writeln!(f, "requests    {in_flight} in flight")?;
        writeln!(f, "policy      {} (hash {}, generation {})", policy.file, policy.hash, policy.generation)?;
        if let Some(error) = &policy.reload_error {
            writeln!(f, "            the last reload failed: {error}")?;
        }
        let reason = classifier.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        writeln!(f, "classifier  {}{reason}", classifier.state)?;
        let said = if let Offline::Said(_) = network.offline { " (an operator says so)" } else { "" };
        let metered = match network.metered {
            Some(true) => ", metered",
            Some(false) => ", not metered",
            None => "",
        };
        let state = network.connectivity.as_deref().unwrap_or("no target needs one");
        writeln!(f, "network     {state}{said}{metered}")?;
        self::ledger(f, ledger)?;
        self::outbox(f, outbox)?;
        self::traces(f, traces)?;
        for stage in fetching {
            writeln!(f, "fetching    {stage}")?;
        }
        self::targets(f, targets)?;
        self::workers(f, workers)
    }
}

fn ledger(f: &mut fmt::Formatter<'_>, ledger: &LedgerReadiness) -> fmt::Result {
    let LedgerReadiness { state, required, waiting, written, lost, reason } = ledger;
    let required = if *required { ", required" } else { "" };
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    writeln!(f, "ledger      {state}{required}, {written} written, {waiting} waiting, {lost} lost{reason}")
}

fn outbox(f: &mut fmt::Formatter<'_>, outbox: &OutboxReadiness) -> fmt::Result {
    let OutboxReadiness { state, waiting, oldest_age_s, finished, bytes: _, reason } = outbox;
    let oldest = oldest_age_s.map_or_else(String::new, |age_s| format!(" (the oldest for {age_s} s)"));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    writeln!(f, "outbox      {state}, {waiting} waiting{oldest}, {finished} finished{reason}")
}

/// A line where they are on.
fn traces(f: &mut fmt::Formatter<'_>, traces: &TracesReadiness) -> fmt::Result {
    let TracesReadiness { state, waiting, exported, lost, reason } = traces;
    if !matches!(state.as_str(), "ready" | "failing") {
        return Ok(());
    }
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    writeln!(f, "traces      {state}, {exported} exported, {waiting} waiting, {lost} lost{reason}")
}

fn targets(f: &mut fmt::Formatter<'_>, targets: &[TargetReadiness]) -> fmt::Result {
    let width = targets.iter().map(|target| target.id.len()).max().unwrap_or(0).max(6);
    write!(f, "\n{:width$}  {:8}  {:12}  {:24}  {:>5}  note", "target", "locality", "state", "breaker", "queue")?;
    for target in targets {
        let TargetReadiness { id, locality, state, reason, breaker, queue_depth } = target;
        let mut opened = breaker.state.clone();
        if let (Some(cause), Some(ms)) = (&breaker.cause, breaker.probe_in_ms) {
            write!(opened, " {cause}, {:.1} s", ms as f64 / 1000.0)?;
        }
        let queue = queue_depth.map_or_else(|| "-".to_owned(), |depth| depth.to_string());
        let note = reason.as_deref().unwrap_or_default();
        let line = format!("{id:width$}  {locality:8}  {state:12}  {opened:24}  {queue:>5}  {note}");
        write!(f, "\n{}", line.trim_end())?;
    }
    Ok(())
}

fn workers(f: &mut fmt::Formatter<'_>, workers: &[WorkerReadiness]) -> fmt::Result {
    if workers.is_empty() {
        return Ok(());
    }
    let width = workers.iter().map(|worker| worker.target.len()).max().unwrap_or(0).max(6);
    write!(f, "\n\n{:width$}  {:8}  {:>8}  {:>8}  {:>10}  note", "worker", "state", "pid", "restarts", "since")?;
    for WorkerReadiness { target, state, pid, restarts, for_ms, reason } in workers {
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let since = format!("{:.1} s", *for_ms as f64 / 1000.0);
        let note = reason.as_deref().unwrap_or_default();
        let line = format!("{target:width$}  {state:8}  {pid:>8}  {restarts:>8}  {since:>10}  {note}");
        write!(f, "\n{}", line.trim_end())?;
    }
    Ok(())
}
