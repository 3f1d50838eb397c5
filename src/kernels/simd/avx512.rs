//! AVX-512 (F, BW, DQ, VL: Skylake-X, Zen 4 and later): sixteen lanes, thirty-two registers.

use super::super::mxfp4::VALUES;
use super::{Element, Simd};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ and VL, and FMA and F16C below it.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
        fn with_features<K: super::Kernel>(simd: Avx512, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: a value of this type proves that the features are there.
        unsafe { with_features(self, kernel) }
    }
}

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Simd for Avx512 {
    type V = __m512;
    /// One for each code.
    type Fours = __m512;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn run_apart<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
        #[inline(never)]
        fn apart<K: super::Kernel>(simd: Avx512, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: see above.
        unsafe { apart(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above; lanes outside the mask are not read.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    // As halves, whose exponent is one bit longer and has 8 more to its bias.
    #[inline(always)]
    unsafe fn load_e4m3(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let codes = _mm256_slli_epi16::<8>(_mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())));
            let halves = _mm256_and_si256(_mm256_srai_epi16::<1>(codes), _mm256_set1_epi16(0xbf80_u16.cast_signed()));
            let magnitudes = _mm256_and_si256(codes, _mm256_set1_epi16(0x7f00));
            let bad = _mm256_cmpeq_epi16(magnitudes, _mm256_set1_epi16(0x7f00));
            let halves = _mm256_or_si256(halves, _mm256_and_si256(bad, _mm256_set1_epi16(0x7f80)));
            _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0))
        }
    }

    #[inline(always)]
    fn fours(self, scale: f32) -> __m512 {
        // SAFETY: see above; there are sixteen values.
        unsafe { _mm512_mul_ps(_mm512_loadu_ps(VALUES.as_ptr()), _mm512_set1_ps(scale)) }
    }

    // Each byte in two lanes, in the second one shifted down; of a lane the lowest four bits count.
    #[inline(always)]
    unsafe fn load_fours(self, fours: __m512, block: *const u8, part: usize) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let first = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            let bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(block.cast()));
            let bytes = _mm512_shuffle_epi8(bytes, _mm512_add_epi32(first, _mm512_set1_epi32(8 * part as i32)));
            let codes = _mm512_srlv_epi32(bytes, _mm512_set1_epi64(4 << 32));
            _mm512_permutexvar_ps(codes, fours)
        }
    }

    #[inline(always)]
    unsafe fn store(self, v: __m512, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(self, v: __m512, to: *mut f32, count: usize) {
        // SAFETY: see above; lanes outside the mask are not written.
        unsafe { _mm512_mask_storeu_ps(to, first(count), v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn power_of_two(self, t: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
        }
    }

    // Halves, then quarters, then within the quarter: 8 shuffles and 5 additions for four registers, where folding each alone
    // would take 16 and 16.
    #[inline(always)]
    fn sum4(self, [a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let all = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let all = _mm512_add_ps(all, _mm512_permute_ps::<0b01_00_11_10>(all));
            let all = _mm512_add_ps(all, _mm512_permute_ps::<0b10_11_00_01>(all));
            let mut sums = [0.0; 4];
            // One lane of each quarter.
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all)));
            sums
        }
    }

    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    unsafe fn transpose<E: Element>(self, from: *const u8, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: see above.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, r) in r.iter_mut().enumerate() {
                *r = E::load(self, from.add(i * from_stride));
            }
            // Squares of 2 x 2 values, then 4 x 4, inside the 128-bit quarters.
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                r[4 * i] = _mm512_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 1] = _mm512_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 2] = _mm512_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                r[4 * i + 3] = _mm512_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
            }
            // Then whole quarters: r[4 i + j] holds, in quarter q, column 4 q + j of rows 4 i ..
            for j in 0..4 {
                let low = _mm512_shuffle_f32x4::<0x44>(r[j], r[4 + j]);
                let low_high = _mm512_shuffle_f32x4::<0xee>(r[j], r[4 + j]);
                let high = _mm512_shuffle_f32x4::<0x44>(r[8 + j], r[12 + j]);
                let high_high = _mm512_shuffle_f32x4::<0xee>(r[8 + j], r[12 + j]);
                _mm512_storeu_ps(to.add(j * to_stride), _mm512_shuffle_f32x4::<0x88>(low, high));
                _mm512_storeu_ps(to.add((4 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(low, high));
                _mm512_storeu_ps(to.add((8 + j) * to_stride), _mm512_shuffle_f32x4::<0x88>(low_high, high_high));
                _mm512_storeu_ps(to.add((12 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(low_high, high_high));
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
