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

mod host;
mod house;
mod memory;
mod models;
mod runs;
mod text;
