//! Values that do not lie one after another: stacks whose matrices are stored column after column, and rows in turns.
//!
//! Kernels read rows that are whole, so such tensors are gathered once, on all cores, when a shard is loaded: quantised straight from
//! the file, or copied where they stay exact.

use std::ops::Range;

use super::MappedTensor;
use crate::graph::Strides;
use crate::kernels::Layout;

impl MappedTensor {
    /// Appends the values of these rows to `to`, one after another.
    pub(super) fn gather(&self, rows: Range<usize>, to: &mut Vec<u8>) {
        let size = match self.layout {
            Layout::Rows(dtype) => dtype.size(),
            _ => 1,
        };
        let Some(strides) = self.strides else { return to.extend_from_slice(self.rows(rows)) };
        let (from, old) = (self.data(), to.len());
        to.resize(old + rows.len() * self.cols * size, 0);
        let to = &mut to[old..];
        match size {
            4 => gather::<4>(from, strides, rows, self.cols, to),
            2 => gather::<2>(from, strides, rows, self.cols, to),
            _ => gather::<1>(from, strides, rows, self.cols, to),
        }
    }

    /// The bytes of these rows, where they lie one after another.
    pub(super) fn rows(&self, rows: Range<usize>) -> &[u8] {
        let row = self.data().len() / self.rows.max(1);
        &self.data()[rows.start * row..rows.end * row]
    }
}

/// Column by column, so that what lies side by side in the file is read at once.
fn gather<const SIZE: usize>(from: &[u8], strides: Strides, rows: Range<usize>, cols: usize, to: &mut [u8]) {
    let (from, to) = (from.as_chunks::<SIZE>().0, to.as_chunks_mut::<SIZE>().0);
    let starts: Vec<usize> = rows.map(|row| row * strides.row).collect();
    if strides.column == 1 {
        for (start, to) in starts.iter().zip(to.chunks_exact_mut(cols.max(1))) {
            to.copy_from_slice(&from[*start..*start + cols]);
        }
        return;
    }
    for col in 0..cols {
        for (start, to) in starts.iter().zip(to[col..].iter_mut().step_by(cols)) {
            *to = from[start + col * strides.column];
        }
    }
}
