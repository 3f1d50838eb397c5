//! Writing a shard's tensors as a safetensors file.

use std::borrow::Cow;
use std::path::Path;

use safetensors::View;
use safetensors::tensor::Dtype as FileDtype;
use tempfile::NamedTempFile;

use super::{Stored, WeightTable};
use crate::error::{Result, err};
use crate::graph::Weight;
use crate::kernels::{Dtype, Layout};
use crate::source::folder_of;

/// Writes the tensors `wanted` of `table` to `path`, in their stored dtype. The file appears complete or not at all.
pub(crate) fn save(table: &WeightTable, wanted: &[&Weight], path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| err!(Io, "writing `{}`", path.display()).with_source(e);
    let tensors = wanted
        .iter()
        .map(|weight| match table.get(&weight.name) {
            Some(stored) => Ok((weight.name.as_str(), Tensor { stored, shape: &weight.shape })),
            None => Err(err!(Internal, "the shard has no tensor `{}`", weight.name)),
        })
        .collect::<Result<Vec<_>>>()?;
    let file = NamedTempFile::new_in(folder_of(path)).map_err(failed)?;
    safetensors::serialize_to_file(tensors, None, file.path())
        .map_err(|e| err!(Io, "writing `{}`", path.display()).with_source(e))?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

struct Tensor<'a> {
    stored: &'a Stored,
    shape: &'a [usize],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> FileDtype {
        match self.stored.layout() {
            Layout::Rows(Dtype::F32) => FileDtype::F32,
            Layout::Rows(Dtype::F16) => FileDtype::F16,
            Layout::Rows(Dtype::BF16) => FileDtype::BF16,
            Layout::Tiles(_) => FileDtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.stored.matrix().data)
    }

    fn data_len(&self) -> usize {
        self.stored.matrix().data.len()
    }
}
