//! Runs any contiguous range of a language model's layers (a *shard*) on ONNX Runtime.
//!
//! An [`Engine`] loads a [`Shard`]; a [`Request`] on it takes ids or hidden states ([`Request::infer`]) and gives hidden states or
//! logits; a [`Sampler`] chooses an id from logits, and a [`TextStream`] turns ids into text. A [`Generation`] does all of this for a text.
//!
//! On other devices than the processor the graph is written in stock operators, those that ONNX Runtime brings, and a decode step is
//! bound once to places on the device that stay; [`infer_chain`] leaves hidden states there, [`next_token`] all logits but the largest.
//!
//! Three ideas carry the design. A shard is *written, not exported*: the graph of exactly its layers is made from
//! config.json and reads the checkpoint's tensors where they lie in the mapped files. A shard is immutable and shared;
//! a request is mutable and owned. And every partition of a model computes the same bits as the whole.

mod chat;
pub mod engine;
mod ffi;
mod generation;
mod grammar;
mod graph;
mod json;
mod kept;
mod model;
mod plan;
mod runtime;
mod source;
#[cfg(test)]
#[path = "../tests/suite/common/testing.rs"]
mod testing;
mod tokenizer;
mod weights;

// Packages of their own in src/: the kernels, so that tests compile them once and optimised; the sampler, so that it is compiled
// for speed where all else here is for size; and the error, which the sampler needs too.
use ortshard_error as error;
use ortshard_kernels as kernels;
use ortshard_sampler as sampler;

/// The C interface as Rust sees it, for those who measure what it costs. No part of the Rust API.
#[doc(hidden)]
pub mod c_interface {
    pub use crate::ffi::{
        ORTSHARD_DTYPE_I64, ORTSHARD_GRAMMAR_REGEX, ORTSHARD_LOGITS_LAST, ortshard_bias, ortshard_engine_create,
        ortshard_engine_ensure_shard, ortshard_generation_append_ids, ortshard_generation_free,
        ortshard_generation_open, ortshard_generation_options, ortshard_generation_options_init,
        ortshard_generation_step, ortshard_request_create, ortshard_request_infer, ortshard_request_truncate,
        ortshard_sampler_options_init, ortshard_shard_spec, ortshard_shard_spec_init, ortshard_step_init,
        ortshard_tensor, ortshard_text_stream_create, ortshard_text_stream_free, ortshard_text_stream_push,
        ortshard_tokenizer_free, ortshard_tokenizer_open,
    };
}

pub use chat::{ChatEvent, ChatFormat, ChatMessage, ChatOptions, ChatParser};
pub use engine::{
    AuditedFile, Beyond, Boundary, CancelHandle, Device, DeviceInfo, Engine, EngineOptions, EngineStats, Estimate,
    FileState, Frame, FrameOptions, FramePart, FramePieces, Input, KvType, Logits, ModelInfo, OnProgress, Output,
    PackCache, PartType, PlanDevice, PlanOptions, PlanStage, Precision, Progress, Request, RequestOptions, Role,
    SampleStep, Shard, ShardInfo, ShardSpec, Stage, Step, WeightType, infer_batch, infer_chain, next_token,
    next_tokens,
};
pub use error::{Error, ErrorKind, OutOfMemory, Result, Site};
pub use generation::{
    Finish, Generated, Generation, GenerationCancel, GenerationOptions, Ran, RemoteModel, StopStrings, step_batch,
};
pub use grammar::{Grammar, GrammarConstraint};
pub use runtime::{Runtime, RuntimeOptions};
pub use sampler::{Bias, Constraint, Sampler, SamplerOptions};
pub use source::{Fetch, NetworkOptions, SourceOptions};
pub use tokenizer::{EncodeOptions, TextStream, Tokenizer};
