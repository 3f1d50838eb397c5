//! Eight-bit floats with a scale for each block of rows and columns, such as 128 by 128: what `DeepSeek` V3 is published in. They are
//! read where they lie in the checkpoint.
//!
//! A code is a sign, four bits of exponent and three of fraction (E4M3, Micikevicius et al., 2022); it has no infinity, and one
//! magnitude, that of ones alone, is no number. A weight is its code's value times the scale of its block, an `f32`, rounded once.

/// Blocks are multiples of so many columns, and begin at such: what the widest register holds.
pub(crate) const STEP: usize = 16;

/// Where the scales of a matrix of such weights are: those of a tensor that it is, or a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fp8 {
    /// Rows and columns of a block, in the tensor.
    pub block: [usize; 2],
    /// Blocks side by side in the tensor.
    pub across: usize,
    /// The row and the column of the tensor that the matrix begins with.
    pub first: [usize; 2],
    /// The matrix has the tensor's columns as rows. Its values lie row after row all the same.
    pub transposed: bool,
}

impl Fp8 {
    /// Whether kernels can read a matrix of these: no register of columns has two scales.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        let axis = if self.transposed { 0 } else { 1 };
        self.block[0] > 0
            && self.block[1] > 0
            && self.block[axis].is_multiple_of(STEP)
            && self.first[axis].is_multiple_of(STEP)
    }

    /// The same from row `row` on.
    pub(crate) const fn behind_rows(self, row: usize) -> Self {
        let [first, column] = self.first;
        let first = if self.transposed { [first, column + row] } else { [first + row, column] };
        Self { first, ..self }
    }

    /// How many columns from `col` on have one scale.
    #[inline(always)]
    pub(crate) const fn alike(&self, col: usize) -> usize {
        let axis = if self.transposed { 0 } else { 1 };
        self.block[axis] - (self.first[axis] + col) % self.block[axis]
    }

    /// The scale of the block at a row and column of the matrix. One that is not there is a NaN.
    #[inline(always)]
    pub(crate) fn scale(&self, scales: &[u8], row: usize, col: usize) -> f32 {
        let (row, col) = if self.transposed { (col, row) } else { (row, col) };
        let at = (self.first[0] + row) / self.block[0] * self.across + (self.first[1] + col) / self.block[1];
        scales.as_chunks().0.get(at).map_or(f32::NAN, |scale| f32::from_le_bytes(*scale))
    }
}

/// What a code stands for.
#[inline(always)]
pub(crate) fn value(code: u8) -> f32 {
    let magnitude = u32::from(code & 0x7f);
    // Exponent and fraction moved into place as if both formats had one bias; 2^120 repairs it, subnormals included.
    let value = f32::from_bits(magnitude << 20) * f32::from_bits(0x7b80_0000);
    let special = if magnitude == 0x7f { 0x7fc0_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | u32::from(code & 0x80) << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_their_bits_say() {
        for code in 0..=u8::MAX {
            let (exponent, fraction) = (i32::from(code >> 3 & 15), f64::from(code & 7) / 8.0);
            let magnitude =
                if exponent == 0 { fraction * 2_f64.powi(-6) } else { (1.0 + fraction) * 2_f64.powi(exponent - 7) };
            let expected = if code & 0x80 == 0 { magnitude } else { -magnitude };
            match code & 0x7f {
                0x7f => assert!(value(code).is_nan()),
                _ => assert_eq!(value(code).to_bits(), (expected as f32).to_bits(), "{code:#x}"),
            }
        }
        assert_eq!(
            [0x7e, 0x01, 0x38].map(|code| value(code).to_bits()),
            [448.0_f32, 0.001_953_125, 1.0].map(f32::to_bits)
        );
    }
}
