//! A load generator that checks every answer: HTTP/1.1 keep-alive over raw sockets, as cheap as can be.
//!
//! Each connection sends its next request when the last answer is complete, or, with `--rate`, at fixed
//! times. It measures one URL with one body, draws no conclusions and compares nothing: `bench/run.py`
//! does.

mod answer;
mod connection;
mod report;

use anyhow::{Context, ensure};
use clap::Parser;
use connection::{Connection, Destination};
use report::Samples;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// After this many failures in a row a connection gives up: the target is not there.
const FAILURES_IN_A_ROW_MAX: u32 = 20;

/// Posts one body again and again and prints what came of it as one JSON document.
#[derive(Parser)]
struct Options {
    /// Where to post: `http://127.0.0.1:PORT/path`.
    #[arg(long)]
    url: String,
    /// File with the JSON request body.
    #[arg(long)]
    body_file: PathBuf,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Seconds to measure for, after the warm-up.
    #[arg(long, default_value_t = 4.0)]
    duration: f64,
    /// Seconds at the beginning that are not measured.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Stop after this many measured requests, if that comes before the time is up.
    #[arg(long)]
    requests: Option<u64>,
    /// Requests per second over all connections, at fixed times; without it, as many as can be.
    #[arg(long)]
    rate: Option<f64>,
    /// The answer is an event stream that must end with `[DONE]`.
    #[arg(long)]
    stream: bool,
    /// Events a stream must have; without it, as many as the first answer.
    #[arg(long)]
    expect_frames: Option<u64>,
    /// Bytes the body must have; without it, as many as the first answer.
    #[arg(long)]
    expect_bytes: Option<u64>,
}

/// What all connections of a run share.
struct Run {
    destination: Destination,
    measure_from: Instant,
    stop_at: Instant,
    measured: AtomicU64,
    measured_max: u64,
    /// Time between two requests of one connection, if there is a rate.
    interval: Option<Duration>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(&options))?;
    println!("{report}");
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<serde_json::Value> {
    ensure!(options.connections > 0, "--connections must be at least 1");
    let body =
        std::fs::read(&options.body_file).with_context(|| format!("cannot read {}", options.body_file.display()))?;
    let destination = Destination::new(&options.url, &body, options.stream)?;
    let first = Connection::open(&destination).await?.exchange(&destination).await.context("the first answer")?;
    let expected = first.shape.expecting(options.expect_frames, options.expect_bytes);
    let begin = Instant::now();
    let run = Arc::new(Run {
        destination: destination.expecting(expected),
        measure_from: begin + Duration::from_secs_f64(options.warmup),
        stop_at: begin + Duration::from_secs_f64(options.warmup + options.duration),
        measured: AtomicU64::new(0),
        measured_max: options.requests.unwrap_or(u64::MAX),
        interval: options.rate.map(|rate| Duration::from_secs_f64(options.connections as f64 / rate)),
    });
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..options.connections {
        // With a rate the connections take turns within an interval.
        let offset = run.interval.map_or(Duration::ZERO, |all| all.mul_f64(number as f64 / options.connections as f64));
        connections.spawn(drive(Arc::clone(&run), begin + offset));
    }
    let mut samples = Samples::default();
    while let Some(outcome) = connections.join_next().await {
        samples.merge(outcome?);
    }
    let elapsed = Instant::now().min(run.stop_at).saturating_duration_since(run.measure_from);
    Ok(samples.report(&options.url, elapsed, options.connections, options.rate, &first.shape))
}

/// One connection from the first request to the last.
async fn drive(run: Arc<Run>, mut next_at: Instant) -> Samples {
    let mut samples = Samples::default();
    let mut open: Option<Connection> = None;
    let mut failures_in_a_row = 0;
    while failures_in_a_row < FAILURES_IN_A_ROW_MAX {
        let mut begin = Instant::now();
        if let Some(interval) = run.interval {
            if begin < next_at {
                tokio::time::sleep_until(next_at).await;
                begin = Instant::now();
            } else {
                // Late because the last answer was: that wait is part of what a caller would have seen.
                begin = next_at;
            }
            next_at += interval;
        }
        if begin >= run.stop_at || run.measured.load(Ordering::Relaxed) >= run.measured_max {
            break;
        }
        let outcome = match open.take() {
            Some(mut connection) => connection.exchange(&run.destination).await.map(|answer| (connection, answer)),
            None => open_and_exchange(&run.destination).await,
        };
        let is_measured = begin >= run.measure_from;
        match outcome {
            Ok((connection, answer)) => {
                open = Some(connection);
                failures_in_a_row = 0;
                if is_measured && answer.ended_at <= run.stop_at {
                    run.measured.fetch_add(1, Ordering::Relaxed);
                    samples.add(answer.ended_at - begin, answer.first_at - begin);
                }
            }
            // A fault counts whenever it comes, in the warm-up too.
            Err(error) => {
                failures_in_a_row += 1;
                samples.add_error(&error);
            }
        }
    }
    samples
}

async fn open_and_exchange(destination: &Destination) -> anyhow::Result<(Connection, connection::Answered)> {
    let mut connection = Connection::open(destination).await?;
    let answered = connection.exchange(destination).await?;
    Ok((connection, answered))
}
