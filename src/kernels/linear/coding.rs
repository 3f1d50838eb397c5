//! How a packing's lines are multiplied: a type for each, so that a kernel is compiled for each.

use super::super::packed::lines::Lines;
use super::super::packing::{LINE, Packing};

/// A packing as a type.
pub(super) trait Coding {
    /// Which one.
    const PACKING: Packing;
    /// Columns of a block.
    const BLOCK: usize = Self::PACKING.block();
    /// Columns of a line.
    const COLS: usize = Self::PACKING.line_cols();
    /// Lines of a block.
    const LINES: usize = Self::BLOCK / Self::COLS;
    /// Bytes of a line in a panel.
    const PANEL_LINE: usize;
    /// A line's codes.
    type Line<L: Lines>: Copy;
    /// Sums on their way through [`NIBBLE_LINES`](super::super::packed::lines::NIBBLE_LINES) lines.
    type Products<L: Lines>: Copy;

    /// # Safety
    /// `from` is valid for reading a line.
    unsafe fn load<L: Lines>(isa: L, from: *const u8) -> Self::Line<L>;

    /// Writes a line as [`load`](Self::load) leaves it, [`PANEL_LINE`](Self::PANEL_LINE) bytes.
    ///
    /// # Safety
    /// `to` is valid for writing them.
    unsafe fn keep<L: Lines>(isa: L, line: Self::Line<L>, to: *mut u8);

    /// Reads it back.
    ///
    /// # Safety
    /// `from` is valid for reading such a line.
    unsafe fn kept<L: Lines>(isa: L, from: *const u8) -> Self::Line<L>;

    /// Before so many lines.
    fn begin<L: Lines>(isa: L, sums: L::Sums) -> Self::Products<L>;

    /// # Safety
    /// `x` is valid for reading [`COLS`](Self::COLS) values.
    unsafe fn dot<L: Lines>(
        isa: L,
        products: Self::Products<L>,
        line: Self::Line<L>,
        x: *const i8,
    ) -> Self::Products<L>;

    /// After them.
    fn end<L: Lines>(isa: L, sums: L::Sums, products: Self::Products<L>) -> L::Sums;

    /// What the sums begin with, given minus the sum of the activations' codes.
    fn start<L: Lines>(minus_x: i32) -> i32;
}

/// Four bits.
pub(super) struct Nibbles<const BLOCK: usize>;
/// Eight bits.
pub(super) struct Bytes<const BLOCK: usize>;

impl<const BLOCK: usize> Coding for Nibbles<BLOCK> {
    const PACKING: Packing = if BLOCK == Packing::Int4.block() { Packing::Int4 } else { Packing::Int4Fine };
    const PANEL_LINE: usize = 2 * LINE;
    type Line<L: Lines> = [L::Codes; 2];
    type Products<L: Lines> = L::Products;

    #[inline(always)]
    unsafe fn load<L: Lines>(isa: L, from: *const u8) -> [L::Codes; 2] {
        // SAFETY: the caller's promise.
        isa.nibbles(unsafe { isa.load(from) })
    }

    #[inline(always)]
    unsafe fn keep<L: Lines>(isa: L, [low, high]: [L::Codes; 2], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            isa.keep(low, to);
            isa.keep(high, to.add(LINE));
        }
    }

    #[inline(always)]
    unsafe fn kept<L: Lines>(isa: L, from: *const u8) -> [L::Codes; 2] {
        // SAFETY: the caller's promise.
        unsafe { [isa.load(from), isa.load(from.add(LINE))] }
    }

    #[inline(always)]
    fn begin<L: Lines>(isa: L, sums: L::Sums) -> L::Products {
        isa.begin(sums)
    }

    #[inline(always)]
    unsafe fn dot<L: Lines>(isa: L, products: L::Products, line: [L::Codes; 2], x: *const i8) -> L::Products {
        // SAFETY: the caller's promise.
        unsafe { isa.dot_nibbles(products, line, x) }
    }

    #[inline(always)]
    fn end<L: Lines>(isa: L, sums: L::Sums, products: L::Products) -> L::Sums {
        isa.end(sums, products)
    }

    #[inline(always)]
    fn start<L: Lines>(minus_x: i32) -> i32 {
        8 * minus_x
    }
}

impl<const BLOCK: usize> Coding for Bytes<BLOCK> {
    const PACKING: Packing = if BLOCK == Packing::Int8.block() { Packing::Int8 } else { Packing::Int8Fine };
    const PANEL_LINE: usize = LINE;
    type Line<L: Lines> = L::Codes;
    type Products<L: Lines> = L::Sums;

    #[inline(always)]
    unsafe fn load<L: Lines>(isa: L, from: *const u8) -> L::Codes {
        // SAFETY: the caller's promise.
        unsafe { isa.load(from) }
    }

    #[inline(always)]
    unsafe fn keep<L: Lines>(isa: L, line: L::Codes, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { isa.keep(line, to) }
    }

    #[inline(always)]
    unsafe fn kept<L: Lines>(isa: L, from: *const u8) -> L::Codes {
        // SAFETY: the caller's promise.
        unsafe { isa.load(from) }
    }

    #[inline(always)]
    fn begin<L: Lines>(_isa: L, sums: L::Sums) -> L::Sums {
        sums
    }

    #[inline(always)]
    unsafe fn dot<L: Lines>(isa: L, products: L::Sums, line: L::Codes, x: *const i8) -> L::Sums {
        // SAFETY: the caller's promise.
        unsafe { isa.dot_bytes(products, line, x) }
    }

    #[inline(always)]
    fn end<L: Lines>(_isa: L, _sums: L::Sums, products: L::Sums) -> L::Sums {
        products
    }

    #[inline(always)]
    fn start<L: Lines>(minus_x: i32) -> i32 {
        L::BYTE_ZERO * minus_x
    }
}
