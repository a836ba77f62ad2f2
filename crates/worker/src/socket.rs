//! Where a child's Unix socket lies: a private folder, a path that fits into a socket address, no leftovers.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Longest path in a socket address, in bytes, without the closing NUL.
#[cfg(target_os = "linux")]
const PATH_BYTES_MAX: usize = 107;
#[cfg(not(target_os = "linux"))]
const PATH_BYTES_MAX: usize = 103;

/// Leftover sockets looked at before one start.
const LEFTOVERS_MAX: usize = 64;

/// Makes the folder and returns a path at which no file is: `<name>-<our pid>-<generation>.sock`. Sockets of this
/// worker name at which nobody listens any more are removed.
///
/// # Errors
/// A sentence, when no folder is private and short enough.
pub(crate) fn prepare(run_dir: &Path, name: &str, generation: u64) -> Result<PathBuf, String> {
    let file_name = format!("{name}-{}-{generation}.sock", std::process::id());
    let run_dir = std::path::absolute(run_dir)
        .map_err(|error| format!("cannot resolve the run folder {}: {error}", run_dir.display()))?;
    let folder = choose_folder(&run_dir, &file_name)?;
    make_private(&folder)?;
    remove_leftovers(&folder, name);
    let path = folder.join(file_name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("cannot remove {}: {error}", path.display())),
        _ => Ok(path),
    }
}

/// The first of: `<run_dir>/sockets`, `$XDG_RUNTIME_DIR/tidegate`, `<temp>/tidegate-<uid>`, that is short enough.
fn choose_folder(run_dir: &Path, file_name: &str) -> Result<PathBuf, String> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let temporary = std::env::temp_dir().join(format!("tidegate-{}", rustix::process::geteuid().as_raw()));
    let candidates = [Some(run_dir.join("sockets")), runtime.map(|folder| folder.join("tidegate")), Some(temporary)];
    candidates
        .into_iter()
        .flatten()
        .find(|folder| folder.as_os_str().as_bytes().len() + 1 + file_name.len() <= PATH_BYTES_MAX)
        .ok_or_else(|| {
            format!(
                "no folder for the worker's socket: {} and the temporary folder make a path over {PATH_BYTES_MAX} \
                 bytes; choose a shorter run folder",
                run_dir.display()
            )
        })
}

/// Makes the folder with mode 0700, or checks that an existing one is ours and closed to others.
fn make_private(folder: &Path) -> Result<(), String> {
    let describe = |error: std::io::Error| format!("cannot make the socket folder {}: {error}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(describe)?;
    let metadata = fs::symlink_metadata(folder).map_err(describe)?;
    let is_ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || metadata.mode() & 0o077 != 0 {
        return Err(format!("the socket folder {} must belong to this user with mode 0700", folder.display()));
    }
    Ok(())
}

/// Removes sockets of earlier parents that were killed. Only those nobody listens at: another gateway may share the
/// folder. What cannot be removed is harmless.
fn remove_leftovers(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_leftover = |path: &PathBuf| {
        let file_name = path.file_name().and_then(|file_name| file_name.to_str()).unwrap_or_default();
        let rest = file_name.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        let is_worker = rest.and_then(|rest| rest.strip_suffix(".sock")).is_some_and(|middle| {
            middle.split('-').count() == 2 && middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        });
        is_worker && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(is_leftover).take(LEFTOVERS_MAX) {
        // Harmless when it stays.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn makes_a_private_folder() {
        let run = tempfile::tempdir().unwrap();
        let path = prepare(run.path(), "local", 3).unwrap();
        assert_eq!(path, run.path().join(format!("sockets/local-{}-3.sock", std::process::id())));
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn refuses_a_folder_that_others_may_enter() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("sockets");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(prepare(run.path(), "local", 3).unwrap_err().contains("0700"));
    }

    #[test]
    fn goes_elsewhere_when_the_path_is_too_long() {
        let run = tempfile::tempdir().unwrap();
        let deep = run.path().join("d".repeat(100));
        let path = prepare(&deep, "local", 1).unwrap();
        assert!(!path.starts_with(run.path()));
        assert!(path.as_os_str().len() <= PATH_BYTES_MAX);
    }

    #[test]
    fn removes_dead_sockets_only() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("sockets");
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let (dead, live, foreign) =
            (folder.join("local-1-1.sock"), folder.join("local-2-1.sock"), folder.join("local-b-1-1.sock"));
        drop(UnixListener::bind(&dead).unwrap());
        drop(UnixListener::bind(&foreign).unwrap());
        let _listener = UnixListener::bind(&live).unwrap();
        prepare(run.path(), "local", 1).unwrap();
        assert!(!dead.exists());
        assert!(live.exists() && foreign.exists());
    }
}
