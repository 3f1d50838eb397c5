//! The ways to quantise a matrix. [`packed`](super::packed) describes the format.

/// Bytes of a line of codes, and of the scales of two blocks.
pub(crate) const LINE: usize = 64;

/// How a matrix is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Four bits, a scale for 128 columns: the smallest and fastest.
    Int4,
    /// Four bits, a scale for 32 columns: more accurate.
    Int4Fine,
    /// Eight bits, a scale for 128 columns: close to the original.
    Int8,
    /// Eight bits, a scale for 32 columns: what [`Mxfp4`](super::Mxfp4) weights become while many tokens meet them.
    Int8Fine,
}

impl Packing {
    /// Rows of a tile.
    pub const TILE_ROWS: usize = 16;

    /// Its name in files, which stays.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int4Fine => "int4fine",
            Self::Int8 => "int8",
            Self::Int8Fine => "int8fine",
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int4 | Self::Int4Fine => 4,
            Self::Int8 | Self::Int8Fine => 8,
        }
    }

    /// Columns that share a scale.
    pub const fn block(self) -> usize {
        match self {
            Self::Int4 | Self::Int8 => 128,
            Self::Int4Fine | Self::Int8Fine => 32,
        }
    }

    /// Columns of a line of codes.
    pub(crate) const fn line_cols(self) -> usize {
        match self {
            Self::Int4 | Self::Int4Fine => 8,
            Self::Int8 | Self::Int8Fine => 4,
        }
    }

    /// The code of zero.
    pub(crate) const fn zero(self) -> u8 {
        match self {
            Self::Int4 | Self::Int4Fine => 8,
            Self::Int8 | Self::Int8Fine => 128,
        }
    }

    /// Bytes of a block's codes.
    pub(crate) const fn block_bytes(self) -> usize {
        self.block() / self.line_cols() * LINE
    }

    /// Where a block lies in its tile: its scales and its codes.
    pub(crate) const fn place(self, block: usize) -> (usize, usize) {
        let pair = block / 2 * (LINE + 2 * self.block_bytes());
        (pair + block % 2 * (LINE / 2), pair + LINE + block % 2 * self.block_bytes())
    }

    /// Bytes of a tile of `cols` columns; as good as endless (`usize::MAX`) if they are more than can be counted.
    pub const fn tile_bytes(self, cols: usize) -> usize {
        let blocks = cols.div_ceil(self.block());
        blocks.div_ceil(2).saturating_mul(LINE).saturating_add(blocks.saturating_mul(self.block_bytes()))
    }

    /// Bytes of a matrix, a multiple of 64; none if they are more than can be counted.
    pub const fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self.tile_bytes(cols) {
            usize::MAX => None,
            tile => rows.div_ceil(Self::TILE_ROWS).checked_mul(tile),
        }
    }
}
