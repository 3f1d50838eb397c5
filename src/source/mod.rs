//! Where a model's files come from. No weights are read here: a source turns file names into local paths.
//!
//! ```text
//!   open(model) -+-> Folder        a folder on the disk
//!                +-> Host          whatever the host program's callback answers
//!                +-> HubCache      the hub's cache on the disk, and nothing else
//!                +-> HubDownload   the same cache, filled over HTTPS when a file is missing (feature `download`)
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test panics"))]

#[cfg(feature = "download")]
mod download;
mod files;
mod folder;
mod host;
mod hub;
mod name;
mod options;
#[cfg(all(test, feature = "download"))]
mod testing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::FileState;
pub(crate) use files::{ModelFiles, OnTransfer, Transfer};
pub(crate) use folder::{Folder, absolute, folder_of};
pub use host::Fetch;
pub use options::{NetworkOptions, SourceOptions};

use crate::error::{Result, bail, err};
use host::Host;
use hub::{HubCache, HubId, Revision};

/// Names of the files of a model folder.
pub(crate) mod names {
    /// The model's shape.
    pub(crate) const CONFIG: &str = "config.json";
    /// How its authors generate, which may say where a text ends.
    pub(crate) const GENERATION: &str = "generation_config.json";
    /// The weights, when one file holds them all.
    pub(crate) const WEIGHTS: &str = "model.safetensors";
    /// Which file holds which tensor, when there are several.
    pub(crate) const INDEX: &str = "model.safetensors.index.json";
}

/// The variables of the environment, or a test's own.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The real path of the folder that `model` names, if something lies there.
///
/// # Errors
/// `InvalidArgument` for a revision of a folder; `Io`.
pub(crate) fn folder(model: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    let path = Path::new(model);
    if model.is_empty() || !path.exists() {
        return Ok(None);
    }
    if revision.is_some() {
        bail!(InvalidArgument, "model `{model}` is a local folder, which has no revisions");
    }
    let real = path.canonicalize().map_err(|e| err!(Io, "model folder `{model}` cannot be read").with_source(e))?;
    Ok(Some(real))
}

/// The files of `model`: a folder if one lies there, else what the host's callback knows by that name, else a model of
/// the hub (`name` or `org/name`) at `revision`, a branch, tag or commit (`None`: main). Nothing is fetched yet.
///
/// # Errors
/// `NotFound` if `model` is neither a folder nor a hub's name; `InvalidArgument` for a bad revision, endpoint or token,
/// or a revision of a folder; `Io`.
pub(crate) fn open(model: &str, revision: Option<&str>, options: &SourceOptions) -> Result<Box<dyn ModelFiles>> {
    open_with(model, revision, options, &|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn open_with(
    model: &str,
    revision: Option<&str>,
    options: &SourceOptions,
    environment: Environment<'_>,
) -> Result<Box<dyn ModelFiles>> {
    if let Some(path) = folder(model, revision)? {
        return Ok(Box::new(Folder::open(&path)?));
    }
    if let Some(fetch) = &options.host {
        return Ok(Box::new(Host::new(model, revision, Arc::clone(fetch))));
    }
    let Some(id) = HubId::parse(model) else {
        bail!(
            NotFound,
            "model `{}` is neither a folder on this machine nor the name of a model on the hub (`name` or `org/name`)",
            name::shown(model)
        );
    };
    let revision = Revision::parse(revision)?;
    let cache = absolute(&hub::environment::cache_dir(options, environment)?);
    let offline = options.offline || hub::environment::offline(environment);
    if offline {
        return Ok(Box::new(HubCache::new(id, revision, &cache, hub::NoNetwork::Offline)));
    }
    online(id, revision, &cache, options, environment)
}

#[cfg(feature = "download")]
fn online(
    id: HubId,
    revision: Revision,
    cache: &Path,
    options: &SourceOptions,
    environment: Environment<'_>,
) -> Result<Box<dyn ModelFiles>> {
    let client = download::Client::new(
        &hub::environment::endpoint(options, environment),
        hub::environment::token(options, environment).as_deref(),
        NetworkOptions {
            read_timeout: hub::environment::read_timeout(options, environment),
            ..options.network.clone()
        },
    )?;
    Ok(Box::new(download::HubDownload::new(id, revision, cache, client)))
}

#[cfg(not(feature = "download"))]
#[allow(clippy::unnecessary_wraps, reason = "as the one that downloads")]
fn online(
    id: HubId,
    revision: Revision,
    cache: &Path,
    _options: &SourceOptions,
    _environment: Environment<'_>,
) -> Result<Box<dyn ModelFiles>> {
    Ok(Box::new(HubCache::new(id, revision, cache, hub::NoNetwork::NotBuilt)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_neither_a_folder_nor_a_name_says_so() {
        let nothing: Environment<'_> = &|_| None;
        for model in ["", "/no/such/folder", "a/b/c", "../x", "a--b", "a..b", "org/name.git", "a b", "-a", "a\0b"] {
            let error = open_with(model, None, &SourceOptions::default(), nothing).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{model:?}");
            assert!(error.to_string().contains("neither a folder"), "{error}");
        }
    }

    #[test]
    fn a_folder_wins_and_has_no_revisions() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().to_str().unwrap();
        let options = SourceOptions::default();
        assert!(open_with(path, None, &options, &|_| None).unwrap().describe().contains("model folder"));
        let error = open_with(path, Some("main"), &options, &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let file = scratch.path().join("f");
        std::fs::write(&file, b"").unwrap();
        let error = open_with(file.to_str().unwrap(), None, &options, &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}
