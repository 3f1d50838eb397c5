//! Where a model lies, however its path is spelled and whatever the working directory is.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::engine::options::ShardSpec;
use crate::error::Result;
use crate::source::{self, Folder, ModelFiles, SourceOptions};

/// The place of a model, which tells it from other models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelPlace {
    /// A folder, by its real path.
    Folder(PathBuf),
    /// A model of the hub or of the host, by its name.
    Named { model: String, revision: Option<String> },
}

impl ModelPlace {
    /// The place of the model that `spec` names.
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

    /// The model's short name: the last part of its path or name.
    pub(crate) fn name(&self) -> String {
        let path = match self {
            Self::Folder(path) => path,
            Self::Named { model, .. } => Path::new(model),
        };
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The state of files of a folder at the time a shard was made from them.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    files: Vec<(PathBuf, Stamp)>,
    /// Several files can say where the weights are. The first that is there counts: these are the files, and which one was first.
    ranked: Vec<PathBuf>,
    first: Option<usize>,
}

/// The state of a file. It tells the file from a changed one, and from another that has taken its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
    #[cfg(unix)]
    file: (u64, u64),
}

impl Stamps {
    /// The stamps of those files at `paths` that are there. The first file of `ranked` that is there says where the weights are.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>, ranked: Vec<PathBuf>) -> Self {
        let stamp = |path: PathBuf| Stamp::now(&path).map(|stamp| (path, stamp));
        let files = paths.into_iter().filter_map(stamp).collect();
        Self { files, first: first(&ranked), ranked }
    }

    /// Whether all files are unchanged. A file that is gone counts as unchanged if no other has taken its place, because no shard
    /// could be made from it.
    pub(crate) fn are_current(&self) -> bool {
        let same = |(path, stamp): &(PathBuf, Stamp)| Stamp::now(path).is_none_or(|now| now == *stamp);
        first(&self.ranked).is_none_or(|now| Some(now) == self.first) && self.files.iter().all(same)
    }
}

/// The index of the first of `ranked` that is there.
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
