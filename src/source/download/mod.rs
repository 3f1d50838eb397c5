//! The hub over HTTPS, into the hub's cache.
//!
//! Each file is fetched in these steps: [`metadata`] asks the hub for its commit, entity tag and size; [`blob`]
//! fetches the content under a lock, from where an earlier attempt ended, checks its hash ([`verify`]) and moves it
//! to its place; [`publish`] links it into the snapshot. [`client`] speaks HTTP and keeps the token; [`retry`] says
//! how often an attempt is repeated, and after which wait; [`proxy`] which way requests go.

mod blob;
mod body;
mod client;
mod lock;
mod metadata;
mod proxy;
mod publish;
mod retry;
mod secret;
mod url;
mod verify;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

pub(super) use client::Client;
pub(super) use proxy::Proxies;

use super::files::{self, FileState, ModelFiles, OnTransfer, Transfer};
use super::folder::listing;
use super::hub::{Commit, HubId, Repository, Revision};
use super::{formats, name};
use crate::error::{Error, ErrorKind, Result, err};
use metadata::{Answer, Meta};

/// The source that fetches from the hub.
#[derive(Debug)]
pub(super) struct HubDownload {
    id: HubId,
    revision: Revision,
    cache: PathBuf,
    repository: Repository,
    client: Client,
    /// Whether snapshots hold copies instead of links.
    copies: bool,
    memo: Mutex<Memo>,
}

/// The hub's answers so far, so that it is asked once for each file.
#[derive(Debug, Default)]
struct Memo {
    /// The commit that was met first. All files come from it, even if the branch moves meanwhile.
    commit: Option<Commit>,
    /// `None`: the model has no such file.
    files: HashMap<String, Option<Meta>>,
}

/// Where a file is.
enum Found {
    /// Here.
    Local(PathBuf, u64),
    /// At the hub.
    Remote(Commit, Meta),
    /// Nowhere.
    Nowhere,
}

impl From<Found> for FileState {
    fn from(found: Found) -> Self {
        match found {
            Found::Local(path, size) => Self::Present { path, size },
            Found::Remote(_, meta) => Self::Missing { size: meta.size },
            Found::Nowhere => Self::Absent,
        }
    }
}

impl HubDownload {
    /// The source of `id` at `revision`, with the cache at `cache`.
    pub(super) fn new(id: HubId, revision: Revision, cache: &Path, client: Client) -> Self {
        let memo = Memo { commit: revision.pinned(), files: HashMap::new() };
        let repository = Repository::new(cache, &id);
        Self { id, revision, cache: cache.to_owned(), repository, client, copies: false, memo: Mutex::new(memo) }
    }

    /// The source with copies in its snapshots, or with links.
    pub(super) fn copying(self, copies: bool) -> Self {
        Self { copies, ..self }
    }

    /// What is known of `name` without asking the hub.
    fn known(&self, name: &str) -> Result<Option<Found>> {
        let (commit, meta) = {
            let memo = self.memo.lock();
            (memo.commit.clone(), memo.files.get(name).cloned())
        };
        if meta == Some(None) {
            return Ok(Some(Found::Nowhere));
        }
        let Some(commit) = commit else { return Ok(None) };
        Ok(match (self.repository.file(&commit, name)?, meta.flatten()) {
            (FileState::Present { path, size }, _) => Some(Found::Local(path, size)),
            (FileState::Absent, _) => Some(Found::Nowhere),
            (FileState::Missing { .. }, Some(meta)) => Some(Found::Remote(commit, meta)),
            (FileState::Missing { .. }, None) => None,
        })
    }

    /// Where `name` is. Asks the hub if need be: as often as the options allow, or `once` if the work can go on
    /// without an answer.
    fn find(&self, name: &str, once: bool, on: &mut OnTransfer<'_>) -> Result<Found> {
        name::check(name)?;
        // At most two questions: about the branch, and about a commit if another thread has met another one
        // meanwhile.
        for _ in 0..2 {
            if let Some(found) = self.known(name)? {
                return Ok(found);
            }
            let pinned = self.memo.lock().commit.clone();
            let fallback = if pinned.is_none() { self.fallback(name)? } else { None };
            let revision = pinned.as_ref().map_or(self.revision.as_str(), Commit::as_str);
            let url = self.client.url(&self.id, revision, name);
            let mut stopped = false;
            let answer = metadata::ask(&self.client, &url, once || fallback.is_some(), &mut |now| {
                on(now).inspect_err(|_| stopped = true)
            });
            match (answer, fallback) {
                (Ok(answer), _) => self.learn(name, answer),
                (Err(e), _) if stopped => return Err(e),
                // If the hub or the network is down or the token revoked, the files that are here can still be used.
                // A model or revision that was taken back cannot.
                (Err(e), Some(commit)) if e.kind() != ErrorKind::NotFound => {
                    log::warn!("{self}: {}; using commit {} from the cache", e.chain(), commit.as_str());
                    self.memo.lock().commit.get_or_insert(commit);
                }
                (Err(e), _) => {
                    let error = e.within(format_args!("file `{name}` of {self}"));
                    // As long as the hub has never answered, the name may be that of a folder, misspelt.
                    return Err(if self.memo.lock().commit.is_some() {
                        error
                    } else {
                        error.within(format_args!("no folder `{}` is here, and it was looked for on the hub", self.id))
                    });
                }
            }
        }
        self.known(name)?.ok_or_else(|| err!(Io, "{} contradicts itself about {self}", self.client.endpoint()))
    }

    /// The commit in the cache to use if the hub cannot say where the branch is now.
    fn fallback(&self, name: &str) -> Result<Option<Commit>> {
        let Some(commit) = self.repository.commit(&self.revision)? else { return Ok(None) };
        let here = matches!(self.repository.file(&commit, name)?, FileState::Present { .. } | FileState::Absent);
        Ok(here.then_some(commit))
    }

    /// Keeps the hub's answer, in this source and in the cache.
    fn learn(&self, name: &str, answer: Answer) {
        let mut memo = self.memo.lock();
        let Answer { commit, meta } = answer;
        if let Some(commit) = commit {
            let pinned = memo.commit.get_or_insert_with(|| commit.clone());
            if *pinned != commit {
                return;
            }
            if meta.is_none() {
                publish::absence(&self.repository, &commit, name);
            }
            publish::reference(&self.repository, &self.revision, &commit);
        }
        memo.files.insert(name.to_owned(), meta);
    }
}

impl fmt::Display for HubDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model `{}` (revision {})", self.id, self.revision)
    }
}

impl ModelFiles for HubDownload {
    fn locate(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<PathBuf>> {
        let (commit, meta) = match self.find(name, false, on)? {
            Found::Local(path, size) => {
                on(Transfer { bytes_done: size, bytes_total: size })?;
                return Ok(Some(path));
            }
            Found::Nowhere => return Ok(None),
            Found::Remote(commit, meta) => (commit, meta),
        };
        let url = self.client.url(&self.id, commit.as_str(), name);
        let mut stopped = false;
        let mut on = |now| on(now).inspect_err(|_| stopped = true);
        let path = publish::prepare(&self.cache, &self.repository)
            .and_then(|()| blob::fetch(&self.client, &self.repository, &url, &meta, &mut on))
            .and_then(|blob| publish::link(&self.repository, &commit, name, &blob, self.copies));
        match path {
            Ok(path) => Ok(Some(path)),
            Err(e) if stopped => Err(e),
            Err(e) => Err(e.within(format_args!("downloading `{name}` of {self}"))),
        }
    }

    fn audit(&self, name: &str) -> Result<FileState> {
        name::check(name)?;
        if let Some(found) = self.known(name)? {
            return Ok(found.into());
        }
        let unasked = self.memo.lock().commit.is_none();
        match self.repository.commit(&self.revision)? {
            Some(commit) if unasked => self.repository.file(&commit, name),
            _ => Ok(FileState::Missing { size: None }),
        }
    }

    fn inspect(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<FileState> {
        self.find(name, false, on).map(FileState::from)
    }

    fn has(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<bool> {
        let mut stopped = false;
        match self.find(name, true, &mut |now| on(now).inspect_err(|_| stopped = true)) {
            Ok(found) => Ok(!matches!(found, Found::Nowhere)),
            // Without a network, only the files that are here can be used.
            Err(e) if e.kind() == ErrorKind::Io && !stopped => {
                log::warn!("whether there is a {name} cannot be told: {}", e.chain());
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    fn missing(&self, names: &[&str]) -> Error {
        let commit = self.memo.lock().commit.clone();
        let here = commit.map(|commit| listing(&self.repository.snapshot(&commit))).unwrap_or_default();
        let instead = formats::instead(names, &here, |name| self.has(name, &mut |_| Ok(())).unwrap_or(false));
        err!(NotFound, "{self} has no {} at {}{instead}", files::list(names), self.client.endpoint())
    }

    fn describe(&self) -> String {
        format!("{self} from {}", self.client.endpoint())
    }
}
