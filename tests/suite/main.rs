//! All tests that use the library from outside, as one program: it is compiled and linked once.
//!
//! A module is a promise or a scenario; `tests/README.md` is the table. Tests run side by side in this process, so what depends
//! on the whole process (its environment, its limits, its memory) runs in a child: `common::process::child`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]
#![allow(clippy::cast_precision_loss, reason = "test values are small")]
#![allow(clippy::needless_pass_by_value, reason = "array views are references")]

mod c;
mod common;

mod batch;
mod c_tests;
mod chain;
mod checkpoints;
mod configs;
mod corpus;
mod export;
mod generate;
mod header;
mod kv_types;
mod layering;
mod long_texts;
mod mapped_weights;
mod parity;
mod patterns;
mod precision;
mod sampler;
mod scenario_01_swaps;
mod scenario_03_address_space;
mod scenario_03_estimate;
mod scenario_03_memory_limit;
mod scenario_04_offline;
mod scenario_05_runtimes;
mod scenario_07_threads;
mod scenario_08_partitions;
mod scenario_09_without_cache;
mod scenario_10_state;
mod scenario_12_devices;
mod scenario_13_cleanup;
mod scenarios;
mod special_tokens;
mod text;
mod tied_head;
