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
mod formats;
mod host;
mod hub;
mod name;
pub(crate) mod names;
mod options;
#[cfg(all(test, feature = "download"))]
mod testing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::FileState;
pub(crate) use files::{ModelFiles, OnTransfer, Transfer};
pub(crate) use folder::{Folder, absolute, folder_of};
pub(crate) use formats::mistaken_content;
pub use host::Fetch;
pub(crate) use name::{plain as plain_name, shown};
pub use options::{NetworkOptions, SourceOptions};

use crate::error::{Result, bail, err};
use host::Host;
use hub::{HubCache, HubId, Revision, Variables};

/// The real path of the folder that `model` names; `None` if nothing is there.
///
/// # Errors
/// `InvalidArgument` for a revision of a folder; `Io`.
pub(crate) fn folder(model: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    folder_in(Path::new(""), model, revision)
}

/// As [`folder()`], with relative paths below `here`.
fn folder_in(here: &Path, model: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    let path = here.join(model);
    if model.is_empty() || files::is_nothing(&path) {
        return Ok(None);
    }
    if revision.is_some() {
        bail!(InvalidArgument, "model `{}` is a local folder, which has no revisions", name::shown(model));
    }
    let real = path.canonicalize();
    real.map(Some).map_err(|e| err!(Io, "model folder `{}` cannot be read", name::shown(model)).with_source(e))
}

/// The files of `model`: a folder if there is one, else what the host's callback knows by that name, else a model of
/// the hub (`name` or `org/name`), unless the name looks like a path. `revision` is a branch, tag or commit of the
/// hub (`None`: main). Nothing is fetched yet.
///
/// # Errors
/// `NotFound` if `model` is neither a folder nor a hub's name; `InvalidArgument` for a bad revision, endpoint or token,
/// or a revision of a folder; `Io`.
pub(crate) fn open(model: &str, revision: Option<&str>, options: &SourceOptions) -> Result<Box<dyn ModelFiles>> {
    open_with(model, revision, options, &|name| std::env::var_os(name), Path::new(""))
}

/// As [`open`], with these environment variables, and relative paths below `here`.
fn open_with(
    model: &str,
    revision: Option<&str>,
    options: &SourceOptions,
    variables: Variables<'_>,
    here: &Path,
) -> Result<Box<dyn ModelFiles>> {
    if let Some(path) = folder_in(here, model, revision)? {
        return Ok(Box::new(Folder::open(&path)?));
    }
    if let Some(fetch) = &options.host {
        return Ok(Box::new(Host::new(model, revision, Arc::clone(fetch))));
    }
    if let Some(sign) = sign_of_a_path(model, here) {
        bail!(NotFound, "no folder `{}` is here, and {sign} is not looked for on the hub", name::shown(model));
    }
    let Some(id) = HubId::parse(model) else {
        bail!(
            NotFound,
            "model `{}` is neither a folder on this machine nor the name of a model on the hub (`name` or `org/name`)",
            name::shown(model)
        );
    };
    let revision = Revision::parse(revision)?;
    let environment = hub::Environment::read(variables);
    let cache = absolute(&environment.cache_dir(options)?);
    if options.offline || environment.offline {
        return Ok(Box::new(HubCache::new(id, revision, &cache, hub::NoNetwork::Offline)));
    }
    online(id, revision, &cache, options, &environment)
}

/// The reason to think that `model` means a folder and not a model of the hub, if there is one. The folder need not
/// exist.
fn sign_of_a_path(model: &str, here: &Path) -> Option<String> {
    let parent = || match model.split_once('/') {
        Some((parent, _)) if here.join(parent).is_dir() => {
            Some(format!("a name in the folder `{parent}`, which is here,"))
        }
        _ => None,
    };
    let drive = |model: &str| model.as_bytes().get(1) == Some(&b':');
    let plain = match model {
        "." | ".." => true,
        _ if model.starts_with('~') => return Some("`~`, which a shell would replace,".to_owned()),
        _ => {
            model.starts_with(['/', '.'])
                || model.ends_with('/')
                || model.contains('\\')
                || drive(model)
                || model.matches('/').count() > 1
        }
    };
    if plain { Some("a path".to_owned()) } else { parent() }
}

#[cfg(feature = "download")]
fn online(
    id: HubId,
    revision: Revision,
    cache: &Path,
    options: &SourceOptions,
    environment: &hub::Environment,
) -> Result<Box<dyn ModelFiles>> {
    let read_timeout = options.network.read_timeout.or(environment.read_timeout);
    let network = NetworkOptions { read_timeout, ..options.network.clone() };
    let token = environment.token(options);
    let variables = |name: &str| std::env::var_os(name);
    let proxies = if network.use_proxy { download::Proxies::read(&variables) } else { download::Proxies::default() };
    let client = download::Client::new(environment.endpoint(options), token.as_deref(), network)?
        .answering_within(environment.answer_timeout)
        .through(proxies);
    Ok(Box::new(download::HubDownload::new(id, revision, cache, client).copying(environment.copies)))
}

#[cfg(not(feature = "download"))]
#[allow(clippy::unnecessary_wraps, reason = "as the one that downloads")]
fn online(
    id: HubId,
    revision: Revision,
    cache: &Path,
    _options: &SourceOptions,
    _environment: &hub::Environment,
) -> Result<Box<dyn ModelFiles>> {
    Ok(Box::new(HubCache::new(id, revision, cache, hub::NoNetwork::NotBuilt)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// The error for `model` without a network, for a program that runs in `here`.
    fn refusal(model: &str, here: &Path) -> Error {
        let options = SourceOptions { offline: true, cache_dir: Some(here.join("cache")), ..SourceOptions::default() };
        match open_with(model, None, &options, &|_| None, here) {
            Ok(files) => files.require(names::CONFIG, &mut |_| Ok(())).unwrap_err(),
            Err(error) => error,
        }
    }

    #[test]
    fn what_looks_like_a_path_is_not_looked_for_on_the_hub() {
        let scratch = tempfile::tempdir().unwrap();
        let here = &scratch.path().join("here");
        std::fs::create_dir_all(here.join("models/stories")).unwrap();
        for model in [
            "/no/such/folder",
            "./name",
            "../org/name",
            "a/b/c",
            "name/",
            "org/name/",
            ".hidden",
            "~/models/name",
            "~name",
            "models\\stories",
            "C:/models",
            "models/storys",
        ] {
            let error = refusal(model, here);
            assert_eq!(error.kind(), ErrorKind::NotFound, "{model:?}");
            let shown = name::shown(model);
            assert!(error.to_string().starts_with(&format!("no folder `{shown}` is here, and ")), "{error}");
            assert!(error.to_string().ends_with("is not looked for on the hub"), "{error}");
        }
        for model in ["", "a--b", "a..b", "org/name.git", "a b", "-a", "a\0b"] {
            let error = refusal(model, here);
            assert_eq!(error.kind(), ErrorKind::NotFound, "{model:?}");
            assert!(error.to_string().contains("neither a folder"), "{error}");
        }
        // These may be names of the hub's, so the message says only that they are no folder.
        for model in ["storys", "other/storys"] {
            let error = refusal(model, here);
            assert_eq!(error.kind(), ErrorKind::Offline, "{model:?}");
            assert!(error.chain().starts_with(&format!("no folder `{model}` is here")), "{}", error.chain());
        }
        assert!(open_with("models/stories", None, &SourceOptions::default(), &|_| None, here).is_ok());
    }

    #[test]
    fn a_host_may_know_any_name() {
        struct Nothing;
        impl Fetch for Nothing {
            fn fetch(&self, model: &str, _: Option<&str>, _: &str) -> Result<Option<std::path::PathBuf>> {
                Err(crate::error::err!(Cancelled, "asked for {model}"))
            }
        }
        let scratch = tempfile::tempdir().unwrap();
        let options = SourceOptions { host: Some(Arc::new(Nothing)), ..SourceOptions::default() };
        for model in ["./name", "a/b/c", "", "~/x", "C:\\models"] {
            let files = open_with(model, None, &options, &|_| None, scratch.path()).unwrap();
            let error = files.require(names::CONFIG, &mut |_| Ok(())).unwrap_err();
            assert!(error.chain().ends_with(&format!("asked for {model}").replace('\\', "\\")), "{}", error.chain());
        }
    }

    #[test]
    fn a_folder_wins_and_has_no_revisions() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().to_str().unwrap();
        let options = SourceOptions::default();
        let open = |model: &str, revision| open_with(model, revision, &options, &|_| None, Path::new(""));
        assert!(open(path, None).unwrap().describe().contains("model folder"));
        assert_eq!(open(path, Some("main")).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let file = scratch.path().join("x.gguf");
        std::fs::write(&file, b"").unwrap();
        let error = open(file.to_str().unwrap(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("GGUF"), "{error}");
    }
}
