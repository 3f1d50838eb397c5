//! CPU compute on plain slices: the layers of a transformer over weights as they lie in a checkpoint.
//!
//! Nothing here knows of sessions, graphs or files. The runtime hands over slices and a way to spread tasks over threads
//! ([`Parallel`]); the kernels hand back numbers.
//!
//! Three promises hold for every kernel:
//!
//! * **Exact weights.** bfloat16 and half weights are widened to `f32`, which loses nothing, and all arithmetic is in `f32`.
//!   Quantised weights ([`Packing`]) are what their codes say; the activations they meet are quantised to eight bits.
//! * **Rows are independent, bit for bit.** An output row depends on its own input row (and, in [`attention()`], [`short_conv()`], [`gated_delta()`]
//!   and [`selective_scan()`], on its own past)
//!   and on nothing else: not on the number of rows in the batch, the number of threads, or how a prompt was cut. Each sum is
//!   taken in one fixed order, whatever shape of block it is computed in.
//! * **No panics, no large allocations.** Arguments are the caller's to check; scratch memory is a few hundred kilobytes per
//!   thread, the coded activations of one call with quantised weights ([`Packing::scratch_bytes`]), and what [`experts()`] takes
//!   ([`experts_scratch`]); it is reused.
//!
//! Results may differ in the last bits between instruction sets, because their registers differ in width. Those of quantised
//! linear layers do not.

#![allow(
    unsafe_code,
    reason = "vector instructions, and outputs that tasks write side by side; every block says why it is sound"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test panics"))]
#![allow(clippy::inline_always, reason = "what is not inlined into the wrapper is compiled for the baseline processor")]
#![cfg_attr(fuzzing, allow(dead_code, reason = "instruction sets that a fuzzer's build leaves out"))]

#[cfg(target_endian = "big")]
compile_error!("weights are read as they lie in the file, which is little-endian");

mod activation;
mod attention;
mod elementwise;
mod embed;
mod experts;
mod fp8;
mod isa;
mod linear;
mod math;
mod matrix;
mod mxfp4;
mod norm;
mod packed;
mod packing;
mod recurrent;
mod shared;
mod simd;
mod sparsity;
mod streams;
#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "test values are small")]
mod testing;
mod widen;

pub use activation::{Activation, activate};
pub use attention::{AttentionInputs, AttentionSegment, AttentionShape, Rotation, RowType, Window, attention};

pub use elementwise::{Gate, add, multiply, scale, scale_columns, sigmoid_gate, soft_cap};
pub use embed::embed;
pub use experts::{Expert, Groups, Projection, Routes, Routing, Score, experts, experts_scratch, route};
pub use fp8::Fp8;
pub use isa::Isa;
pub use linear::{Map, gated, linear, linear_heads, linear_many};
pub use matrix::{Dtype, Layout, Matrix};
pub use mxfp4::Mxfp4;
pub use norm::{Norm, NormKind, norm};
pub use packed::{LAYOUT_VERSION, codes, pack, scales};
pub use packing::Packing;
pub use recurrent::{
    ConvShape, DeltaInputs, DeltaShape, ScanInputs, ScanShape, StateSegment, gated_delta, selective_scan, short_conv,
};
pub use shared::OutOfMemory;
pub use simd::narrow::narrow_f16;
pub use sparsity::above_mean;
pub use streams::{Streams, add_to_streams, match_rms, mix_streams};

/// Spreads a kernel's tasks over threads.
pub trait Parallel: Sync {
    /// How many tasks can make progress at the same time.
    fn threads(&self) -> usize;

    /// Calls `task` once with each number in `0..tasks`, in any order and from any thread, and returns when all are done.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));

    /// Some results were not computed or found no place: what the kernel gives is not whole, and nobody may use it. Only a
    /// mistake in the sizes that a kernel was given or worked out leads here.
    fn incomplete(&self);
}

/// Runs every task on the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }

    fn incomplete(&self) {
        unreachable!("a result without a place");
    }
}
