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

/// What records were made with so far. A profile is told by its address, as a configuration keeps its own.
#[derive(Default)]
pub(super) struct Shared {
    profiles: Vec<(Arc<TargetProfile>, String)>,
    /// How many of the profiles are in the file.
    written: usize,
    /// Whether the base of facts is.
    is_base_written: bool,
}

impl Shared {
    /// Whether all of these targets were met.
    pub(super) fn knows(&self, targets: &[TargetFacts]) -> bool {
        targets.iter().all(|target| self.find(&target.profile).is_some())
    }

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
        // The newest first, as those of earlier configurations are not asked for any more.
        self.profiles.iter().rev().find(|(known, _)| Arc::ptr_eq(known, profile)).map(|(_, name)| name.as_str())
    }

    /// Writes what is new, and gives how many profiles there are then.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
        let write = |name: &str, value: &str| {
            transaction.execute("INSERT OR IGNORE INTO shared (name, value) VALUES (?1, ?2)", (name, value))
        };
        if !self.is_base_written {
            write(&BASE.name, &BASE.json)?;
        }
        for (profile, name) in &self.profiles[self.written..] {
            write(name, &json(profile))?;
        }
        Ok(self.profiles.len())
    }

    /// What was written is in the file for good.
    pub(super) fn written(&mut self, profiles: usize) {
        (self.written, self.is_base_written) = (profiles, true);
        if profiles == self.profiles.len() && profiles > KNOWN_MAX {
            *self = Self { is_base_written: true, ..Self::default() };
        }
    }

    /// Whether there is something that [`Self::write`] would write.
    pub(super) fn is_new(&self) -> bool {
        !self.is_base_written || self.written < self.profiles.len()
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
