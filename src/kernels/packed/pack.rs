//! Weights to codes.
//!
//! One scale is right for a block if the squared errors of its weights add up to the least. With four bits the largest weight
//! may lie at -8, the end with one step more than the other (the scale then has the opposite sign), or beyond: to cut a few
//! large weights short makes the steps finer for all others. Eight places for the largest weight are tried; twenty-five, with
//! the scale refitted to the codes each time, would lower the error by less than one percent. With eight bits a cut gains
//! nothing.

use std::array::from_fn;
use std::ops::Range;

use super::super::simd::portable::widen_bf16;
use super::super::simd::{Kernel, Simd};
use super::super::{Isa, Matrix};
use super::{LINE, Packing};

/// Where the largest weight of a block may lie with four bits, in steps from zero.
const PLACES: [f32; 8] = [-8.0, -7.5, -8.4, -8.8, -9.3, -9.9, -10.6, -11.5];
/// Columns of the widest block.
const WIDEST: usize = 128;
/// `1.5 * 2^23`: adding it rounds to an integer (half to even) and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// A block whose weights are all smaller becomes zeros: their reciprocals are not far from overflow.
const SMALLEST: f32 = 1e-30;

/// Quantises the rows `rows` of `source` into `out`, which is exactly the bytes of their tiles: `rows` starts at a multiple of
/// [`Packing::TILE_ROWS`] and ends at one or at the last row.
///
/// The result is the same on every instruction set. A weight that is not finite counts as zero: as a scale it would spoil its
/// whole block.
pub(crate) fn pack(isa: Isa, packing: Packing, source: &Matrix, rows: Range<usize>, out: &mut [u8]) {
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
        let Self { packing, source, rows, out } = self;
        let tile_bytes = packing.tile_bytes(source.cols);
        if tile_bytes == 0 {
            return;
        }
        for (tile, from) in out.chunks_exact_mut(tile_bytes).zip(rows.clone().step_by(Packing::TILE_ROWS)) {
            for block in 0..source.cols.div_ceil(packing.block()) {
                let (scales, codes) = packing.place(block);
                for lane in 0..Packing::TILE_ROWS {
                    let mut values = [0.0; WIDEST];
                    if from + lane < rows.end {
                        let col = block * packing.block();
                        let count = packing.block().min(source.cols - col);
                        source.widen((from + lane) * source.cols + col, &mut values[..count]);
                    }
                    let to = &mut tile[codes..][..packing.block_bytes()];
                    let scale = match packing {
                        Packing::Int4 => four_bits::<S, 128>(simd, &values, lane, to),
                        Packing::Int4Fine => four_bits::<S, 32>(simd, &values, lane, to),
                        Packing::Int8 => eight_bits(simd, &values, lane, to),
                    };
                    tile[scales + 2 * lane..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            if source.cols.div_ceil(packing.block()) % 2 == 1 {
                let (scales, _) = packing.place(source.cols.div_ceil(packing.block()) - 1);
                tile[scales + LINE / 2..][..LINE / 2].fill(0);
            }
        }
    }
}

/// The bits of the nearest bfloat16, half to even, of a value that is not so large as to become infinite.
#[inline(always)]
fn round_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The weight with the largest magnitude, of both signs the positive one. What is not finite is replaced by zero.
#[inline(always)]
fn largest<S: Simd>(simd: S, values: &mut [f32]) -> f32 {
    let (mut most, mut least) = (simd.splat(0.0), simd.splat(0.0));
    for values in values.chunks_exact_mut(S::LANES) {
        for value in values.iter_mut() {
            *value = if value.abs() < f32::INFINITY { *value } else { 0.0 };
        }
        // SAFETY: a register full of values.
        let v = unsafe { simd.load(values.as_ptr()) };
        (most, least) = (simd.max(most, v), simd.min(least, v));
    }
    let (positive, negative) = (simd.largest(most), simd.largest(simd.sub(simd.splat(0.0), least)));
    if positive >= negative { positive } else { -negative }
}

/// Codes a block of one row in four bits and returns the scale's bits.
#[inline(always)]
fn four_bits<S: Simd, const BLOCK: usize>(simd: S, values: &[f32; WIDEST], lane: usize, to: &mut [u8]) -> u16 {
    let mut block: [f32; BLOCK] = from_fn(|i| values[i]);
    let most = largest(simd, &mut block);
    // In units of the largest, so that no square can overflow.
    let unit = 1.0 / most;
    let mut best = (f32::INFINITY, 0.0, 0);
    if most.abs() >= SMALLEST {
        for value in &mut block {
            *value *= unit;
        }
        for place in PLACES {
            let bits = round_bf16(most / place);
            let step = widen_bf16(bits) * unit;
            let error = error(simd, &block, step);
            if error < best.0 {
                best = (error, 1.0 / step, bits);
            }
        }
    }
    let codes: [u8; BLOCK] = from_fn(|i| code(block[i], best.1, -8.0, 7.0).wrapping_add(8));
    for (line, codes) in to.chunks_exact_mut(LINE).zip(codes.as_chunks::<8>().0) {
        line[4 * lane..][..4].copy_from_slice(&[0, 1, 2, 3].map(|j| codes[j] | codes[4 + j] << 4));
    }
    best.2
}

/// The sum of squared errors if the values are coded with this step, added up as sixteen sums on every instruction set.
#[inline(always)]
fn error<S: Simd, const BLOCK: usize>(simd: S, values: &[f32; BLOCK], step: f32) -> f32 {
    const LANES: usize = 16;
    let [inverse, step, round] = [1.0 / step, step, ROUND].map(|value| simd.splat(value));
    let (low, high) = (simd.splat(ROUND - 8.0), simd.splat(ROUND + 7.0));
    let mut sums = [simd.splat(0.0); LANES];
    let sums = &mut sums[..LANES / S::LANES];
    for values in values.as_chunks::<LANES>().0 {
        for (sum, values) in sums.iter_mut().zip(values.chunks_exact(S::LANES)) {
            // SAFETY: a register full of values.
            let value = unsafe { simd.load(values.as_ptr()) };
            let shifted = simd.add(simd.mul(value, inverse), round);
            let code = simd.sub(simd.min(simd.max(shifted, low), high), round);
            let error = simd.sub(value, simd.mul(code, step));
            *sum = simd.add(*sum, simd.mul(error, error));
        }
    }
    let mut lanes = [0.0; LANES];
    for (sum, lanes) in sums.iter().zip(lanes.chunks_exact_mut(S::LANES)) {
        // SAFETY: a register full of values.
        unsafe { simd.store(*sum, lanes.as_mut_ptr()) };
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `value * inverse` rounded, and held between two others.
#[inline(always)]
fn code(value: f32, inverse: f32, low: f32, high: f32) -> u8 {
    let shifted = value * inverse + ROUND;
    let shifted = if shifted > ROUND + low { shifted } else { ROUND + low };
    let shifted = if shifted < ROUND + high { shifted } else { ROUND + high };
    shifted.to_bits() as u8
}

/// Codes a block of one row in eight bits and returns the scale's bits.
#[inline(always)]
fn eight_bits<S: Simd>(simd: S, values: &[f32; WIDEST], lane: usize, to: &mut [u8]) -> u16 {
    let mut block = *values;
    let most = largest(simd, &mut block).abs();
    let (bits, inverse) = if most >= SMALLEST {
        let bits = round_bf16(most / 127.0);
        (bits, 1.0 / widen_bf16(bits))
    } else {
        (0, 0.0)
    };
    let codes: [u8; WIDEST] = from_fn(|i| code(block[i], inverse, -127.0, 127.0).wrapping_add(128));
    for (line, codes) in to.chunks_exact_mut(LINE).zip(codes.as_chunks::<4>().0) {
        line[4 * lane..][..4].copy_from_slice(codes);
    }
    bits
}
