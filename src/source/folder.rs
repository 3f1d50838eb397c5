//! A model folder on the local disk.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, bail, err};

/// A folder with config.json, safetensors and, for text, tokenizer.json.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self { root: path.to_owned() }),
            Ok(_) => Err(err!(InvalidArgument, "model `{}` is not a folder", path.display())),
            Err(e) if e.kind() == IoKind::NotFound => {
                Err(err!(NotFound, "model folder `{}` does not exist", path.display()))
            }
            Err(e) => Err(err!(Io, "model folder `{}` cannot be read", path.display()).with_source(e)),
        }
    }

    /// Where `name` lies. Names come from files nobody checked, so anything but a plain relative path is refused.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        let relative = Path::new(name);
        let plain = !name.is_empty()
            && !name.contains(['\0', '\\'])
            && relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            bail!(Malformed, "file name `{}` leaves the model folder", name.escape_debug());
        }
        Ok(self.root.join(relative))
    }

    /// Whether `name` exists.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.path(name)?.exists())
    }

    /// Opens the regular file `name`.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        let path = self.path(name)?;
        let file = File::open(&path).map_err(|e| match e.kind() {
            IoKind::NotFound => err!(NotFound, "`{}` does not exist", path.display()),
            _ => err!(Io, "`{}` cannot be opened", path.display()).with_source(e),
        })?;
        let metadata = file.metadata().map_err(|e| err!(Io, "`{}` cannot be read", path.display()).with_source(e))?;
        if !metadata.is_file() {
            bail!(Io, "`{}` is not a regular file", path.display());
        }
        Ok(file)
    }

    /// The content of the small file `name`, at most `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let file = self.open_file(name)?;
        let mut content = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|e| Error::new(ErrorKind::Io, format!("`{name}` cannot be read")).with_source(e))?;
        if content.len() as u64 > limit {
            bail!(Malformed, "`{name}` is larger than {limit} bytes");
        }
        Ok(content)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = Folder { root: PathBuf::from("/models/a") };
        for name in ["../b", "/etc/passwd", "a/../../b", "", "..", "a\0b", "..\\b"] {
            assert_eq!(folder.path(name).map_err(|e| e.kind()), Err(ErrorKind::Malformed), "{name:?}");
        }
        assert!(folder.path("model-00001-of-00002.safetensors").is_ok());
    }
}
