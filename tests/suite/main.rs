//! All tests that use the library from outside, as one program: it is compiled and linked once.
//!
//! A module is about one promise, its first sentence; tests/README.md is the table of them. Tests run side by side in this
//! process, so what depends on the whole process (its environment, its limits, its memory) runs in a child:
//! `common::process::child`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]
#![allow(clippy::cast_precision_loss, reason = "test values are small")]
#![allow(clippy::needless_pass_by_value, reason = "array views are references")]

mod c;
mod common;

mod address_space;
mod batch;
mod bindings;
mod c_tests;
mod chain;
mod checkpoints;
mod cleanup;
mod configs;
mod corpus;
mod devices;
mod estimate;
mod export;
mod generate;
mod header;
mod kv_types;
mod layering;
mod long_texts;
mod mapped_weights;
mod memory_limit;
mod offline;
mod parity;
mod partitions;
mod patterns;
mod precision;
mod promises;
mod readme;
mod runtimes;
mod sampler;
mod special_tokens;
mod state;
mod swaps;
mod text;
mod threads;
mod tied_head;
mod windows;
mod without_cache;
