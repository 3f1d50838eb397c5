//! Tensor
//!
//! What goes into a request and comes out of it: a description of memory that someone else owns. Values lie row after
//! row without gaps, in the machine's byte order; any alignment is accepted, but aligned memory is not copied.
//!
//!     int64_t ids[3] = {1, 15, 27};
//!     ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {3}, ids, sizeof ids};

use std::borrow::Cow;
use std::ffi::c_void;
use std::ops::Range;

use half::{bf16, f16};
use ndarray::ArrayView2;

use crate::error::{Error, Site};
use crate::ffi::basics::constants::{
    ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_FRAME, ORTSHARD_DTYPE_I32,
    ORTSHARD_DTYPE_I64,
};
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::{Frame, Input};

/// A tensor in memory. Its layout is final, so it has no struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_tensor {
    /// Element type: ORTSHARD_DTYPE_I32, _I64, _F32, _F16 or _BF16; or _FRAME, whose shape is [byte_length].
    pub dtype: i32,
    /// Number of dimensions, at most 4.
    pub rank: u32,
    /// The dimensions; those past `rank` are 0 in tensors that the library gives.
    pub shape: [i64; 4],
    /// The values. Outputs are read only.
    pub data: *mut c_void,
    /// Bytes of the values: exactly what dtype and shape make.
    pub byte_length: usize,
}

/// The answer before there is one.
pub(in crate::ffi) const NOTHING: ortshard_tensor =
    ortshard_tensor { dtype: 0, rank: 0, shape: [0; 4], data: std::ptr::null_mut(), byte_length: 0 };

/// An input of a shard, checked.
pub(in crate::ffi) enum Values<'a> {
    Ids(Cow<'a, [i64]>),
    Hidden { values: Cow<'a, [f32]>, tokens: usize },
    Frame(Frame<'a>),
}

impl ortshard_tensor {
    /// Rows as `[1, rows, width]`; without data it describes a tensor that is not there.
    pub(in crate::ffi) fn rows(dtype: i32, rows: usize, width: usize, data: Option<*const c_void>) -> Self {
        let size = if dtype == ORTSHARD_DTYPE_F32 { 4 } else { 2 };
        Self {
            dtype,
            rank: 3,
            shape: [1, rows as i64, width as i64, 0],
            data: data.map_or(std::ptr::null_mut(), <*const c_void>::cast_mut),
            byte_length: rows.saturating_mul(width).saturating_mul(size),
        }
    }

    /// Token ids `[n]` or `[1, n]`, hidden states `[n, width]` or `[1, n, width]`, or a frame `[bytes]`.
    ///
    /// # Safety
    /// `data` is NULL or points to `byte_length` readable bytes, unchanged for `'a`.
    pub(in crate::ffi) unsafe fn values<'a>(&self) -> Result<Values<'a>, Failure> {
        let (what, item, size) = match self.dtype {
            ORTSHARD_DTYPE_I32 => ("token ids", 1, 4),
            ORTSHARD_DTYPE_I64 => ("token ids", 1, 8),
            ORTSHARD_DTYPE_F32 => ("hidden states", 2, 4),
            ORTSHARD_DTYPE_F16 | ORTSHARD_DTYPE_BF16 => ("hidden states", 2, 2),
            ORTSHARD_DTYPE_FRAME => ("frames", 1, 1),
            other => {
                return Err(Failure::invalid(format!("input->dtype is {other}, none that this version knows")));
            }
        };
        let shape = self.shape.get(..self.rank as usize).unwrap_or_default();
        let dims = match (shape.len() == item + 1, shape) {
            (true, [1, dims @ ..]) => dims,
            (true, [batch, ..]) => {
                let why = "must be 1: one request runs one sequence";
                return Err(Failure::invalid(format!("input->shape[0] is {batch}, and the batch dimension {why}")));
            }
            (false, dims) if dims.len() == item => dims,
            _ => {
                let (rank, wanted) = (self.rank, item + 1);
                return Err(Failure::invalid(format!("input->rank is {rank}; {what} have rank {item} or {wanted}")));
            }
        };
        if let Some(index) = dims.iter().position(|dim| *dim <= 0) {
            let (place, dim) = (shape.len() - dims.len() + index, dims[index]);
            return Err(Failure::invalid(format!("input->shape[{place}] is {dim}, which is not positive")));
        }
        let count = dims.iter().try_fold(1_usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?));
        match count.and_then(|count| count.checked_mul(size)) {
            Some(bytes) if bytes == self.byte_length => {}
            Some(bytes) => {
                let given = self.byte_length;
                return Err(Failure::invalid(format!("input->byte_length is {given}; dtype and shape make {bytes}")));
            }
            None => return Err(Failure::invalid("input->shape: the dimensions multiply to more than memory holds")),
        }
        if self.data.is_null() {
            return Err(Failure::null("input->data"));
        }
        // SAFETY: `byte_length` bytes, as the caller promises and as was just compared.
        unsafe { self.convert(self.byte_length / size, dims[0] as usize) }
    }

    /// # Safety
    /// `data` points to `count` values of `dtype`, unchanged for `'a`.
    unsafe fn convert<'a>(&self, count: usize, tokens: usize) -> Result<Values<'a>, Failure> {
        const DATA: &str = "input->data";
        let values = match self.dtype {
            // SAFETY: in this and each other case the caller's promise.
            ORTSHARD_DTYPE_I64 => return Ok(Values::Ids(unsafe { array::<i64>(self.data.cast(), count, DATA) }?)),
            ORTSHARD_DTYPE_I32 => {
                // SAFETY: as above.
                let ids = unsafe { array::<i32>(self.data.cast(), count, DATA) }?;
                return Ok(Values::Ids(Cow::Owned(converted(&ids, i64::from)?)));
            }
            ORTSHARD_DTYPE_FRAME => {
                // SAFETY: as above.
                let bytes = unsafe { array::<u8>(self.data.cast(), count, DATA) }?;
                // Bytes are aligned, and so are never a copy.
                let Cow::Borrowed(bytes) = bytes else { return Err(Failure::null(DATA)) };
                return Ok(Values::Frame(Frame::read(bytes)?));
            }
            // SAFETY: as above.
            ORTSHARD_DTYPE_F32 => unsafe { array::<f32>(self.data.cast(), count, DATA) }?,
            ORTSHARD_DTYPE_F16 => {
                // SAFETY: as above.
                let values = unsafe { array::<f16>(self.data.cast(), count, DATA) }?;
                Cow::Owned(converted(&values, f16::to_f32)?)
            }
            _ => {
                // SAFETY: as above.
                let values = unsafe { array::<bf16>(self.data.cast(), count, DATA) }?;
                Cow::Owned(converted(&values, bf16::to_f32)?)
            }
        };
        Ok(Values::Hidden { values, tokens })
    }
}

/// A copy of `values` in the type that the engine takes.
fn converted<T: Copy, U>(values: &[T], convert: impl Fn(T) -> U) -> Result<Vec<U>, Failure> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(values.len())
        .map_err(|_| Error::oom(Site::Run, "cpu", (values.len() * size_of::<U>()) as u64, "a copy of the input"))?;
    copy.extend(values.iter().map(|value| convert(*value)));
    Ok(copy)
}

impl Values<'_> {
    pub(in crate::ffi) fn tokens(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Hidden { tokens, .. } => *tokens,
            Self::Frame(frame) => frame.tokens(),
        }
    }

    pub(in crate::ffi) fn input(&self) -> Result<Input<'_>, Failure> {
        match self {
            Self::Ids(ids) => Ok(Input::Ids(ids)),
            Self::Hidden { values, tokens } => ArrayView2::from_shape((*tokens, values.len() / tokens), values)
                .map(Input::Hidden)
                .map_err(|error| Failure::invalid(error.to_string())),
            Self::Frame(frame) => Ok(Input::Frame(frame)),
        }
    }

    /// Copies values that lie in `memory`, which is about to be written to.
    pub(in crate::ffi) fn out_of(self, memory: &[Range<usize>]) -> Result<Self, Failure> {
        let inside = |address: usize| memory.iter().any(|lent| lent.contains(&address));
        Ok(match self {
            Self::Ids(ids) if inside(ids.as_ptr().addr()) => Self::Ids(Cow::Owned(converted(&ids, |id| id)?)),
            Self::Hidden { values, tokens } if inside(values.as_ptr().addr()) => {
                Self::Hidden { values: Cow::Owned(converted(&values, |value| value)?), tokens }
            }
            Self::Frame(mut frame) => {
                frame.copy_where(inside)?;
                Self::Frame(frame)
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dtype: i32, shape: &[i64], bytes: &[u8]) -> Result<(usize, Vec<f32>), String> {
        let mut dims = [0; 4];
        dims[..shape.len()].copy_from_slice(shape);
        let data = bytes.as_ptr().cast_mut().cast();
        let tensor = ortshard_tensor { dtype, rank: shape.len() as u32, shape: dims, data, byte_length: bytes.len() };
        // SAFETY: data and length are those of a slice.
        match unsafe { tensor.values() } {
            Ok(Values::Ids(ids)) => Ok((ids.len(), ids.iter().map(|id| *id as f32).collect())),
            Ok(Values::Hidden { values, tokens }) => Ok((tokens, values.into_owned())),
            Ok(Values::Frame(frame)) => Ok((frame.tokens(), frame.parts()[0].values().to_vec())),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn both_ranks_and_every_type_are_read() {
        let ids: Vec<u8> = [3_i32, -1].iter().flat_map(|id| id.to_ne_bytes()).collect();
        assert_eq!(check(ORTSHARD_DTYPE_I32, &[2], &ids), Ok((2, vec![3.0, -1.0])));
        assert_eq!(check(ORTSHARD_DTYPE_I64, &[1, 1], &7_i64.to_ne_bytes()), Ok((1, vec![7.0])));
        let halves: Vec<u8> = [1.5, 2.0].iter().flat_map(|v| f16::from_f32(*v).to_ne_bytes()).collect();
        assert_eq!(check(ORTSHARD_DTYPE_F16, &[1, 1, 2], &halves), Ok((1, vec![1.5, 2.0])));
        let brains: Vec<u8> = [1.5, 2.0].iter().flat_map(|v| bf16::from_f32(*v).to_ne_bytes()).collect();
        assert_eq!(check(ORTSHARD_DTYPE_BF16, &[2, 1], &brains), Ok((2, vec![1.5, 2.0])));
    }

    #[test]
    fn bad_descriptions_are_refused() {
        let bytes = [0; 16];
        for (dtype, shape, message) in [
            (0, &[4][..], "dtype is 0"),
            (9, &[4], "dtype is 9"),
            (ORTSHARD_DTYPE_F32, &[4], "rank is 1; hidden states have rank 2 or 3"),
            (ORTSHARD_DTYPE_I64, &[1, 1, 2], "rank is 3; token ids have rank 1 or 2"),
            (ORTSHARD_DTYPE_I64, &[], "rank is 0"),
            (ORTSHARD_DTYPE_I64, &[2, 1], "shape[0] is 2"),
            (ORTSHARD_DTYPE_F32, &[2, 0], "shape[1] is 0, which is not positive"),
            (ORTSHARD_DTYPE_F32, &[-2, -2], "shape[0] is -2, which is not positive"),
            (ORTSHARD_DTYPE_F32, &[i64::MAX, i64::MAX], "more than memory"),
            (ORTSHARD_DTYPE_I64, &[i64::MAX], "more than memory"),
            (ORTSHARD_DTYPE_I32, &[3], "byte_length is 16; dtype and shape make 12"),
        ] {
            let failure = check(dtype, shape, &bytes).unwrap_err();
            assert!(failure.contains(message), "{failure}");
        }
    }
}
