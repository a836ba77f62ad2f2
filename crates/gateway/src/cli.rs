//! The command line.

pub(crate) mod ledger;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use ledger::{LedgerAction, ReplayArgs};

/// One endpoint for local and cloud language models.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch what is missing, start the gateway and its local models
    Up {
        /// Configuration file; without one the built-in default is used
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Write the built-in configuration, commented, to start from
    Init {
        /// The file to write
        #[arg(default_value = "tidegate.yaml")]
        file: PathBuf,
        /// Overwrite the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Validate configuration and policies and run the policies' own tests: every error in one run, with file and line
    Check {
        /// Configuration file; without one the built-in default is checked
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Policy files, or folders of them, to check against the configuration instead of the ones it names
        #[arg(value_name = "POLICY")]
        policies: Vec<PathBuf>,
    },
    /// What a running gateway says of itself: targets, breakers, network, workers, policy. Fails when it is not ready
    Status(StatusArgs),
    /// Explain how a request would be decided, without sending it anywhere
    Explain(ExplainArgs),
    /// Measure how fast targets answer, on this machine: time to first token, prompt and answer tokens per second
    Bench(BenchArgs),
    /// Run a labelled set through a target: what can it do?
    EvalTarget(EvalTargetArgs),
    /// Fit the classifier's heads to what was learnt, and put in force what is better
    Train(TrainArgs),
    /// What was learnt of answers: features and how well they were answered, no text
    Labels {
        #[command(subcommand)]
        action: LabelsAction,
    },
    /// Requests that are answered later, and their answers
    Outbox {
        #[command(subcommand)]
        action: OutboxAction,
    },
    /// What became of requests, what they cost and what staying on the device saved; no text
    Ledger {
        #[command(subcommand)]
        action: LedgerAction,
    },
    /// What would another policy have done with the requests of late?
    Replay(ReplayArgs),
    /// The engine, models and libraries on this machine
    Artifacts {
        #[command(subcommand)]
        action: ArtifactsAction,
    },
}

/// What `status` is asked.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Address of the admin port, such as 127.0.0.1:8788; the configured one when absent
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Configuration file of the gateway; without one the built-in default is used
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `explain` is asked.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Body of a chat completion; `-` reads it from standard input, without one it is a short question to `auto`
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// A header of the request, such as 'x-tidegate-privacy: confidential'
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A fact to set after those of the request, such as moment.hour=3; an empty value makes it absent
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    pub facts: Vec<String>,
    /// The state of a target, such as local/model=down; targets are ready unless said otherwise
    #[arg(long = "target", value_name = "ID=STATE")]
    pub targets: Vec<String>,
    /// Configuration file; without one the built-in default is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Policy file to decide by instead of the one that the configuration names
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `bench` is asked.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The ids of the targets; without one, those on this device
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Requests of each case that are measured, at least as many as run at once
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub requests: usize,
    /// Requests at the same time in the second case of each length; a local target's slots when absent, else 4
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_tokens: u64,
    /// Words of a short prompt
    #[arg(long, value_name = "WORDS", default_value_t = 32)]
    pub short: usize,
    /// Words of a long prompt
    #[arg(long, value_name = "WORDS", default_value_t = 512)]
    pub long: usize,
    /// Requests before each case that do not count
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warm_up: usize,
    /// Write everything that was measured, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a chart
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// It may cost what it says that it costs at most
    #[arg(long)]
    pub yes: bool,
    /// Configuration file; without one the built-in default is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `eval-target` is asked.
#[derive(Debug, Args)]
pub(crate) struct EvalTargetArgs {
    /// The id of the target
    pub target: String,
    /// JSON lines: id, prompt or messages, gold, metric (exact, contains, choice, number, f1, json_schema, nonempty), and optionally max_tokens and task
    #[arg(long, value_name = "FILE")]
    pub dataset: PathBuf,
    /// Where the labels go, one JSON line each; those that are there are kept and not asked again. Beside the set when absent
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only the first rows
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Prompts asked at the same time; a local target's slots when absent, else 4
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// Tokens of an answer, where its row does not say
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: u64,
    /// Keep what the answers are worth as labels to learn from, with the features of their prompts (tidegate train)
    #[arg(long)]
    pub learn: bool,
    /// Keep the text of the answers in the file of labels
    #[arg(long)]
    pub answers: bool,
    /// Configuration file; without one the built-in default is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `train` is asked.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Only this target; all with labels when absent
    #[arg(long, value_name = "ID")]
    pub target: Option<String>,
    /// Fit and compare, and leave everything as it is
    #[arg(long)]
    pub dry_run: bool,
    /// Go back to the version before the active one
    #[arg(long, conflicts_with_all = ["target", "dry_run"])]
    pub rollback: bool,
    /// Configuration file; without one the built-in default is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabelsAction {
    /// How many there are of each target, and from where
    Stats,
    /// The newest answers with their outcomes
    List {
        /// Only of this target
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        count: u32,
    },
    /// Write labels with their features as JSON lines
    Export {
        /// The file to write; it must not be there
        out: PathBuf,
        /// Only of this target
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// Also those of requests that stay on the device (confidential and restricted)
        #[arg(long)]
        confidential: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxAction {
    /// The newest entries and why they are not answered
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        count: u32,
    },
    /// One entry with its answer, as JSON
    Show {
        /// Its id
        id: String,
    },
    /// Remove an entry with all that is kept of it; a running gateway stops sending it within a second or two
    Delete {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactsAction {
    /// What the manifest knows and what is here
    List,
    /// Install one artifact, or all
    Install {
        /// Its name; all when absent
        name: Option<String>,
    },
    /// Compare installed files with their recorded sha256
    Verify,
    /// Remove an installed artifact
    Remove {
        /// Its name
        name: String,
    },
}
