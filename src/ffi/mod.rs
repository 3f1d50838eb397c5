//! The C API: a thin skin over the public Rust API, and the only `extern "C"` of the crate.
//!
//! build.rs writes `include/ortshard.h` from this folder with cbindgen, and `include/ortshard.json` with the same facts
//! for programs: `preamble.h`, then one section for each file that build.rs lists and that has a `//!` text, which is the
//! section's introduction. `///` is the documentation of an item. `constants!` become C enums, `initial!` a macro and a
//! function. So all of these speak to the C reader; what concerns only us is in `//`, or in `frame`, which C does not
//! see.
//!
//! Every function has the same frame: `guard` catches panics and records the error, for the thread and for the object that the
//! function is [`on`](frame::guard::on); `handle`, `strings`, `buffers`, `out` and `versioned` check and convert what crosses
//! the boundary, and one call into the Rust API does the work. What makes the raw pointers sound is the contract that the
//! header's introduction states once: a pointer is NULL or points to what its type says, handles come from this library and
//! are not used after they were freed.
#![allow(unsafe_code, reason = "this is the C boundary")]
#![allow(clippy::missing_safety_doc, reason = "the header's introduction says it once")]
#![allow(unreachable_pub, reason = "build.rs reads only what is pub")]
#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links, reason = "the documentation is the C header's")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test panics"))]
#![allow(non_camel_case_types, reason = "the types have their C names")]

mod basics;
mod engine;
mod frame;
mod generation;
mod host;
mod run;
mod text;

// What `c_interface` shows.
pub use basics::constants::ORTSHARD_DTYPE_I64;
pub use engine::lifecycle::{ortshard_engine_create, ortshard_engine_ensure_shard};
pub use engine::spec::{ortshard_shard_spec, ortshard_shard_spec_init};
pub use generation::generated::ortshard_step_init;
pub use generation::lifecycle::{ortshard_generation_append_ids, ortshard_generation_free, ortshard_generation_open};
pub use generation::options::{ortshard_generation_options, ortshard_generation_options_init};
pub use generation::step::ortshard_generation_step;
pub use run::request::{ortshard_request_create, ortshard_request_infer, ortshard_request_truncate};
pub use run::request_options::ORTSHARD_LOGITS_LAST;
pub use run::tensor::ortshard_tensor;
pub use text::constraint::ORTSHARD_GRAMMAR_REGEX;
pub use text::sampler::{ortshard_bias, ortshard_sampler_options_init};
pub use text::text_stream::{ortshard_text_stream_create, ortshard_text_stream_free, ortshard_text_stream_push};
pub use text::tokenizer::{ortshard_tokenizer_free, ortshard_tokenizer_open};
