//! The C programs of `c_tests/` pass against the shared and the static library, under gcc's sanitizers and under valgrind.
//!
//! Only the C compiler (`CC`, by default `cc`) must be there. What needs more is skipped where that is missing.

use std::process::Command;
use std::time::Instant;

use crate::c::{self, Build, Program, Setup};
use crate::common::{Model, device, process, skipped};

/// The model that tests run on unless they run on all: three layers, and stock ONNX Runtime can run it.
const MODEL: &str = "qwen3_16";

/// Tests of the numbers themselves, run on every model.
const EVERY_MODEL: &[&str] = &["whole_model", "partition", "chunks", "hidden", "speculation"];

/// Tests that load no ONNX Runtime, whose start-up valgrind would report and take minutes over.
const WITHOUT_RUNTIME: &[&str] = &[
    "constraint",
    "last_error",
    "options_versioning",
    "sampler",
    "statuses",
    "strings",
    "text_stream",
    "tokenizer",
    "chat",
    "header_c11",
];

/// Tests with threads of their own.
const ABOUT_THREADS: &[&str] = &["many_threads", "swap_under_load", "cancel", "stop_grammar", "free_order"];

/// Tests of what depends on the device. `kv_types` is not among them: caches of other types are the processor's alone.
const ON_THE_DEVICE: &[&str] = &[
    "batch",
    "cancel",
    "chain",
    "checkpoint",
    "chunks",
    "cuda_host",
    "devices",
    "frames",
    "free_order",
    "hidden",
    "long_prompt",
    "many_threads",
    "memory_limit",
    "out_of_memory",
    "partition",
    "soak",
    "speculation",
    "state",
    "swap",
    "swap_under_load",
    "two_processes",
    "whole_model",
    "without_cache",
];

fn run_all(build: Build) {
    let setup = Setup::new(build);
    let model = Model::open(MODEL);
    for name in c::programs() {
        setup.run(&setup.compile(&name), &model);
    }
}

#[test]
fn with_the_shared_library() {
    run_all(Build::Shared);
}

/// Processes that end while threads of theirs are in calls, more of them than `with_the_shared_library` tries.
#[cfg(target_os = "linux")]
#[test]
fn processes_end_well() {
    let (setup, model) = (Setup::new(Build::Exits), Model::open(MODEL));
    let program = setup.compile_as("exit", "many_exits");
    let output = process::output(setup.command(&program, &model).env("TEST_EXITS", "40"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn with_the_static_library() {
    run_all(Build::Static);
}

#[cfg(target_os = "linux")]
#[test]
fn under_sanitizers() {
    if !Setup::new(Build::Sanitized).can_compile() {
        skipped("the C compiler has no -fsanitize=address,undefined");
        return;
    }
    run_all(Build::Sanitized);
}

/// Part of `make test-gpu`.
#[test]
fn on_the_device() {
    if device::native_operators() && !c::prebuilt() {
        skipped("without ORTSHARD_TEST_DEVICE, with_the_shared_library runs the same programs");
        return;
    }
    let setup = Setup::new(Build::Device);
    let model = Model::open(MODEL);
    let mut failed = Vec::new();
    for name in ON_THE_DEVICE {
        let begin = Instant::now();
        let output = process::output(&mut setup.command(&setup.compile(name), &model));
        let said = if output.status.success() { "ok" } else { "FAILED" };
        println!("{name}.c ... {said} ({:.1} s)", begin.elapsed().as_secs_f64());
        if !output.status.success() {
            println!("{}: {}", output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?} on {}", device::name());
}

/// Part of `make threads`.
#[test]
fn under_thread_sanitizer() {
    if c::thread_sanitizer().is_none() {
        skipped("not built with ThreadSanitizer; `make threads` does that");
        return;
    }
    let setup = Setup::new(Build::Threads);
    let model = Model::open(MODEL);
    for name in ABOUT_THREADS {
        setup.run(&setup.compile(name), &model);
    }
}

#[test]
fn under_valgrind() {
    if !c::is_installed("valgrind") {
        skipped("valgrind is not installed, so nothing was run under it");
        return;
    }
    let setup = Setup::new(Build::Valgrind);
    let model = Model::open(MODEL);
    for name in WITHOUT_RUNTIME {
        setup.run(&setup.compile(name), &model);
    }
}

#[test]
fn on_every_model() {
    let setup = Setup::new(Build::EveryModel);
    let programs: Vec<Program> = EVERY_MODEL.iter().map(|name| setup.compile(name)).collect();
    for model in Model::all() {
        for program in &programs {
            setup.run(program, &model);
        }
    }
}

/// Frames of several parts: of per-layer embeddings, and of streams of hidden states.
#[test]
fn frames_of_several_parts() {
    let setup = Setup::new(Build::SeveralParts);
    let program = setup.compile("frames");
    for model in Model::those_that_run(&["gemma4_shared", "gemma3n_16"]) {
        setup.run(&program, &model);
    }
}

/// The header alone, as C11 and as C++17, and in a C and a C++ unit of one program.
#[test]
fn the_header_in_c_and_cpp() {
    c::check_header(&mut c::compiler(), &["-std=c11", "-x", "c"]);
    if !c::is_installed("c++") {
        skipped("c++ is not installed, so the header was not compiled as C++");
        return;
    }
    c::check_header(&mut Command::new("c++"), &["-std=c++17", "-x", "c++"]);
    let setup = Setup::new(Build::Header);
    setup.run(&setup.compile_two_units(), &Model::open(MODEL));
}
