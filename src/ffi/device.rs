//! Devices
//!
//! What shards can run on here. This version runs them on the processor.

use std::ffi::c_char;

use super::guard::guard;
use super::handle::Out;
use super::options::{Versioned, write};
use super::status::{Failure, ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use super::strings::fixed;
use crate::Device;

/// The device that the environment's ORTSHARD_DEVICE names ("cpu", "cuda:1", ...), else the best there is.
pub const ORTSHARD_DEVICE_AUTO: i32 = 0;
/// The processor.
pub const ORTSHARD_DEVICE_CPU: i32 = 1;
/// An NVIDIA GPU.
pub const ORTSHARD_DEVICE_CUDA: i32 = 2;
/// Apple's Core ML.
pub const ORTSHARD_DEVICE_COREML: i32 = 3;

//# /** An ortshard_device_description ready to be filled. @since 0.1 */
//# #define ORTSHARD_DEVICE_DESCRIPTION_INIT { sizeof(ortshard_device_description), 0, 0, "", 0, 0 }

/// A device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_device_description {
    /// Set to sizeof(ortshard_device_description) before the call.
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

impl Versioned for ortshard_device_description {
    const NAME: &'static str = "ortshard_device_description";
}

/// The number of devices.
///
/// Errors: NULL_ARGUMENT. Threads: any. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_device_count(count: *mut u32) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        unsafe { Out::new(count, "count") }?.set(1);
        Ok(())
    })
}

/// Describes device `index`, from 0 to ortshard_device_count() - 1.
///
/// Errors: OUT_OF_RANGE; NULL_ARGUMENT; INVALID_ARGUMENT for a bad struct_size. Threads: any. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_device_info(
    index: u32,
    description: *mut ortshard_device_description,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(description, "description") }?;
        if index != 0 {
            return Err(Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, format!("index is {index}, there is 1 device")));
        }
        // SAFETY: as above.
        unsafe { write(&out, processor()) }
    })
}

/// The kind and index that C sees.
pub(super) fn code(device: Device) -> (i32, u32) {
    match device {
        Device::Auto => (ORTSHARD_DEVICE_AUTO, 0),
        Device::Cpu => (ORTSHARD_DEVICE_CPU, 0),
        Device::Cuda(index) => (ORTSHARD_DEVICE_CUDA, index),
        Device::CoreMl => (ORTSHARD_DEVICE_COREML, 0),
    }
}

pub(super) fn from_code(kind: i32, index: u32) -> Result<Device, Failure> {
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

fn processor() -> ortshard_device_description {
    let (total_memory, available_memory) = memory();
    let model = proc_field("/proc/cpuinfo", "model name");
    let name = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    ortshard_device_description {
        struct_size: 0,
        kind: ORTSHARD_DEVICE_CPU,
        index: 0,
        name: fixed(&name),
        total_memory,
        available_memory,
    }
}

/// Total and available memory in bytes.
fn memory() -> (u64, u64) {
    let kibibytes = |field| proc_field("/proc/meminfo", field)?.strip_suffix(" kB")?.parse::<u64>().ok();
    let total = kibibytes("MemTotal").map_or_else(system_memory, |n| n * 1024);
    (total, kibibytes("MemAvailable").map_or(0, |n| n * 1024))
}

/// The value of the first line `field : value` in one of Linux's /proc files.
fn proc_field(file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == field).then(|| value.trim().to_owned())
    })
}

#[cfg(unix)]
fn system_memory() -> u64 {
    // SAFETY: asks for a constant of the system.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(size).unwrap_or(0)
}

#[cfg(not(unix))]
fn system_memory() -> u64 {
    0
}
