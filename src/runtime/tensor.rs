//! Caller memory lent to ONNX Runtime as tensors, for the length of one run.
#![allow(unsafe_code, reason = "OrtValues are made over borrowed memory")]

use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use once_cell::sync::OnceCell;
use ort::sys;

use super::status::check;
use crate::error::{Result, Site, err};

const DOING: &str = "wrapping a tensor";

/// Element types that cross the boundary to ONNX Runtime.
pub(crate) trait Element: Copy {
    /// ONNX Runtime's name for it.
    const TYPE: sys::ONNXTensorElementDataType;
}

impl Element for f32 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

impl Element for i32 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
}

impl Element for i64 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}

/// An input: a borrowed slice with a shape.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    value: NonNull<sys::OrtValue>,
    data: PhantomData<&'a [u8]>,
}

/// An output: the run writes into the borrowed slice.
#[derive(Debug)]
pub(crate) struct TensorMut<'a> {
    value: NonNull<sys::OrtValue>,
    data: PhantomData<&'a mut [u8]>,
}

impl<'a> Tensor<'a> {
    /// `data` as a tensor of `shape`.
    pub(crate) fn new<T: Element>(data: &'a [T], shape: &[usize]) -> Result<Self> {
        // ONNX Runtime takes a mutable pointer for both directions and does not write to inputs.
        let value = wrap::<T>(data.as_ptr().cast_mut(), data.len(), shape)?;
        Ok(Self { value, data: PhantomData })
    }

    pub(super) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.as_ptr()
    }
}

impl<'a> TensorMut<'a> {
    /// `data` as a tensor of `shape` to be written.
    pub(crate) fn new<T: Element>(data: &'a mut [T], shape: &[usize]) -> Result<Self> {
        let value = wrap::<T>(data.as_mut_ptr(), data.len(), shape)?;
        Ok(Self { value, data: PhantomData })
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::OrtValue {
        self.value.as_ptr()
    }
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `wrap`, released once; the memory is the borrower's.
        unsafe { (ort::api().ReleaseValue)(self.value.as_ptr()) }
    }
}

impl Drop for TensorMut<'_> {
    fn drop(&mut self) {
        // SAFETY: as for `Tensor`.
        unsafe { (ort::api().ReleaseValue)(self.value.as_ptr()) }
    }
}

fn wrap<T: Element>(data: *mut T, len: usize, shape: &[usize]) -> Result<NonNull<sys::OrtValue>> {
    if shape.iter().product::<usize>() != len {
        return Err(err!(Internal, "a tensor of shape {shape:?} over {len} elements"));
    }
    let mut dims = [0_i64; 4];
    for (dim, size) in dims.iter_mut().zip(shape) {
        *dim = *size as i64;
    }
    let mut value = null_mut();
    // SAFETY: the memory info is valid, `data` points to `len` elements that the tensor's lifetime borrows, and at
    // most four dims are read.
    let status = unsafe {
        (ort::api().CreateTensorWithDataAsOrtValue)(
            cpu()?,
            data.cast(),
            len * size_of::<T>(),
            dims.as_ptr(),
            shape.len().min(dims.len()),
            T::TYPE,
            &raw mut value,
        )
    };
    check(status, Site::Run, DOING)?;
    NonNull::new(value).ok_or_else(|| err!(Internal, "ONNX Runtime returned no value"))
}

struct MemoryInfo(NonNull<sys::OrtMemoryInfo>);
// SAFETY: an immutable description, never released.
unsafe impl Send for MemoryInfo {}
// SAFETY: as above.
unsafe impl Sync for MemoryInfo {}

/// "Ordinary memory of this process", described once.
fn cpu() -> Result<*const sys::OrtMemoryInfo> {
    static CPU: OnceCell<MemoryInfo> = OnceCell::new();
    let info = CPU.get_or_try_init(|| {
        let mut info = null_mut();
        // SAFETY: the out-pointer is valid.
        let status = unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &raw mut info,
            )
        };
        check(status, Site::Run, DOING)?;
        NonNull::new(info).map(MemoryInfo).ok_or_else(|| err!(Internal, "ONNX Runtime returned no memory info"))
    })?;
    Ok(info.0.as_ptr())
}
