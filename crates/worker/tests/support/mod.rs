//! What both kinds of tests with real processes need: a place, a request, a process to watch.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use worker::{Endpoint, Ready, WorkerConfig};

/// Longer than anything here takes; a test that reaches it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A temporary folder and a configuration in it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: WorkerConfig,
}

impl Place {
    /// For that executable and model.
    pub(crate) fn new(executable: PathBuf, model: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (run, log) = (folder.path().join("run"), folder.path().join("log"));
        let config = WorkerConfig::new("local", executable, model, run, log);
        Self { folder, config }
    }

    /// The worker's log file.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.config.log_dir.join("local.log")).unwrap_or_default()
    }
}

/// A process that is watched by descriptor: its number may be used again, this may not.
pub(crate) struct Watched(OwnedFd);

impl Watched {
    /// Must be called while the process exists.
    pub(crate) fn open(pid: u32) -> Self {
        Self(pidfd_open(process(pid), PidfdFlags::empty()).expect("the process exists"))
    }

    /// Returns when the process has ended.
    pub(crate) async fn ended(self) {
        let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
        let poll_end = move || poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit));
        assert_eq!(tokio::task::spawn_blocking(poll_end).await.unwrap(), Ok(1), "the process ends");
    }
}

/// SIGKILL from outside, as the kernel or an operator would.
pub(crate) fn kill(pid: u32) {
    rustix::process::kill_process(process(pid), rustix::process::Signal::KILL).unwrap();
}

fn process(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("a process id is not 0")
}

/// One chat request; the whole answer, head and body.
pub(crate) async fn chat(ready: &Ready, body: &str) -> std::io::Result<String> {
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(ready, &request).await
}

/// One GET request; the whole answer, head and body.
pub(crate) async fn get(ready: &Ready, path: &str) -> std::io::Result<String> {
    exchange(ready, &format!("GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")).await
}

async fn exchange(ready: &Ready, request: &str) -> std::io::Result<String> {
    match &ready.endpoint {
        Endpoint::Unix(path) => speak(UnixStream::connect(path).await?, request).await,
        Endpoint::Tcp(address) => speak(TcpStream::connect(address).await?, request).await,
    }
}

async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("an answer in time")?;
    if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}
