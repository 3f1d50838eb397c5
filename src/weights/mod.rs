//! A shard's weights: found in the checkpoint by name, checked against the graph, and mapped, not read.

mod checkpoint;
mod mapping;
mod packs;
mod save;

pub(crate) use checkpoint::{Event, files, holds, load};
pub(crate) use packs::{DEFAULT_LIMIT, Store, packed, packed_bytes};
pub(crate) use save::save;

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use crate::kernels::{self, Layout, Matrix, Packing};
use mapping::Mapping;

/// One tensor inside a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    mapping: Arc<Mapping>,
    bytes: Range<usize>,
    layout: Layout,
    rows: usize,
    cols: usize,
}

impl Stored {
    /// The tensor as the kernels read it; a vector is one row.
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let data = &self.mapping.bytes()[self.bytes.clone()];
        Matrix { layout: self.layout, rows: self.rows, cols: self.cols, data }
    }

    /// Bytes it takes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes its values as little-endian float32.
    pub(crate) fn write_f32(&self, out: &mut impl Write) -> std::io::Result<()> {
        let matrix = self.matrix();
        let mut row = vec![0.0; self.cols];
        for from in 0..self.rows {
            matrix.widen(from * self.cols, &mut row);
            row.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
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

    /// Writes its scales as little-endian float32, row after row.
    pub(crate) fn write_scales(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (packing, matrix) = (self.packing()?, self.matrix());
        let mut scales = (0..self.rows).flat_map(|row| kernels::scales(packing, &matrix, row));
        scales.try_for_each(|scale| out.write_all(&scale.to_le_bytes()))
    }

    fn packing(&self) -> std::io::Result<Packing> {
        match self.layout {
            Layout::Tiles(packing) => Ok(packing),
            Layout::Rows(_) => Err(std::io::Error::other("the tensor is not quantised")),
        }
    }

    /// How its bytes are laid out.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
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
        self.tensors.values().map(Stored::len).sum()
    }

    /// How most of the bytes are laid out.
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.tensors.values().max_by_key(|t| t.bytes.len()).map(Stored::layout)
    }
}
