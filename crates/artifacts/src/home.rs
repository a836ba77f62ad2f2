//! The user's data folder and the names of what lies in it.
//!
//! Makes folders (mode 0700); does not know what an artifact is.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext};

/// Mode of every folder made under the home: the owner only.
const FOLDER_MODE: u32 = 0o700;

/// Tidegate's data folder: `artifacts/`, `downloads/`, `builds/` and `locks/` lie below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder named by `TIDEGATE_HOME`, else `$XDG_DATA_HOME/tidegate`, else
    /// `~/.local/share/tidegate`. Empty variables count as unset. Nothing is created.
    ///
    /// # Errors
    /// [`Error::NoHome`] when no variable says where; [`Error::HomeNotAbsolute`] for a relative path.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| env::var_os(name).map(PathBuf::from))
    }

    /// This folder, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, Error> {
        let set = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
        let path = set("TIDEGATE_HOME")
            .or_else(|| set("XDG_DATA_HOME").map(|path| path.join("tidegate")))
            .or_else(|| set("HOME").map(|path| path.join(".local/share/tidegate")))
            .ok_or(Error::NoHome)?;
        match path.is_absolute() {
            true => Ok(Self(path)),
            false => Err(Error::HomeNotAbsolute { path }),
        }
    }

    /// Every version of one artifact.
    pub(crate) fn artifact(&self, name: &str) -> PathBuf {
        self.0.join("artifacts").join(name)
    }

    /// One version of one artifact: the file and its receipt.
    pub(crate) fn version(&self, name: &str, version: &str) -> PathBuf {
        self.artifact(name).join(version)
    }

    /// What is being fetched.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }

    /// Where one version of one artifact is built; kept when a build is cut off, so that it goes on.
    pub(crate) fn build(&self, name: &str, version: &str) -> PathBuf {
        self.0.join("builds").join(format!("{name}-{version}"))
    }

    /// The file whose lock is held by whoever installs or removes this artifact.
    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.0.join("locks").join(format!("{name}.lock"))
    }
}

/// Makes a folder and those above it, new ones with mode 0700; existing ones stay as they are.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).during("create the folder", path)
}

/// Removes a folder with all in it; one that is not there is no error.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during("remove the folder", path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(set: &[(&str, &str)]) -> Result<String, Error> {
        let of = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        Home::from_variables(of).map(|home| home.path().display().to_string())
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let all = [("TIDEGATE_HOME", "/t"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(check(&all).unwrap(), "/t");
        assert_eq!(check(&all[1..]).unwrap(), "/x/tidegate");
        assert_eq!(check(&all[2..]).unwrap(), "/h/.local/share/tidegate");
        assert_eq!(check(&[("TIDEGATE_HOME", ""), all[2]]).unwrap(), "/h/.local/share/tidegate");
        assert!(matches!(check(&[]), Err(Error::NoHome)));
        let relative = check(&[("TIDEGATE_HOME", "here")]);
        assert!(matches!(relative, Err(Error::HomeNotAbsolute { .. })));
    }

    #[test]
    fn folders_are_for_the_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        let mode = folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        remove_folder(&folder).unwrap();
        remove_folder(&folder).unwrap();
        assert!(!folder.exists());
    }
}
