//! Collects what a child process writes, line by line, and lets a test wait for a line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

/// Most lines kept of each stream; a test that writes more is told by a last line that says so.
const LINES_MAX: usize = 200_000;

/// The lines of both streams of a child, growing while it runs.
#[derive(Debug)]
pub(super) struct Output {
    stdout: watch::Receiver<Vec<String>>,
    stderr: watch::Receiver<Vec<String>>,
}

impl Output {
    /// Takes the piped streams of `child` and reads them until they end.
    pub(super) fn collect(child: &mut Child) -> Self {
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        Self { stdout: read_lines(stdout), stderr: read_lines(stderr) }
    }

    pub(super) fn stderr(&self) -> Vec<String> {
        self.stderr.borrow().clone()
    }

    /// All of both streams, for the message of a failed test.
    pub(super) fn text(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout.borrow().join("\n"), self.stderr.borrow().join("\n"))
    }

    /// The first line of stderr for which `is_it`, waiting for it if need be; `None` once stderr has
    /// ended without.
    pub(super) async fn line(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let mut lines = self.stderr.clone();
        let mut seen = 0;
        let mut found = None;
        let outcome = lines
            .wait_for(|lines| {
                found = lines[seen..].iter().find(|line| is_it(line)).cloned();
                seen = lines.len();
                found.is_some()
            })
            .await
            .is_ok();
        found.filter(|_| outcome)
    }
}

fn read_lines(stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            sender.send_if_modified(|lines| match lines.len() {
                LINES_MAX.. => false,
                count => {
                    lines.push(if count + 1 == LINES_MAX { "(more lines were dropped)".to_owned() } else { text });
                    true
                }
            });
        }
    });
    receiver
}
