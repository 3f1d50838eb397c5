//! Plain Rust.

use super::super::super::mxfp4::{doubled, half_scale};
use super::super::super::simd::narrow::widen_bf16;
use super::super::super::simd::portable::Portable;
use super::{Lines, LinesKernel};
use std::array::from_fn;

impl Lines for Portable {
    type Codes = [u8; 64];
    type Sums = [i32; 16];
    type Products = [i32; 16];
    type Totals = [f32; 16];
    type Fours = [[u8; 32]; 16];
    type Float = Self;
    // Hardly any processor of that kind is without AVX2.
    const TOKENS: usize = if cfg!(target_arch = "x86_64") { 1 } else { 4 };
    const BYTE_ZERO: i32 = 0;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(never)]
    fn run_apart<K: LinesKernel>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { from.cast::<[u8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn keep(self, codes: [u8; 64], to: *mut u8) {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { to.cast::<[u8; 64]>().write(codes) }
    }

    #[inline(always)]
    fn nibbles(self, codes: [u8; 64]) -> [[u8; 64]; 2] {
        [codes.map(|code| code & 15), codes.map(|code| code >> 4)]
    }

    #[inline(always)]
    fn splat(self, value: i32) -> [i32; 16] {
        [value; 16]
    }

    #[inline(always)]
    fn begin(self, sums: [i32; 16]) -> [i32; 16] {
        sums
    }

    #[inline(always)]
    fn end(self, _sums: [i32; 16], products: [i32; 16]) -> [i32; 16] {
        products
    }

    #[inline(always)]
    unsafe fn dot_nibbles(self, sums: [i32; 16], [low, high]: [[u8; 64]; 2], x: *const i8) -> [i32; 16] {
        // SAFETY: the caller vouches for eight values.
        let x = unsafe { x.cast::<[i8; 8]>().read() }.map(i32::from);
        from_fn(|lane| {
            (0..4).fold(sums[lane], |sum, j| {
                sum + i32::from(low[4 * lane + j]) * x[j] + i32::from(high[4 * lane + j]) * x[4 + j]
            })
        })
    }

    #[inline(always)]
    unsafe fn dot_bytes(self, sums: [i32; 16], codes: [u8; 64], x: *const i8) -> [i32; 16] {
        // SAFETY: the caller vouches for four values.
        let x = unsafe { x.cast::<[i8; 4]>().read() }.map(i32::from);
        from_fn(|lane| (0..4).fold(sums[lane], |sum, j| sum + (i32::from(codes[4 * lane + j]) - 128) * x[j]))
    }

    #[inline(always)]
    unsafe fn fours<const ZERO: u8>(self, from: *const u8, stride: usize) -> [[u8; 32]; 16] {
        from_fn(|row| {
            // SAFETY: the caller vouches for sixteen rows of 16 bytes.
            let bytes = unsafe { from.add(row * stride).cast::<[u8; 16]>().read() };
            from_fn(|col| const { doubled(ZERO) }[usize::from(bytes[col / 2] >> (col % 2 * 4) & 15)])
        })
    }

    #[inline(always)]
    unsafe fn dot_fours(self, fours: [[u8; 32]; 16], x: *const i8, start: i32) -> [i32; 16] {
        // SAFETY: the caller vouches for 32 values.
        let x = unsafe { x.cast::<[i8; 32]>().read() };
        let dot = |row: [u8; 32]| row.iter().zip(x).map(|(code, x)| i32::from(*code) * i32::from(x)).sum::<i32>();
        fours.map(|row| start + dot(row))
    }

    #[inline(always)]
    unsafe fn keep_fours(self, fours: [[u8; 32]; 16], to: *mut u8) {
        for line in 0..8 {
            let codes: [u8; 64] = from_fn(|i| fours[i / 4][4 * line + i % 4]);
            // SAFETY: the caller vouches for eight lines.
            unsafe { self.keep(codes, to.add(64 * line)) };
        }
    }

    #[inline(always)]
    unsafe fn half_scales(self, from: *const u8, stride: usize, to: *mut u8) {
        for row in 0..16 {
            // SAFETY: the caller vouches for sixteen rows of 16 bytes, and for sixteen blocks of sixteen halves.
            unsafe {
                let scales = from.add(row * stride).cast::<[u8; 16]>().read();
                for (block, byte) in scales.into_iter().enumerate() {
                    to.add(32 * block + 2 * row).cast::<[u8; 2]>().write(half_scale(byte));
                }
            }
        }
    }

    #[inline(always)]
    fn zeros(self) -> [f32; 16] {
        [0.0; 16]
    }

    #[inline(always)]
    unsafe fn scales(self, from: *const u8) -> [f32; 16] {
        // SAFETY: the caller vouches for 32 bytes.
        let scales = unsafe { from.cast::<[[u8; 2]; 16]>().read() };
        scales.map(|scale| widen_bf16(u16::from_le_bytes(scale)))
    }

    #[inline(always)]
    fn add_scaled(self, totals: [f32; 16], sums: [i32; 16], scales: [f32; 16], scale: f32) -> [f32; 16] {
        from_fn(|lane| totals[lane] + sums[lane] as f32 * (scales[lane] * scale))
    }

    #[inline(always)]
    fn store(self, totals: [f32; 16]) -> [f32; 16] {
        totals
    }

    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}

    #[inline(always)]
    fn prefetch_near(self, _at: *const u8) {}
}
