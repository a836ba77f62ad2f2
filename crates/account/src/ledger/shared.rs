//! What many records have in common, apart from them: the profiles of targets and the base of facts. Each is written once, under a hash
//! of its text by which records name it.

use std::sync::Arc;

use policy::{TargetFacts, TargetProfile};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::facts::BASE;
use super::profiles::RecordedProfile;

/// Hexadecimal digits of the hash by which records name it.
const NAME_DIGITS: usize = 16;
/// Profiles that are known without asking the file at most.
const KNOWN_MAX: usize = 1024;

/// The name of a text that records share.
pub(super) fn name_of(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..NAME_DIGITS].to_owned()
}

/// What the writer has met. A profile is told by its address, as a configuration keeps its own.
#[derive(Default)]
pub(super) struct Shared {
    profiles: Vec<(Arc<TargetProfile>, String)>,
    /// How many of the profiles are in the file.
    written: usize,
    /// Whether the base of facts is.
    is_base_written: bool,
}

impl Shared {
    /// Notes what is new of these targets.
    pub(super) fn meet(&mut self, targets: &[TargetFacts]) {
        for TargetFacts { profile, .. } in targets {
            if self.find(profile).is_none() {
                self.profiles.push((Arc::clone(profile), name_of(&json(profile))));
            }
        }
    }

    /// The name of a profile that was met, which is in the file once [`Self::write`] has been called.
    pub(super) fn name(&self, profile: &Arc<TargetProfile>) -> &str {
        self.find(profile).unwrap_or_default()
    }

    fn find(&self, profile: &Arc<TargetProfile>) -> Option<&str> {
        self.profiles.iter().find(|(known, _)| Arc::ptr_eq(known, profile)).map(|(_, name)| name.as_str())
    }

    /// Writes what is new.
    pub(super) fn write(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let write = |name: &str, value: &str| {
            transaction.execute("INSERT OR IGNORE INTO shared (name, value) VALUES (?1, ?2)", (name, value))
        };
        if !self.is_base_written {
            write(&BASE.name, &BASE.json)?;
        }
        for (profile, name) in &self.profiles[self.written..] {
            write(name, &json(profile))?;
        }
        Ok(())
    }

    /// What was written is in the file for good, or is not.
    pub(super) fn settle(&mut self, is_committed: bool) {
        if is_committed {
            (self.written, self.is_base_written) = (self.profiles.len(), true);
        }
        if self.profiles.len() > KNOWN_MAX {
            *self = Self::default();
        }
    }
}

fn json(profile: &TargetProfile) -> String {
    // Numbers and texts; that does not fail.
    serde_json::to_string(&RecordedProfile::of(profile)).unwrap_or_default()
}

/// Looks up what has this name.
pub(super) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut find = connection.prepare("SELECT value FROM shared WHERE name = ?1")?;
    find.query_row([name], |row| row.get(0)).optional()
}
