//! Room on the disk, and putting a finished file under its name so that a crash leaves all or nothing.
//!
//! Does not know where files come from.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, IoContext};

/// Bytes that stay free beyond what an installation needs.
pub(crate) const DISK_HEADROOM_BYTES: u64 = 64 << 20;

/// Refuses when `need_bytes` and the headroom do not fit on the disk that holds `folder`.
///
/// # Errors
/// [`Error::DiskFull`] with both numbers; [`Error::Io`] when the disk cannot be asked.
pub(crate) fn check_room(artifact: &str, folder: &Path, need_bytes: u64) -> Result<(), Error> {
    let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from).during("ask the free space of", folder)?;
    let available_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    let need_bytes = need_bytes.saturating_add(DISK_HEADROOM_BYTES);
    match need_bytes <= available_bytes {
        true => Ok(()),
        false => {
            Err(Error::DiskFull { artifact: artifact.to_owned(), path: folder.to_owned(), need_bytes, available_bytes })
        }
    }
}

/// Gives `from` the name `to` on the same disk, with its bytes and its name on the disk when this returns.
pub(crate) fn publish(from: &Path, to: &Path, mode: u32) -> Result<(), Error> {
    let file = File::open(from).during("open", from)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).during("set the mode of", from)?;
    file.sync_all().during("write to the disk", from)?;
    fs::rename(from, to).during("name the finished file", to)?;
    sync_folder_of(to)
}

/// Makes a name in a folder last.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|file| file.sync_all()).during("write to the disk", folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_checked_against_the_real_disk() {
        let temp = tempfile::tempdir().unwrap();
        check_room("a", temp.path(), 1).unwrap();
        let error = check_room("a", temp.path(), u64::MAX).unwrap_err();
        let Error::DiskFull { need_bytes, available_bytes, .. } = error else { panic!("{error}") };
        assert!(need_bytes == u64::MAX && available_bytes > 0);
        assert!(check_room("a", &temp.path().join("none"), 1).is_err());
    }

    #[test]
    fn publishing_moves_and_sets_the_mode() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::write(&from, "x").unwrap();
        publish(&from, &to, 0o755).unwrap();
        assert!(!from.exists());
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }
}
