//! AVX2: a line is two registers.

use super::super::super::simd::avx2::Avx2;
use super::{Lines, LinesKernel};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;

impl Avx2 {
    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run_lines<K: LinesKernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_features<K: LinesKernel>(isa: Avx2, kernel: K) {
            kernel.run(isa);
        }
        // SAFETY: a value of this type proves that the features are there.
        unsafe { with_features(self, kernel) }
    }
}

/// Four activations in every lane.
///
/// # Safety
/// `x` is valid for reading four values.
#[inline(always)]
unsafe fn four(x: *const i8) -> __m256i {
    // SAFETY: the caller vouches for the values, `Lines` for the instructions.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Lines for Avx2 {
    type Codes = [__m256i; 2];
    type Sums = [__m256i; 2];
    /// 16 bits each, half of a lane's products.
    type Products = [__m256i; 2];
    type Totals = [__m256; 2];
    type Float = Self;
    const MANY: bool = false;
    const BYTE_ZERO: i32 = 0;

    #[inline(always)]
    fn float(self) -> Self {
        self
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
