//! Files that the host program hands over, one by one.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{self, FileState, ModelFiles, OnTransfer, Transfer};
use super::folder::absolute;
use super::name;
use crate::error::{Error, Result, err};

/// What a host program implements to bring models its own way: from its own store, over its own network.
pub trait Fetch: Send + Sync {
    /// The local path of `file` of `model` at `revision` (`None`: the newest), fetched first if need be. The file
    /// must stay unchanged while the model is in use. `None`: the model has no such file.
    ///
    /// # Errors
    /// Any error; it is passed to the caller of the operation that needs the file.
    fn fetch(&self, model: &str, revision: Option<&str>, file: &str) -> Result<Option<PathBuf>>;
}

/// The source that asks a [`Fetch`].
pub(crate) struct Host {
    model: String,
    revision: Option<String>,
    fetch: Arc<dyn Fetch>,
    /// The host's answers, so that it is asked once for each file.
    known: Mutex<HashMap<String, Option<PathBuf>>>,
}

impl Host {
    /// Asks `fetch` for the files of `model`.
    pub(crate) fn new(model: &str, revision: Option<&str>, fetch: Arc<dyn Fetch>) -> Self {
        Self { model: model.to_owned(), revision: revision.map(str::to_owned), fetch, known: Mutex::default() }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("model", &self.model).field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl ModelFiles for Host {
    fn locate(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<PathBuf>> {
        match self.audit(name)? {
            FileState::Present { path, size } => {
                on(Transfer { bytes_done: size, bytes_total: size })?;
                return Ok(Some(path));
            }
            FileState::Absent => return Ok(None),
            FileState::Missing { .. } => {}
        }
        on(Transfer::default())?;
        let place = |e: Error| e.within(format_args!("the host's fetcher, file `{name}` of `{}`", self.model));
        let path = self.fetch.fetch(&self.model, self.revision.as_deref(), name).map_err(place)?;
        let path = path.map(|path| absolute(&path));
        let size = match &path {
            None => 0,
            Some(path) => files::size_of(path)
                .map_err(place)?
                .ok_or_else(|| place(err!(NotFound, "it answered `{}`, which does not exist", name::place(path))))?,
        };
        self.known.lock().insert(name.to_owned(), path.clone());
        on(Transfer { bytes_done: size, bytes_total: size })?;
        Ok(path)
    }

    fn audit(&self, name: &str) -> Result<FileState> {
        name::check(name)?;
        let known = self.known.lock().get(name).cloned();
        Ok(match known {
            None => FileState::Missing { size: None },
            Some(None) => FileState::Absent,
            Some(Some(path)) => match files::size_of(&path)? {
                Some(size) => FileState::Present { path, size },
                None => FileState::Missing { size: None },
            },
        })
    }

    fn missing(&self, names: &[&str]) -> Error {
        err!(NotFound, "the host's fetcher has no {} of model `{}`", files::list(names), name::shown(&self.model))
    }

    fn describe(&self) -> String {
        format!("model `{}` from the host's fetcher", name::shown(&self.model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    struct Toy {
        folder: PathBuf,
        asked: Mutex<Vec<String>>,
    }

    impl Fetch for Toy {
        fn fetch(&self, model: &str, revision: Option<&str>, file: &str) -> Result<Option<PathBuf>> {
            self.asked.lock().push(format!("{model} {revision:?} {file}"));
            match file {
                "broken" => Err(err!(Cancelled, "the user pressed stop")),
                "absent" => Ok(None),
                other => Ok(Some(self.folder.join(other))),
            }
        }
    }

    #[test]
    fn the_host_is_asked_once_and_its_answers_are_checked() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("a"), b"12").unwrap();
        std::fs::create_dir(scratch.path().join("folder")).unwrap();
        let toy = Arc::new(Toy { folder: scratch.path().to_owned(), asked: Mutex::default() });
        let host = Host::new("m:1", Some("v2"), Arc::clone(&toy) as Arc<dyn Fetch>);
        let on = &mut |_| Ok(());
        assert_eq!(host.audit("a").unwrap(), FileState::Missing { size: None });
        for _ in 0..2 {
            assert_eq!(host.locate("a", on).unwrap(), Some(scratch.path().join("a")));
            assert_eq!(host.locate("absent", on).unwrap(), None);
        }
        assert_eq!(*toy.asked.lock(), ["m:1 Some(\"v2\") a", "m:1 Some(\"v2\") absent"]);
        assert_eq!(host.locate("gone", on).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(host.locate("folder", on).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(host.locate("broken", on).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(host.locate("../a", on).unwrap_err().kind(), ErrorKind::Malformed);
        assert_eq!(host.require("absent", on).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::remove_file(scratch.path().join("a")).unwrap();
        assert_eq!(host.audit("a").unwrap(), FileState::Missing { size: None });
    }
}
