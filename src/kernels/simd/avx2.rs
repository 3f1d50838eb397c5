//! AVX2 with FMA and F16C (Haswell, Zen and later): eight lanes, sixteen registers.

use super::super::mxfp4::VALUES;
use super::{Element, Simd};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c"))
            .then_some(Self(()))
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_features<K: super::Kernel>(simd: Avx2, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: a value of this type proves that the features are there.
        unsafe { with_features(self, kernel) }
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Simd for Avx2 {
    type V = __m256;
    /// The eight magnitudes.
    type Fours = __m256;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn run_apart<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn apart<K: super::Kernel>(simd: Avx2, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: see above.
        unsafe { apart(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m256 {
        if count >= Self::LANES {
            // SAFETY: see above. Parts are copied by a call, and most registers are whole.
            return unsafe { self.load(from) };
        }
        let mut lanes = [0.0_f32; 8];
        // SAFETY: see above; fewer than eight values are copied.
        unsafe {
            core::ptr::copy_nonoverlapping(from.cast::<u8>(), lanes.as_mut_ptr().cast(), count * 4);
            _mm256_loadu_ps(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let halves = _mm_loadu_si128(from.cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    // As halves, whose exponent is one bit longer and has 8 more to its bias.
    #[inline(always)]
    unsafe fn load_e4m3(self, from: *const u8) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let codes = _mm_slli_epi16::<8>(_mm_cvtepi8_epi16(_mm_loadl_epi64(from.cast())));
            let halves = _mm_and_si128(_mm_srai_epi16::<1>(codes), _mm_set1_epi16(0xbf80_u16.cast_signed()));
            let magnitudes = _mm_and_si128(codes, _mm_set1_epi16(0x7f00));
            let bad = _mm_cmpeq_epi16(magnitudes, _mm_set1_epi16(0x7f00));
            let halves = _mm_or_si128(halves, _mm_and_si128(bad, _mm_set1_epi16(0x7f80)));
            _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(256.0))
        }
    }

    #[inline(always)]
    fn fours(self, scale: f32) -> __m256 {
        // SAFETY: see above; there are sixteen values.
        unsafe { _mm256_mul_ps(_mm256_loadu_ps(VALUES.as_ptr()), _mm256_set1_ps(scale)) }
    }

    // Four bytes in every lane, shifted down by another code each; of a lane the lowest three bits choose, and the fourth is the sign.
    #[inline(always)]
    unsafe fn load_fours(self, fours: __m256, block: *const u8, part: usize) -> __m256 {
        // SAFETY: see above; a part is four bytes.
        unsafe {
            let bytes = _mm256_set1_epi32(block.add(4 * part).cast::<i32>().read_unaligned());
            let codes = _mm256_srlv_epi32(bytes, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
            let signs = _mm256_and_si256(_mm256_slli_epi32::<28>(codes), _mm256_set1_epi32(i32::MIN));
            _mm256_xor_ps(_mm256_permutevar8x32_ps(fours, codes), _mm256_castsi256_ps(signs))
        }
    }

    #[inline(always)]
    unsafe fn store(self, v: __m256, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(self, v: __m256, to: *mut f32, count: usize) {
        if count >= Self::LANES {
            // SAFETY: see above.
            return unsafe { self.store(v, to) };
        }
        let mut lanes = [0.0_f32; 8];
        // SAFETY: see above; fewer than eight values are copied.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), v);
            core::ptr::copy_nonoverlapping(lanes.as_ptr().cast(), to.cast::<u8>(), count * 4);
        }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn power_of_two(self, t: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
        }
    }

    // Neighbours, then pairs, then the two halves.
    #[inline(always)]
    fn sum4(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let all = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), all);
            sums
        }
    }

    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    unsafe fn transpose<E: Element>(self, from: *const u8, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: see above.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for (i, r) in r.iter_mut().enumerate() {
                *r = E::load(self, from.add(i * from_stride));
            }
            let mut t = r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..2 {
                r[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                r[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
            }
            for j in 0..4 {
                _mm256_storeu_ps(to.add(j * to_stride), _mm256_permute2f128_ps::<0x20>(r[j], r[4 + j]));
                _mm256_storeu_ps(to.add((4 + j) * to_stride), _mm256_permute2f128_ps::<0x31>(r[j], r[4 + j]));
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
