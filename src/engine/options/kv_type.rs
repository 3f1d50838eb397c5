//! How KV caches are kept.

use crate::kernels::RowType;

/// The type in which a request's cache keeps keys and values. Arithmetic is in float32 with every type.
///
/// A token's rows are rounded when they are appended, each on its own. Attention reads what the cache holds, also in the run that
/// appends the rows. So within one type every partition of a model, every chunk, batch and number of threads gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KvType {
    /// The type that the device computes in: [`F32`](Self::F32) on the processor, the checkpoint's own type on CUDA (bfloat16 if the
    /// checkpoint has float32).
    #[default]
    Auto,
    /// 32 bit floating point, as computed.
    F32,
    /// IEEE 16 bit floating point: half the memory, and hardly a difference. A value beyond ±65504, the largest of the type, becomes
    /// ±65504; infinities and NaNs stay.
    F16,
    /// 8 bits, and one float32 scale for each head's key or value of one token (its largest magnitude / 127): little more than a
    /// quarter of the memory. A row with a value that is not finite becomes NaNs.
    Int8,
}

impl KvType {
    /// The type in which the native operators keep rows.
    pub(crate) fn rows(self) -> RowType {
        match self {
            Self::Auto | Self::F32 => RowType::F32,
            Self::F16 => RowType::F16,
            Self::Int8 => RowType::Int8,
        }
    }
}
