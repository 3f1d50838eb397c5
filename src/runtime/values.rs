//! What goes into a run and comes out of it, by name.
#![allow(unsafe_code, reason = "tensors of repeated runs are named by their addresses")]

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use ort::sys;

use super::tensor::{Tensor, TensorMut};

/// The tensors of one run. Each is borrowed until the run is over.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(super) input_names: Vec<*const c_char>,
    pub(super) inputs: Vec<*const sys::OrtValue>,
    pub(super) output_names: Vec<*const c_char>,
    pub(super) outputs: Vec<*mut sys::OrtValue>,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> Values<'a> {
    /// No tensors yet, room for `inputs` and `outputs`.
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            input_names: Vec::with_capacity(inputs),
            inputs: Vec::with_capacity(inputs),
            output_names: Vec::with_capacity(outputs),
            outputs: Vec::with_capacity(outputs),
            lifetime: PhantomData,
        }
    }

    /// The run reads `tensor`.
    pub(crate) fn input(&mut self, name: &'a CStr, tensor: &'a Tensor) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(tensor.as_ptr());
    }

    /// The run reads what another run has written to `tensor`.
    pub(super) fn written(&mut self, name: &'a CStr, tensor: &'a TensorMut) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(tensor.as_ptr());
    }

    /// The run writes `tensor`.
    pub(crate) fn output(&mut self, name: &'a CStr, tensor: &'a mut TensorMut) {
        self.output_names.push(name.as_ptr());
        self.outputs.push(tensor.as_mut_ptr());
    }

    /// The run reads the tensor at `value`.
    ///
    /// # Safety
    /// Here and in the other: both outlive these values, and the value is as for a tensor that they borrow.
    pub(super) unsafe fn push_input(&mut self, name: &CStr, value: *const sys::OrtValue) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(value);
    }

    /// The run writes the tensor at `value`.
    ///
    /// # Safety
    /// As for [`push_input`](Self::push_input).
    pub(super) unsafe fn push_output(&mut self, name: &CStr, value: *mut sys::OrtValue) {
        self.output_names.push(name.as_ptr());
        self.outputs.push(value);
    }

    /// The run reads `tensor` as one of its inputs and writes it, in place, as one of its outputs.
    pub(crate) fn updated(&mut self, input: &'a CStr, output: &'a CStr, tensor: &'a mut TensorMut) {
        self.input_names.push(input.as_ptr());
        self.inputs.push(tensor.as_mut_ptr().cast_const());
        self.output(output, tensor);
    }
}
