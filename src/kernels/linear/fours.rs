//! One task's area of a layer of four-bit floats that meet coded activations.
//!
//! Sixteen rows at a time, as many as a line has lanes. Few tokens meet the codes as they are read: those of sixteen rows and one block
//! of columns are multiplied, and folded to a sum for each row. For many tokens rows become tiles of eight bits first, in which lanes
//! are rows from the beginning. Either way a block's sum is exact, so the bits are the same.

use super::super::mxfp4::{BLOCK, BLOCK_BYTES, Mxfp4, half_scale};
use super::super::packed::activations::{Activations, HEADER};
use super::super::packed::lines::{Lines, LinesKernel};
use super::super::packing::{LINE, Packing};
use super::super::shared::{Output, Scratch};
use super::super::simd::Simd;
use super::super::{Layout, Matrix};
use super::coded::{CodedArea, share};
use super::finish::{self, Finish, PartOf};
use std::ops::Range;

/// Up to this many tokens rows are not made into tiles.
const DIRECT_TOKENS: usize = 8;
/// Most tokens that meet codes at once.
const TILE_TOKENS: usize = 4;
/// Rows of a tile.
const ROWS: usize = Packing::TILE_ROWS;
/// What rows become.
const TILES: Packing = Packing::Int8Fine;
/// Blocks whose scales are halved at once.
const BLOCKS_AT_ONCE: usize = 16;
/// Bytes that come from memory at once.
const CACHE_LINE: usize = 64;
/// Bytes of the scales of a block of a tile.
const SCALES: usize = LINE / 2;

/// An area of one layer: these tokens by these rows of weights, which begin at a multiple of a tile's.
pub(super) struct FoursArea<'a> {
    pub(super) x: Activations<'a>,
    pub(super) weights: &'a Matrix<'a>,
    pub(super) mxfp4: Mxfp4,
    pub(super) bias: Option<&'a Matrix<'a>>,
    pub(super) finish: &'a Finish<'a>,
    pub(super) y: &'a Output<'a>,
    /// Values of the result from one token to the next.
    pub(super) apart: usize,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

impl LinesKernel for FoursArea<'_> {
    #[inline(always)]
    fn run<L: Lines>(self, isa: L) {
        if self.tokens.len() <= DIRECT_TOKENS {
            self.direct(isa);
        } else {
            self.tiles(isa);
        }
    }
}

/// Sixteen rows of codes, and their scales: for each block of columns those of all rows, as a tile has them.
#[derive(Clone, Copy)]
struct Sixteen<'a> {
    codes: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
    scales: &'a [u8],
    /// Whether rows as far away again are the next to be read.
    has_next: bool,
}

impl FoursArea<'_> {
    fn blocks(&self) -> usize {
        self.weights.cols / BLOCK
    }

    /// Bytes of memory for [`sixteen`](Self::sixteen).
    fn memory(&self) -> usize {
        self.blocks() * (SCALES + ROWS * BLOCK_BYTES)
    }

    /// The sixteen rows from `row` on. Where there are fewer, the others are zeros.
    #[inline(always)]
    fn sixteen<'m, L: Lines>(&self, isa: L, row: usize, memory: &'m mut [u8]) -> Sixteen<'m> {
        let (blocks, count) = (self.blocks(), ROWS.min(self.rows.end - row));
        let has_next = row + 2 * ROWS <= self.rows.end;
        if has_next {
            let (next, bytes) =
                (&self.weights.scales[(row + ROWS) * self.mxfp4.step * blocks..], self.mxfp4.step * blocks);
            for at in (0..ROWS * bytes).step_by(CACHE_LINE) {
                isa.prefetch(next.as_ptr().wrapping_add(at));
            }
        }
        let (scales, copy) = memory.split_at_mut(blocks * SCALES);
        let mut rows = [&[][..]; ROWS];
        for (i, to) in rows[..count].iter_mut().enumerate() {
            *to = self.weights.mxfp4_row(self.mxfp4, row + i, 0).1;
        }
        transpose(isa, &rows[..count], self.mxfp4.step * blocks, blocks, scales);
        let stride = blocks * BLOCK_BYTES;
        if count == ROWS {
            let row_bytes = stride;
            let stride = self.mxfp4.step * row_bytes;
            let codes = &self.weights.data[row * stride..][..(ROWS - 1) * stride + row_bytes];
            return Sixteen { codes: codes.as_ptr(), stride, scales, has_next };
        }
        let copy = &mut copy[..ROWS * stride];
        copy.fill(0);
        for (i, to) in copy.chunks_exact_mut(stride.max(1)).take(count).enumerate() {
            to.copy_from_slice(&self.weights.mxfp4_row(self.mxfp4, row + i, 0).0[..stride]);
        }
        Sixteen { codes: copy.as_ptr(), stride, scales, has_next: false }
    }

    #[inline(always)]
    fn direct<L: Lines>(&self, isa: L) {
        let mut scratch = Scratch::take(self.memory().div_ceil(size_of::<f32>()));
        for row in self.rows.clone().step_by(ROWS) {
            let sixteen = self.sixteen(isa, row, scratch.bytes());
            let mut token = 0;
            while token < self.tokens.len() {
                let left = self.tokens.len() - token;
                let take = share(left, TILE_TOKENS.min(L::TOKENS));
                match take {
                    2 if L::TOKENS >= 2 => self.part::<L, 2>(isa, sixteen, row, token),
                    3 if L::TOKENS >= 3 => self.part::<L, 3>(isa, sixteen, row, token),
                    4 if L::TOKENS >= 4 => self.part::<L, 4>(isa, sixteen, row, token),
                    _ => self.part::<L, 1>(isa, sixteen, row, token),
                }
                token += take;
            }
        }
    }

    /// `M` of the tokens.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "as below")]
    fn part<L: Lines, const M: usize>(&self, isa: L, sixteen: Sixteen, row: usize, token: usize) {
        let first = self.tokens.start + token;
        let x = self.x.tokens(first, M);
        // SAFETY: there are sixteen rows and M tokens, each of all blocks.
        let totals = unsafe { accumulate::<L, M>(isa, sixteen, x, self.blocks(), token == 0) };
        let mut sums = [[0.0; ROWS]; M];
        for m in 0..M {
            sums[m] = isa.store(totals[m]);
        }
        isa.float().run_apart(finish::Tiles {
            finish: self.finish,
            y: self.y,
            bias: self.bias,
            part_of: PartOf { apart: self.apart, first: 0 },
            token: first,
            row,
            end: self.rows.end,
            apart: ROWS,
            count: 1,
            sums: &sums,
        });
    }

    /// As many tiles at a time as are read side by side.
    #[inline(always)]
    fn tiles<L: Lines>(&self, isa: L) {
        let (cols, blocks) = (self.weights.cols, self.blocks());
        let (at_once, tile_bytes) = (if L::TOKENS > 4 { 2 } else { 1 }, TILES.tile_bytes(cols));
        let mut scratch = Scratch::take((at_once * tile_bytes + self.memory()).div_ceil(size_of::<f32>()));
        let (tiles, memory) = scratch.bytes().split_at_mut(at_once * tile_bytes);
        for from in self.rows.clone().step_by(at_once * ROWS) {
            let rows = (at_once * ROWS).min(self.rows.end - from);
            for (tile, to) in tiles.chunks_exact_mut(tile_bytes.max(1)).take(rows.div_ceil(ROWS)).enumerate() {
                let sixteen = self.sixteen(isa, from + tile * ROWS, memory);
                for (block, scales) in sixteen.scales.chunks_exact(SCALES).enumerate() {
                    let (scales_at, codes_at) = TILES.place(block);
                    to[scales_at..][..SCALES].copy_from_slice(scales);
                    let lines = to[codes_at..][..TILES.block_bytes()].as_mut_ptr();
                    // SAFETY: sixteen rows of so many blocks, and the lines of a block.
                    unsafe {
                        let fours = isa.fours::<128>(sixteen.codes.add(block * BLOCK_BYTES), sixteen.stride);
                        isa.keep_fours(fours, lines);
                    }
                }
                if blocks % 2 == 1 {
                    to[TILES.place(blocks - 1).0 + SCALES..][..SCALES].fill(0);
                }
            }
            let data = &tiles[..rows.div_ceil(ROWS) * tile_bytes];
            let weights = &Matrix { layout: Layout::Tiles(TILES), rows, cols, data, scales: &[] };
            let part_of = PartOf { apart: self.apart, first: from };
            let Self { x, bias, finish, y, .. } = *self;
            let tokens = self.tokens.clone();
            isa.run_apart(CodedArea { x, weights, packing: TILES, bias, finish, y, part_of, rows: 0..rows, tokens });
        }
    }
}

/// Halves of the scales of sixteen rows or fewer, block by block, as bfloat16: `[blocks, 16]`. Each row has as many.
#[inline(always)]
fn transpose<L: Lines>(isa: L, rows: &[&[u8]], stride: usize, blocks: usize, to: &mut [u8]) {
    let mut done = 0;
    if let ([first, ..], true) = (rows, rows.len() == ROWS && blocks >= BLOCKS_AT_ONCE) {
        while done < blocks {
            // The last ones once more, if they are no whole number.
            let from = done.min(blocks - BLOCKS_AT_ONCE);
            // SAFETY: so many blocks of sixteen rows, and of the halves.
            unsafe { isa.half_scales(first.as_ptr().add(from), stride, to[from * SCALES..].as_mut_ptr()) };
            done = from + BLOCKS_AT_ONCE;
        }
        return;
    }
    for (block, to) in to.chunks_exact_mut(SCALES).enumerate().take(blocks) {
        for (to, row) in to.as_chunks_mut::<2>().0.iter_mut().zip(rows) {
            *to = half_scale(row[block]);
        }
    }
}

/// The sums of `M` tokens by sixteen rows. With `stream` the weights come from memory, and the next rows' are asked for.
///
/// # Safety
/// `sixteen` is valid for so many blocks, and `x` for `M` tokens of as many, with the bytes from one to the next.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the indices are also places in memory")]
unsafe fn accumulate<L: Lines, const M: usize>(
    isa: L,
    sixteen: Sixteen,
    (x, x_stride): (*const u8, usize),
    blocks: usize,
    stream: bool,
) -> [L::Totals; M] {
    let mut totals = [isa.zeros(); M];
    let Sixteen { codes, stride, scales, has_next } = sixteen;
    let scales = scales.as_ptr();
    // SAFETY: every access lies in a block that the caller vouches for; prefetches may lie anywhere.
    unsafe {
        for block in 0..blocks {
            let at = codes.add(block * BLOCK_BYTES);
            if stream && has_next && block % 4 == 0 {
                for row in ROWS..2 * ROWS {
                    isa.prefetch(at.wrapping_add(row * stride));
                }
            }
            let fours = isa.fours::<ZERO>(at, stride);
            let scales = isa.scales(scales.add(block * SCALES));
            for m in 0..M {
                let x = x.add(m * x_stride + block * (HEADER + BLOCK));
                let (scale, minus_x) = (x.cast::<f32>().read_unaligned(), x.add(4).cast::<i32>().read_unaligned());
                let sums = isa.dot_fours(fours, x.add(HEADER).cast(), i32::from(ZERO) * minus_x);
                totals[m] = isa.add_scaled(totals[m], sums, scales, scale);
            }
        }
    }
    totals
}

/// Added to twice a weight, so that no code is negative.
const ZERO: u8 = 12;
