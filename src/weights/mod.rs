//! A shard's weights: found in the checkpoint by name, checked against the graph, and mapped, not read.

mod checkpoint;
mod mapping;
mod save;

pub(crate) use checkpoint::{Event, files, holds, load};
pub(crate) use save::save;

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use crate::kernels::{Dtype, Matrix};
use mapping::Mapping;

/// One tensor inside a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    mapping: Arc<Mapping>,
    bytes: Range<usize>,
    dtype: Dtype,
    rows: usize,
    cols: usize,
}

impl Stored {
    /// The tensor as the kernels read it; a vector is one row.
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let data = &self.mapping.bytes()[self.bytes.clone()];
        Matrix { dtype: self.dtype, rows: self.rows, cols: self.cols, data }
    }

    /// Writes its values as little-endian float32.
    pub(crate) fn write_f32(&self, out: &mut impl Write) -> std::io::Result<()> {
        let data = self.matrix().data;
        let (halves, _) = data.as_chunks::<2>();
        match self.dtype {
            Dtype::F32 => out.write_all(data),
            Dtype::F16 => halves.iter().try_for_each(|b| out.write_all(&f16::from_le_bytes(*b).to_f32().to_le_bytes())),
            Dtype::BF16 => {
                halves.iter().try_for_each(|b| out.write_all(&bf16::from_le_bytes(*b).to_f32().to_le_bytes()))
            }
        }
    }

    /// Its element type.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }
}

/// The tensors of one shard, by the checkpoint's names.
#[derive(Debug, Default)]
pub(crate) struct WeightTable {
    tensors: HashMap<String, Stored>,
}

impl WeightTable {
    /// The tensor `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Bytes of all tensors, as stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.bytes.len() as u64).sum()
    }

    /// The element type most of the bytes have.
    pub(crate) fn dtype(&self) -> Option<Dtype> {
        self.tensors.values().max_by_key(|t| t.bytes.len()).map(Stored::dtype)
    }
}
