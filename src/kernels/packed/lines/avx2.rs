//! AVX2: a line is two registers.

use super::super::super::mxfp4::doubled;
use super::super::super::simd::avx2::Avx2;
use super::{Lines, LinesKernel};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;
use std::array::from_fn;

/// Four activations in every lane.
///
/// # Safety
/// `x` is valid for reading four values.
#[inline(always)]
unsafe fn four(x: *const i8) -> __m256i {
    // SAFETY: the caller vouches for the values, `Lines` for the instructions.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// In each half of four registers a square of 4 x 4 values of 32 bits, transposed.
#[inline(always)]
fn squares([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: as above.
    unsafe {
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Lines for Avx2 {
    type Codes = [__m256i; 2];
    type Sums = [__m256i; 2];
    /// 16 bits each, half of a lane's products.
    type Products = [__m256i; 2];
    type Totals = [__m256; 2];
    /// Even and odd columns, first of rows q and 4 + q, then of rows 8 + q and 12 + q, half a register each.
    type Fours = [[[__m256i; 2]; 4]; 2];
    type Float = Self;
    const TOKENS: usize = 4;
    const BYTE_ZERO: i32 = 0;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    fn run_apart<K: LinesKernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn apart<K: LinesKernel>(isa: Avx2, kernel: K) {
            kernel.run(isa);
        }
        // SAFETY: see above.
        unsafe { apart(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn keep(self, codes: [__m256i; 2], to: *mut u8) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_si256(to.cast(), codes[0]);
            _mm256_storeu_si256(to.add(32).cast(), codes[1]);
        }
    }

    #[inline(always)]
    fn nibbles(self, codes: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        // SAFETY: see above.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let [a, b] = codes;
            [
                [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)],
                [_mm256_and_si256(_mm256_srli_epi16::<4>(a), mask), _mm256_and_si256(_mm256_srli_epi16::<4>(b), mask)],
            ]
        }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn begin(self, _sums: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    // Half of a lane's products of four lines: at most 16 * 15 * 127 = 30,480, which 16 bits hold.
    #[inline(always)]
    unsafe fn dot_nibbles(self, products: [__m256i; 2], [low, high]: [[__m256i; 2]; 2], x: *const i8) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe {
            let (x_low, x_high) = (four(x), four(x.add(4)));
            let mut result = products;
            for i in 0..2 {
                let low = _mm256_add_epi16(products[i], _mm256_maddubs_epi16(low[i], x_low));
                result[i] = _mm256_add_epi16(low, _mm256_maddubs_epi16(high[i], x_high));
            }
            result
        }
    }

    #[inline(always)]
    fn end(self, sums: [__m256i; 2], products: [__m256i; 2]) -> [__m256i; 2] {
        let mut result = sums;
        for i in 0..2 {
            // SAFETY: see above.
            unsafe {
                result[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(products[i], _mm256_set1_epi16(1)));
            }
        }
        result
    }

    // A pair of products of unsigned codes would not fit into 16 bits; magnitudes up to 127 fit, with the signs moved over to
    // the activations.
    #[inline(always)]
    unsafe fn dot_bytes(self, sums: [__m256i; 2], codes: [__m256i; 2], x: *const i8) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe {
            let (x, ones) = (four(x), _mm256_set1_epi16(1));
            let mut result = sums;
            for i in 0..2 {
                let weights = _mm256_xor_si256(codes[i], _mm256_set1_epi8(-128));
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
                result[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
            }
            result
        }
    }

    #[inline(always)]
    unsafe fn fours<const ZERO: u8>(self, from: *const u8, stride: usize) -> [[[__m256i; 2]; 4]; 2] {
        // SAFETY: see above.
        unsafe {
            let codes = const { doubled(ZERO) };
            let codes = _mm256_broadcastsi128_si256(_mm_loadu_si128(codes.as_ptr().cast()));
            let mask = _mm256_set1_epi8(15);
            let row = |row: usize| _mm_loadu_si128(from.add(row * stride).cast());
            let mut fours = [[[mask; 2]; 4]; 2];
            for (half, fours) in fours.iter_mut().enumerate() {
                for (q, fours) in fours.iter_mut().enumerate() {
                    let rows = _mm256_set_m128i(row(8 * half + 4 + q), row(8 * half + q));
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(rows), mask);
                    *fours =
                        [_mm256_shuffle_epi8(codes, _mm256_and_si256(rows, mask)), _mm256_shuffle_epi8(codes, high)];
                }
            }
            fours
        }
    }

    // Four products of at most 24 * 127 fit into 16 bits.
    #[inline(always)]
    unsafe fn dot_fours(self, fours: [[[__m256i; 2]; 4]; 2], x: *const i8, start: i32) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe {
            let by_turns =
                _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
            let x = _mm256_shuffle_epi8(_mm256_loadu_si256(x.cast()), by_turns);
            let (even, odd) =
                (_mm256_permute4x64_epi64::<0b10_00_10_00>(x), _mm256_permute4x64_epi64::<0b11_01_11_01>(x));
            let (ones, mut result) = (_mm256_set1_epi16(1), [x; 2]);
            for (fours, result) in fours.iter().zip(&mut result) {
                let mut sums = [x; 4];
                for ([low, high], sums) in fours.iter().zip(&mut sums) {
                    let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(*low, even), _mm256_maddubs_epi16(*high, odd));
                    *sums = _mm256_madd_epi16(pairs, ones);
                }
                // Half of register q has four sums of row 4 i + q, which become one in lane 4 i + q.
                let [a, b, c, d] = sums;
                let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                let all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
                *result = _mm256_add_epi32(all, _mm256_set1_epi32(start));
            }
            result
        }
    }

    #[inline(always)]
    unsafe fn keep_fours(self, fours: [[[__m256i; 2]; 4]; 2], to: *mut u8) {
        // SAFETY: see above; eight lines, of which each half of the rows has a half.
        unsafe {
            for (half, fours) in fours.into_iter().enumerate() {
                let [first, second] = [
                    fours.map(|[even, odd]| _mm256_unpacklo_epi8(even, odd)),
                    fours.map(|[even, odd]| _mm256_unpackhi_epi8(even, odd)),
                ];
                for (line, codes) in squares(first).into_iter().chain(squares(second)).enumerate() {
                    _mm256_storeu_si256(to.add(64 * line + 32 * half).cast(), codes);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn half_scales(self, from: *const u8, stride: usize, to: *mut u8) {
        // SAFETY: see above; sixteen blocks of 32 bytes, of which each half of the rows has a half.
        unsafe {
            let row = |row: usize| _mm_loadu_si128(from.add(row * stride).cast());
            let (mask, least, half) = (_mm256_set1_epi32(0xff), _mm256_set1_epi32(0x0040_0000), _mm256_set1_ps(0.5));
            for side in 0..2 {
                let halves = from_fn(|q| _mm256_set_m128i(row(8 * side + 4 + q), row(8 * side + q)));
                for (four, mut words) in squares(halves).into_iter().enumerate() {
                    for block in 0..4 {
                        // As `scale` and `half_scale` of one byte.
                        let bits = _mm256_max_epu32(_mm256_slli_epi32::<23>(_mm256_and_si256(words, mask)), least);
                        let halves = _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(bits), half));
                        let halves = _mm256_srli_epi32::<16>(halves);
                        let halves = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(halves, halves));
                        let to = to.add(32 * (4 * four + block) + 16 * side);
                        _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(halves));
                        words = _mm256_srli_epi32::<8>(words);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn zeros(self) -> [__m256; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const u8) -> [__m256; 2] {
        use super::super::super::simd::Simd;
        // SAFETY: see above.
        unsafe { [self.load_bf16(from), self.load_bf16(from.add(16))] }
    }

    #[inline(always)]
    fn add_scaled(self, totals: [__m256; 2], sums: [__m256i; 2], scales: [__m256; 2], scale: f32) -> [__m256; 2] {
        let mut result = totals;
        for i in 0..2 {
            // SAFETY: see above.
            unsafe {
                let factor = _mm256_mul_ps(scales[i], _mm256_set1_ps(scale));
                result[i] = _mm256_add_ps(totals[i], _mm256_mul_ps(_mm256_cvtepi32_ps(sums[i]), factor));
            }
        }
        result
    }

    #[inline(always)]
    fn store(self, totals: [__m256; 2]) -> [f32; 16] {
        let mut values = [0.0; 16];
        // SAFETY: see above; the array holds both registers.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), totals[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), totals[1]);
        }
        values
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
