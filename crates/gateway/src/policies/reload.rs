//! Notices that a policy file has changed.
//!
//! Looks at the files twice a second instead of asking the system to be told: that also sees files behind symbolic links
//! that are swapped, mounted configuration and network file systems, where notifications are lost.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Gateway;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a file has to stay as it is before it is read, so that one that is just being written is not read half.
const SETTLE: Duration = Duration::from_millis(20);

/// What tells one version of each file from another; `None` when it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<Version>>);

/// Length, inode and the times of the last change of content and of anything, in nanoseconds: a file that was replaced by one
/// of the same length and time of modification is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    length: u64,
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(files: &[&Path]) -> Self {
        let of = |file: &&Path| {
            let metadata = std::fs::metadata(file).ok()?;
            Some(Version {
                length: metadata.len(),
                inode: (metadata.dev(), metadata.ino()),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        };
        Self(files.iter().map(of).collect())
    }
}

/// Reloads the policies whenever one of their files has changed since it was read. Never ends; runs beside the listeners.
pub(crate) async fn watch(gateway: Arc<Gateway>) {
    while gateway.policies.has_files() {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(mut seen) = gateway.policies.changed() else { continue };
        loop {
            tokio::time::sleep(SETTLE).await;
            let again = gateway.policies.stamp();
            if again == seen {
                break;
            }
            seen = again;
        }
        // A failure is logged, counted and kept by the reload itself.
        let _ = gateway.reload_policies().await;
    }
}
