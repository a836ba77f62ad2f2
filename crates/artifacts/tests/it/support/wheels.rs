//! Wheels made in the test, and a `python` that hands them out as pip would.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use artifacts::Settings;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Place, settings, sha256};

/// A shell script that answers `-m pip download` from a folder and notes what it was asked.
pub(crate) struct FakePip {
    folder: PathBuf,
}

/// A wheel that the fake pip has.
pub(crate) struct Wheel {
    pub(crate) project: &'static str,
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
}

impl FakePip {
    pub(crate) fn new(place: &Place) -> Self {
        let folder = place.folder().join("index");
        fs::create_dir(&folder).unwrap();
        let script = r#"#!/bin/sh
echo "$@" >> DIR/calls
while [ $# -gt 0 ]; do
  case "$1" in --dest) dest=$2 ;; --requirement) requirement=$2 ;; esac
  shift
done
cat "$requirement" >> DIR/requirements
project=$(sed 's/==.*//' "$requirement")
echo "Collecting $project"
[ -d "$TMPDIR" ] || exit 9
[ -e DIR/$project.whl ] || { echo "ERROR: no $project here" >&2; exit 1; }
cp DIR/$project.whl "$dest/$project-1-py3-none-any.whl"
"#;
        executable(&folder.join("python"), &script.replace("DIR", &folder.display().to_string()));
        Self { folder }
    }

    /// Adds a wheel with these entries.
    pub(crate) fn wheel(&self, project: &'static str, entries: &[(&str, &[u8])]) -> Wheel {
        let path = self.folder.join(format!("{project}.whl"));
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        Wheel { project, sha256: sha256(&bytes), size_bytes: bytes.len() as u64 }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { python: self.folder.join("python").display().to_string(), ..settings() }
    }

    /// What pip was called with, a line each; empty when it was not.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    pub(crate) fn requirements(&self) -> String {
        fs::read_to_string(self.folder.join("requirements")).unwrap()
    }
}

/// Writes an executable script.
pub(crate) fn executable(path: &std::path::Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
