//! Writes what a download leaves in the cache besides the content: links, references, and marks of absence.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::body::unwritable;
use crate::error::Result;
use crate::source::hub::{Commit, Repository, Revision};
use crate::source::name;

/// Makes the cache and the folder for contents, and marks the cache as one for backup programs.
///
/// # Errors
/// `Io`.
pub(super) fn prepare(cache: &Path, repository: &Repository) -> Result<()> {
    const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                       # This file is a cache directory tag: what lies here can be fetched again.\n";
    let blobs = repository.root().join("blobs");
    fs::create_dir_all(&blobs).map_err(|e| unwritable(&blobs, e))?;
    let tag = cache.join("CACHEDIR.TAG");
    if !tag.exists()
        && let Err(e) = fs::write(&tag, TAG)
    {
        log::debug!("`{}` cannot be written: {e}", tag.display());
    }
    Ok(())
}

/// Links `name` at `commit` to the content at `blob`, and returns the link's path. Where links are not supported, a
/// hard link or a copy takes its place. With `copies`, it is a copy in any case.
///
/// # Errors
/// `Io`.
pub(super) fn link(repository: &Repository, commit: &Commit, name: &str, blob: &Path, copies: bool) -> Result<PathBuf> {
    let place = repository.snapshot(commit).join(name::check(name)?);
    let Some(folder) = place.parent() else { return Ok(place) };
    fs::create_dir_all(folder).map_err(|e| unwritable(folder, e))?;
    // The way up from FILE's folder to models--ORG--NAME: the commit's folder, `snapshots`, and the folders in the
    // name.
    let mut target: PathBuf = std::iter::repeat_n("..", 2 + name.matches('/').count()).collect();
    target.push("blobs");
    target.extend(blob.file_name());
    let aside = aside(folder);
    let copy = || fs::copy(blob, &aside).map(drop);
    let linked = if copies { copy() } else { symlink(&target, &aside).or_else(|_| fs::hard_link(blob, &aside)) };
    linked.or_else(|_| copy()).and_then(|()| fs::rename(&aside, &place)).map_err(|e| {
        let _ = fs::remove_file(&aside);
        unwritable(&place, e)
    })?;
    Ok(place)
}

/// Notes that `revision` is at `commit`. A cache that cannot be written is no error: only a later call would use the
/// note.
pub(super) fn reference(repository: &Repository, revision: &Revision, commit: &Commit) {
    if revision.pinned().is_some() || repository.commit(revision).is_ok_and(|known| known.as_ref() == Some(commit)) {
        return;
    }
    note(&repository.reference(revision), commit.as_str().as_bytes());
}

/// Notes that the model has no `name` at `commit`.
pub(super) fn absence(repository: &Repository, commit: &Commit, name: &str) {
    if let Ok(path) = repository.absence(commit, name)
        && !path.exists()
    {
        note(&path, b"");
    }
}

/// Writes a small file, whole or not at all.
fn note(path: &Path, content: &[u8]) {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let aside = aside(folder);
        let moved = fs::write(&aside, content).and_then(|()| fs::rename(&aside, path));
        if moved.is_err() {
            let _ = fs::remove_file(&aside);
        }
        moved
    };
    if let Err(e) = write() {
        log::debug!("`{}` cannot be written: {e}", path.display());
    }
}

/// A new name in `folder` for a file that is moved to its place at once. `tempfile` would make a private file; a
/// cache may be shared, and its files have the mode that the umask leaves.
fn aside(folder: &Path) -> PathBuf {
    folder.join(format!(".{:016x}.tmp", RandomState::new().hash_one(std::process::id())))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}
