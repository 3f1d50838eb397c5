//! One model's folder in the hub's cache: the paths in it, and which files are there.

use std::path::{Path, PathBuf};

#[cfg(feature = "download")]
use super::id::Etag;
use super::id::{Commit, HubId, Revision};
use crate::error::{ErrorKind, Result, bail};
use crate::source::files::{self, FileState, ModelFiles};
use crate::source::folder::Folder;
use crate::source::name;

/// `CACHE/models--ORG--NAME`:
///
/// ```text
/// refs/main               the commit that main was at when last asked
/// snapshots/COMMIT/FILE   -> ../../blobs/ETAG
/// blobs/ETAG              the content; ETAG.incomplete while it comes
/// .no_exist/COMMIT/FILE   empty: the model has no FILE at COMMIT
/// ../.locks/models--ORG--NAME/ETAG.lock
/// ```
#[derive(Debug, Clone)]
pub(in crate::source) struct Repository {
    root: PathBuf,
    #[allow(dead_code, reason = "only a download locks")]
    locks: PathBuf,
}

impl Repository {
    /// The repository of `id` in `cache`.
    pub(in crate::source) fn new(cache: &Path, id: &HubId) -> Self {
        let folder = id.folder();
        Self { root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The folder itself.
    pub(in crate::source) fn root(&self) -> &Path {
        &self.root
    }

    /// The file that says which commit a branch or tag is at.
    pub(in crate::source) fn reference(&self, revision: &Revision) -> PathBuf {
        self.root.join("refs").join(revision.as_str())
    }

    /// The folder of the files of `commit`.
    pub(in crate::source) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.root.join("snapshots").join(commit.as_str())
    }

    /// The file that says that `name` does not exist at `commit`.
    pub(in crate::source) fn absence(&self, commit: &Commit, name: &str) -> Result<PathBuf> {
        Ok(self.root.join(".no_exist").join(commit.as_str()).join(name::check(name)?))
    }

    /// The path of the content named `etag`.
    #[cfg(feature = "download")]
    pub(in crate::source) fn blob(&self, etag: &Etag) -> PathBuf {
        self.root.join("blobs").join(etag.as_str())
    }

    /// The path of the content named `etag` while it is fetched.
    #[cfg(feature = "download")]
    pub(in crate::source) fn partial(&self, etag: &Etag) -> PathBuf {
        self.root.join("blobs").join(format!("{}.incomplete", etag.as_str()))
    }

    /// The file that this library, like Python's, locks while it fetches the content named `etag`.
    #[cfg(feature = "download")]
    pub(in crate::source) fn lock(&self, etag: &Etag) -> PathBuf {
        self.locks.join(format!("{}.lock", etag.as_str()))
    }

    /// The commit of `revision`, as far as the cache knows.
    ///
    /// # Errors
    /// `Malformed` if the reference holds no commit, `Io`.
    pub(in crate::source) fn commit(&self, revision: &Revision) -> Result<Option<Commit>> {
        const LIMIT: u64 = 1024;
        if let Some(commit) = revision.pinned() {
            return Ok(Some(commit));
        }
        let path = self.reference(revision);
        let content = match files::read_regular(&path, LIMIT) {
            Ok(content) => content,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        match std::str::from_utf8(&content).ok().and_then(|text| Commit::parse(text.trim())) {
            Some(commit) => Ok(Some(commit)),
            None => bail!(Malformed, "`{}` does not hold a commit; delete it", name::place(&path)),
        }
    }

    /// Whether the cache has `name` of `commit`, as far as it knows.
    pub(in crate::source) fn file(&self, commit: &Commit, name: &str) -> Result<FileState> {
        let absence = self.absence(commit, name)?;
        match Folder::open(&self.snapshot(commit)) {
            Ok(snapshot) => match snapshot.audit(name)? {
                FileState::Absent => {}
                present => return Ok(present),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(if absence.exists() { FileState::Absent } else { FileState::Missing { size: None } })
    }
}
