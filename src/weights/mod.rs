//! A shard's weights: found in the checkpoint by name, checked against the graph, and mapped instead of read.

mod catalogue;
mod checkpoint;
mod header;
mod mapping;
mod naming;
mod new_file;
mod packs;
mod save;
mod strided;

pub(crate) use catalogue::Catalogue;
pub(crate) use checkpoint::{Event, load};
pub(crate) use new_file::NewFile;
pub(crate) use packs::{DEFAULT_LIMIT, Store, packed, packed_bytes};
pub(crate) use save::save;

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use half::bf16;

use crate::graph::{Strides, Weight};
use crate::kernels::{self, Dtype, Layout, Matrix, Packing};
use mapping::Mapping;

/// One tensor inside a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct MappedTensor {
    mapping: Arc<Mapping>,
    /// From the first value's to the last one's.
    bytes: Range<usize>,
    layout: Layout,
    rows: usize,
    cols: usize,
    /// Where the values lie; `None`: one after another. Others are gathered before a kernel reads them.
    strides: Option<Strides>,
}

impl MappedTensor {
    /// The tensor as the kernels read it; a vector is one row.
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix { layout: self.layout, rows: self.rows, cols: self.cols, data: self.data(), scales: &[] }
    }

    /// The bytes from its first value to its last one.
    fn data(&self) -> &[u8] {
        &self.mapping.bytes()[self.bytes.clone()]
    }

    /// The bytes of the tensor that it is, or a part of, as `weight` says.
    fn tensor_of(&self, weight: &Weight) -> Option<&[u8]> {
        let before = weight.part.as_ref().map_or(Some(0), |part| self.layout.bytes(1, part.offset))?;
        let begin = self.bytes.start.checked_sub(before)?;
        let length = if weight.part.is_some() {
            self.layout.bytes(1, weight.tensor_shape().iter().product())?
        } else {
            self.bytes.len()
        };
        self.mapping.bytes().get(begin..begin + length)
    }

    /// Bytes of the tensor's values as they are stored.
    pub(crate) fn len(&self) -> u64 {
        self.layout.bytes(self.rows, self.cols).map_or(u64::MAX, |bytes| bytes as u64)
    }

    /// Writes the tensor's values as little-endian `dtype`.
    pub(crate) fn write_values(&self, dtype: Dtype, out: &mut impl Write) -> std::io::Result<()> {
        let matrix = self.matrix();
        if self.layout == Layout::Rows(dtype) {
            return out.write_all(matrix.data);
        }
        let mut row = vec![0.0; self.cols];
        for from in 0..self.rows {
            matrix.widen(from * self.cols, &mut row);
            row.iter().try_for_each(|value| write_value(*value, dtype, out))?;
        }
        Ok(())
    }

    /// Writes its values plus `offset` as little-endian `dtype`.
    pub(crate) fn write_sums(&self, offset: f32, dtype: Dtype, out: &mut impl Write) -> std::io::Result<()> {
        let (matrix, mut row) = (self.matrix(), vec![0.0; self.cols]);
        for from in 0..self.rows {
            matrix.widen(from * self.cols, &mut row);
            row.iter().try_for_each(|value| write_value(value + offset, dtype, out))?;
        }
        Ok(())
    }

    /// Writes the codes of a quantised tensor as `MatMulNBits` has them, row after row.
    pub(crate) fn write_codes(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (packing, matrix) = (self.packing()?, self.matrix());
        let mut codes = Vec::new();
        for row in 0..self.rows {
            codes.clear();
            kernels::codes(packing, &matrix, row, &mut codes);
            out.write_all(&codes)?;
        }
        Ok(())
    }

    /// Writes the scales of a quantised tensor as little-endian `dtype`, row after row.
    pub(crate) fn write_scales(&self, dtype: Dtype, out: &mut impl Write) -> std::io::Result<()> {
        let (packing, matrix) = (self.packing()?, self.matrix());
        let mut scales = (0..self.rows).flat_map(|row| kernels::scales(packing, &matrix, row));
        scales.try_for_each(|scale| write_value(scale, dtype, out))
    }

    fn packing(&self) -> std::io::Result<Packing> {
        match self.layout {
            Layout::Tiles(packing) => Ok(packing),
            _ => Err(std::io::Error::other("the tensor is not quantised")),
        }
    }

    /// How the tensor's bytes are laid out.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }
}

/// Writes `value` as little-endian `dtype`, rounded half to even. A value beyond float16's largest becomes the
/// largest.
pub(crate) fn write_value(value: f32, dtype: Dtype, out: &mut impl Write) -> std::io::Result<()> {
    match dtype {
        Dtype::F32 => out.write_all(&value.to_le_bytes()),
        Dtype::F16 => out.write_all(&kernels::narrow_f16(value).to_le_bytes()),
        Dtype::BF16 => out.write_all(&bf16::from_f32(value).to_le_bytes()),
    }
}

/// The tensors of one shard, by the checkpoint's names.
#[derive(Debug, Default)]
pub(crate) struct WeightTable {
    tensors: HashMap<String, MappedTensor>,
}

impl WeightTable {
    /// The tensor `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&MappedTensor> {
        self.tensors.get(name)
    }

    /// Bytes of all tensors, as stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.values().map(MappedTensor::len).sum()
    }

    /// The type of most of the checkpoint's own values: where matrices are quantised, those of vectors.
    pub(crate) fn dtype(&self) -> Option<Dtype> {
        most(self.tensors.values())
    }

    /// The type of most values of the tensors `wanted`.
    pub(crate) fn dtype_of(&self, wanted: &[&Weight]) -> Option<Dtype> {
        most(wanted.iter().filter_map(|weight| self.get(&weight.name)))
    }

    /// Takes the tensors of `other`, too.
    pub(crate) fn extend(&mut self, other: Self) {
        self.tensors.extend(other.tensors);
    }

    /// The mapped files, for readers who take values of type `dtype` where they lie.
    pub(crate) fn files(&self, dtype: Dtype) -> Files<'_> {
        let mut mappings: Vec<&Arc<Mapping>> = self.tensors.values().map(|tensor| &tensor.mapping).collect();
        mappings.sort_by_key(|mapping| Arc::as_ptr(mapping));
        mappings.dedup_by_key(|mapping| Arc::as_ptr(mapping));
        Files { table: self, dtype, mappings }
    }

    /// How most of the bytes are laid out.
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.tensors.values().max_by_key(|t| t.len()).map(MappedTensor::layout)
    }
}

/// The type of most values of `tensors` that are not quantised.
fn most<'t>(tensors: impl Iterator<Item = &'t MappedTensor>) -> Option<Dtype> {
    let plain = tensors.filter_map(|tensor| match tensor.layout {
        Layout::Rows(dtype) => Some((tensor.len(), dtype)),
        Layout::Tiles(_) | Layout::Mxfp4(_) | Layout::Fp8(_) | Layout::Scales => None,
    });
    plain.max_by_key(|(bytes, _)| *bytes).map(|(_, dtype)| dtype)
}

/// The files of a [`WeightTable`], numbered.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    table: &'a WeightTable,
    dtype: Dtype,
    mappings: Vec<&'a Arc<Mapping>>,
}

impl<'a> Files<'a> {
    /// The number of the file that holds the tensor `name`, and the tensor's first byte there; `None` if it is of
    /// another type.
    pub(crate) fn place(&self, name: &str) -> Option<(usize, u64)> {
        let own = |tensor: &&MappedTensor| tensor.layout == Layout::Rows(self.dtype) && tensor.strides.is_none();
        let tensor = self.table.get(name).filter(own)?;
        let file = self.mappings.iter().position(|mapping| Arc::ptr_eq(mapping, &tensor.mapping))?;
        Some((file, tensor.bytes.start as u64))
    }

    /// The bytes of each file, in the order of their numbers.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &'a [u8]> {
        self.mappings.iter().map(|mapping| mapping.bytes())
    }
}
