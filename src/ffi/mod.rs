//! The C API: a thin skin over the public Rust API, and the only `extern "C"` of the crate.
//!
//! `build.rs` writes `include/ortshard.h` from this folder: `preamble.h`, then one section for each file it lists. A
//! file's `//!` text is its section's introduction, `///` the documentation of an item, and lines that begin with
//! `//#` go into the header as they are. So all of these speak to the C reader; what concerns only us is in `//`.
//!
//! Every function has the same frame: [`guard`] catches panics and records the error, [`handle`], [`strings`],
//! [`buffers`] and [`options`] check and convert what crosses the boundary, and one call into the Rust API does the
//! work. What makes the raw pointers sound is the contract that the header's introduction states once: a pointer is
//! NULL or points to what its type says, handles come from this library and are not used after they were freed.
#![allow(unsafe_code, reason = "this is the C boundary")]
#![allow(clippy::missing_safety_doc, reason = "the header's introduction says it once")]
#![allow(unreachable_pub, reason = "cbindgen reads only what is pub")]
#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links, reason = "the documentation is the C header's")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test panics"))]
#![allow(non_camel_case_types, reason = "the types have their C names")]

mod buffers;
mod guard;
mod handle;
mod objects;
mod options;
mod strings;

mod audit;
mod batch;
mod chain;
mod checkpoint;
mod device;
mod engine;
mod estimate;
mod fetch;
mod last_error;
mod log;
mod lookup;
mod model;
mod next_token;
mod request;
mod runtime;
mod sampler;
mod shard;
mod state;
mod stats;
mod status;
mod tensor;
mod text_stream;
mod tokenizer;
mod version;

// What `c_interface` shows.
pub use engine::{ortshard_engine_create, ortshard_engine_ensure_shard, ortshard_shard_spec, ortshard_shard_spec_init};
pub use request::{ORTSHARD_LOGITS_LAST, ortshard_request_create, ortshard_request_infer, ortshard_request_truncate};
pub use tensor::{ORTSHARD_DTYPE_I64, ortshard_tensor};
