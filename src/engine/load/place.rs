//! Where a model lies, whatever way that was spelled and wherever the process goes.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::engine::options::ShardSpec;
use crate::error::Result;
use crate::source::{self, Folder, ModelFiles, SourceOptions};

/// Tells one model from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder, by its real path.
    Folder(PathBuf),
    /// A model of the hub or the host's, by its name.
    Named { model: String, revision: Option<String> },
}

impl Place {
    /// That of the model that `spec` names here and now.
    pub(crate) fn of(spec: &ShardSpec) -> Result<Self> {
        let (model, revision) = (spec.model.clone(), spec.revision.clone());
        Ok(source::folder(&model, revision.as_deref())?.map_or(Self::Named { model, revision }, Self::Folder))
    }

    /// The model's files.
    pub(crate) fn open(&self, options: &SourceOptions) -> Result<Box<dyn ModelFiles>> {
        match self {
            Self::Folder(path) => Ok(Box::new(Folder::open(path)?)),
            Self::Named { model, revision } => source::open(model, revision.as_deref(), options),
        }
    }

    /// What people call it: the last part of its path or name.
    pub(crate) fn name(&self) -> String {
        let path = match self {
            Self::Folder(path) => path,
            Self::Named { model, .. } => Path::new(model),
        };
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// Files of a folder as they were when a shard was made of them.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    files: Vec<(PathBuf, Stamp)>,
    /// Of several files the first that is there says where the weights are: these, and which it was.
    ranked: Vec<PathBuf>,
    first: Option<usize>,
}

/// Tells one state of a file from another, and the file from one that has taken its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
    #[cfg(unix)]
    file: (u64, u64),
}

impl Stamps {
    /// Those of the files at `paths` that are there. What `ranked` names stands one for the other, the first one foremost.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>, ranked: Vec<PathBuf>) -> Self {
        let stamp = |path: PathBuf| Stamp::now(&path).map(|stamp| (path, stamp));
        let files = paths.into_iter().filter_map(stamp).collect();
        Self { files, first: first(&ranked), ranked }
    }

    /// Whether none of the files is another one by now. One that is gone counts as unchanged, if nothing stands in its
    /// place: nothing could be made of it.
    pub(crate) fn hold(&self) -> bool {
        let same = |(path, stamp): &(PathBuf, Stamp)| Stamp::now(path).is_none_or(|now| now == *stamp);
        first(&self.ranked).is_none_or(|now| Some(now) == self.first) && self.files.iter().all(same)
    }
}

/// Which of `ranked` is the first that is there.
fn first(ranked: &[PathBuf]) -> Option<usize> {
    ranked.iter().position(|path| path.exists())
}

impl Stamp {
    fn now(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            bytes: metadata.len(),
            changed: metadata.modified().ok(),
            #[cfg(unix)]
            file: (metadata.dev(), metadata.ino()),
        }
    }
}
