//! The tensors of a run, by name.
#![allow(unsafe_code, reason = "tensors of repeated runs are named by their addresses")]

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use ort::sys;

use crate::runtime::run::tensor::{Tensor, TensorMut};

/// The tensors of one run. Each is borrowed until the run is over.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(in crate::runtime) input_names: Vec<*const c_char>,
    pub(in crate::runtime) inputs: Vec<*const sys::OrtValue>,
    pub(in crate::runtime) output_names: Vec<*const c_char>,
    pub(in crate::runtime) outputs: Vec<*mut sys::OrtValue>,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> Values<'a> {
    /// Without tensors yet, with room for so many `inputs` and `outputs`.
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            input_names: Vec::with_capacity(inputs),
            inputs: Vec::with_capacity(inputs),
            output_names: Vec::with_capacity(outputs),
            outputs: Vec::with_capacity(outputs),
            lifetime: PhantomData,
        }
    }

    /// Makes the run read `tensor`.
    pub(crate) fn input(&mut self, name: &'a CStr, tensor: &'a Tensor) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(tensor.as_ptr());
    }

    /// Makes the run read `tensor`, which another run has written.
    pub(in crate::runtime) fn written(&mut self, name: &'a CStr, tensor: &'a TensorMut) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(tensor.as_ptr());
    }

    /// Makes the run write `tensor`.
    pub(crate) fn output(&mut self, name: &'a CStr, tensor: &'a mut TensorMut) {
        self.output_names.push(name.as_ptr());
        self.outputs.push(tensor.as_mut_ptr());
    }

    /// Makes the run read the tensor at `value`.
    ///
    /// # Safety
    /// `name` and the tensor at `value` outlive these values, and nothing else uses the tensor in a way that a borrow
    /// would forbid.
    pub(in crate::runtime) unsafe fn push_input(&mut self, name: &CStr, value: *const sys::OrtValue) {
        self.input_names.push(name.as_ptr());
        self.inputs.push(value);
    }

    /// Makes the run write the tensor at `value`.
    ///
    /// # Safety
    /// As for [`push_input`](Self::push_input).
    pub(in crate::runtime) unsafe fn push_output(&mut self, name: &CStr, value: *mut sys::OrtValue) {
        self.output_names.push(name.as_ptr());
        self.outputs.push(value);
    }

    /// Makes the run read `tensor` as the input `input` and write it, in place, as the output `output`.
    pub(crate) fn updated(&mut self, input: &'a CStr, output: &'a CStr, tensor: &'a mut TensorMut) {
        self.input_names.push(input.as_ptr());
        self.inputs.push(tensor.as_mut_ptr().cast_const());
        self.output(output, tensor);
    }
}
