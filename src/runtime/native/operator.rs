//! The binding between ONNX Runtime's custom operators and Rust: a vtable per operator, a context per call.
//!
//! Written on the raw C API because ONNX Runtime calls one kernel from many threads at once (so kernels here are
//! `&self` and `Sync`), and because a panic must become a status instead of unwinding into C++.
#![allow(unsafe_code, reason = "this file is the boundary to ONNX Runtime's operator API")]

use std::any::Any;
use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use ort::sys;

use crate::error::{Result, Site, bail, err};
use crate::graph::names::OPERATION;
use crate::graph::op::{Operator, Type};
use crate::kernels::Parallel;
use crate::runtime::process::status::check;
use crate::runtime::run::session::c_string;

/// An operator's computation for one node. Called from many threads at once.
pub(in crate::runtime) trait Kernel: Send + Sync {
    fn compute(&self, context: &Context) -> Result<()>;
}

/// Makes the kernels of an operator's nodes.
pub(in crate::runtime) trait Nodes: Send + Sync {
    /// What ONNX Runtime is told of the operator.
    fn operator(&self) -> &'static Operator;

    /// The kernel of the node that stands for the operation of this index.
    fn kernel(&self, operation: usize) -> Result<Box<dyn Kernel>>;
}

/// An operator as ONNX Runtime sees it: the vtable first, then what its functions need.
#[repr(C)]
pub(in crate::runtime) struct Registered {
    vtable: sys::OrtCustomOp,
    nodes: Box<dyn Nodes>,
}

impl Registered {
    /// The operator of `nodes` behind ONNX Runtime's interface.
    pub(in crate::runtime) fn new(nodes: Box<dyn Nodes>) -> Box<Self> {
        Box::new(Self { vtable: VTABLE, nodes })
    }

    /// The pointer to register; valid while `self` is.
    pub(in crate::runtime) fn as_ptr(&self) -> *const sys::OrtCustomOp {
        std::ptr::from_ref(self).cast()
    }
}

const VTABLE: sys::OrtCustomOp = sys::OrtCustomOp {
    version: sys::ORT_API_VERSION,
    CreateKernel: None,
    GetName: Some(name),
    GetExecutionProviderType: Some(provider),
    GetInputType: Some(input_type),
    GetInputTypeCount: Some(input_count),
    GetOutputType: Some(output_type),
    GetOutputTypeCount: Some(output_count),
    KernelCompute: None,
    KernelDestroy: Some(destroy),
    GetInputCharacteristic: Some(input_characteristic),
    GetOutputCharacteristic: Some(output_characteristic),
    GetInputMemoryType: Some(memory_type),
    GetVariadicInputMinArity: Some(one),
    GetVariadicInputHomogeneity: Some(one),
    GetVariadicOutputMinArity: Some(one),
    GetVariadicOutputHomogeneity: Some(one),
    CreateKernelV2: Some(create),
    KernelComputeV2: Some(compute),
    InferOutputShapeFn: None,
    GetStartVersion: Some(one),
    GetEndVersion: Some(last_version),
    GetMayInplace: None,
    ReleaseMayInplace: None,
    GetAliasMap: None,
    ReleaseAliasMap: None,
};

/// # Safety
/// `op` is the pointer registered by [`Registered::as_ptr`], whose owner outlives the session.
unsafe fn registered<'a>(op: *const sys::OrtCustomOp) -> &'a Registered {
    // SAFETY: the vtable is the first field of a `repr(C)` struct, so the pointers are interchangeable.
    unsafe { &*op.cast::<Registered>() }
}

unsafe extern "system" fn name(op: *const sys::OrtCustomOp) -> *const c_char {
    // SAFETY: called by ONNX Runtime with the registered pointer.
    unsafe { registered(op) }.nodes.operator().name.c().as_ptr()
}

/// No name: the CPU.
unsafe extern "system" fn provider(_: *const sys::OrtCustomOp) -> *const c_char {
    null()
}

const F32: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
const I64: sys::ONNXTensorElementDataType = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
const REQUIRED: sys::OrtCustomOpInputOutputCharacteristic =
    sys::OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED;
const OPTIONAL: sys::OrtCustomOpInputOutputCharacteristic =
    sys::OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_OPTIONAL;

unsafe extern "system" fn input_type(op: *const sys::OrtCustomOp, index: usize) -> sys::ONNXTensorElementDataType {
    // SAFETY: called by ONNX Runtime with the registered pointer.
    let inputs = unsafe { registered(op) }.nodes.operator().inputs;
    if inputs.get(index) == Some(&Type::I64) { I64 } else { F32 }
}

unsafe extern "system" fn input_count(op: *const sys::OrtCustomOp) -> usize {
    // SAFETY: called by ONNX Runtime with the registered pointer.
    unsafe { registered(op) }.nodes.operator().inputs.len()
}

unsafe extern "system" fn output_type(_: *const sys::OrtCustomOp, _: usize) -> sys::ONNXTensorElementDataType {
    F32
}

unsafe extern "system" fn output_count(op: *const sys::OrtCustomOp) -> usize {
    // SAFETY: called by ONNX Runtime with the registered pointer.
    unsafe { registered(op) }.nodes.operator().outputs
}

unsafe extern "system" fn input_characteristic(
    op: *const sys::OrtCustomOp,
    index: usize,
) -> sys::OrtCustomOpInputOutputCharacteristic {
    // SAFETY: called by ONNX Runtime with the registered pointer.
    let inputs = unsafe { registered(op) }.nodes.operator().inputs;
    if inputs.get(index) == Some(&Type::Optional) { OPTIONAL } else { REQUIRED }
}

unsafe extern "system" fn output_characteristic(
    _: *const sys::OrtCustomOp,
    _: usize,
) -> sys::OrtCustomOpInputOutputCharacteristic {
    REQUIRED
}

unsafe extern "system" fn memory_type(_: *const sys::OrtCustomOp, _: usize) -> sys::OrtMemType {
    sys::OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn one(_: *const sys::OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn last_version(_: *const sys::OrtCustomOp) -> c_int {
    c_int::MAX
}

unsafe extern "system" fn create(
    op: *const sys::OrtCustomOp,
    _: *const sys::OrtApi,
    info: *const sys::OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> sys::OrtStatusPtr {
    guarded(|| {
        // SAFETY: called by ONNX Runtime with the registered pointer.
        let nodes = &unsafe { registered(op) }.nodes;
        let made = nodes.kernel(operation(info)?)?;
        // SAFETY: the out-pointer is ONNX Runtime's; it hands the kernel back to `compute` and `destroy`.
        unsafe { *kernel = Box::into_raw(Box::new(made)).cast() };
        Ok(())
    })
}

unsafe extern "system" fn compute(kernel: *mut c_void, context: *mut sys::OrtKernelContext) -> sys::OrtStatusPtr {
    guarded(|| {
        // SAFETY: made by `create`, not yet destroyed; only shared references are taken, so calls may overlap.
        let kernel = unsafe { &*kernel.cast::<Box<dyn Kernel>>() };
        kernel.compute(&Context { raw: context })
    })
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    // SAFETY: made by `create`; ONNX Runtime destroys each kernel once, after its last run.
    drop(unsafe { Box::from_raw(kernel.cast::<Box<dyn Kernel>>()) });
}

/// Runs `work`; an error or a panic becomes a status.
fn guarded(work: impl FnOnce() -> Result<()>) -> sys::OrtStatusPtr {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return sys::OrtStatusPtr(null_mut()),
        Ok(Err(error)) => error.chain(),
        Err(panic) => format!("panic: {}", panic_text(panic.as_ref())),
    };
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: a NUL-terminated string, copied by the call.
    unsafe { (ort::api().CreateStatus)(sys::OrtErrorCode::ORT_FAIL, text.as_ptr()) }
}

/// The message of a caught panic.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// The operation that a node stands for.
fn operation(info: *const sys::OrtKernelInfo) -> Result<usize> {
    let (key, mut value) = (c_string(OPERATION)?, 0_i64);
    // SAFETY: valid info during `create`; the out-pointer is valid.
    let status = unsafe { (ort::api().KernelInfoGetAttribute_int64)(info, key.as_ptr(), &raw mut value) };
    check(status, Site::Load, "reading a node's attribute")?;
    usize::try_from(value).map_err(|_| err!(Internal, "a node stands for operation {value}"))
}

const CALLING: &str = "an operator";

/// What a kernel is given when its node runs: inputs, outputs and the thread pool.
pub(in crate::runtime) struct Context {
    raw: *mut sys::OrtKernelContext,
}

impl Context {
    /// Input `index` as float32.
    pub(in crate::runtime) fn f32(&self, index: usize) -> Result<&[f32]> {
        self.input(index)?.ok_or_else(|| err!(Internal, "input {index} is missing"))
    }

    /// Input `index` as float32, if the node has it.
    pub(in crate::runtime) fn optional(&self, index: usize) -> Result<Option<&[f32]>> {
        let mut count = 0;
        // SAFETY: valid context during the call.
        let status = unsafe { (ort::api().KernelContext_GetInputCount)(self.raw, &raw mut count) };
        check(status, Site::Run, CALLING)?;
        if index < count { self.input(index) } else { Ok(None) }
    }

    /// Input `index` as int64.
    pub(in crate::runtime) fn i64(&self, index: usize) -> Result<&[i64]> {
        self.input(index)?.ok_or_else(|| err!(Internal, "input {index} is missing"))
    }

    /// `T` is the type that the operator declares for the input, which ONNX Runtime has checked.
    fn input<T>(&self, index: usize) -> Result<Option<&[T]>> {
        let api = ort::api();
        let mut value = null();
        // SAFETY: valid context during the call.
        check(unsafe { (api.KernelContext_GetInput)(self.raw, index, &raw mut value) }, Site::Run, CALLING)?;
        if value.is_null() {
            return Ok(None);
        }
        let mut shape = null_mut();
        // SAFETY: a valid value; the description is released below.
        check(unsafe { (api.GetTensorTypeAndShape)(value, &raw mut shape) }, Site::Run, CALLING)?;
        let mut len = 0;
        // SAFETY: the description just made, released exactly once.
        let status = unsafe {
            let status = (api.GetTensorShapeElementCount)(shape, &raw mut len);
            (api.ReleaseTensorTypeAndShapeInfo)(shape);
            status
        };
        check(status, Site::Run, CALLING)?;
        let mut data = null_mut();
        // SAFETY: the call only reads the value's address.
        check(unsafe { (api.GetTensorMutableData)(value.cast_mut(), &raw mut data) }, Site::Run, CALLING)?;
        // SAFETY: ONNX Runtime keeps inputs alive and unchanged during the call, and aligned for their type.
        Ok(Some(unsafe { slice(data.cast_const().cast(), len) }))
    }

    /// Output `index`, float32 of `rows` x `width`, to be written in full. Ask for each output once.
    #[allow(clippy::mut_from_ref, reason = "each output is its own memory, asked for once per call")]
    pub(in crate::runtime) fn output(&self, index: usize, rows: usize, width: usize) -> Result<&mut [f32]> {
        let api = ort::api();
        let dims = [rows as i64, width as i64];
        let mut value = null_mut();
        // SAFETY: valid context and dims.
        let status =
            unsafe { (api.KernelContext_GetOutput)(self.raw, index, dims.as_ptr(), dims.len(), &raw mut value) };
        check(status, Site::Run, CALLING)?;
        let Some(value) = NonNull::new(value) else { bail!(Internal, "output {index} is missing") };
        let mut data = null_mut();
        // SAFETY: a valid value.
        check(unsafe { (api.GetTensorMutableData)(value.as_ptr(), &raw mut data) }, Site::Run, CALLING)?;
        let len = rows * width;
        if data.is_null() && len > 0 {
            bail!(Internal, "output {index} has no memory");
        }
        // SAFETY: ONNX Runtime allocated rows x width floats for this node's output alone.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(if len == 0 { NonNull::dangling().as_ptr() } else { data.cast() }, len)
        })
    }

    /// The process-wide thread pool, for this call.
    pub(in crate::runtime) fn pool(&self, threads: usize) -> Pool<'_> {
        Pool { context: self, threads, failed: AtomicBool::new(false) }
    }
}

/// # Safety
/// `data` points to `len` elements that live as long as `'a`, or `len` is 0.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    let data = if len == 0 { NonNull::<T>::dangling().as_ptr().cast_const() } else { data };
    // SAFETY: as the caller promises; an empty slice needs no memory.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// ONNX Runtime's thread pool as the kernels see it.
pub(in crate::runtime) struct Pool<'a> {
    context: &'a Context,
    threads: usize,
    failed: AtomicBool,
}

// SAFETY: kernels share the pool with the tasks they start; the context behind it only schedules.
unsafe impl Sync for Pool<'_> {}

impl Pool<'_> {
    /// Whether all tasks did their work: one may have panicked, or found no place for its results.
    pub(in crate::runtime) fn finish(self) -> Result<()> {
        if self.failed.into_inner() {
            bail!(Internal, "a kernel's task panicked, or its results had no place");
        }
        Ok(())
    }
}

struct Task<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    failed: &'a AtomicBool,
}

unsafe extern "C" fn run_task(task: *mut c_void, index: usize) {
    // SAFETY: `Pool::run` passes a `Task` that outlives the parallel section.
    let task = unsafe { &*task.cast_const().cast::<Task>() };
    if catch_unwind(AssertUnwindSafe(|| (task.work)(index))).is_err() {
        task.failed.store(true, Ordering::Relaxed);
    }
}

impl Parallel for Pool<'_> {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.threads <= 1 {
            (0..tasks).for_each(work);
            return;
        }
        let mut task = Task { work, failed: &self.failed };
        // SAFETY: the call returns after every task has, so `task` outlives its use; 0 batches lets threads take tasks
        // one by one.
        let status = unsafe {
            (ort::api().KernelContext_ParallelFor)(self.context.raw, run_task, tasks, 0, (&raw mut task).cast())
        };
        if check(status, Site::Run, CALLING).is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    fn incomplete(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    #[test]
    fn a_result_without_a_place_fails_the_operator() {
        let context = Context { raw: null_mut() };
        context.pool(1).finish().unwrap();
        let pool = context.pool(1);
        pool.incomplete();
        assert!(pool.finish().is_err());
    }
}
