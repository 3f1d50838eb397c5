//! Where quantised weights stay between loads.

use std::path::PathBuf;

use crate::source::absolute;
use crate::weights::{DEFAULT_LIMIT, Store};

/// Where quantised weights are kept between loads. Quantising takes seconds, mapping quantised weights takes milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PackCache {
    /// The folder `ORTSHARD_CACHE`, else `$XDG_CACHE_HOME/ortshard`, else `~/.cache/ortshard`; none if the variables are not set.
    #[default]
    Default,
    /// This folder, which is made if it is missing.
    Folder(PathBuf),
    /// Nowhere: each load quantises the weights into memory of this process.
    Off,
}

impl PackCache {
    /// The store of packed shards, if there is to be one.
    pub(crate) fn store(&self, limit: u64) -> Option<Store> {
        let folder = match self {
            Self::Off => return None,
            Self::Folder(folder) => absolute(folder),
            Self::Default => absolute(&default_folder()?),
        };
        Some(Store::new(folder, if limit == 0 { DEFAULT_LIMIT } else { limit }))
    }
}

fn default_folder() -> Option<PathBuf> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || path("HOME").or_else(|| path("USERPROFILE")).map(|home| home.join(".cache"));
    path("ORTSHARD_CACHE").or_else(|| Some(path("XDG_CACHE_HOME").or_else(user)?.join("ortshard")))
}
