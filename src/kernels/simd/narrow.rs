//! Values of 16 bits, one at a time.

/// Widens one bfloat16: it is the upper half of an `f32`.
#[inline(always)]
pub(crate) fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Widens one IEEE half without branches: exponent and fraction are moved into place as if both formats had one bias, and a
/// multiplication by 2^112 repairs the bias, subnormals included. Infinities and NaNs get the exponent of their own kind.
#[inline(always)]
pub(crate) fn widen_f16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(bits & 0x8000) << 16)
}

/// Narrows to an IEEE half, rounded to the nearest, halves to even. Finite values beyond its largest become that; infinities and
/// NaNs stay what they are.
#[inline(always)]
pub fn narrow_f16(value: f32) -> u16 {
    const INFINITE: u32 = f32::INFINITY.to_bits();
    const LARGEST: u32 = 65504_f32.to_bits();
    // 2^-14.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    let magnitude = value.abs().to_bits();
    let finite = magnitude.min(LARGEST);
    // The bias changes from 127 to 15, and 13 bits of the fraction go; a carry into the exponent is as it should be.
    let normal = finite.wrapping_sub(112 << 23).wrapping_add(0xfff + (finite >> 13 & 1)) >> 13;
    // Beside 1/2, a float's last bit is worth as much as a subnormal half's: the addition rounds.
    let subnormal = (f32::from_bits(finite) + 0.5).to_bits() - 0.5_f32.to_bits();
    let half = if finite < SMALLEST_NORMAL { subnormal } else { normal };
    let half = if magnitude == INFINITE { 0x7c00 } else { half };
    let half = if magnitude > INFINITE { 0x7e00 } else { half };
    half as u16 | (value.to_bits() >> 16) as u16 & 0x8000
}
