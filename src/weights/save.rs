//! Writing a shard's tensors as a safetensors file.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use super::header::Header;
use super::{NewFile, WeightTable};
use crate::error::{Result, err};
use crate::graph::Weight;
use crate::kernels::Layout;

/// Tensors begin at multiples of this, as readers expect.
const ALIGN: usize = 8;

/// Writes the tensors `wanted` of `table` to `path`, in their stored dtype. The file appears complete or not at all, see
/// [`NewFile`].
pub(crate) fn save(table: &WeightTable, wanted: &[&Weight], path: &Path) -> Result<()> {
    let (mut tensors, mut seen) = (Vec::new(), HashSet::new());
    for weight in wanted {
        let missing = || err!(Internal, "the shard has no tensor `{}`", weight.name);
        let stored = table.get(&weight.name).ok_or_else(missing)?;
        // Parts are saved as the tensor that they are parts of.
        if seen.insert(weight.tensor()) {
            tensors.push((*weight, stored.layout(), stored.tensor_of(weight).ok_or_else(missing)?));
        }
    }
    // Tensors of larger elements come first, so that each tensor is aligned.
    tensors.sort_by_key(|(weight, layout, _)| {
        let size = if let Layout::Rows(dtype) = layout { dtype.size() } else { 1 };
        (Reverse(size), weight.tensor())
    });
    let (mut header, mut at) = (Header::default(), 0);
    for (weight, layout, data) in &tensors {
        let end = at + data.len();
        header.add(weight.tensor(), *layout, &weight.stored_shape(), at..end);
        at = end;
    }
    let header = header.bytes(ALIGN)?;

    let failed = |e: std::io::Error| err!(Io, "writing `{}`", path.display()).with_source(e);
    let file = NewFile::new(path)?;
    let contents = tensors.iter().map(|(.., data)| *data);
    std::iter::once(&header[..])
        .chain(contents)
        .try_for_each(|bytes| file.as_file().write_all(bytes))
        .map_err(failed)?;
    file.publish().map(drop)
}
