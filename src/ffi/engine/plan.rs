//! Plan
//!
//! Which device holds which layers of a model, before anything of it is loaded. A plan is made of numbers: of the
//! model's files, and of what the program says of the devices. No device is touched and nothing is measured, so that
//! the devices may be anywhere.

use crate::ffi::basics::objects::ortshard_engine;
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::buffers::{Buffer, array};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{initial, read};
use crate::{PlanDevice, PlanOptions, PlanStage};

/// A device that may hold layers. Its layout is final, so it has no struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_plan_device {
    /// Bytes of memory that are free on it; not 0.
    pub free_memory: u64,
    /// Bytes of weights that it reads in a second. 0: unknown; then it is taken for as fast as the slowest one that is
    /// known, and all for 10e9 if none is.
    pub bandwidth: f64,
    /// Seconds from its stage to the next one, whichever device that is on: what its own link takes. It is the
    /// device's and not that of a pair, so that the order of devices changes no sum of them, and all orders can be
    /// tried.
    pub hop_seconds: f64,
    /// Not 0: it must hold layers. 0: it may be left out.
    pub is_required: i32,
}

/// What a plan is for. Start from ORTSHARD_PLAN_OPTIONS_INIT: a margin of 0 means none. The list is read during the
/// call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_plan_options {
    /// sizeof(ortshard_plan_options).
    pub struct_size: usize,
    /// Tokens of each request. 0: the model's maximum, at most 4096.
    pub context: u32,
    /// Requests at once.
    pub requests: u32,
    /// The part of each device's free memory that stays free: at least 0, less than 1.
    pub margin: f64,
    /// Not 0: the stages are in the order of the devices. 0: any order is tried.
    pub keep_order: i32,
    /// The devices.
    pub devices: *const ortshard_plan_device,
    /// Number of `devices`: 1 to 64.
    pub device_count: usize,
}

initial!(ortshard_plan_options, ortshard_plan_options_init; requests = 1; margin = 0.125);

/// Layers on a device. Its layout is final, so it has no struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_plan_stage {
    /// The device: its index in the options' `devices`.
    pub device: u32,
    /// The first layer.
    pub first_layer: u32,
    /// The last layer (INCLUSIVE).
    pub last_layer: u32,
    /// Its weights, as the estimate of its layers says.
    pub weight_bytes: u64,
    /// What the requests keep on it, likewise.
    pub kv_bytes: u64,
    /// One run and its output, likewise.
    pub run_bytes: u64,
    /// The weights that one token reads, likewise.
    pub token_bytes: u64,
    /// Bytes that must be there: the sum of weights, KV caches and a run or, where that is more, the peak while it
    /// loads.
    pub needed_bytes: u64,
    /// Bytes that are there: the device's free memory less the margin.
    pub room_bytes: u64,
    /// Seconds of a step: the bytes that it reads, by the device's bandwidth. These are token_bytes, on a processor
    /// once for each four of its requests, since their arithmetic takes as long; and what each request keeps here, in
    /// the mean over its context.
    pub seconds: f64,
    /// Seconds to the next stage; 0 behind the last one.
    pub hop_seconds: f64,
}

/// Cuts the layers that `spec` names among devices. Writes the stages to `stages`, from the first layer on, which has
/// room for `capacity`, and their number to `*needed`; there are never more than devices. NULL and 0 ask for the
/// number.
///
/// Each stage fits: what ortshard_engine_get_estimate() says of its layers, on an engine with the options of this one,
/// an empty one without memory_limit, is no more than the device's room. The model is cut only where it can be.
///
/// Of all cuts, orders and choices of devices the plan has the least sum of the seconds of its slowest stage and of
/// all hops: the one is what a pipeline with enough requests takes for a step, the other what a request waits for
/// besides. A step serves a group of requests, and there are taken to be as many groups as devices. Of the cuts with
/// the same slowest stage among the same devices in the same order, it has the one whose fullest device is filled
/// least.
/// The least is proved for up to 16 devices, and for more where many are alike, as long as the counts of each kind
/// plus one, multiplied, are no more than 65536; with keep_order for any. Beyond that some orders are tried, by
/// bandwidth, by memory and by hops, and a plan may be missed.
///
/// For a given slowest stage, what matters of a set of devices is the farthest layer that it reaches in any order: the
/// farthest that one of them reaches from what the others do. That is 2^16 x 16 steps for 16 devices, and a binary
/// search finds the slowest stage among the numbers that it can be. 100 layers on 16 devices that all differ take less
/// than 50 ms of one core, and the reading of the files' headers.
///
/// A run of more layers is never taken to need less than one of fewer, though an estimate may say so by how the pieces
/// of a run's memory fall; a plan that fits by so little may be missed. On a device whose engine uses stock operators,
/// tables that layers share may count more than once, so that such a stage may have some layers fewer than would fit.
///
/// Errors: OUT_OF_MEMORY if no plan fits: the message says what is needed and there, which layers need too much alone,
/// or how many fit and how large one more device would have to be, and ortshard_error_get_oom() has how much is
/// missing; INVALID_ARGUMENT naming the field and index for a number that is none, no devices, or more than 64;
/// BUFFER_TOO_SMALL, and only `*needed` is written; those of ortshard_engine_get_estimate().
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_plan(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    options: *const ortshard_plan_options,
    stages: *mut ortshard_plan_stage,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(stages, capacity, needed, "stages") }?;
        // SAFETY: as above.
        let engine = unsafe { borrow(engine, "engine") }?;
        if options.is_null() {
            return Err(Failure::null("options"));
        }
        // SAFETY: as above.
        let (spec, options) = unsafe { (shard_spec(spec)?, plan_options(options)?) };
        let found = engine.plan(&spec, &options)?;
        buffer.fill(&found.iter().map(describe).collect::<Vec<_>>())
    })
}

/// # Safety
/// `options` is as the header says.
unsafe fn plan_options(options: *const ortshard_plan_options) -> Result<PlanOptions, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    // Before so many are read.
    if options.device_count > PlanOptions::MOST_DEVICES {
        let (count, most) = (options.device_count, PlanOptions::MOST_DEVICES);
        return Err(Failure::invalid(format!("device_count is {count}, not 1 to {most}")));
    }
    // SAFETY: as above.
    let devices = unsafe { array(options.devices, options.device_count, "devices") }?;
    let device = |device: &ortshard_plan_device| PlanDevice {
        free_memory: device.free_memory,
        bandwidth: device.bandwidth,
        hop_seconds: device.hop_seconds,
        required: device.is_required != 0,
    };
    Ok(PlanOptions {
        context: options.context,
        requests: options.requests,
        margin: options.margin,
        keep_order: options.keep_order != 0,
        devices: devices.iter().map(device).collect(),
    })
}

fn describe(stage: &PlanStage) -> ortshard_plan_stage {
    ortshard_plan_stage {
        device: stage.device,
        first_layer: stage.first_layer,
        last_layer: stage.last_layer,
        weight_bytes: stage.estimate.weight_bytes,
        kv_bytes: stage.estimate.kv_bytes,
        run_bytes: stage.estimate.run_bytes,
        token_bytes: stage.estimate.token_bytes,
        needed_bytes: stage.needed_bytes,
        room_bytes: stage.room_bytes,
        seconds: stage.seconds,
        hop_seconds: stage.hop_seconds,
    }
}
