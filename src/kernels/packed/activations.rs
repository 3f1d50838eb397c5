//! Activations to codes: what a layer of quantised weights multiplies.
//!
//! A token's activations are coded block by block, each block as wide as those of the weights:
//!
//! ```text
//! 4 bytes   the scale, f32: the largest magnitude of the block / 127
//! 4 bytes   minus the sum of the codes, i32: what unsigned weight codes add too much is this times their zero
//! n bytes   the codes, i8 in -127..=127: activation / scale, rounded half to even
//! ```
//!
//! A block with a value that is not finite gets the scale NaN, and so do all results of its token: a bad value is not hidden.

use super::super::shared::Output;
use super::super::simd::{Kernel, Simd};
use super::super::{Isa, Parallel};

/// Bytes in front of a block's codes.
pub(crate) const HEADER: usize = 8;
/// Values of one task are at least this many: below that a thread is not worth waking.
const TASK_VALUES: usize = 1 << 15;
/// `1.5 * 2^23`: adding it rounds to an integer (half to even) and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// A block whose values are all smaller is zeros: their reciprocals would overflow.
const SMALLEST: f32 = 1e-36;

/// Bytes of one token's codes.
pub(super) const fn row_bytes(block: usize, cols: usize) -> usize {
    cols.div_ceil(block).saturating_mul(HEADER + block)
}

/// The codes of some tokens.
#[derive(Clone, Copy)]
pub(crate) struct Activations<'a> {
    /// Columns that share a scale.
    pub(crate) block: usize,
    /// Columns of a token.
    pub(crate) cols: usize,
    /// Bytes from one token to the next.
    stride: usize,
    /// From the first token on.
    pub(crate) data: &'a [u8],
}

impl<'a> Activations<'a> {
    /// Bytes for `tokens` tokens.
    pub(crate) fn bytes(block: usize, tokens: usize, cols: usize) -> usize {
        tokens * row_bytes(block, cols)
    }

    /// Codes the first `cols` of each `apart` values of `x` into `data` of [`bytes`](Self::bytes).
    pub(crate) fn new(
        isa: Isa,
        par: &dyn Parallel,
        block: usize,
        x: &[f32],
        (cols, apart): (usize, usize),
        data: &'a mut [u8],
    ) -> Self {
        let row_bytes = row_bytes(block, cols);
        let tokens = x.len() / apart;
        let per_task = (TASK_VALUES / cols).max(1);
        let out = Output::new(par, data);
        par.run(tokens.div_ceil(per_task), &|task| {
            let from = task * per_task;
            let count = per_task.min(tokens - from);
            let x = &x[from * apart..][..count * apart];
            // SAFETY: every task has its own tokens.
            let to = unsafe { out.slice(from * row_bytes, count * row_bytes) };
            isa.run(Rows { block, cols, apart, x, to });
        });
        Self { block, cols, stride: row_bytes, data }
    }

    /// The activations of `count` tokens from `from` on.
    pub(crate) fn part(&self, from: usize, count: usize) -> Self {
        Self { data: &self.data[from * self.stride..][..count * self.stride], ..*self }
    }

    /// Every `step`th row, from `first` on.
    pub(crate) fn every(&self, step: usize, first: usize) -> Self {
        Self { data: &self.data[first * self.stride..], stride: step * self.stride, ..*self }
    }

    /// The place of `count` tokens from `from` on, and the bytes from one to the next.
    #[inline(always)]
    pub(crate) fn tokens(&self, from: usize, count: usize) -> (*const u8, usize) {
        let bytes = (count - 1) * self.stride + row_bytes(self.block, self.cols);
        (self.data[from * self.stride..][..bytes].as_ptr(), self.stride)
    }
}

struct Rows<'a> {
    block: usize,
    cols: usize,
    /// Values from one row to the next.
    apart: usize,
    x: &'a [f32],
    to: &'a mut [u8],
}

impl Kernel for Rows<'_> {
    // Plain loops that the compiler turns into vectors: the same bits everywhere.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        for (x, to) in self.x.chunks_exact(self.apart).zip(self.to.chunks_exact_mut(row_bytes(self.block, self.cols))) {
            let x = &x[..self.cols];
            match self.block {
                128 => row::<128>(x, to),
                _ => row::<32>(x, to),
            }
        }
    }
}

#[inline(always)]
fn row<const BLOCK: usize>(x: &[f32], to: &mut [u8]) {
    let mut blocks = to.chunks_exact_mut(HEADER + BLOCK);
    let (whole, rest) = x.as_chunks::<BLOCK>();
    for (x, to) in whole.iter().zip(&mut blocks) {
        code(x, to);
    }
    if let Some(to) = blocks.next() {
        let mut last = [0.0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        code(&last, to);
    }
}

#[inline(always)]
fn code<const BLOCK: usize>(x: &[f32; BLOCK], to: &mut [u8]) {
    // Magnitudes compare like their bits, infinities above all numbers and NaNs above those.
    let most = f32::from_bits(x.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most)));
    let (scale, inverse) = if most < SMALLEST {
        (0.0, 0.0)
    } else if most < f32::INFINITY {
        (most / 127.0, 127.0 / most)
    } else {
        (f32::NAN, 0.0)
    };
    let (head, codes) = to.split_at_mut(HEADER);
    let mut sum = 0;
    for (x, to) in x.iter().zip(codes) {
        let code = (x * inverse + ROUND).to_bits() as i8;
        sum -= i32::from(code);
        *to = code as u8;
    }
    head[..4].copy_from_slice(&scale.to_le_bytes());
    head[4..].copy_from_slice(&sum.to_le_bytes());
}
