//! One task's area of a layer of quantised weights.
//!
//! The unit is the same as with plain weights: `M` tokens by `N` tiles of rows, whose sums stay in registers from the first column
//! to the last. A tile is read from end to end, and `N` of them, far apart, side by side: as many streams as memory likes.

use super::super::Matrix;
use super::super::packed::activations::{Activations, HEADER};
use super::super::packed::lines::{Lines, LinesKernel, NIBBLE_LINES};
use super::super::packing::{LINE, Packing};
use super::super::shared::{Output, Scratch};
use super::super::simd::Simd;
use super::coding::{Bytes, Coding, Nibbles};
use super::finish::{self, Finish, PartOf};
use std::ops::Range;

/// How far ahead of its use a code is asked for, in each stream.
const PREFETCH_BYTES: usize = 2 << 10;
/// From this many tokens on, four-bit codes are unpacked once for all of them, where registers are few.
const PANEL_TOKENS: usize = 48;
/// Most tokens of a block ([`Lines::TOKENS`]), with many registers and with few.
const MANY_TOKENS: usize = 8;
const FEW_TOKENS: usize = 4;
/// Tiles that are read side by side for few tokens.
const STREAMS: usize = 4;
/// Most of those tokens where registers are many.
const STREAM_TOKENS: usize = 4;
/// Rows of a tile.
const ROWS: usize = Packing::TILE_ROWS;

/// An area of one layer: these tokens by these rows of weights, which begin at a tile's first.
pub(super) struct CodedArea<'a> {
    pub(super) x: Activations<'a>,
    pub(super) weights: &'a Matrix<'a>,
    pub(super) packing: Packing,
    pub(super) bias: Option<&'a Matrix<'a>>,
    pub(super) finish: &'a Finish<'a>,
    pub(super) y: &'a Output<'a>,
    pub(super) part_of: PartOf,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

impl LinesKernel for CodedArea<'_> {
    #[inline(always)]
    fn run<L: Lines>(self, isa: L) {
        match self.packing {
            Packing::Int4 => self.all::<L, Nibbles<128>>(isa),
            Packing::Int4Fine => self.all::<L, Nibbles<32>>(isa),
            Packing::Int8 => self.all::<L, Bytes<128>>(isa),
            Packing::Int8Fine => self.all::<L, Bytes<32>>(isa),
        }
    }
}

impl CodedArea<'_> {
    /// In each case the shapes of blocks that [`share`] makes of so many tokens are compiled, and no others.
    #[inline(always)]
    fn all<L: Lines, C: Coding>(&self, isa: L) {
        let (tokens, nibbles) = (self.tokens.len(), C::PACKING.bits() == 4);
        if L::TOKENS == FEW_TOKENS && nibbles && tokens >= PANEL_TOKENS {
            return self.panels::<L, C>(isa);
        }
        let done = match (tokens, L::TOKENS) {
            (1, FEW_TOKENS) => self.streams::<L, C, STREAMS, 1, 1>(isa),
            (..=STREAM_TOKENS, MANY_TOKENS) => self.streams::<L, C, STREAMS, 1, STREAM_TOKENS>(isa),
            (_, MANY_TOKENS) => self.streams::<L, C, 2, 3, MANY_TOKENS>(isa),
            _ => 0,
        };
        for tile in done..self.rows.len().div_ceil(ROWS) {
            match L::TOKENS {
                1 => self.strip::<L, C, 1, 1, 1, false>(isa, tile, 1, &[]),
                _ => self.strip::<L, C, 1, 1, FEW_TOKENS, false>(isa, tile, 1, &[]),
            }
        }
    }

    /// The rows of `N` tiles at a time, each the next of its own run of tiles. Returns how many tiles that are: fewer than `N` are
    /// left over.
    #[inline(always)]
    fn streams<L: Lines, C: Coding, const N: usize, const LEAST: usize, const MOST: usize>(&self, isa: L) -> usize {
        let apart = self.rows.len().div_ceil(ROWS) / N;
        for tile in 0..apart {
            self.strip::<L, C, N, LEAST, MOST, false>(isa, tile, apart, &[]);
        }
        apart * N
    }

    /// All rows, tile by tile, whose codes are unpacked once for all tokens.
    #[inline(always)]
    fn panels<L: Lines, C: Coding>(&self, isa: L) {
        let blocks = self.weights.cols.div_ceil(C::BLOCK);
        let mut scratch = Scratch::take((blocks * C::LINES * C::PANEL_LINE).div_ceil(size_of::<f32>()));
        let panel = &mut scratch.bytes()[..blocks * C::LINES * C::PANEL_LINE];
        for tile in 0..self.rows.len().div_ceil(ROWS) {
            let source = self.tiles::<1>(tile, 1);
            for (block, to) in panel.chunks_exact_mut(C::LINES * C::PANEL_LINE).enumerate() {
                let from = source.wrapping_add(C::PACKING.place(block).1);
                for (line, to) in to.chunks_exact_mut(C::PANEL_LINE).enumerate() {
                    // SAFETY: a tile holds so many blocks, and the panel as many lines.
                    unsafe { C::keep(isa, C::load(isa, from.add(line * LINE)), to.as_mut_ptr()) };
                }
            }
            self.strip::<L, C, 1, 3, FEW_TOKENS, true>(isa, tile, 1, panel);
        }
    }

    /// Tiles `tile`, `tile + apart` and so on of the area, all tokens, from `LEAST` to `MOST` at a time. With `PANEL` their codes are
    /// in `panel`.
    #[inline(always)]
    fn strip<L: Lines, C: Coding, const N: usize, const LEAST: usize, const MOST: usize, const PANEL: bool>(
        &self,
        isa: L,
        tile: usize,
        apart: usize,
        panel: &[u8],
    ) {
        let mut token = 0;
        while token < self.tokens.len() {
            let take = share(self.tokens.len() - token, MOST);
            match take {
                1 if LEAST <= 1 => self.part::<L, C, 1, N, PANEL>(isa, tile, apart, token, panel),
                2 if LEAST <= 2 && MOST >= 2 => self.part::<L, C, 2, N, PANEL>(isa, tile, apart, token, panel),
                3 if LEAST <= 3 && MOST >= 3 => self.part::<L, C, 3, N, PANEL>(isa, tile, apart, token, panel),
                4 if LEAST <= 4 && MOST >= 4 => self.part::<L, C, 4, N, PANEL>(isa, tile, apart, token, panel),
                5 if MOST >= 5 => self.part::<L, C, 5, N, PANEL>(isa, tile, apart, token, panel),
                6 if MOST >= 6 => self.part::<L, C, 6, N, PANEL>(isa, tile, apart, token, panel),
                7 if MOST >= 7 => self.part::<L, C, 7, N, PANEL>(isa, tile, apart, token, panel),
                8 if MOST >= 8 => self.part::<L, C, 8, N, PANEL>(isa, tile, apart, token, panel),
                _ => return self.y.incomplete(),
            }
            token += take;
        }
    }

    /// The first of `N` tiles `apart`.
    #[inline(always)]
    fn tiles<const N: usize>(&self, tile: usize, apart: usize) -> *const u8 {
        let bytes = self.packing.tile_bytes(self.weights.cols);
        self.weights.data[(self.rows.start / ROWS + tile) * bytes..][..((N - 1) * apart + 1) * bytes].as_ptr()
    }

    /// `M` of the tokens.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "as below")]
    fn part<L: Lines, C: Coding, const M: usize, const N: usize, const PANEL: bool>(
        &self,
        isa: L,
        tile: usize,
        apart: usize,
        token: usize,
        panel: &[u8],
    ) {
        let first = self.tokens.start + token;
        let (x, x_stride) = self.x.tokens(first, M);
        let blocks = self.weights.cols.div_ceil(C::BLOCK);
        let tiles = Tiles::<PANEL> {
            at: self.tiles::<N>(tile, apart),
            stride: apart * self.packing.tile_bytes(self.weights.cols),
            panel: panel.as_ptr(),
        };
        // SAFETY: there are N tiles `apart` and M tokens, each of all blocks, and the panel is one tile.
        let totals =
            unsafe { accumulate::<L, C, M, N, PANEL>(isa, tiles, (x, x_stride), blocks, !PANEL && token == 0) };
        let mut sums = [[[0.0; ROWS]; N]; M];
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = isa.store(totals[m][n]);
            }
        }
        isa.float().run_apart(finish::Tiles {
            finish: self.finish,
            y: self.y,
            bias: self.bias,
            part_of: self.part_of,
            token: first,
            row: self.rows.start + tile * ROWS,
            end: self.rows.end,
            apart: apart * ROWS,
            count: N,
            sums: sums.as_flattened(),
        });
    }
}

/// Tiles side by side.
#[derive(Clone, Copy)]
struct Tiles<const PANEL: bool> {
    at: *const u8,
    /// Bytes from one to the next.
    stride: usize,
    /// The lines of the only tile, unpacked.
    panel: *const u8,
}

/// The sums of `M` tokens by `N` tiles.
///
/// With `stream` the weights come from memory, and cache lines some way ahead are asked for.
///
/// # Safety
/// `tiles` is valid for `N` tiles and, with `PANEL`, for the lines of one, and `x` for `M` tokens of so many blocks; both with the
/// bytes from one to the next.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the indices are also places in memory")]
unsafe fn accumulate<L: Lines, C: Coding, const M: usize, const N: usize, const PANEL: bool>(
    isa: L,
    tiles: Tiles<PANEL>,
    (x, x_stride): (*const u8, usize),
    blocks: usize,
    stream: bool,
) -> [[L::Totals; N]; M] {
    let mut totals = [[isa.zeros(); N]; M];
    // SAFETY: every access lies in a block that the caller vouches for; prefetches may lie anywhere.
    unsafe {
        for block in 0..blocks {
            let x = x.add(block * (HEADER + C::BLOCK));
            let codes = tiles.at.add(C::PACKING.place(block).1);
            let panel = tiles.panel.wrapping_add(block * C::LINES * C::PANEL_LINE);
            let mut sums = [[isa.splat(0); N]; M];
            for m in 0..M {
                let minus_x = x.add(m * x_stride + 4).cast::<i32>().read_unaligned();
                sums[m] = [isa.splat(C::start::<L>(minus_x)); N];
            }
            for lines in (0..C::LINES).step_by(NIBBLE_LINES) {
                let mut products = [[C::begin(isa, sums[0][0]); N]; M];
                for m in 0..M {
                    for n in 0..N {
                        products[m][n] = C::begin(isa, sums[m][n]);
                    }
                }
                for line in lines..lines + NIBBLE_LINES {
                    for n in 0..N {
                        let at = codes.add(n * tiles.stride + line * LINE);
                        let codes =
                            if PANEL { C::kept(isa, panel.add(line * C::PANEL_LINE)) } else { C::load(isa, at) };
                        for m in 0..M {
                            let x = x.add(m * x_stride + HEADER + line * C::COLS).cast();
                            products[m][n] = C::dot(isa, products[m][n], codes, x);
                        }
                        if stream {
                            isa.prefetch(at.wrapping_add(PREFETCH_BYTES));
                        }
                    }
                }
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = C::end(isa, sums[m][n], products[m][n]);
                    }
                }
                if PANEL && lines % (2 * NIBBLE_LINES) == 0 {
                    for m in M..2 * M {
                        isa.prefetch_near(x.wrapping_add(m * x_stride + lines * C::COLS));
                    }
                }
            }
            for n in 0..N {
                let scales = isa.scales(tiles.at.add(n * tiles.stride + C::PACKING.place(block).0));
                for m in 0..M {
                    let scale = x.add(m * x_stride).cast::<f32>().read_unaligned();
                    totals[m][n] = isa.add_scaled(totals[m][n], sums[m][n], scales, scale);
                }
            }
        }
    }
    totals
}

/// How many of the tokens left the next tiles take, in even shares: 9 as 5 + 4, not 8 + 1.
#[inline(always)]
pub(super) fn share(left: usize, most: usize) -> usize {
    left.div_ceil(left.div_ceil(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share that is missing would leave the result incomplete.
    #[test]
    fn all_shares_are_compiled() {
        for tokens in 1..2000 {
            let streams = if tokens <= STREAM_TOKENS { (1, STREAM_TOKENS) } else { (3, MANY_TOKENS) };
            let panels = if tokens < PANEL_TOKENS { (1, FEW_TOKENS) } else { (3, FEW_TOKENS) };
            for (least, most) in [streams, panels, (1, FEW_TOKENS), (1, 1)] {
                let mut left = tokens;
                while left > 0 {
                    let take = share(left, most);
                    assert!((least..=most).contains(&take), "{take} of {left} of {tokens} tokens");
                    left -= take;
                }
            }
        }
    }
}
