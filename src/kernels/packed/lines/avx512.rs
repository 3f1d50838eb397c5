//! AVX-512 with VNNI (Cascade Lake, Ice Lake, Zen 4 and later): a line is one register, and one instruction multiplies and adds
//! its 64 bytes. Processors with AVX-512 but without VNNI use AVX2 here.

use super::super::super::simd::{Simd, avx512::Avx512};
use super::{Lines, LinesKernel};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;

/// Proof that the processor has AVX-512 VNNI beside what [`Avx512`] stands for.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(Avx512);

impl Vnni {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512vnni") { Avx512::detect().map(Self) } else { None }
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run_lines<K: LinesKernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")]
        fn with_features<K: LinesKernel>(isa: Vnni, kernel: K) {
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
unsafe fn four(x: *const i8) -> __m512i {
    // SAFETY: the caller vouches for the values, `Lines` for the instructions.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Lines for Vnni {
    type Codes = __m512i;
    type Sums = __m512i;
    type Products = __m512i;
    type Totals = __m512;
    type Float = Avx512;
    const MANY: bool = true;
    const BYTE_ZERO: i32 = 128;

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn keep(self, codes: __m512i, to: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(to.cast(), codes) }
    }

    #[inline(always)]
    fn nibbles(self, codes: __m512i) -> [__m512i; 2] {
        // SAFETY: see above.
        unsafe {
            let mask = _mm512_set1_epi8(15);
            [_mm512_and_si512(codes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask)]
        }
    }

    #[inline(always)]
    fn splat(self, value: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn begin(self, sums: __m512i) -> __m512i {
        sums
    }

    #[inline(always)]
    fn end(self, _sums: __m512i, products: __m512i) -> __m512i {
        products
    }

    #[inline(always)]
    unsafe fn dot_nibbles(self, sums: __m512i, [low, high]: [__m512i; 2], x: *const i8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sums, low, four(x)), high, four(x.add(4))) }
    }

    #[inline(always)]
    unsafe fn dot_bytes(self, sums: __m512i, codes: __m512i, x: *const i8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sums, codes, four(x)) }
    }

    #[inline(always)]
    fn zeros(self) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe { self.0.load_bf16(from) }
    }

    #[inline(always)]
    fn add_scaled(self, totals: __m512, sums: __m512i, scales: __m512, scale: f32) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let factor = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
            _mm512_add_ps(totals, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), factor))
        }
    }

    #[inline(always)]
    fn store(self, totals: __m512) -> [f32; 16] {
        let mut values = [0.0; 16];
        // SAFETY: see above; the array holds the register.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), totals) };
        values
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        self.0.prefetch(at);
    }

    #[inline(always)]
    fn prefetch_near(self, _at: *const u8) {}
}
