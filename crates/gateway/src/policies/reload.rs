//! Notices that a policy file has changed.
//!
//! Looks at the files twice a second instead of asking the system to be told: that also sees files behind symbolic links
//! that are swapped, mounted configuration and network file systems, where notifications are lost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::gateway::Gateway;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a file has to stay as it is before it is read, so that one that is just being written is not read half.
const SETTLE: Duration = Duration::from_millis(20);

/// What tells one version of a file from another: length and time of modification. `None` when it is not there.
type Stamp = Vec<Option<(u64, SystemTime)>>;

/// Reloads the policies whenever one of their files has changed. Never ends; runs beside the listeners.
pub(crate) async fn watch(gateway: Arc<Gateway>) {
    let files = gateway.policies.files();
    if files.is_empty() {
        return;
    }
    let mut loaded = stamp(&files);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut seen = stamp(&files);
        if seen == loaded {
            continue;
        }
        loop {
            tokio::time::sleep(SETTLE).await;
            let again = stamp(&files);
            if again == seen {
                break;
            }
            seen = again;
        }
        loaded = seen;
        // A failure is logged, counted and kept by the reload itself.
        let _ = gateway.reload_policies();
    }
}

fn stamp(files: &[&Path]) -> Stamp {
    let of = |file: &&Path| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    files.iter().map(of).collect()
}
