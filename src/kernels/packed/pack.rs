//! Weights to codes.
//!
//! One scale is right for a block if the squared errors of its weights add up to the least. With four bits the largest weight
//! may lie at -8, the end with one step more than the other (the scale then has the opposite sign), or beyond: to cut a few
//! large weights short makes the steps finer for all others. Eight places for the largest weight are tried; twenty-five, with
//! the scale refitted to the codes each time, would lower the error by less than two percent. With eight bits a cut gains
//! nothing.
//!
//! The sixteen rows of a tile are handled side by side, a lane each: so sums have the same order on every instruction set.

use std::ops::Range;

use super::super::packing::{LINE, Packing};
use super::super::simd::narrow::widen_bf16;
use super::super::simd::{BF16, Element, F16, F32};
use super::super::simd::{Kernel, Simd};
use super::super::{Dtype, Isa, Layout, Matrix};

/// Where the largest weight of a block is tried with four bits, in steps from zero, and on both sides of the best of these.
const PLACES: [f32; 3] = [-8.0, -9.3, -10.6];
/// What is tried next to each of them.
const NEAR: [[f32; 2]; 3] = [[-7.5, -8.4], [-8.8, -9.9], [-9.9, -11.5]];
/// The codes there are with four bits.
const FOUR_BITS: (f32, f32) = (-8.0, 7.0);
/// The codes with eight bits that are used.
const EIGHT_BITS: (f32, f32) = (-127.0, 127.0);
/// Rows of a tile.
const ROWS: usize = Packing::TILE_ROWS;
/// `1.5 * 2^23`: adding it rounds to an integer (half to even) and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// A block whose weights are all smaller becomes zeros: their reciprocals are not far from overflow.
const SMALLEST: f32 = 1e-30;

/// Quantises the rows `rows` of `source` into `out`, which is exactly the bytes of their tiles: `rows` starts at a multiple of
/// [`Packing::TILE_ROWS`] and ends at one or at the last row.
///
/// The result is the same on every instruction set. A weight that is not finite counts as zero: as a scale it would spoil its
/// whole block.
pub fn pack(isa: Isa, packing: Packing, source: &Matrix, rows: Range<usize>, out: &mut [u8]) {
    isa.run(Pack { packing, source, rows, out });
}

struct Pack<'a> {
    packing: Packing,
    source: &'a Matrix<'a>,
    rows: Range<usize>,
    out: &'a mut [u8],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.packing {
            Packing::Int4 | Packing::Int8 => self.tiles::<S, 128>(simd),
            Packing::Int4Fine | Packing::Int8Fine => self.tiles::<S, 32>(simd),
        }
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const BLOCK: usize>(self, simd: S) {
        let Self { packing, source, rows, out } = self;
        let (cols, tile_bytes) = (source.cols, packing.tile_bytes(source.cols));
        if tile_bytes == 0 {
            return;
        }
        let mut values = [[0.0; BLOCK]; ROWS];
        let mut block = Block { values: [[0.0; ROWS]; BLOCK], most: [0.0; ROWS] };
        for (tile, from) in out.chunks_exact_mut(tile_bytes).zip(rows.clone().step_by(ROWS)) {
            for number in 0..cols.div_ceil(BLOCK) {
                let col = number * BLOCK;
                let (dtype, part, stride) = if from + ROWS <= rows.end
                    && col + BLOCK <= cols
                    && let Layout::Rows(dtype) = source.layout
                {
                    let stride = cols * dtype.size();
                    let part = &source.data[from * stride + col * dtype.size()..];
                    (dtype, part[..(ROWS - 1) * stride + BLOCK * dtype.size()].as_ptr(), stride)
                } else {
                    values.as_flattened_mut().fill(0.0);
                    for (row, values) in (from..rows.end).zip(&mut values) {
                        source.widen(row * cols + col, &mut values[..BLOCK.min(cols - col)]);
                    }
                    (Dtype::F32, values.as_ptr().cast(), BLOCK * F32::SIZE)
                };
                // SAFETY: the part holds sixteen rows of BLOCK elements of this type.
                unsafe {
                    match dtype {
                        Dtype::F32 => block.take::<S, F32>(simd, part, stride),
                        Dtype::F16 => block.take::<S, F16>(simd, part, stride),
                        Dtype::BF16 => block.take::<S, BF16>(simd, part, stride),
                    }
                }
                block.settle(simd);
                let (scales, inverses) = match packing {
                    Packing::Int8 | Packing::Int8Fine => block.widest_scales(),
                    Packing::Int4 | Packing::Int4Fine => block.best_scales(simd),
                };
                let (scales_at, codes_at) = packing.place(number);
                for (scale, to) in scales.iter().zip(tile[scales_at..].as_chunks_mut().0) {
                    *to = scale.to_le_bytes();
                }
                let lines = tile[codes_at..][..packing.block_bytes()].as_chunks_mut::<LINE>().0;
                match packing {
                    Packing::Int8 | Packing::Int8Fine => block.eight_bits(&inverses, lines),
                    Packing::Int4 | Packing::Int4Fine => block.four_bits(&inverses, lines),
                }
            }
            let blocks = cols.div_ceil(BLOCK);
            if !blocks.is_multiple_of(2) {
                tile[packing.place(blocks - 1).0 + LINE / 2..][..LINE / 2].fill(0);
            }
        }
    }
}

/// A block of each of the sixteen rows.
struct Block<const BLOCK: usize> {
    /// Column after column; what is not finite is zero.
    values: [[f32; ROWS]; BLOCK],
    /// Each row's weight with the largest magnitude, of both signs the positive one, or zero for a block that becomes zeros.
    most: [f32; ROWS],
}

#[allow(clippy::needless_range_loop, reason = "the same lane of several arrays")]
impl<const BLOCK: usize> Block<BLOCK> {
    /// Takes the values from sixteen rows of elements, `stride` bytes from each other.
    ///
    /// # Safety
    /// `from` is valid for reading as many rows of `BLOCK` elements.
    #[inline(always)]
    unsafe fn take<S: Simd, E: Element>(&mut self, simd: S, from: *const u8, stride: usize) {
        for row in (0..ROWS).step_by(S::LANES) {
            for col in (0..BLOCK).step_by(S::LANES) {
                let to = self.values.as_flattened_mut()[col * ROWS + row..].as_mut_ptr();
                // SAFETY: a square of LANES rows and columns lies inside of both.
                unsafe { simd.transpose::<E>(from.add(row * stride + col * E::SIZE), stride, to, ROWS) };
            }
        }
    }

    /// Makes zeros of what is not finite, and finds each row's `most`.
    #[inline(always)]
    fn settle<S: Simd>(&mut self, simd: S) {
        // The second time all are finite.
        for _ in 0..2 {
            if self.find_most(simd) {
                break;
            }
            for value in self.values.as_flattened_mut() {
                *value = if value.is_finite() { *value } else { 0.0 };
            }
        }
    }

    /// Finds each row's `most`, and says whether all values are finite; if not, what it finds means nothing.
    // Loops rather than iterators' closures, here and below: see `Scratch`.
    #[inline(always)]
    fn find_most<S: Simd>(&mut self, simd: S) -> bool {
        let zero = simd.splat(0.0);
        let (mut largest, mut least, mut zeros) = ([0.0; ROWS], [0.0; ROWS], [0.0; ROWS]);
        for lane in (0..ROWS).step_by(S::LANES) {
            let (mut high, mut low, mut sum) = (zero, zero, zero);
            for values in &self.values {
                // SAFETY: LANES values from `lane` on, here and below, of sixteen.
                let value = unsafe { simd.load(values[lane..].as_ptr()) };
                (high, low) = (simd.max(high, value), simd.min(low, value));
                // Zero as long as all are finite.
                sum = simd.add(sum, simd.mul(value, zero));
            }
            // SAFETY: as above.
            unsafe {
                simd.store(high, largest[lane..].as_mut_ptr());
                simd.store(low, least[lane..].as_mut_ptr());
                simd.store(sum, zeros[lane..].as_mut_ptr());
            }
        }
        let mut finite = true;
        for lane in 0..ROWS {
            let most = if largest[lane] >= -least[lane] { largest[lane] } else { least[lane] };
            self.most[lane] = if most.abs() >= SMALLEST { most } else { 0.0 };
            finite &= zeros[lane] == 0.0;
        }
        finite
    }

    /// Scales that put the largest weight of each row at 127, and their reciprocals.
    #[inline(always)]
    fn widest_scales(&self) -> ([u16; ROWS], [f32; ROWS]) {
        let (mut scales, mut inverses) = ([0; ROWS], [0.0; ROWS]);
        for lane in 0..ROWS {
            scales[lane] = round_bf16(self.most[lane].abs() / 127.0);
            inverses[lane] = reciprocal(widen_bf16(scales[lane]));
        }
        (scales, inverses)
    }

    /// The scales with the least errors for four bits, and their reciprocals. The values are left in units of the largest, so
    /// that no square can overflow, and the reciprocals are for those.
    #[inline(always)]
    fn best_scales<S: Simd>(&mut self, simd: S) -> ([u16; ROWS], [f32; ROWS]) {
        let mut units = [0.0; ROWS];
        for lane in 0..ROWS {
            units[lane] = reciprocal(self.most[lane]);
        }
        for values in &mut self.values {
            for lane in 0..ROWS {
                values[lane] *= units[lane];
            }
        }
        let mut best = Choice::WORST;
        let mut near = NEAR[0].map(|place| [place; ROWS]);
        for (tried, places) in self.tried(simd, &units, PLACES.map(|place| [place; ROWS])).iter().zip(NEAR) {
            for (near, place) in near.iter_mut().zip(places) {
                for lane in 0..ROWS {
                    near[lane] = if tried.errors[lane] < best.errors[lane] { place } else { near[lane] };
                }
            }
            best.improve(tried);
        }
        for tried in self.tried(simd, &units, near) {
            best.improve(&tried);
        }
        (best.scales.map(round_bf16), best.inverses)
    }

    /// What scales give that put the largest weight of each row at these places.
    #[inline(always)]
    fn tried<S: Simd, const N: usize>(&self, simd: S, units: &[f32; ROWS], places: [[f32; ROWS]; N]) -> [Choice; N] {
        let mut tried = [Choice::WORST; N];
        let mut steps = [[0.0; ROWS]; N];
        for n in 0..N {
            for lane in 0..ROWS {
                tried[n].scales[lane] = widen_bf16(round_bf16(self.most[lane] / places[n][lane]));
                steps[n][lane] = tried[n].scales[lane] * units[lane];
                tried[n].inverses[lane] = reciprocal(steps[n][lane]);
            }
        }
        let [round, low, high] = [ROUND, ROUND + FOUR_BITS.0, ROUND + FOUR_BITS.1].map(|value| simd.splat(value));
        for lane in (0..ROWS).step_by(S::LANES) {
            let mut sums = [simd.splat(0.0); N];
            for values in &self.values {
                // SAFETY: LANES values from `lane` on, here and below, of sixteen.
                let value = unsafe { simd.load(values[lane..].as_ptr()) };
                for n in 0..N {
                    // SAFETY: as above.
                    let inverse = unsafe { simd.load(tried[n].inverses[lane..].as_ptr()) };
                    // In steps.
                    let place = simd.mul(value, inverse);
                    let code = simd.sub(simd.min(simd.max(simd.add(place, round), low), high), round);
                    let error = simd.sub(place, code);
                    sums[n] = simd.add(sums[n], simd.mul(error, error));
                }
            }
            for n in 0..N {
                // SAFETY: as above.
                unsafe {
                    let step = simd.load(steps[n][lane..].as_ptr());
                    simd.store(simd.mul(sums[n], simd.mul(step, step)), tried[n].errors[lane..].as_mut_ptr());
                }
            }
        }
        tried
    }

    // A row's four bytes of a line are one integer, so that rows stay lanes to the end.
    #[inline(always)]
    fn four_bits(&self, inverses: &[f32; ROWS], lines: &mut [[u8; LINE]]) {
        for (line, cols) in lines.iter_mut().zip(self.values.as_chunks::<8>().0) {
            let mut words = [0_u32; ROWS];
            for j in 0..4 {
                let (low, high) = (codes(&cols[j], inverses, FOUR_BITS), codes(&cols[4 + j], inverses, FOUR_BITS));
                for lane in 0..ROWS {
                    let byte = low[lane].wrapping_add(8) & 15 | (high[lane].wrapping_add(8) & 15) << 4;
                    words[lane] |= byte << (8 * j);
                }
            }
            write(&words, line);
        }
    }

    #[inline(always)]
    fn eight_bits(&self, inverses: &[f32; ROWS], lines: &mut [[u8; LINE]]) {
        for (line, cols) in lines.iter_mut().zip(self.values.as_chunks::<4>().0) {
            let mut words = [0_u32; ROWS];
            for j in 0..4 {
                let codes = codes(&cols[j], inverses, EIGHT_BITS);
                for lane in 0..ROWS {
                    words[lane] |= (codes[lane].wrapping_add(128) & 255) << (8 * j);
                }
            }
            write(&words, line);
        }
    }
}

/// A scale for each row.
#[derive(Clone, Copy)]
struct Choice {
    /// Sums of squared errors, in units of the row's largest weight.
    errors: [f32; ROWS],
    /// bfloat16 values.
    scales: [f32; ROWS],
    /// Their reciprocals, for values in those units.
    inverses: [f32; ROWS],
}

impl Choice {
    const WORST: Self = Self { errors: [f32::INFINITY; ROWS], scales: [0.0; ROWS], inverses: [0.0; ROWS] };

    /// Takes over the rows in which `other` is better.
    #[inline(always)]
    fn improve(&mut self, other: &Self) {
        for lane in 0..ROWS {
            let better = other.errors[lane] < self.errors[lane];
            self.scales[lane] = if better { other.scales[lane] } else { self.scales[lane] };
            self.inverses[lane] = if better { other.inverses[lane] } else { self.inverses[lane] };
            self.errors[lane] = if better { other.errors[lane] } else { self.errors[lane] };
        }
    }
}

#[inline(always)]
fn write(words: &[u32; ROWS], line: &mut [u8; LINE]) {
    for (word, to) in words.iter().zip(line.as_chunks_mut::<4>().0) {
        *to = word.to_le_bytes();
    }
}

/// `1 / value`, and zero for zero.
#[inline(always)]
fn reciprocal(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

/// One column's values over their rows' scales, rounded and held between two codes: in the low bits of integers.
#[inline(always)]
fn codes(values: &[f32; ROWS], inverses: &[f32; ROWS], (low, high): (f32, f32)) -> [u32; ROWS] {
    let mut codes = [0; ROWS];
    for lane in 0..ROWS {
        let shifted = values[lane] * inverses[lane] + ROUND;
        let shifted = if shifted > ROUND + low { shifted } else { ROUND + low };
        let shifted = if shifted < ROUND + high { shifted } else { ROUND + high };
        codes[lane] = shifted.to_bits();
    }
    codes
}

/// The bits of the nearest bfloat16, half to even, of a value that is not so large as to become infinite. Zero has no sign.
#[inline(always)]
fn round_bf16(value: f32) -> u16 {
    let bits = (value + 0.0).to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
