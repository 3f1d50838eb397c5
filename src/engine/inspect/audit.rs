//! Which files a shard needs, and which of them are here.

use super::blueprint::Blueprint;
use crate::engine::options::ShardSpec;
use crate::error::{ErrorKind, Result};
use crate::source::{self, SourceOptions, names};
use crate::weights::Catalogue;

pub use crate::source::FileState;

/// A file that a shard needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedFile {
    /// Its name within the model.
    pub name: String,
    /// Whether the file is here, where it is and how large.
    pub state: FileState,
}

/// Lists the files that the shard of `spec` needs; `sources` are offline.
pub(crate) fn audit_files(sources: &SourceOptions, spec: &ShardSpec) -> Result<Vec<AuditedFile>> {
    let files = source::open(&spec.model, spec.revision.as_deref(), sources)?;
    let audit = |name: &str| files.audit(name).map(|state| AuditedFile { name: name.to_owned(), state });
    let mut found = vec![audit(names::CONFIG)?];
    let inspected = Catalogue::here(&*files).and_then(|mut catalogue| {
        let Blueprint { graph, .. } = Blueprint::read_here(&*files, spec, catalogue.as_mut())?;
        Ok((catalogue, graph))
    });
    let (catalogue, graph) = match inspected {
        Ok(inspected) => inspected,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Offline) => return Ok(found),
        Err(error) => return Err(error),
    };
    // Without an index the model has one file that holds all tensors, as far as anybody knows.
    let Some(catalogue) = catalogue else {
        found.push(audit(names::WEIGHTS)?);
        return Ok(found);
    };
    for name in catalogue.index().into_iter().chain(catalogue.files(&graph.weights())?) {
        found.push(audit(name)?);
    }
    Ok(found)
}
