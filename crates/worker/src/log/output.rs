//! The pipe that a child writes to, cut into lines, each with whether it was written before the child saw prompts.

use std::io::{self, PipeReader, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};

/// Longest line that is kept, in bytes; the rest of it is dropped.
pub(super) const LINE_BYTES_MAX: usize = 2048;

/// Bytes taken from the pipe at a time.
const READ_BYTES: usize = 8 * 1024;

/// The reading end, shared by the thread that reads and the one that says when prompts begin.
#[derive(Debug)]
pub(super) struct Output {
    pipe: PipeReader,
    place: Mutex<Place>,
}

/// Positions are bytes since the child's start.
#[derive(Debug, Default)]
struct Place {
    read: u64,
    private_from: Option<u64>,
}

/// One line of output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Without its end; cut when too long; control characters are blanks.
    pub(super) text: String,
    /// Whether any of it was written after prompts began.
    pub(super) is_private: bool,
}

impl Output {
    pub(super) fn new(pipe: PipeReader) -> Self {
        Self { pipe, place: Mutex::default() }
    }

    /// What is in the pipe now is from before the first prompt; what comes later may be of one.
    pub(super) fn begin_private(&self) {
        let mut place = self.place();
        // Without a number everything unread counts as private.
        let waiting = ioctl_fionread(&self.pipe).unwrap_or(0);
        let boundary = place.read + waiting;
        place.private_from.get_or_insert(boundary);
    }

    /// Calls `take` for each line until the output ends or fails.
    pub(super) fn read_lines(&self, mut take: impl FnMut(Line)) {
        let mut cutter = Cutter::default();
        let mut buffer = [0; READ_BYTES];
        while let Ok(length @ 1..) = self.read(&mut buffer) {
            cutter.feed(&buffer[..length], |text, end| take(Line { text, is_private: self.is_private(end) }));
        }
        cutter.finish(|text, end| take(Line { text, is_private: self.is_private(end) }));
    }

    /// Waits for bytes, then takes them and notes the place in one step, so that `begin_private` counts right.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Err(error) = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], None) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        let mut place = self.place();
        let length = (&self.pipe).read(buffer)?;
        place.read += length as u64;
        Ok(length)
    }

    fn is_private(&self, end: u64) -> bool {
        self.place().private_from.is_some_and(|from| end > from)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Cutter {
    line: Vec<u8>,
    is_cut: bool,
    position: u64,
}

impl Cutter {
    /// Calls `emit` with each line that ends in these bytes, and the position behind it.
    fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(String, u64)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.position += part.len() as u64;
            let (content, is_ended) = match part.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (part, false),
            };
            let room = LINE_BYTES_MAX - self.line.len();
            self.is_cut |= content.len() > room;
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            if is_ended {
                emit(self.take_line(), self.position);
            }
        }
    }

    /// Emits what is left without a line end.
    fn finish(mut self, mut emit: impl FnMut(String, u64)) {
        if !self.line.is_empty() {
            let position = self.position;
            emit(self.take_line(), position);
        }
    }

    fn take_line(&mut self) -> String {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut text: String = text.trim_end().chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
        if std::mem::take(&mut self.is_cut) {
            text.push_str(" [cut]");
        }
        text
    }
}
