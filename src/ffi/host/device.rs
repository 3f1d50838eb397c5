//! Devices
//!
//! What shards can run on here: the processor, and what the loaded ONNX Runtime has an execution provider for.
//!
//! On the processor, shards run in native operators, this library's own. On another device, and with the engine's option
//! stock_operators, they run in stock operators, those that ONNX Runtime brings, on copies of the weights: float32 (on
//! CUDA the checkpoint's own bf16 or fp16, and bf16 for f32), or the quantised codes and scales.

use std::ffi::c_char;

use crate::ffi::basics::constants::{
    ORTSHARD_DEVICE_AUTO, ORTSHARD_DEVICE_COREML, ORTSHARD_DEVICE_CPU, ORTSHARD_DEVICE_CUDA,
};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use crate::ffi::frame::strings::fixed;
use crate::ffi::frame::versioned::{initial, write};
use crate::{Device, DeviceInfo};

/// A device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_device_info {
    /// Set to sizeof(ortshard_device_info) before the call.
    pub struct_size: usize,
    /// An ORTSHARD_DEVICE_* constant.
    pub kind: i32,
    /// Which one of its kind, from 0.
    pub index: u32,
    /// What its maker calls it.
    pub name: [c_char; 128],
    /// Bytes of memory it has; 0 if unknown.
    pub total_memory: u64,
    /// Bytes of it that are free now; 0 if unknown.
    pub available_memory: u64,
}

initial!(ortshard_device_info, ortshard_device_info_init);

/// The number of devices, the processor included. Loads ONNX Runtime if no call has yet; where there is none, the
/// processor is all there is.
///
/// A device is listed if it is here and ONNX Runtime offers a provider for it. Whether it can be used, with all the
/// libraries that the provider needs, shows when an engine is created on it.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_device_count(count: *mut u32) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        unsafe { Out::new(count, "count") }?.set(Device::list().len() as u32);
        Ok(())
    })
}

/// Describes device `index`, from 0 to ortshard_device_count() - 1. The processor is device 0.
///
/// Errors: OUT_OF_RANGE. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_device_get_info(index: u32, info: *mut ortshard_device_info) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        let devices = Device::list();
        let device = devices.get(index as usize).ok_or_else(|| {
            let count = devices.len();
            Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, format!("index is {index}, there are {count} devices"))
        })?;
        // SAFETY: as above.
        unsafe { write(&out, describe(device)) }
    })
}

/// The kind and index that C sees.
pub(in crate::ffi) fn code(device: Device) -> (i32, u32) {
    match device {
        Device::Auto => (ORTSHARD_DEVICE_AUTO, 0),
        Device::Cpu => (ORTSHARD_DEVICE_CPU, 0),
        Device::Cuda(index) => (ORTSHARD_DEVICE_CUDA, index),
        Device::CoreMl => (ORTSHARD_DEVICE_COREML, 0),
    }
}

pub(in crate::ffi) fn from_code(kind: i32, index: u32) -> Result<Device, Failure> {
    let device = match kind {
        ORTSHARD_DEVICE_AUTO => Device::Auto,
        ORTSHARD_DEVICE_CPU => Device::Cpu,
        ORTSHARD_DEVICE_CUDA => return Ok(Device::Cuda(index)),
        ORTSHARD_DEVICE_COREML => Device::CoreMl,
        _ => return Err(Failure::invalid(format!("device is {kind}, not an ORTSHARD_DEVICE_* constant"))),
    };
    match index {
        0 => Ok(device),
        _ => Err(Failure::invalid(format!("device_index is {index}, but there is only one {device}"))),
    }
}

fn describe(info: &DeviceInfo) -> ortshard_device_info {
    let (kind, index) = code(info.device);
    ortshard_device_info {
        struct_size: 0,
        kind,
        index,
        name: fixed(&info.name),
        total_memory: info.total_memory,
        available_memory: info.available_memory,
    }
}
