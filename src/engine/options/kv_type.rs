//! How KV caches are kept.

use crate::kernels::RowType;

/// What the keys and values of a request's cache are kept as. Arithmetic is in float32 whatever it is.
///
/// A token's rows are rounded when they are appended, each on its own, and attention reads what the cache holds, also in the run
/// that appends them. So within one type every partition of a model, every chunk, batch and number of threads gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KvType {
    /// What the device computes in: [`F32`](Self::F32) on the processor, the checkpoint's own type on CUDA (bfloat16 if
    /// that is float32).
    #[default]
    Auto,
    /// 32 bit floating point, as computed.
    F32,
    /// IEEE 16 bit floating point: half the memory, and hardly a difference. A value beyond ±65504, the largest there is, becomes
    /// that; infinities and NaNs stay what they are.
    F16,
    /// 8 bits, and one float32 scale for each head's key or value of one token (its largest magnitude / 127): little more than a
    /// quarter of the memory. A row with a value that is not finite becomes NaNs.
    Int8,
}

impl KvType {
    /// How the native operators keep rows.
    pub(crate) fn rows(self) -> RowType {
        match self {
            Self::Auto | Self::F32 => RowType::F32,
            Self::F16 => RowType::F16,
            Self::Int8 => RowType::Int8,
        }
    }
}
