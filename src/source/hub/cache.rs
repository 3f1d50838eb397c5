//! A model in the hub's cache, without a network. Is also there if the library has no network code.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::{Commit, HubId, Repository, Revision};
use crate::error::{Error, Result, err};
use crate::source::files::{self, FileState, ModelFiles, OnTransfer, Transfer};
use crate::source::folder::listing;
use crate::source::{formats, name};

/// Why the network is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum NoNetwork {
    /// The caller or the environment said so.
    Offline,
    /// The library was built without the feature `download`.
    #[allow(dead_code, reason = "for builds without it")]
    NotBuilt,
}

/// The source that reads the hub's cache and nothing else.
#[derive(Debug)]
pub(in crate::source) struct HubCache {
    id: HubId,
    revision: Revision,
    repository: Repository,
    reason: NoNetwork,
    /// The commit that was met first, to which this source keeps: another process may move the reference meanwhile.
    commit: Mutex<Option<Commit>>,
}

impl HubCache {
    /// `id` at `revision` in the cache at `cache`.
    pub(in crate::source) fn new(id: HubId, revision: Revision, cache: &Path, reason: NoNetwork) -> Self {
        let repository = Repository::new(cache, &id);
        Self { id, revision, repository, reason, commit: Mutex::new(None) }
    }

    fn commit(&self) -> Result<Option<Commit>> {
        let mut commit = self.commit.lock();
        if commit.is_none() {
            *commit = self.repository.commit(&self.revision)?;
        }
        Ok(commit.clone())
    }
}

impl ModelFiles for HubCache {
    fn locate(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<PathBuf>> {
        let FileState::Present { path, size } = self.audit(name)? else { return Ok(None) };
        on(Transfer { bytes_done: size, bytes_total: size })?;
        Ok(Some(path))
    }

    fn audit(&self, name: &str) -> Result<FileState> {
        name::check(name)?;
        match self.commit()? {
            Some(commit) => self.repository.file(&commit, name),
            None => Ok(FileState::Missing { size: None }),
        }
    }

    fn missing(&self, names: &[&str]) -> Error {
        let absent = |name: &&str| matches!(self.audit(name), Ok(FileState::Absent));
        let files = files::list(names);
        let (id, revision) = (&self.id, &self.revision);
        let commit = self.commit().ok().flatten();
        let here = commit.as_ref().map(|commit| listing(&self.repository.snapshot(commit))).unwrap_or_default();
        let instead = formats::instead(names, &here, |_| false);
        if names.iter().all(absent) {
            return err!(NotFound, "model `{id}` (revision {revision}) has no {files}{instead}");
        }
        let (why, what) = match self.reason {
            NoNetwork::Offline => {
                ("the network is off", "Turn offline mode (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE) off")
            }
            NoNetwork::NotBuilt => ("this build cannot download", "Use a build with the feature `download`"),
        };
        let pin = if revision.as_str() == "main" { String::new() } else { format!(" --revision {revision}") };
        // The message has a command to copy, which must not carry characters that an index file made up.
        let tame = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
        let tame = |name: &&str| !name.starts_with('-') && name.bytes().all(tame);
        // If nothing of the model is here, nobody can tell which other files are needed. Then the command fetches
        // all.
        let known = commit.as_ref().is_some_and(|commit| self.repository.snapshot(commit).is_dir());
        let folder = if commit.is_none() { format!("no folder `{id}` is here, and ") } else { String::new() };
        let arguments = if known && names.iter().all(tame) { format!(" {}", names.join(" ")) } else { String::new() };
        err!(
            Offline,
            "{folder}model `{id}` (revision {revision}) is not complete in the cache, and {why}. Missing: \
             {files}{instead}. {what}, or run `hf download {id}{pin}{arguments}` where there is a network, and copy `{}` \
             here",
            name::place(self.repository.root())
        )
    }

    fn describe(&self) -> String {
        format!("model `{}` (revision {}) in the hub cache", self.id, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn cache(root: &std::path::Path, revision: Option<&str>) -> HubCache {
        let id = HubId::parse("org/name").unwrap();
        HubCache::new(id, Revision::parse(revision).unwrap(), root, NoNetwork::Offline)
    }

    #[test]
    fn branches_and_pins_lead_to_snapshots() {
        let scratch = tempfile::tempdir().unwrap();
        let model = scratch.path().join("models--org--name");
        for (commit, text) in [(A, "old"), (B, "new!")] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
            fs::write(model.join("snapshots").join(commit).join("config.json"), text).unwrap();
        }
        fs::create_dir_all(model.join("refs/pr")).unwrap();
        fs::write(model.join("refs/main"), A).unwrap();
        fs::write(model.join("refs/pr/1"), format!("{B}\n")).unwrap();
        fs::create_dir_all(model.join(".no_exist").join(A)).unwrap();
        fs::write(model.join(".no_exist").join(A).join("none.json"), "").unwrap();
        let on = &mut |_| Ok(());

        let main = cache(scratch.path(), None);
        assert_eq!(main.read("config.json", 9, on).unwrap().unwrap(), b"old");
        fs::write(model.join("refs/main"), B).unwrap();
        assert_eq!(main.read("config.json", 9, on).unwrap().unwrap(), b"old", "an open model stays at its commit");
        assert_eq!(cache(scratch.path(), Some("pr/1")).read("config.json", 9, on).unwrap().unwrap(), b"new!");
        assert_eq!(cache(scratch.path(), Some(A)).read("config.json", 9, on).unwrap().unwrap(), b"old");

        assert_eq!(main.audit("none.json").unwrap(), FileState::Absent);
        assert_eq!(main.missing(&["none.json"]).kind(), ErrorKind::NotFound);
        assert_eq!(main.audit("x.safetensors").unwrap(), FileState::Missing { size: None });
        let error = main.require_all(&["x.safetensors", "config.json", "y.safetensors"], on).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Offline);
        assert!(error.to_string().contains("Missing: x.safetensors, y.safetensors."), "{error}");
        assert!(error.to_string().contains("`hf download org/name x.safetensors y.safetensors`"), "{error}");
        assert!(main.missing(&["x; rm y"]).to_string().contains("`hf download org/name`"));
        assert_eq!(main.locate("../../refs/main", on).unwrap_err().kind(), ErrorKind::Malformed);

        fs::write(model.join("refs/main"), "../../elsewhere").unwrap();
        assert_eq!(cache(scratch.path(), None).audit("a").unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn a_model_that_was_never_fetched_is_offline() {
        let scratch = tempfile::tempdir().unwrap();
        for revision in [None, Some(A)] {
            let model = cache(scratch.path(), revision);
            assert_eq!(model.audit("config.json").unwrap(), FileState::Missing { size: None });
            let error = model.require("config.json", &mut |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Offline);
            assert!(error.to_string().contains("Missing: config.json."), "{error}");
            assert!(!error.to_string().contains("name config.json`"), "all of it is to be downloaded: {error}");
        }
    }
}
