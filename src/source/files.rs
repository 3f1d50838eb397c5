//! The interface of a source to the rest of the library: the files of one model, by name.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Seek};
use std::path::{Path, PathBuf};

use super::name::{self, place};
use crate::error::{Error, Result, Site, bail, err};
use crate::json;

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Transfer {
    /// Bytes that are on this machine by now, those of earlier attempts included.
    pub(crate) bytes_done: u64,
    /// Bytes in all; 0 while unknown.
    pub(crate) bytes_total: u64,
}

/// Called while a transfer goes on or is waited for. An error that it returns stops the work and is passed on
/// unchanged.
pub(crate) type OnTransfer<'a> = dyn FnMut(Transfer) -> Result<()> + 'a;

/// Whether a file is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It is on this machine.
    Present {
        /// Its path.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// It is not on this machine, but the model may have it.
    Missing {
        /// Its bytes, if the source has been told.
        size: Option<u64>,
    },
    /// The model has no such file.
    Absent,
}

/// The files of one model, by name. Many threads may use one source. It keeps to the version of the model that it met
/// first, so that all files belong together.
///
/// Every method refuses names that lead out of the model (`Malformed`).
pub(crate) trait ModelFiles: Send + Sync + fmt::Debug {
    /// The local path of `name`, which is fetched if need be. `None`: the model has no such file, or the source does
    /// not hold it and cannot fetch ([`audit`](Self::audit) tells which).
    ///
    /// # Errors
    /// What `on` returned; `Io`, `HashMismatch`, `NotFound` (no such model or revision) from a fetch; `Malformed` for
    /// a link that leaves the model.
    fn locate(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<PathBuf>>;

    /// Whether `name` is here, without fetching anything or opening a socket.
    ///
    /// # Errors
    /// `Io` when the disk cannot be read, `Malformed` for a link that leaves the model.
    fn audit(&self, name: &str) -> Result<FileState>;

    /// As [`audit`](Self::audit), but may ask the network whether the file exists and how large it is.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    fn inspect(&self, name: &str, _on: &mut OnTransfer<'_>) -> Result<FileState> {
        self.audit(name)
    }

    /// Whether the model has `name`, as far as the source can find out now.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    fn has(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<bool> {
        Ok(self.locate(name, on)?.is_some())
    }

    /// The error for `names` that are needed and that [`locate`](Self::locate) did not find. It lists them and says
    /// how to get them. `NotFound`, or `Offline` if only the network is missing.
    fn missing(&self, names: &[&str]) -> Error;

    /// Which model this is and where it comes from, for messages.
    fn describe(&self) -> String;

    /// The local path of `name`, which must exist.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate) and [`missing`](Self::missing).
    fn require(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<PathBuf> {
        self.locate(name, on)?.ok_or_else(|| self.missing(&[name]))
    }

    /// The local paths of `names`, in their order. All must exist: if the source knows that one does not, nothing is
    /// fetched, and the error names all that are missing. `on` is told the bytes of all files together.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate) and [`missing`](Self::missing).
    fn require_all(&self, names: &[&str], on: &mut OnTransfer<'_>) -> Result<Vec<PathBuf>> {
        let mut absent = Vec::new();
        let mut total = 0;
        for name in names {
            let mut stopped = false;
            match self.inspect(name, &mut |now| on(now).inspect_err(|_| stopped = true)) {
                Ok(FileState::Present { size, .. }) => total += size,
                Ok(FileState::Missing { size }) => total += size.unwrap_or(0),
                Ok(FileState::Absent) => absent.push(*name),
                Err(e) if stopped => return Err(e),
                Err(e) => {
                    let missing = |name: &&&str| matches!(self.audit(name), Ok(FileState::Missing { .. }));
                    let missing: Vec<_> = names.iter().filter(missing).copied().collect();
                    if missing.is_empty() {
                        return Err(e);
                    }
                    return Err(e.within(format_args!(
                        "{} is not complete here. Missing: {}",
                        self.describe(),
                        list(&missing)
                    )));
                }
            }
        }
        if !absent.is_empty() {
            return Err(self.missing(&absent));
        }
        let mut paths = Vec::with_capacity(names.len());
        let mut before = 0;
        for name in names {
            let mut size = 0;
            let path = self.locate(name, &mut |now| {
                size = now.bytes_total;
                let bytes_done = before + now.bytes_done;
                on(Transfer { bytes_done, bytes_total: total.max(bytes_done) })
            })?;
            match path {
                Some(path) => {
                    before += std::fs::metadata(&path).map_or(size, |metadata| metadata.len());
                    paths.push(path);
                }
                None => absent.push(*name),
            }
        }
        if absent.is_empty() { Ok(paths) } else { Err(self.missing(&absent)) }
    }

    /// Opens `name`, which must exist.
    ///
    /// # Errors
    /// Those of [`require`](Self::require), and `Io`.
    fn open(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<File> {
        open_regular(&self.require(name, on)?)
    }

    /// The content of the file `name`, if the model has it. A file larger than `limit` is not even fetched, if its
    /// size is known.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate), `Io`, and `Malformed` if it is larger than `limit` bytes.
    fn read(&self, name: &str, limit: u64, on: &mut OnTransfer<'_>) -> Result<Option<Vec<u8>>> {
        if let FileState::Missing { size: Some(size) } = self.inspect(name, on)?
            && size > limit
        {
            bail!(Malformed, "`{}` of {} has {size} bytes, more than {limit}", name::shown(name), self.describe());
        }
        self.locate(name, on)?.map(|path| read_regular(&path, limit)).transpose()
    }

    /// As [`read`](Self::read), for a file that must exist.
    ///
    /// # Errors
    /// Those of [`require`](Self::require), `Io`, and `Malformed` if it is larger than `limit` bytes.
    fn read_required(&self, name: &str, limit: u64, on: &mut OnTransfer<'_>) -> Result<Vec<u8>> {
        self.read(name, limit, on)?.ok_or_else(|| self.missing(&[name]))
    }
}

/// The size of the regular file at `path`; `None` if nothing is there.
pub(super) fn size_of(path: &Path) -> Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(_) => Err(err!(Io, "`{}` is not a regular file", place(path))),
        Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory) => Ok(None),
        Err(e) => Err(unreadable(path, e)),
    }
}

/// Whether nothing is at `path`. A path that the system refuses has nothing, either.
pub(super) fn is_nothing(path: &Path) -> bool {
    use IoKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    let absent = |e: std::io::Error| matches!(e.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput);
    std::fs::metadata(path).is_err_and(absent)
}

/// Opens the regular file at `path`, unless it is the pointer that Git LFS leaves in a file's place. Whether it is a
/// regular file is asked first: opening a pipe would wait for a writer.
pub(super) fn open_regular(path: &Path) -> Result<File> {
    let Some(size) = size_of(path)? else {
        bail!(NotFound, "`{}` does not exist", place(path));
    };
    let mut file = File::open(path).map_err(|e| match e.kind() {
        IoKind::NotFound => err!(NotFound, "`{}` does not exist", place(path)),
        _ => err!(Io, "`{}` cannot be opened", place(path)).with_source(e),
    })?;
    if size <= LARGEST_POINTER && is_pointer(&mut file).map_err(|e| unreadable(path, e))? {
        bail!(
            Malformed,
            "`{}` is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, or download the file",
            place(path)
        );
    }
    Ok(file)
}

/// The most bytes of a Git LFS pointer, by its format.
const LARGEST_POINTER: u64 = 1023;

/// Whether `file` is a Git LFS pointer. Its position is at the beginning afterwards.
fn is_pointer(file: &mut File) -> std::io::Result<bool> {
    let mut content = Vec::new();
    file.take(LARGEST_POINTER).read_to_end(&mut content)?;
    file.rewind()?;
    Ok(json::is_lfs_pointer(&content))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == IoKind::OutOfMemory {
        return Error::oom(Site::Load, "cpu", 0, format_args!("reading `{}`", place(path)));
    }
    err!(Io, "`{}` cannot be read", place(path)).with_source(error)
}

/// The content of the regular file at `path`, at most `limit` bytes.
pub(super) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    open_regular(path)?.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(|e| unreadable(path, e))?;
    if content.len() as u64 > limit {
        bail!(Malformed, "`{}` is larger than {limit} bytes", place(path));
    }
    Ok(content)
}

/// `names` as a list for a message; names of unknown origin are escaped.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|n| name::shown(n)).collect::<Vec<_>>().join(", ")
}
