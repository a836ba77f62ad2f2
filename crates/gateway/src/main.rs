//! The `tidegate` binary: reads the command line and runs one command.
//!
//! Exit status: 0 success, 1 failure, 64 bad usage (sysexits' EX_USAGE), 78 bad configuration (EX_CONFIG).

#[macro_use]
mod output;

mod admin;
mod announce;
mod app;
mod aside;
mod awaiting;
mod claims;
mod classifier;
mod cli;
mod commands;
mod compose;
mod config;
mod connection;
mod conversation;
mod decision;
mod exchange;
mod explanation;
mod facts;
mod fetch;
mod gateway;
mod history;
mod intake;
mod learning;
mod listen;
mod logging;
mod moment;
mod outbox;
mod policies;
mod recall;
mod receipts;
mod recording;
mod reply;
mod request_id;
mod rescue;
mod route;
mod serve;
mod settle;
mod signals;
mod span;
mod status;
mod tags;
mod threads;
mod token_counts;
mod trace;
mod unix_time;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pingora_core::protocols::http::ServerSession;

use cli::{Cli, Command};
use connection::Connection;

/// The system's allocator took about a seventh of the processor time under load (`perf`, `bench/`). Without huge pages
/// (`no_thp`), of which a few bytes here and there would fill a process that does nothing: 24 MB resident instead of 44.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for everything but the requests on the data port (`threads`).
const BACKGROUND_THREADS: usize = 2;
const EX_USAGE: u8 = 64;
const EX_CONFIG: u8 = 78;
/// How long a refused body is read away before its connection is closed.
const UNREAD_BODY_LIMIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let (name, value) = ::signals::classify::NO_TELEMETRY;
    #[expect(
        unsafe_code,
        reason = "ONNX Runtime reads nothing but the environment before it begins to report to its maker"
    )]
    // SAFETY: no other thread has been started that could read the environment meanwhile.
    unsafe {
        std::env::set_var(name, value);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a closed standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(BACKGROUND_THREADS).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidegate: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    // Blocking reads that nobody waits for any more do not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            if error.is::<config::ConfigErrors>() || error.is::<policies::PolicyErrors>() {
                ExitCode::from(EX_CONFIG)
            } else if error.is::<commands::UsageError>() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { config } => commands::up(config.as_deref()).await,
        Command::Init { file, force } => commands::init(&file, force),
        Command::Check { config, policies } => commands::check(config.as_deref(), &policies),
        Command::Explain(args) => commands::explain(&args),
        Command::Bench(args) => commands::bench(&args).await,
        Command::EvalTarget(args) => commands::eval_target(&args).await,
        Command::Train(args) => commands::train(&args),
        Command::Labels { action } => commands::labels(&action),
        Command::Outbox { action } => commands::outbox(&action),
        Command::Ledger { action } => commands::ledger(&action),
        Command::Replay(args) => commands::replay(&args),
        Command::Status(args) => commands::status(&args),
        Command::Artifacts { action } => commands::artifacts(action).await,
    }
}

/// Runs `work` until it is done, or until the caller of `session` has left: then `work` is dropped and the answer is
/// `None`. Pinned where it was made, as moving a large future costs more than polling it.
async fn until_gone<T>(session: &mut ServerSession, work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let gone = async {
        match Connection::of(session) {
            Some(connection) => connection.closed().await,
            // A stream of HTTP/2 shares its connection; this resolves when the stream is reset or the connection closed.
            None => drop(session.read_body_or_idle(true).await),
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = gone => None,
    }
}
