//! Rows of results that stay on a session's device.

use std::ops::Range;
use std::sync::Arc;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::bound::HostBuffer;
use crate::error::{Result, Site, err};
use crate::kernels::{Dtype, narrow_f16};
use crate::runtime::device::memory::{DeviceBlock, DeviceMemory};
use crate::runtime::run::tensor::TensorMut;

/// Hidden states `[rows, width]` for the next shard on the device, in the type that its shards compute in; or logits, float32.
#[derive(Debug, Clone)]
pub(crate) struct DeviceRows {
    pub(super) block: Arc<DeviceBlock>,
    pub(super) dtype: Dtype,
    rows: usize,
    width: usize,
}

impl DeviceRows {
    /// Room for `rows`, which hold anything.
    pub(crate) fn new(memory: &Arc<DeviceMemory>, dtype: Dtype, rows: usize, width: usize) -> Result<Self> {
        let bytes = rows * width * dtype.size();
        let block = Arc::new(DeviceBlock::new(memory, bytes.max(1), Site::Run, "the output")?);
        Ok(Self { block, dtype, rows, width })
    }

    /// The rows `rows` as a tensor.
    pub(super) fn tensor(&self, rows: Range<usize>) -> Result<TensorMut<'_>> {
        if rows.end > self.rows {
            return Err(err!(Internal, "rows {rows:?} of {} on the device", self.rows));
        }
        let at = rows.start * self.width * self.dtype.size();
        self.block.tensor(at, self.dtype.into(), &[rows.len(), self.width])
    }

    /// Whether both are the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block)
    }
}

/// The values of `from`, which are of `dtype`, from value `first` on, as float32.
pub(super) fn widen(from: &HostBuffer, dtype: Dtype, first: usize, to: &mut [f32]) {
    let (at, count) = (first * dtype.size(), to.len());
    match dtype {
        Dtype::F32 => to.copy_from_slice(from.values(at, count)),
        Dtype::F16 => from.values::<u16>(at, count).reinterpret_cast::<f16>().convert_to_f32_slice(to),
        Dtype::BF16 => from.values::<u16>(at, count).reinterpret_cast::<bf16>().convert_to_f32_slice(to),
    }
}

/// `from` as `dtype`, rounded to nearest, as the first values of `to`. Float16's largest stands for what is beyond it.
pub(super) fn narrow(from: &[f32], dtype: Dtype, to: &mut HostBuffer) {
    match dtype {
        Dtype::F32 => to.values_mut(0, from.len()).copy_from_slice(from),
        Dtype::F16 => {
            let halves = to.values_mut::<u16>(0, from.len()).iter_mut();
            halves.zip(from).for_each(|(half, value)| *half = narrow_f16(*value));
        }
        Dtype::BF16 => {
            to.values_mut::<u16>(0, from.len()).reinterpret_cast_mut::<bf16>().convert_from_f32_slice(from);
        }
    }
}
