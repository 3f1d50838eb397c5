//! Writing a shard's tensors as a safetensors file.

use std::cmp::Reverse;
use std::io::Write;
use std::path::Path;

use super::header::Header;
use super::{NewFile, WeightTable};
use crate::error::{Result, err};
use crate::graph::Weight;
use crate::kernels::Layout;

/// Where readers expect that tensors begin.
const ALIGN: usize = 8;

/// Writes the tensors `wanted` of `table` to `path`, in their stored dtype. The file appears complete or not at all, see
/// [`NewFile`].
pub(crate) fn save(table: &WeightTable, wanted: &[&Weight], path: &Path) -> Result<()> {
    let mut tensors = wanted
        .iter()
        .map(|weight| match table.get(&weight.name) {
            Some(stored) => Ok((*weight, stored)),
            None => Err(err!(Internal, "the shard has no tensor `{}`", weight.name)),
        })
        .collect::<Result<Vec<_>>>()?;
    // The larger elements first: so each tensor is aligned.
    tensors.sort_by_key(|(weight, stored)| {
        let size = if let Layout::Rows(dtype) = stored.layout() { dtype.size() } else { 1 };
        (Reverse(size), weight.name.as_str())
    });
    let (mut header, mut at) = (Header::default(), 0);
    for (weight, stored) in &tensors {
        let end = at + stored.matrix().data.len();
        header.add(&weight.name, stored.layout(), &weight.shape, at..end);
        at = end;
    }
    let header = header.bytes(ALIGN)?;

    let failed = |e: std::io::Error| err!(Io, "writing `{}`", path.display()).with_source(e);
    let file = NewFile::new(path)?;
    let contents = tensors.iter().map(|(_, stored)| stored.matrix().data);
    std::iter::once(&header[..])
        .chain(contents)
        .try_for_each(|bytes| file.as_file().write_all(bytes))
        .map_err(failed)?;
    file.publish().map(drop)
}
