//! Asking an engine's executable for its version.
//!
//! Does not start servers; `worker` does.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::child::{self, Stop};
use crate::error::Error;

/// Longest wait for `--version`.
pub const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of output among which the version is looked for.
pub const VERSION_OUTPUT_LINES_MAX: usize = 200;

/// What `<path> --version` says of itself: `10359 (ab12cd3)` of `version: 10359 (ab12cd3)`.
///
/// # Errors
/// [`Error::EngineVersion`] when it cannot be run, does not end within [`VERSION_TIMEOUT`] or prints no
/// such line within [`VERSION_OUTPUT_LINES_MAX`] lines.
pub async fn engine_version(path: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::EngineVersion { path: path.to_owned(), reason };
    let mut command = Command::new(path);
    command.arg("--version");
    let (mut version, mut lines) = (None, 0);
    let running = child::run(command, Stop::Kill, |line| {
        lines += 1;
        if version.is_none() && lines <= VERSION_OUTPUT_LINES_MAX {
            version = line.trim_start().strip_prefix("version:").map(|rest| rest.trim().to_owned());
        }
    });
    let exit = match tokio::time::timeout(VERSION_TIMEOUT, running).await {
        Ok(exit) => exit.map_err(|error| fail(error.to_string()))?,
        Err(_) => return Err(fail(format!("no end within {} s", VERSION_TIMEOUT.as_secs()))),
    };
    match version {
        Some(version) => Ok(version),
        None => Err(fail(format!("no version in its output ({}): {}", exit.status, exit.tail.join(" / ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_executable_without_a_version_is_told_apart_from_none() {
        let error = engine_version(Path::new("/nowhere/llama-server")).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/llama-server"), "{error}");
        let error = engine_version(Path::new("/bin/false")).await.unwrap_err().to_string();
        assert!(error.contains("no version"), "{error}");
    }
}
