//! Lends memory to ONNX Runtime as tensors.
#![allow(unsafe_code, reason = "OrtValues are made over borrowed memory")]

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use half::{bf16, f16};
use once_cell::sync::OnceCell;
use ort::sys;

use crate::error::{Result, Site, err};
use crate::kernels::Dtype;
use crate::runtime::process::exit;
use crate::runtime::process::status::check;

const DOING: &str = "wrapping a tensor";

/// The element types of tensors.
pub(crate) trait Element: Copy {
    /// ONNX Runtime's name for the type.
    const TYPE: sys::ONNXTensorElementDataType;
}

impl Element for u8 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
}

impl Element for f16 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
}

impl Element for bf16 {
    const TYPE: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
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

/// A tensor that a run reads: a borrowed slice with a shape.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    value: NonNull<sys::OrtValue>,
    data: PhantomData<&'a [u8]>,
}

/// A tensor that a run writes: a slice, borrowed mutably, with a shape.
#[derive(Debug)]
pub(crate) struct TensorMut<'a> {
    value: NonNull<sys::OrtValue>,
    data: PhantomData<&'a mut [u8]>,
}

/// An element type by ONNX Runtime's name, and the bytes of an element.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime) struct Kind {
    code: sys::ONNXTensorElementDataType,
    pub size: usize,
}

impl Kind {
    /// The kind of `T`.
    pub(in crate::runtime) const fn of<T: Element>() -> Self {
        Self { code: T::TYPE, size: size_of::<T>() }
    }
}

impl From<Dtype> for Kind {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::of::<f32>(),
            Dtype::F16 => Self::of::<f16>(),
            Dtype::BF16 => Self::of::<bf16>(),
        }
    }
}

impl<'a> Tensor<'a> {
    /// `data` as a tensor of `shape`.
    pub(crate) fn new<T: Element>(data: &'a [T], shape: &[usize]) -> Result<Self> {
        // ONNX Runtime takes a mutable pointer for inputs, too, but does not write to them.
        let value = wrap(MemoryInfo::of_cpu()?, Kind::of::<T>(), data.as_ptr().cast_mut().cast(), data.len(), shape)?;
        Ok(Self { value, data: PhantomData })
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.as_ptr()
    }
}

impl<'a> TensorMut<'a> {
    /// `data` as a tensor of `shape` that a run writes.
    pub(crate) fn new<T: Element>(data: &'a mut [T], shape: &[usize]) -> Result<Self> {
        let value = wrap(MemoryInfo::of_cpu()?, Kind::of::<T>(), data.as_mut_ptr().cast(), data.len(), shape)?;
        Ok(Self { value, data: PhantomData })
    }

    /// The memory at `data`, which `info` describes, as a tensor of `shape` that runs read or write.
    ///
    /// # Safety
    /// `data` has as many elements as `shape` says, which outlive the tensor. While a run uses the tensor, nothing
    /// else writes them; while a run writes it, nothing else reads them.
    pub(in crate::runtime) unsafe fn at(
        info: &MemoryInfo,
        kind: Kind,
        data: NonNull<u8>,
        shape: &[usize],
    ) -> Result<Self> {
        let value = wrap(info, kind, data.as_ptr(), shape.iter().product(), shape)?;
        Ok(Self { value, data: PhantomData })
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.as_ptr()
    }

    /// The tensor without its borrow.
    ///
    /// # Safety
    /// The memory outlives the tensor.
    pub(in crate::runtime) unsafe fn detached(self) -> TensorMut<'static> {
        let value = self.value;
        std::mem::forget(self);
        TensorMut { value, data: PhantomData }
    }

    pub(in crate::runtime) fn as_mut_ptr(&mut self) -> *mut sys::OrtValue {
        self.value.as_ptr()
    }
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        release(self.value);
    }
}

impl Drop for TensorMut<'_> {
    fn drop(&mut self) {
        release(self.value);
    }
}

/// Releases the description of a tensor, but not its memory.
fn release(value: NonNull<sys::OrtValue>) {
    if !exit::has_begun() {
        // SAFETY: made by `wrap`, released once.
        unsafe { (ort::api().ReleaseValue)(value.as_ptr()) }
    }
}

// SAFETY: a tensor is a description of memory that it borrows.
unsafe impl Send for TensorMut<'_> {}
// SAFETY: a shared reference gives no access.
unsafe impl Sync for TensorMut<'_> {}

fn wrap(info: &MemoryInfo, kind: Kind, data: *mut u8, len: usize, shape: &[usize]) -> Result<NonNull<sys::OrtValue>> {
    if shape.iter().product::<usize>() != len {
        return Err(err!(Internal, "a tensor of shape {shape:?} over {len} elements"));
    }
    let mut dims = [0_i64; 4];
    for (dim, size) in dims.iter_mut().zip(shape) {
        *dim = *size as i64;
    }
    let mut value = null_mut();
    // SAFETY: the memory info is valid, `data` points to `len` elements in that memory that the tensor's lifetime borrows, and
    // at most four dims are read.
    let status = unsafe {
        (ort::api().CreateTensorWithDataAsOrtValue)(
            info.as_ptr(),
            data.cast(),
            len * kind.size,
            dims.as_ptr(),
            shape.len().min(dims.len()),
            kind.code,
            &raw mut value,
        )
    };
    check(status, Site::Run, DOING)?;
    NonNull::new(value).ok_or_else(|| err!(Internal, "ONNX Runtime returned no value"))
}

/// ONNX Runtime's description of where memory is.
#[derive(Debug)]
pub(in crate::runtime) struct MemoryInfo(NonNull<sys::OrtMemoryInfo>);

// SAFETY: an immutable description.
unsafe impl Send for MemoryInfo {}
// SAFETY: as above.
unsafe impl Sync for MemoryInfo {}

impl MemoryInfo {
    /// Ordinary memory of this process.
    pub(in crate::runtime) fn cpu() -> Result<Self> {
        Self::new(c"Cpu", 0)
    }

    /// [`cpu`](Self::cpu), made once and shared.
    pub(in crate::runtime) fn of_cpu() -> Result<&'static Self> {
        static CPU: OnceCell<MemoryInfo> = OnceCell::new();
        CPU.get_or_try_init(Self::cpu)
    }

    /// The memory of a device, by ONNX Runtime's name for it.
    pub(in crate::runtime) fn new(name: &CStr, index: u32) -> Result<Self> {
        let mut info = null_mut();
        let (kind, purpose) = (sys::OrtAllocatorType::OrtDeviceAllocator, sys::OrtMemType::OrtMemTypeDefault);
        // SAFETY: a valid string and out-pointer.
        let status =
            unsafe { (ort::api().CreateMemoryInfo)(name.as_ptr(), kind, index as c_int, purpose, &raw mut info) };
        check(status, Site::Run, DOING)?;
        NonNull::new(info).map(Self).ok_or_else(|| err!(Internal, "ONNX Runtime returned no memory info"))
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *const sys::OrtMemoryInfo {
        self.0.as_ptr()
    }
}

impl Drop for MemoryInfo {
    fn drop(&mut self) {
        if !exit::has_begun() {
            // SAFETY: made by `new`, released once.
            unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) }
        }
    }
}
