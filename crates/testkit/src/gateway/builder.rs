//! How a gateway is started: files, environment, arguments, and waiting for it to be ready.

use super::Gateway;
use super::output::Output;
use crate::{PATIENCE, bin, http_client};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest time until a gateway must be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// The log message by which a gateway tells that it is ready.
const READY_MESSAGE: &str = "gateway ready";
/// Taken out of the inherited environment: loopback needs no proxy, and tests shall not depend on the
/// developer's settings. So is all that begins with [`OWN_PREFIX`] or [`OTEL_PREFIX`].
const FOREIGN_ENV: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "RUST_LOG",
];
const OWN_PREFIX: &str = "TIDEGATE_";
/// What OpenTelemetry reads.
const OTEL_PREFIX: &str = "OTEL_";

/// A gateway that is yet to be started.
#[derive(Debug)]
pub struct GatewayBuilder {
    config: String,
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    home: Option<PathBuf>,
}

/// A gateway that stopped by itself.
#[derive(Debug)]
pub struct Exited {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to stdout.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl GatewayBuilder {
    pub(super) fn new(config_yaml: &str) -> Self {
        Self {
            config: config_yaml.to_owned(),
            program: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            home: None,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Appends an argument after `up --config FILE`.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Uses this folder as `TIDEGATE_HOME` rather than a fresh one, and leaves it behind.
    #[must_use]
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Runs this program rather than the built `tidegate`.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready within a minute; the message holds all it wrote.
    pub async fn start(self) -> Gateway {
        let (folder, config_path, home, mut child) = self.spawn();
        let output = Output::collect(&mut child);
        let pid = child.id().expect("a child that was not waited for has an id");
        let is_ready = |line: &str| ready_addresses(line).is_some();
        let ready = tokio::time::timeout(READY_PATIENCE, output.line(is_ready)).await;
        let Some((data_addr, admin_addr)) = ready.ok().flatten().as_deref().and_then(ready_addresses) else {
            let state = child.try_wait().ok().flatten();
            let state = state.map_or_else(|| "still running".to_owned(), |status| status.to_string());
            panic!("the gateway did not become ready ({state}):\n{}", output.text());
        };
        let client = http_client();
        Gateway { child, pid, output, data_addr, admin_addr, config_path, home, client, _folder: folder }
    }

    /// Starts it and waits until it has stopped by itself, for configurations that it must refuse.
    ///
    /// # Panics
    /// When it is still running after [`PATIENCE`].
    pub async fn run_to_exit(self) -> Exited {
        let (_folder, _config, _home, child) = self.spawn();
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.expect("the gateway stops by itself").expect("the gateway can be waited for");
        Exited {
            status: ended.status,
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        }
    }

    fn spawn(self) -> (TempDir, PathBuf, PathBuf, Child) {
        let folder = tempfile::Builder::new().prefix("tidegate-test-").tempdir().expect("a temporary folder");
        let config_path = folder.path().join("tidegate.yaml");
        std::fs::write(&config_path, &self.config).expect("the temporary folder is writable");
        let home = self.home.unwrap_or_else(|| folder.path().join("home"));
        std::fs::create_dir_all(&home).expect("the home folder can be made");
        let mut command = Command::new(self.program.unwrap_or_else(|| bin("tidegate")));
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        command
            .args([OsStr::new("up"), OsStr::new("--config"), config_path.as_os_str()])
            .args(&self.arguments)
            .env("TIDEGATE_HOME", &home)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().expect("the gateway binary can be run");
        (folder, config_path, home, child)
    }
}

fn is_foreign(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    FOREIGN_ENV.contains(&name.as_ref()) || name.starts_with(OWN_PREFIX) || name.starts_with(OTEL_PREFIX)
}

/// Data and admin address, if this log line is the one that tells that the gateway is ready.
fn ready_addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    (fields["message"] == READY_MESSAGE).then_some(())?;
    let address = |name: &str| fields[name].as_str()?.parse().ok();
    Some((address("data_addr")?, address("admin_addr")?))
}
