//! AVX-512 with VNNI (Cascade Lake, Ice Lake, Zen 4 and later): a line is one register, and one instruction multiplies and adds
//! its 64 bytes. Processors with AVX-512 but without VNNI use AVX2 here.

use super::super::super::mxfp4::doubled;
use super::super::super::simd::{Simd, avx512::Avx512};
use super::{Lines, LinesKernel};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::x86_64::*;
use std::array::from_fn;

/// Proof that the processor has AVX-512 VNNI beside what [`Avx512`] stands for.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(Avx512);

impl Vnni {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512vnni") { Avx512::detect().map(Self) } else { None }
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

/// In each quarter of four registers a square of 4 x 4 values of 32 bits, transposed.
#[inline(always)]
fn squares([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: as above.
    unsafe {
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
impl Lines for Vnni {
    type Codes = __m512i;
    type Sums = __m512i;
    type Products = __m512i;
    type Totals = __m512;
    /// Even and odd columns of rows q, 4 + q, 8 + q and 12 + q, a quarter of a register each.
    type Fours = [[__m512i; 2]; 4];
    type Float = Avx512;
    const TOKENS: usize = 8;
    const BYTE_ZERO: i32 = 128;

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn run_apart<K: LinesKernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")]
        #[inline(never)]
        fn apart<K: LinesKernel>(isa: Vnni, kernel: K) {
            kernel.run(isa);
        }
        // SAFETY: see above.
        unsafe { apart(self, kernel) }
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
    unsafe fn fours<const ZERO: u8>(self, from: *const u8, stride: usize) -> [[__m512i; 2]; 4] {
        // SAFETY: see above.
        unsafe {
            let codes = const { doubled(ZERO) };
            let codes = _mm512_broadcast_i32x4(_mm_loadu_si128(codes.as_ptr().cast()));
            let mask = _mm512_set1_epi8(15);
            let row = |row: usize| _mm_loadu_si128(from.add(row * stride).cast());
            let mut fours = [[mask; 2]; 4];
            for (q, fours) in fours.iter_mut().enumerate() {
                let rows = _mm512_castsi128_si512(row(q));
                let rows = _mm512_inserti32x4::<1>(rows, row(4 + q));
                let rows = _mm512_inserti32x4::<2>(rows, row(8 + q));
                let rows = _mm512_inserti32x4::<3>(rows, row(12 + q));
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(rows), mask);
                *fours = [_mm512_shuffle_epi8(codes, _mm512_and_si512(rows, mask)), _mm512_shuffle_epi8(codes, high)];
            }
            fours
        }
    }

    #[inline(always)]
    unsafe fn dot_fours(self, fours: [[__m512i; 2]; 4], x: *const i8, start: i32) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let by_turns =
                _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
            let x = _mm256_shuffle_epi8(_mm256_loadu_si256(x.cast()), by_turns);
            let x = _mm256_permute4x64_epi64::<0b11_01_10_00>(x);
            let even = _mm512_broadcast_i32x4(_mm256_castsi256_si128(x));
            let odd = _mm512_broadcast_i32x4(_mm256_extracti128_si256::<1>(x));
            let mut sums = [_mm512_setzero_si512(); 4];
            for (sums, [low, high]) in sums.iter_mut().zip(fours) {
                *sums = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(*sums, low, even), high, odd);
            }
            // A quarter of register q has four sums of row 4 i + q, which become one in lane 4 i + q.
            let [a, b, c, d] = sums;
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            _mm512_add_epi32(all, _mm512_set1_epi32(start))
        }
    }

    #[inline(always)]
    unsafe fn keep_fours(self, fours: [[__m512i; 2]; 4], to: *mut u8) {
        // SAFETY: see above; eight lines.
        unsafe {
            let [first, second] = [
                fours.map(|[even, odd]| _mm512_unpacklo_epi8(even, odd)),
                fours.map(|[even, odd]| _mm512_unpackhi_epi8(even, odd)),
            ];
            for (line, codes) in squares(first).into_iter().chain(squares(second)).enumerate() {
                self.keep(codes, to.add(64 * line));
            }
        }
    }

    #[inline(always)]
    unsafe fn half_scales(self, from: *const u8, stride: usize, to: *mut u8) {
        // SAFETY: see above; sixteen blocks of 32 bytes.
        unsafe {
            let row = |row: usize| _mm_loadu_si128(from.add(row * stride).cast());
            let quarters = from_fn(|q| {
                let rows = _mm512_castsi128_si512(row(q));
                let rows = _mm512_inserti32x4::<1>(rows, row(4 + q));
                let rows = _mm512_inserti32x4::<2>(rows, row(8 + q));
                _mm512_inserti32x4::<3>(rows, row(12 + q))
            });
            let (mask, least, half) = (_mm512_set1_epi32(0xff), _mm512_set1_epi32(0x0040_0000), _mm512_set1_ps(0.5));
            for (four, mut words) in squares(quarters).into_iter().enumerate() {
                for block in 0..4 {
                    // As `scale` and `half_scale` of one byte.
                    let bits = _mm512_max_epu32(_mm512_slli_epi32::<23>(_mm512_and_si512(words, mask)), least);
                    let halves = _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(bits), half));
                    let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(halves));
                    _mm256_storeu_si256(to.add(32 * (4 * four + block)).cast(), halves);
                    words = _mm512_srli_epi32::<8>(words);
                }
            }
        }
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
