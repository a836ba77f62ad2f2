//! Finds the programs that cargo built beside the running test.
//!
//! It builds nothing: a test that needs a binary of another crate relies on `make test`, which builds
//! the workspace's binaries first.

use std::path::{Path, PathBuf};

/// Names a folder to look in instead of the target folder of the running test.
const FOLDER_ENV: &str = "TIDEGATE_TEST_BIN_DIR";

/// The path of the built program `name` (no suffix) of this workspace, of the same profile as the
/// running test, or in the folder that `TIDEGATE_TEST_BIN_DIR` names.
///
/// # Panics
/// When the program has not been built; the message says which command builds it.
pub fn bin(name: &str) -> PathBuf {
    let folder = std::env::var_os(FOLDER_ENV).map_or_else(profile_folder, PathBuf::from);
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not there: build it first: make test", path.display());
    path
}

/// `target/<profile>`, from where the running test binary lies (`target/<profile>/deps/…`).
fn profile_folder() -> PathBuf {
    let running = std::env::current_exe().expect("the running test has a path");
    let folder = running.parent().expect("a program lies in a folder");
    if folder.file_name().is_some_and(|name| name == "deps" || name == "examples") {
        folder.parent().map(Path::to_path_buf).expect("deps lies in a profile folder")
    } else {
        folder.to_path_buf()
    }
}
