//! One installer per artifact, across processes: an advisory lock on a file under `locks/`.
//!
//! The lock belongs to the open file, so the system lets go of it when a process dies; a lock file that
//! lies there means nothing. A child that is just being started holds the same open file until it becomes another
//! program, so closing ours is not enough: it is unlocked. Uses [`std::fs::File::try_lock`].

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, IoContext};
use crate::home::{Home, make_folder};
use crate::progress::Progress;

/// How often a lock that somebody else holds is asked for again. Asking again, rather than blocking a
/// thread in the system call, lets a caller that gives up leave at once.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The right to change one artifact, until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file, which follows, is the second try.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(home: &Home, artifact: &str) -> Result<Option<Self>, Error> {
        let path = home.lock(artifact);
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).during("lock", &path),
        }
    }

    /// Waits for the lock as long as it takes; says once that it waits.
    pub(crate) async fn take(home: &Home, artifact: &str, progress: &dyn Progress) -> Result<Self, Error> {
        let mut has_told = false;
        loop {
            if let Some(lock) = Self::try_take(home, artifact)? {
                return Ok(lock);
            }
            if !has_told {
                progress.note(&format!("{artifact}: another process is installing it; waiting for it"));
                has_told = true;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    OpenOptions::new().create(true).truncate(false).write(true).open(path).during("open the lock file", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_a_file_left_behind_is_no_lock() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::at(temp.path());
        std::fs::create_dir(temp.path().join("locks")).unwrap();
        std::fs::write(home.lock("a"), "left by a crash").unwrap();
        let held = Lock::try_take(&home, "a").unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&home, "a").unwrap().is_none());
        assert!(Lock::try_take(&home, "b").unwrap().is_some());
        drop(held);
        assert!(Lock::try_take(&home, "a").unwrap().is_some());
    }

    #[test]
    fn a_descriptor_that_a_child_inherited_does_not_keep_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::at(temp.path());
        let held = Lock::try_take(&home, "a").unwrap().unwrap();
        let inherited = held.file.try_clone().unwrap();
        drop(held);
        assert!(Lock::try_take(&home, "a").unwrap().is_some());
        drop(inherited);
    }
}
