//! How the cache keeps a row, one head's key or value of one token.
//!
//! A row is written once, from its own values alone, and attention reads nothing but what was written, also for the rows of the
//! run that writes them. So whatever is lost is lost alike, however a prompt was cut.

use super::super::simd::Simd;
use super::super::simd::narrow::narrow_f16;
use super::super::simd::{Element, F16, F32, I8};
use super::multiply::Ahead;
use std::fmt;

/// What the values of a row are kept as, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowType {
    /// As they are.
    F32,
    /// IEEE half precision. Finite values beyond its largest, 65504, become that; infinities and NaNs stay what they are.
    F16,
    /// A byte each, and behind them one float32 that they are multiples of: the largest magnitude / 127. Rounded to the nearest,
    /// halves to even. If a value is not finite, that float32 is a NaN, and so is every value of the row.
    Int8,
}

impl fmt::Display for RowType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

/// Bytes of the scale behind an [`Int8`](RowType::Int8) row.
const SCALE: usize = size_of::<f32>();

impl RowType {
    /// Bytes of a row of `dim` values.
    pub const fn bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => dim * F32::SIZE,
            Self::F16 => dim * F16::SIZE,
            Self::Int8 => dim * I8::SIZE + SCALE,
        }
    }

    /// Writes a row.
    #[inline(always)]
    pub(super) fn write(self, row: &[f32], to: &mut [u8]) {
        match self {
            Self::F32 => {
                for (to, value) in to.as_chunks_mut().0.iter_mut().zip(row) {
                    *to = value.to_le_bytes();
                }
            }
            Self::F16 => {
                for (to, value) in to.as_chunks_mut().0.iter_mut().zip(row) {
                    *to = narrow_f16(*value).to_le_bytes();
                }
            }
            Self::Int8 => {
                // Magnitudes are ordered as their bits are, and those of infinities and NaNs come last.
                let mut largest = 0;
                for value in row {
                    largest = largest.max(value.abs().to_bits());
                }
                let largest = f32::from_bits(largest);
                let scale = if largest.is_finite() { largest / 127.0 } else { f32::NAN };
                let (codes, end) = to.split_at_mut(row.len());
                for (code, value) in codes.iter_mut().zip(row) {
                    // Where all are zero, or the scale is a NaN, the quotient is a NaN and the code 0. Of values so small that
                    // the scale has lost its precision, the quotient may be anything.
                    *code = (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
                }
                end.copy_from_slice(&scale.to_le_bytes());
            }
        }
    }
}

/// Rows of one head, one after another.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    kind: RowType,
    dim: usize,
    bytes: &'a [u8],
}

impl<'a> Rows<'a> {
    pub(super) fn new(kind: RowType, dim: usize, bytes: &'a [u8]) -> Self {
        Self { kind, dim, bytes }
    }

    /// Bytes from one row to the next.
    #[inline(always)]
    pub(super) fn stride(self) -> usize {
        self.kind.bytes(self.dim)
    }

    /// Where a row begins, or would.
    #[inline(always)]
    pub(super) fn address(self, row: usize) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(row * self.stride())
    }

    /// `count` rows from `first` on.
    #[inline(always)]
    pub(super) fn part(self, first: usize, count: usize) -> Self {
        let stride = self.stride();
        Self { bytes: &self.bytes[first * stride..][..count * stride], ..self }
    }

    /// Writes each row's values as a column of `to`, `[dim, columns]`, without its scale. Columns beyond hold anything.
    #[inline(always)]
    pub(super) fn transpose<S: Simd>(self, simd: S, to: &mut [f32], columns: usize, ahead: &mut Ahead) {
        match self.kind {
            RowType::F32 => self.transpose_of::<S, F32>(simd, to, columns, ahead),
            RowType::F16 => self.transpose_of::<S, F16>(simd, to, columns, ahead),
            RowType::Int8 => self.transpose_of::<S, I8>(simd, to, columns, ahead),
        }
    }

    #[inline(always)]
    fn transpose_of<S: Simd, E: Element>(self, simd: S, to: &mut [f32], columns: usize, ahead: &mut Ahead) {
        let (dim, stride) = (self.dim, self.stride());
        let count = self.bytes.len() / stride;
        let to = to[..(dim - 1) * columns + count].as_mut_ptr();
        let (whole, dim_whole) = (count / S::LANES * S::LANES, dim / S::LANES * S::LANES);
        // SAFETY: there are `count` rows of `dim` values, and `to` has room for as many columns.
        unsafe {
            let value = |row: usize, d: usize| self.bytes.as_ptr().add(row * stride + d * E::SIZE);
            for row in (0..whole).step_by(S::LANES) {
                for d in (0..dim_whole).step_by(S::LANES) {
                    ahead.ask(simd);
                    simd.transpose::<E>(value(row, d), stride, to.add(d * columns + row), columns);
                }
                for d in dim_whole..dim {
                    for row in row..row + S::LANES {
                        *to.add(d * columns + row) = E::widen(value(row, d));
                    }
                }
            }
            for row in whole..count {
                for d in 0..dim {
                    *to.add(d * columns + row) = E::widen(value(row, d));
                }
            }
        }
    }

    /// The factor of each row, if there are such: kept in `memory` from `at` on.
    #[inline(always)]
    pub(super) fn scales(self, memory: &'a mut [f32], at: usize) -> Option<&'a [f32]> {
        if self.kind != RowType::Int8 {
            return None;
        }
        for (to, row) in memory[at..].iter_mut().zip(self.bytes.chunks_exact(self.stride())) {
            *to = scale(row);
        }
        Some(memory)
    }

    /// The rows' values, `[count, dim]`, behind `skip` rows that hold anything: where they lie if they can be read there, else
    /// in `memory`.
    #[inline(always)]
    pub(super) fn values<S: Simd>(self, simd: S, memory: &'a mut [f32], skip: usize) -> &'a [f32] {
        match (self.kind, bytemuck::try_cast_slice(self.bytes)) {
            (RowType::F32, Ok(values)) if skip == 0 => return values,
            (RowType::F32, _) => self.widen::<S, F32>(simd, &mut memory[skip * self.dim..]),
            (RowType::F16, _) => self.widen::<S, F16>(simd, &mut memory[skip * self.dim..]),
            (RowType::Int8, _) => self.widen::<S, I8>(simd, &mut memory[skip * self.dim..]),
        }
        memory
    }

    #[inline(always)]
    fn widen<S: Simd, E: Element>(self, simd: S, to: &mut [f32]) {
        let whole = self.dim / S::LANES * S::LANES;
        for (row, to) in self.bytes.chunks_exact(self.stride()).zip(to.chunks_exact_mut(self.dim)) {
            let by = simd.splat(if self.kind == RowType::Int8 { scale(row) } else { 1.0 });
            let (from, to) = (row.as_ptr(), to.as_mut_ptr());
            // SAFETY: both have `dim` values.
            unsafe {
                for at in (0..whole).step_by(S::LANES) {
                    simd.store(simd.mul(E::load(simd, from.add(at * E::SIZE)), by), to.add(at));
                }
                // Most heads are whole registers, and parts of them are copied by a call.
                if whole < self.dim {
                    let rest = self.dim - whole;
                    let last = simd.mul(E::load_part(simd, from.add(whole * E::SIZE), rest), by);
                    simd.store_part(last, to.add(whole), rest);
                }
            }
        }
    }
}

/// The scale behind a row of bytes.
#[inline(always)]
fn scale(row: &[u8]) -> f32 {
    row.last_chunk().map_or(f32::NAN, |scale| f32::from_le_bytes(*scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn written(kind: RowType, row: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0xaa; kind.bytes(row.len())];
        kind.write(row, &mut bytes);
        bytes
    }

    #[test]
    fn halves_are_rounded_to_nearest_and_saturate() {
        let bits = |value: f32| u16::from_le_bytes(written(RowType::F16, &[value]).try_into().unwrap());
        for half in (0..=u16::MAX).map(f16::from_bits).filter(|half| !half.is_nan()) {
            assert_eq!(bits(half.to_f32()), half.to_bits(), "{half}");
        }
        // Floats of every exponent and sign, among them many halfway between two halves.
        for value in (0..=u32::MAX).step_by(4093).chain((0..=u32::MAX).step_by(0x1000)).map(f32::from_bits) {
            let expected = match value {
                _ if value.is_nan() || value.is_infinite() => f16::from_f32(value),
                _ => f16::from_f32(value.clamp(-65504.0, 65504.0)),
            };
            assert!(
                bits(value) == expected.to_bits() || value.is_nan() && f16::from_bits(bits(value)).is_nan(),
                "{value:e}"
            );
        }
        assert_eq!([65519.0, 65520.0, f32::MAX].map(bits), [0x7bff; 3]);
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY].map(bits), [0x7c00, 0xfc00]);
    }

    #[test]
    fn bytes_are_multiples_of_the_largest_over_127() {
        let coded = |row: &[f32]| {
            let mut bytes = written(RowType::Int8, row);
            let scale = f32::from_le_bytes(bytes.split_off(row.len()).try_into().unwrap());
            (bytes.iter().map(|code| code.cast_signed()).collect::<Vec<_>>(), scale)
        };
        assert_eq!(coded(&[127.0, -63.5, 0.5, 1.5, -0.0, -127.0]), (vec![127, -64, 0, 2, 0, -127], 1.0));
        assert_eq!(coded(&[0.25, -0.125]), (vec![127, -64], 0.25 / 127.0));
        assert_eq!(coded(&[0.0, -0.0]), (vec![0, 0], 0.0));
        // However small or large the values are, nothing becomes infinite or a NaN. (Only 127 x (f32::MAX / 127) would.)
        for largest in [1e-45, 1e-40, f32::MIN_POSITIVE, 1e38] {
            let (codes, scale) = coded(&[largest, -largest]);
            assert!((f32::from(codes[0]) * scale - largest).abs() <= largest && codes[0] == -codes[1], "{largest:e}");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(coded(&[1.0, bad, 2.0]).1.is_nan(), "{bad}");
        }
    }
}
