//! What a plan is made of, and what it says.

use crate::engine::inspect::estimate::Estimate;
use crate::error::{Result, bail};
use crate::plan::Device;

/// Bytes that a device of unknown bandwidth reads in a second, if none is known.
const USUAL_BANDWIDTH: f64 = 10e9;

/// A device of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanDevice {
    /// Bytes of memory that are free on it.
    pub free_memory: u64,
    /// Bytes of weights that it reads in a second. 0: unknown; then it is taken for as fast as the slowest one that is known, and all
    /// for 10 GB in a second if none is.
    pub bandwidth: f64,
    /// Seconds from its stage to the next one: what its own link to the others takes.
    pub hop_seconds: f64,
    /// Whether it must hold layers; else it may be left out.
    pub required: bool,
}

/// What a plan is for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// Tokens of a request. 0: the model's maximum, at most 4096.
    pub context: u32,
    /// Requests at once.
    pub requests: u32,
    /// The part of each device's free memory that stays free: at least 0, less than 1.
    pub margin: f64,
    /// Whether stages are in the order of the devices. Else any order is tried.
    pub keep_order: bool,
    /// The devices: 1 to 64.
    pub devices: Vec<PlanDevice>,
}

impl PlanOptions {
    /// The most devices of a plan.
    pub const MOST_DEVICES: usize = 64;
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { context: 0, requests: 1, margin: 0.125, keep_order: false, devices: Vec::new() }
    }
}

/// Layers on a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanStage {
    /// The device, by its index among those given.
    pub device: u32,
    /// The first layer.
    pub first_layer: u32,
    /// The last layer (inclusive).
    pub last_layer: u32,
    /// What the shard and the requests on it take; `largest_last_layer` is `None`.
    pub estimate: Estimate,
    /// Bytes that must be there: the estimate's total, or its peak while it loads.
    pub needed_bytes: u64,
    /// Bytes that there are: the device's free memory less the margin.
    pub room_bytes: u64,
    /// Seconds of a step: the bytes that it reads, by the device's bandwidth. These are the weights of a token, on a processor once for
    /// each four of its requests, since their arithmetic takes as long; and what each request keeps here, in the mean over its context.
    pub seconds: f64,
    /// Seconds to the next stage; 0 behind the last one.
    pub hop_seconds: f64,
}

/// The devices as the planner takes them.
pub(super) fn devices(options: &PlanOptions) -> Result<Vec<Device>> {
    let PlanOptions { margin, devices, .. } = options;
    let (count, most) = (devices.len(), PlanOptions::MOST_DEVICES);
    if count == 0 || count > most {
        bail!(InvalidArgument, "device_count is {count}, not 1 to {most}");
    }
    if !(0.0..1.0).contains(margin) {
        bail!(InvalidArgument, "margin is {margin}, not at least 0 and less than 1");
    }
    for (index, device) in devices.iter().enumerate() {
        if device.free_memory == 0 {
            bail!(InvalidArgument, "devices[{index}].free_memory is 0: leave out a device that can hold nothing");
        }
        let numbers = [("bandwidth", device.bandwidth), ("hop_seconds", device.hop_seconds)];
        if let Some((field, number)) = numbers.into_iter().find(|(_, number)| !(number.is_finite() && *number >= 0.0)) {
            bail!(InvalidArgument, "devices[{index}].{field} is {number}, not a finite number of at least 0");
        }
    }
    let known = devices.iter().map(|device| device.bandwidth).filter(|bandwidth| *bandwidth > 0.0);
    let unknown = known.reduce(f64::min).unwrap_or(USUAL_BANDWIDTH);
    let device = |device: &PlanDevice| Device {
        room: device.free_memory - (device.free_memory as f64 * margin) as u64,
        bandwidth: if device.bandwidth > 0.0 { device.bandwidth } else { unknown },
        hop: device.hop_seconds,
        required: device.required,
    };
    Ok(devices.iter().map(device).collect())
}
