//! Runs the real `tidegate` binary on free ports and watches what it says.
//!
//! It knows the command line, the environment and the "gateway ready" line of the log, and nothing else
//! of the gateway: the tests speak to it as any caller does.

mod builder;
mod output;

pub use builder::{Exited, GatewayBuilder};

use crate::{PATIENCE, Streamed, sum_metric};
use output::Output;
use reqwest::{Client, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Once;
use tempfile::TempDir;
use tokio::process::Child;

/// A running gateway. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    pid: u32,
    output: Output,
    data_addr: SocketAddr,
    admin_addr: SocketAddr,
    config_path: PathBuf,
    home: PathBuf,
    client: Client,
    /// Removed last, after the process that uses it.
    _folder: TempDir,
}

impl Gateway {
    /// Starts `tidegate up` with this configuration and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready within a minute; the message holds all it wrote.
    pub async fn start(config_yaml: &str) -> Self {
        Self::builder(config_yaml).start().await
    }

    /// A gateway with this configuration that is yet to be started.
    pub fn builder(config_yaml: &str) -> GatewayBuilder {
        GatewayBuilder::new(config_yaml)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Address of the data listener.
    pub fn data_addr(&self) -> SocketAddr {
        self.data_addr
    }

    /// Address of the admin listener.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// URL of a path (with leading slash) of the data listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.data_addr)
    }

    /// URL of a path (with leading slash) of the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin_addr)
    }

    /// `TIDEGATE_HOME` of the process.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where its configuration lies; a test may write there and [`Self::signal`] a reload.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// A client without proxies, shared by the helpers below.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Posts a chat completion and returns the response, its body unread.
    ///
    /// # Panics
    /// When there is no response at all; the message holds the log.
    pub async fn chat(&self, body: &Value) -> Response {
        self.post("/v1/chat/completions", body).await
    }

    /// Posts a chat completion that asks for a stream (`stream` is set for it) and reads it to its end.
    pub async fn chat_stream(&self, body: &Value) -> Streamed {
        let mut body = body.clone();
        body["stream"] = true.into();
        Streamed::read(self.chat(&body).await).await
    }

    /// Posts JSON to a path of the data listener.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        let sent = self
            .client
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await;
        sent.unwrap_or_else(|error| panic!("no response from the gateway: {error:?}\n{}", self.output.text()))
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let response = self.client.get(self.admin_url("/metrics")).send().await.expect("the metrics page answers");
        response.text().await.expect("the metrics page is text")
    }

    /// The sum over all samples of this metric that have these labels; `None` if there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sum_metric(&self.metrics().await, name, labels)
    }

    /// All lines it wrote to stderr so far.
    pub fn logs(&self) -> Vec<String> {
        self.output.stderr()
    }

    /// Waits for a log line that contains `part`, also among those already written, and returns it.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub async fn wait_for_log(&self, part: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, self.output.line(|line| line.contains(part))).await;
        match found {
            Ok(Some(line)) => line,
            _ => panic!("no log line contains {part:?}:\n{}", self.output.text()),
        }
    }

    /// Sends a signal, as `SIGHUP` for a reload.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the gateway runs and takes signals");
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has.
    ///
    /// # Panics
    /// When it is still there after [`PATIENCE`].
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    pub async fn kill(&mut self) -> ExitStatus {
        self.child.start_kill().expect("the gateway can be killed");
        self.wait().await
    }

    /// Waits until it has stopped by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("the gateway can be waited for"),
            Err(_) => panic!("the gateway did not stop:\n{}", self.output.text()),
        }
    }

    /// Resident memory in bytes, from `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("VmRSS is a number") * 1024
    }
}

/// A reqwest client that uses no proxy and follows no redirect. It has no timeout of its own.
pub fn http_client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only if a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client")
}
