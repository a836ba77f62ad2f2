//! The lock by which one process at a time sends what is in an outbox.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::OutboxError;

/// How long a lock is waited for: a child of a gateway that was just killed may hold the file until it runs its own program.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A lock that is held. It goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock, waiting a moment for it.
    pub(super) fn take(path: &Path) -> Result<Self, OutboxError> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
                Err(TryLockError::WouldBlock) => return Err(OutboxError::Locked(path.display().to_string())),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that is just starting has the descriptor too, so closing ours would not be enough.
        let _ = self.0.unlock();
    }
}
