//! From an instruction set to the lines of codes that it works on.

use super::super::Isa;
use super::super::isa::AVX512;
use super::super::simd::portable::Portable;
use super::lines::{Lines, LinesKernel};

/// Runs a kernel of quantised weights, compiled for `isa`. AVX-512 without VNNI has no advantage over AVX2 there.
pub(crate) fn run_lines<K: LinesKernel>(isa: Isa, kernel: K) {
    #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
    {
        if AVX512
            && isa == Isa::Avx512
            && let Some(simd) = super::lines::avx512::Vnni::detect()
        {
            return simd.run_apart(kernel);
        }
        if matches!(isa, Isa::Avx512 | Isa::Avx2)
            && let Some(simd) = super::super::simd::avx2::Avx2::detect()
        {
            return simd.run_apart(kernel);
        }
    }
    Portable.run_apart(kernel);
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Random, bits};
    use super::super::lines::NIBBLE_LINES;
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
