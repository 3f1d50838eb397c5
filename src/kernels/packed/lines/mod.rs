//! Integer vectors as wide as a line of codes: sixteen lanes, a row of weights each.
//!
//! The same arrangement as [`simd`](super::super::simd): a kernel is generic over [`Lines`], and a value of an implementing type
//! is a proof that the processor has the instructions. Unlike there the width is fixed, by the file format; an instruction set
//! with narrower registers takes several for a line.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

use super::super::Isa;
use super::super::simd::Simd;
use super::super::simd::portable::Portable;

/// Lines of nibbles whose products may be added up before they are widened: `4 * 8 * 15 * 127` and less, by halves, fit into 16
/// bits. Every block has a multiple of them.
pub(crate) const NIBBLE_LINES: usize = 4;

/// A kernel of quantised weights. Implementations mark `run` as `#[inline(always)]`.
pub(crate) trait LinesKernel {
    /// Does the work with the instructions that `isa` stands for.
    fn run<L: Lines>(self, isa: L);
}

/// One instruction set's lines.
///
/// All results are exact, or rounded to nearest once per operation: they are the same for every implementation.
pub(crate) trait Lines: Copy {
    /// 64 unsigned bytes, four in each lane.
    type Codes: Copy;
    /// Sixteen `i32`.
    type Sums: Copy;
    /// Sums of products of nibbles on the way to there.
    type Products: Copy;
    /// Sixteen `f32`.
    type Totals: Copy;
    /// The instructions for what happens in `f32` afterwards.
    type Float: Simd;
    /// Whether there are registers for a dozen `Sums` and as many `Totals`.
    const MANY: bool;
    /// What [`dot_bytes`](Self::dot_bytes) takes a code of zero for: 0 or 128.
    const BYTE_ZERO: i32;

    /// See [`Float`](Self::Float).
    fn float(self) -> Self::Float;

    /// Reads a line.
    ///
    /// # Safety
    /// `from` is valid for reading 64 bytes.
    unsafe fn load(self, from: *const u8) -> Self::Codes;

    /// Writes a line.
    ///
    /// # Safety
    /// `to` is valid for writing 64 bytes.
    unsafe fn keep(self, codes: Self::Codes, to: *mut u8);

    /// The low and the high four bits of each byte.
    fn nibbles(self, codes: Self::Codes) -> [Self::Codes; 2];

    /// Every lane set to `value`.
    fn splat(self, value: i32) -> Self::Sums;

    /// Where the next [`NIBBLE_LINES`] lines begin that are to be added to `sums`.
    fn begin(self, sums: Self::Sums) -> Self::Products;

    /// Adds to each lane the eight products of its codes, `[low, high]`, and of `x`; the codes are below 16.
    ///
    /// # Safety
    /// `x` is valid for reading eight values, of -127..=127.
    unsafe fn dot_nibbles(self, products: Self::Products, codes: [Self::Codes; 2], x: *const i8) -> Self::Products;

    /// `sums` and the `products` that began with them.
    fn end(self, sums: Self::Sums, products: Self::Products) -> Self::Sums;

    /// Adds to each lane the four products of its codes, less [`128 - BYTE_ZERO`](Self::BYTE_ZERO), and of `x`; no code is 0.
    ///
    /// # Safety
    /// `x` is valid for reading four values, of -127..=127.
    unsafe fn dot_bytes(self, sums: Self::Sums, codes: Self::Codes, x: *const i8) -> Self::Sums;

    /// Sixteen zeros.
    fn zeros(self) -> Self::Totals;

    /// Reads sixteen bfloat16 values and widens them.
    ///
    /// # Safety
    /// `from` is valid for reading 32 bytes.
    unsafe fn scales(self, from: *const u8) -> Self::Totals;

    /// `totals + sums * (scales * scale)`, each operation rounded on its own.
    fn add_scaled(self, totals: Self::Totals, sums: Self::Sums, scales: Self::Totals, scale: f32) -> Self::Totals;

    /// Writes the sixteen values.
    fn store(self, totals: Self::Totals) -> [f32; 16];

    /// Asks for the cache line at `at`, which need not be valid to read, into the second-level cache.
    fn prefetch(self, at: *const u8);

    /// Likewise, into the first-level cache.
    fn prefetch_near(self, at: *const u8);
}

/// Runs a kernel of quantised weights, compiled for `isa`. AVX-512 without VNNI has no advantage over AVX2 there.
pub(crate) fn run_lines<K: LinesKernel>(isa: Isa, kernel: K) {
    #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
    {
        if isa == Isa::Avx512
            && let Some(simd) = avx512::Vnni::detect()
        {
            return simd.run_lines(kernel);
        }
        if matches!(isa, Isa::Avx512 | Isa::Avx2)
            && let Some(simd) = super::super::simd::avx2::Avx2::detect()
        {
            return simd.run_lines(kernel);
        }
    }
    kernel.run(Portable);
}

#[cfg(test)]
mod tests {
    use super::super::super::Isa;
    use super::super::super::testing::{Random, bits};
    use super::*;

    /// What an instruction set does, beside plain arithmetic, with codes and activations at the ends of their ranges.
    struct Check(Isa);

    impl LinesKernel for Check {
        #[inline(always)]
        fn run<L: Lines>(self, isa: L) {
            let name = self.0;
            let mut random = Random::new(7);
            for round in 0..20 {
                let mut byte = |low: f32, high: f32| match round {
                    0 => low,
                    1 => high,
                    _ => (low + (high - low) * (random.value() + 1.0) / 2.0).round(),
                };
                let codes: [u8; 64] = std::array::from_fn(|_| byte(1.0, 255.0) as u8);
                let x: [i8; 8] = std::array::from_fn(|_| byte(-127.0, 127.0) as i8);
                let start = byte(-1e6, 1e6) as i32;
                let dot = |times: usize, codes: &mut dyn Iterator<Item = i32>| -> i32 {
                    start + times as i32 * codes.zip(x).map(|(code, x)| code * i32::from(x)).sum::<i32>()
                };
                // Scaled by one and added to zero, sums come back as they are: they are below 2^24.
                let one = [0x80, 0x3f].repeat(16);
                // SAFETY: the arrays are as long as the functions ask for.
                let (bytes, nibbles) = unsafe {
                    let line = isa.load(codes.as_ptr());
                    let bytes = isa.dot_bytes(isa.splat(start), line, x.as_ptr());
                    let sums = isa.splat(start);
                    let mut products = isa.begin(sums);
                    for _ in 0..NIBBLE_LINES {
                        products = isa.dot_nibbles(products, isa.nibbles(line), x.as_ptr());
                    }
                    let nibbles = isa.end(sums, products);
                    let ones = isa.scales(one.as_ptr());
                    let back = |sums| isa.store(isa.add_scaled(isa.zeros(), sums, ones, 1.0));
                    (back(bytes), back(nibbles))
                };
                for lane in 0..16 {
                    let codes = &codes[4 * lane..][..4];
                    let expected = dot(1, &mut codes.iter().map(|c| i32::from(*c) - (128 - L::BYTE_ZERO)));
                    assert_eq!(bytes[lane] as i32, expected, "{name:?} bytes, lane {lane}");
                    let low = codes.iter().map(|c| i32::from(*c & 15));
                    let expected = dot(NIBBLE_LINES, &mut low.chain(codes.iter().map(|c| i32::from(*c >> 4))));
                    assert_eq!(nibbles[lane] as i32, expected, "{name:?} nibbles, lane {lane}");
                }
            }
            let scales: Vec<u8> = (0..16_u16).flat_map(|i| (0x3f91 + 9 * i).to_le_bytes()).collect();
            // SAFETY: sixteen values of two bytes.
            let scales = unsafe { isa.scales(scales.as_ptr()) };
            let totals = isa.add_scaled(scales, isa.splat(1_234_567), scales, 0.123_456_7);
            let expected: Vec<f32> = (0..16)
                .map(|i| f32::from_bits((0x3f91 + 9 * i) << 16))
                .map(|scale| scale + 1_234_567.0 * (scale * 0.123_456_7))
                .collect();
            assert_eq!(bits(&isa.store(totals)), bits(&expected), "{name:?} scales");
        }
    }

    #[test]
    fn every_instruction_set_does_what_the_trait_says() {
        for isa in Isa::available() {
            run_lines(isa, Check(isa));
        }
    }
}
