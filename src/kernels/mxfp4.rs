//! Four-bit floats with a scale for each 32 of a row, as the Open Compute Project's MX formats have them (MXFP4, 2023): what GPT-OSS
//! is published in. They are read where they lie in the checkpoint.
//!
//! ```text
//! 16 bytes   32 codes in a row: the low four bits of byte j are column 2 j, the high ones column 2 j + 1
//!  1 byte    the scale of those 32, elsewhere: 2^(byte - 127)
//! ```
//!
//! A code's highest bit is its sign, and the others are one of eight magnitudes. Twice a value is an integer.
//!
//! # The arithmetic
//!
//! Exact, a weight is its value in `f32`, which holds every product of a code and a scale. (The scale 255 is infinite, as in
//! transformers: results are not finite then, so a bad value is not hidden.)
//!
//! With [`coded`](Mxfp4::coded) activations a layer is computed like quantised ones are (see [`packed`](super::packed)): the codes of
//! 32 activations meet twice the weights in integers, and the sum, exact, meets half the product of both scales.

/// Columns that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Bytes of their codes.
pub(crate) const BLOCK_BYTES: usize = BLOCK / 2;
/// What the codes stand for.
pub(crate) const VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Twice what the codes stand for, plus `zero`.
pub(crate) const fn doubled(zero: u8) -> [u8; 16] {
    let (magnitudes, mut codes, mut i) = ([0, 1, 2, 3, 4, 6, 8, 12_u8], [0; 16], 0);
    while i < 8 {
        codes[i] = zero.wrapping_add(magnitudes[i]);
        codes[8 + i] = zero.wrapping_sub(magnitudes[i]);
        i += 1;
    }
    codes
}

/// How a matrix of such weights lies in its tensor, and what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mxfp4 {
    /// From one row to the next, in rows of the tensor: 2 where two matrices lie row by row in turns.
    pub step: usize,
    /// Whether activations are coded in eight bits, as for quantised weights.
    pub coded: bool,
}

/// The scale that a byte stands for.
#[inline(always)]
pub(crate) fn scale(byte: u8) -> f32 {
    // The exponent of a float, but for the smallest, 2^-127, which is below those with an exponent of their own.
    f32::from_bits((u32::from(byte) << 23).max(0x0040_0000))
}

/// Half of it as bfloat16: exact, a power of two, or infinite.
#[inline(always)]
pub(crate) fn half_scale(byte: u8) -> [u8; 2] {
    (((scale(byte) / 2.0).to_bits() >> 16) as u16).to_le_bytes()
}
