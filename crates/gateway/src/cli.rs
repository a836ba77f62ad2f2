//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
    /// Validate a configuration: every error in one run, with file and line
    Check {
        /// Configuration file; without one the built-in default is checked
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// The engine, models and libraries on this machine
    Artifacts {
        #[command(subcommand)]
        action: ArtifactsAction,
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
