//! The arguments of `tidegate ledger` and `tidegate replay`.

use std::path::PathBuf;

use account::ledger::Head;
use account::{ExchangeKind, RequestOutcome};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};

use crate::span::Since;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerAction {
    /// The newest records, and with --follow those to come
    Tail {
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        count: u64,
        /// Go on until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// The records that everything given holds for
    Query {
        #[command(flatten)]
        filter: FilterArgs,
        /// The newest of them, at most so many
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
        /// How they are printed
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// What they come to: requests, how many stayed on the device, cost, cost avoided, latency by target
    Summary {
        #[command(flatten)]
        filter: FilterArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write them as JSON lines, each with its place and hash
    Export {
        /// The file to write; it must not be there
        out: PathBuf,
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Compute every hash anew: was a record edited, removed or moved?
    Verify {
        /// A place that is known from a receipt or an earlier run, SEQ:HASH; also finds a tail that was cut off
        #[arg(long = "known", value_name = "SEQ:HASH", value_parser = head)]
        known: Vec<Head>,
    },
}

/// Which records are wanted.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// From then on: 90s, 30m, 12h, 7d, 4w ago, or a time such as 2026-11-28 or 2026-11-28T18:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<Since>,
    /// Answered by this target; `none` for those that nobody answered
    #[arg(long, value_name = "ID")]
    pub target: Option<String>,
    /// Decided by this route
    #[arg(long, value_name = "ID")]
    pub route: Option<String>,
    /// Ended so
    #[arg(long, value_name = "OUTCOME", value_parser = one_of(RequestOutcome::ALL.map(RequestOutcome::as_str)))]
    pub outcome: Option<String>,
    /// Made for this
    #[arg(long, value_name = "KIND", value_parser = one_of(ExchangeKind::ALL.map(ExchangeKind::as_str)))]
    pub kind: Option<String>,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One line each, with a header
    Csv,
    /// One object a line, whole
    Json,
}

/// What `replay` is asked.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The policy to decide by
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Requests from then on: 12h, 7d, 4w ago, or a time
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub since: Since,
    /// Configuration file, for the targets that the policy may name; without one the built-in default is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Requests that changed which are listed at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub list: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A misspelt word would find nothing, as if there were nothing.
fn one_of<const N: usize>(words: [&'static str; N]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

fn head(text: &str) -> Result<Head, String> {
    Head::parse(text).ok_or_else(|| "is not of the form SEQ:HASH, as `tidegate ledger verify` prints it".to_owned())
}
