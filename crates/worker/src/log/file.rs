//! The bounded log file of a worker: `<name>.log`, and the one before it as `<name>.log.1`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::warn;

/// A file that lines are appended to. Failures never reach the child: they are told once, and lines are dropped.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    path: PathBuf,
    previous: PathBuf,
    bytes_max: u64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    file: Option<File>,
    bytes: u64,
    has_complained: bool,
}

impl LogFile {
    /// Opens nothing yet: the folder and the file are made with the first line.
    pub(crate) fn new(folder: &Path, name: &str, bytes_max: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join(format!("{name}.log")),
            previous: folder.join(format!("{name}.log.1")),
            bytes_max,
            open: Mutex::default(),
        }
    }

    /// Appends a line; the file becomes the previous one first if it would grow over its limit.
    pub(crate) fn append(&self, line: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write(&mut open, line) {
            open.file = None;
            if !std::mem::replace(&mut open.has_complained, true) {
                warn!(path = %self.path.display(), %error, "worker log cannot be written");
            }
        }
    }

    fn write(&self, open: &mut Open, line: &str) -> std::io::Result<()> {
        let bytes = line.len() as u64 + 1;
        let mut file = self.current(open)?;
        if open.bytes > 0 && open.bytes + bytes > self.bytes_max {
            std::fs::rename(&self.path, &self.previous)?;
            open.file = None;
            file = self.current(open)?;
        }
        file.write_all(format!("{line}\n").as_bytes())?;
        open.bytes += bytes;
        open.file = Some(file);
        Ok(())
    }

    /// The open file, taken out of `open`, or a newly opened one.
    fn current(&self, open: &mut Open) -> std::io::Result<File> {
        if let Some(file) = open.file.take() {
            return Ok(file);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        open.bytes = file.metadata()?.len();
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn keeps_two_files_within_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::new(&folder.path().join("logs"), "w", 30);
        for number in 0..10 {
            log.append(&format!("line {number}..."));
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(read("w.log"), "line 9...\n");
        assert_eq!(read("w.log.1"), "line 6...\nline 7...\nline 8...\n");
        assert_eq!(folder.path().join("logs/w.log").metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_over_the_limit_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::new(folder.path(), "w", 5);
        log.append("far too long");
        log.append("again too long");
        assert_eq!(std::fs::read_to_string(folder.path().join("w.log")).unwrap(), "again too long\n");
    }

    #[test]
    fn goes_on_where_an_earlier_run_stopped() {
        let folder = tempfile::tempdir().unwrap();
        LogFile::new(folder.path(), "w", 1000).append("one");
        LogFile::new(folder.path(), "w", 1000).append("two");
        assert_eq!(std::fs::read_to_string(folder.path().join("w.log")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        LogFile::new(&folder.path().join("file"), "w", 1000).append("one");
    }
}
