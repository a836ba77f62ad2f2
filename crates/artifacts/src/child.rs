//! Running a child process with its output read line by line, bounded, and stopped when nobody waits.
//!
//! Does not know what it runs.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Lines of output that are kept for an error.
pub(crate) const TAIL_LINES_MAX: usize = 20;
/// Bytes of a line that are kept; the rest of it is dropped.
pub(crate) const LINE_BYTES_MAX: usize = 1_000;
const READ_BYTES: usize = 8 << 10;
/// Tries to start an executable that counts as open for writing.
const BUSY_TRIES_MAX: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How a child that is no longer waited for is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At once.
    Kill,
    /// Asked to end, for one that must stop children of its own (ninja its compilers).
    Terminate,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    /// Its last lines, standard output and error as they came.
    pub(crate) tail: Vec<String>,
}

/// Runs a child to its end; `on_line` hears each line of standard output and error.
pub(crate) async fn run(mut command: Command, stop: Stop, mut on_line: impl FnMut(&str) + Send) -> io::Result<Exit> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(stop == Stop::Kill);
    let mut child = spawn(&mut command).await?;
    let mut guard = Terminator(child.id().filter(|_| stop == Stop::Terminate));
    let (mut out, mut err) = (Reader::new(child.stdout.take()), Reader::new(child.stderr.take()));
    let mut tail = VecDeque::with_capacity(TAIL_LINES_MAX);
    let mut hear = |line: &str| {
        if tail.len() == TAIL_LINES_MAX {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        on_line(line);
    };
    while out.is_open() || err.is_open() {
        tokio::select! {
            read = out.read(), if out.is_open() => out.split(read?, &mut hear),
            read = err.read(), if err.is_open() => err.split(read?, &mut hear),
        }
    }
    let status = child.wait().await?;
    guard.0 = None;
    Ok(Exit { status, tail: tail.into() })
}

/// Starts a child. A file that was written a moment ago may count as open for writing while some other
/// thread is between fork and exec; that passes at once.
async fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES_MAX => tries += 1,
            result => return result,
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Asks a child to end when dropped while armed. The child is not reaped while armed, so its id is its own.
struct Terminator(Option<u32>);

impl Drop for Terminator {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself meanwhile.
            let _ = kill_process(id, Signal::TERM);
        }
    }
}

/// One output of a child, cut into lines.
struct Reader<R> {
    source: Option<R>,
    buffer: [u8; READ_BYTES],
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(source: Option<R>) -> Self {
        Self { source, buffer: [0; READ_BYTES], line: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }

    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.source {
            Some(source) => source.read(&mut self.buffer).await,
            None => Ok(0),
        }
    }

    fn split(&mut self, read: usize, hear: &mut impl FnMut(&str)) {
        for byte in &self.buffer[..read] {
            if *byte != b'\n' {
                if self.line.len() < LINE_BYTES_MAX {
                    self.line.push(*byte);
                }
                continue;
            }
            end_line(&mut self.line, hear);
        }
        if read == 0 {
            self.source = None;
            end_line(&mut self.line, hear);
        }
    }
}

fn end_line(line: &mut Vec<u8>, hear: &mut impl FnMut(&str)) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if !text.is_empty() {
        hear(text);
    }
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_is_bounded_and_its_end_is_kept() {
        let script =
            "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; head -c 5000 /dev/zero | tr '\\0' x; exit 3";
        let mut heard = 0;
        let exit = run(shell(script), Stop::Kill, |_| heard += 1).await.unwrap();
        assert_eq!(exit.status.code(), Some(3));
        assert_eq!((heard, exit.tail.len(), exit.tail[0].as_str()), (51, TAIL_LINES_MAX, "line 31"));
        assert_eq!(exit.tail[TAIL_LINES_MAX - 1].len(), LINE_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_child_that_nobody_waits_for_may_clean_up() {
        let temp = tempfile::tempdir().unwrap();
        let pipe = temp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // The shell holds the pipe open for writing; what it writes there is read below.
        let script = format!(
            "exec 3<>{}; trap 'echo cleaned >&3; exit' TERM; echo ready; while :; do read line <&3; done",
            pipe.display()
        );
        let (ready, mut is_ready) = tokio::sync::mpsc::unbounded_channel();
        let child = tokio::spawn(run(shell(&script), Stop::Terminate, move |_| ready.send(()).unwrap()));
        is_ready.recv().await.unwrap();
        let reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        child.abort();
        assert!(child.await.unwrap_err().is_cancelled());
        let mut text = [0; 8];
        std::io::Read::read_exact(&mut &reader, &mut text).unwrap();
        assert_eq!(&text, b"cleaned\n");
    }
}
