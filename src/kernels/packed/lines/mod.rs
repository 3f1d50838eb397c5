//! Integer vectors as wide as a line of codes: sixteen lanes, a row of weights each.
//!
//! Arranged as [`simd`](super::super::simd): a kernel is generic over [`Lines`], and a value of an implementing type
//! is a proof that the processor has the instructions. Unlike there the width is fixed, by the file format; an instruction set
//! with narrower registers takes several for a line.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

use super::super::simd::Simd;

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
    /// The codes of a block of four-bit floats of sixteen rows.
    type Fours: Copy;
    /// The instructions for what happens in `f32` afterwards.
    type Float: Simd;
    /// Most tokens of a block of sums: 8 where there are registers for those of two tiles, else 4; 1 where speed is not worth the
    /// code of every shape.
    const TOKENS: usize;
    /// What [`dot_bytes`](Self::dot_bytes) takes a code of zero for: 0 or 128.
    const BYTE_ZERO: i32;

    /// See [`Float`](Self::Float).
    fn float(self) -> Self::Float;

    /// Runs a kernel as a function of its own.
    fn run_apart<K: LinesKernel>(self, kernel: K);

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

    /// Reads 32 four-bit floats of each of sixteen rows, `stride` bytes from each other, as twice their values plus `ZERO`.
    ///
    /// # Safety
    /// `from` is valid for reading sixteen rows of 16 bytes.
    unsafe fn fours<const ZERO: u8>(self, from: *const u8, stride: usize) -> Self::Fours;

    /// `start` plus the 32 products of each row's codes, which are at most 24, and of `x`.
    ///
    /// # Safety
    /// `x` is valid for reading 32 values, of -127..=127.
    unsafe fn dot_fours(self, fours: Self::Fours, x: *const i8, start: i32) -> Self::Sums;

    /// Writes them as eight lines of bytes, four columns each.
    ///
    /// # Safety
    /// `to` is valid for writing 512 bytes.
    unsafe fn keep_fours(self, fours: Self::Fours, to: *mut u8);

    /// Reads the scales of sixteen blocks of four-bit floats of each of sixteen rows, `stride` bytes from each other, and writes
    /// their halves block by block, as bfloat16.
    ///
    /// # Safety
    /// `from` is valid for reading sixteen rows of 16 bytes, `to` for writing 512 bytes.
    unsafe fn half_scales(self, from: *const u8, stride: usize, to: *mut u8);

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

    /// Asks for the cache line at `at`, which need not be valid to read, into the first-level cache.
    fn prefetch_near(self, at: *const u8);
}
