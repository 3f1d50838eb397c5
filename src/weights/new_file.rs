//! Files that appear complete or not at all.
//!
//! A file is written beside its place and moved there when it is whole, so that whoever reads or maps the file that
//! was there before keeps its content. Else everything is as if the file had been written in place: links are
//! followed, a file that is replaced keeps its mode, a new one gets the mode that the umask leaves. A place that
//! holds something other than a regular file is refused.

use std::fs::{File, Metadata};
use std::io::{Error as IoError, ErrorKind as IoKind, Result as IoResult};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::{Error, Result, bail, err};
use crate::source::folder_of;

/// How many links are followed from one to the next; operating systems have about the same limit.
const MOST_LINKS: usize = 40;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: NamedTempFile,
    /// The path that the caller gave, for messages.
    name: PathBuf,
    place: Place,
}

/// The place of a file that is to be written.
#[derive(Debug)]
struct Place {
    /// The path behind all links.
    path: PathBuf,
    /// The file that is there now.
    old: Option<Metadata>,
}

impl NewFile {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// `InvalidArgument` if `path` names a folder or something else that is no regular file, or is no name of a file; `Io`.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        Self::with_prefix(path, ".tmp")
    }

    /// As [`new`](Self::new); the file's name begins with `prefix` until it is complete.
    pub(crate) fn with_prefix(path: &Path, prefix: &str) -> Result<Self> {
        let place = place(path)?;
        let mut builder = Builder::new();
        builder.prefix(prefix);
        // The umask takes bits away from it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder_of(&place.path)).map_err(|e| unwritable(path, e))?;
        Ok(Self { file, name: path.to_owned(), place })
    }

    /// Whether both are to be at one place, links followed.
    pub(crate) fn replaces_the_same_as(&self, other: &Self) -> bool {
        self.place.path == other.place.path
    }

    /// The file, for writing.
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Moves the file to its place, and returns it.
    pub(crate) fn publish(self) -> Result<File> {
        let (name, path) = (self.name.clone(), self.place.path.clone());
        self.complete()?.persist(path).map_err(|e| unwritable(&name, e.error))
    }

    /// Moves all `files` to their places; if one cannot be moved, none is.
    pub(crate) fn publish_all<const N: usize>(files: [Self; N]) -> Result<()> {
        let mut published = Vec::with_capacity(N);
        for file in files {
            match file.publish_undoably() {
                Ok(undo) => published.push(undo),
                Err(error) => {
                    published.into_iter().rev().for_each(Undo::undo);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn publish_undoably(self) -> Result<Undo> {
        let (name, path) = (self.name.clone(), self.place.path.clone());
        let failed = |e| unwritable(&name, e);
        let before = self.place.old.as_ref().map(|_| second_name(&path)).transpose().map_err(failed)?;
        let file = self.complete()?;
        file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(Undo { path, before })
    }

    /// Brings the content to the disk, so that a power failure leaves a whole file or none, and sets the file's mode.
    fn complete(self) -> Result<NamedTempFile> {
        let finish = || {
            self.file.as_file().sync_data()?;
            self.place.old.as_ref().map_or(Ok(()), |old| self.file.as_file().set_permissions(old.permissions()))
        };
        finish().map_err(|e| unwritable(&self.name, e))?;
        Ok(self.file)
    }
}

/// Takes a published file back, unless it is dropped unused.
struct Undo {
    path: PathBuf,
    /// The file that was there before, under another name.
    before: Option<TempPath>,
}

impl Undo {
    fn undo(self) {
        let undone = match self.before {
            Some(before) => before.persist(&self.path).map_err(|e| e.error),
            None => std::fs::remove_file(&self.path),
        };
        if let Err(error) = undone {
            log::error!("`{}` could not be put back as it was: {error}", self.path.display());
        }
    }
}

/// A second name for the file at `path`, in its folder; a copy where the file system has no hard links.
fn second_name(path: &Path) -> IoResult<TempPath> {
    let link = |new: &Path| std::fs::hard_link(path, new);
    let linked = Builder::new().prefix(".old").make_in(folder_of(path), link).map(NamedTempFile::into_temp_path);
    linked.or_else(|_| {
        let copy = Builder::new().prefix(".old").tempfile_in(folder_of(path))?;
        std::fs::copy(path, copy.path())?;
        Ok(copy.into_temp_path())
    })
}

/// The place of a file that is to be at `path`.
fn place(path: &Path) -> Result<Place> {
    let shown = path.display();
    let ends_in_name =
        path.as_os_str().as_encoded_bytes().last().is_some_and(|last| !std::path::is_separator(*last as char));
    if !ends_in_name || path.file_name().is_none() {
        bail!(InvalidArgument, "`{shown}` does not end in the name of a file");
    }
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        let old = match place.symlink_metadata() {
            Ok(old) => old,
            Err(e) if e.kind() == IoKind::NotFound => return Ok(Place { path: place, old: None }),
            Err(e) => return Err(unwritable(path, e)),
        };
        if old.is_symlink() {
            let target = place.read_link().map_err(|e| unwritable(path, e))?;
            place = folder_of(&place).join(target);
        } else if old.is_file() {
            return Ok(Place { path: place, old: Some(old) });
        } else {
            let what = if old.is_dir() { "a folder" } else { "no regular file" };
            bail!(InvalidArgument, "`{shown}` is {what} and is left as it is; name a file");
        }
    }
    Err(unwritable(path, IoError::other("too many links")))
}

fn unwritable(path: &Path, error: IoError) -> Error {
    err!(Io, "`{}` cannot be written", path.display()).with_source(error)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn written(path: &Path, text: &str) -> Result<NewFile> {
        let file = NewFile::new(path)?;
        file.as_file().write_all(text.as_bytes()).unwrap();
        Ok(file)
    }

    /// The second of two files cannot be published, since its folder is gone: the first is as it was.
    #[test]
    fn all_or_none() {
        let scratch = tempfile::tempdir().unwrap();
        let (old, new) = (scratch.path().join("old"), scratch.path().join("new"));
        let (folder, moved) = (scratch.path().join("folder"), scratch.path().join("moved"));
        fs::write(&old, "before").unwrap();
        fs::create_dir(&folder).unwrap();
        let files = [written(&old, "1"), written(&new, "2"), written(&folder.join("x"), "3")].map(Result::unwrap);
        fs::rename(&folder, &moved).unwrap();
        assert!(NewFile::publish_all(files).unwrap_err().chain().contains("folder/x"));
        assert_eq!(fs::read_to_string(&old).unwrap(), "before");
        assert!(!new.exists());
        let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");

        NewFile::publish_all([written(&old, "1"), written(&new, "2")].map(Result::unwrap)).unwrap();
        assert_eq!((fs::read_to_string(&old).unwrap(), fs::read_to_string(&new).unwrap()), ("1".into(), "2".into()));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
    }
}
