//! A library that is no ONNX Runtime, or too old or too new, is refused with the reason, and a good one loads afterwards.
//!
//! A process loads one ONNX Runtime for good, so each test runs this very program again as a child with its own environment;
//! `child_*` are the children's parts.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common;
use crate::common::process::child;
use ortshard::{Engine, EngineOptions, ErrorKind, Runtime, RuntimeOptions, ShardSpec};

/// A shared library made of `source`.
fn library(folder: &Path, source: &str) -> PathBuf {
    let (c, so) = (folder.join("fake.c"), folder.join("libonnxruntime.so"));
    std::fs::write(&c, source).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(compiler).arg("-shared").arg("-fPIC").arg(&c).arg("-o").arg(&so).status().unwrap();
    assert!(status.success());
    so
}

/// An ONNX Runtime that says it is `version` and has no API.
fn fake(version: &str) -> String {
    format!(
        "static const void *api(unsigned v) {{ (void)v; return 0; }}\n\
         static const char *version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};\n\
         const void *OrtGetApiBase(void) {{ return &base; }}\n"
    )
}

#[test]
fn a_missing_library_is_named_with_the_variable() {
    child(module_path!(), "child_not_found", &[("ORTSHARD_ONNXRUNTIME", "/nonexistent/libonnxruntime.so")]);
}

#[test]
#[ignore = "a child's part"]
fn child_not_found() {
    let error = Engine::new(EngineOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RuntimeNotFound);
    for part in ["ORTSHARD_ONNXRUNTIME", "/nonexistent/libonnxruntime.so"] {
        assert!(error.chain().contains(part), "{}", error.chain());
    }
    // The failure is not for good: a usable library loads afterwards.
    let library = common::root().join("target/onnxruntime/libonnxruntime.so");
    if library.exists() {
        Runtime::load(&RuntimeOptions { library: Some(library), ..RuntimeOptions::default() }).unwrap();
        Engine::new(EngineOptions::default()).unwrap();
    }
}

#[test]
fn libraries_that_are_too_old_or_none_are_refused() {
    for (source, why) in [
        (fake("1.20.1"), "1.20.1"),
        (fake("2.0.0"), "2.0.0"),
        (fake("1.31.0"), "does not offer API"),
        (fake("banana"), "banana"),
        ("int x;".to_owned(), "OrtGetApiBase"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = library(folder.path(), &source);
        child(module_path!(), "child_refused", &[("ORTSHARD_ONNXRUNTIME", path.to_str().unwrap()), ("EXPECTED", why)]);
    }
}

#[test]
#[ignore = "a child's part"]
fn child_refused() {
    let error = Runtime::get().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RuntimeNotFound);
    let expected = std::env::var("EXPECTED").unwrap();
    assert!(error.chain().contains(&expected), "{} does not mention {expected}", error.chain());
}

#[test]
fn without_any_the_error_lists_what_was_tried() {
    child(
        module_path!(),
        "child_search",
        &[("ORTSHARD_ONNXRUNTIME", ""), ("ORT_DYLIB_PATH", ""), ("LD_LIBRARY_PATH", "")],
    );
}

#[test]
#[ignore = "a child's part"]
fn child_search() {
    // A machine may have ONNX Runtime installed for all; then the search rightly finds it.
    if let Err(error) = Runtime::get() {
        assert_eq!(error.kind(), ErrorKind::RuntimeNotFound);
        let text = error.chain();
        assert!(text.contains("`libonnxruntime.so`") && text.contains("/deps/libonnxruntime.so"), "{text}");
    }
}

#[test]
fn loading_leaves_no_files_and_shares_one_pool() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_str().unwrap();
    child(module_path!(), "child_loaded", &[("HOME", path), ("XDG_CACHE_HOME", path), ("ORTSHARD_THREADS", "3")]);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "telemetry left files behind");
}

#[test]
#[ignore = "a child's part"]
fn child_loaded() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let model = common::root().join("tests/models/llama_gqa");
    let open = || {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        engine.ensure_shard(&ShardSpec::whole(model.to_str().unwrap()), None).unwrap();
        engine
    };
    let first = open();
    assert_eq!(Runtime::get().unwrap().threads(), 3);
    assert_eq!(std::env::var("ORT_DISABLE_TELEMETRY").as_deref(), Ok("1"));
    let with_one = threads();
    let others: Vec<_> = (0..4).map(|_| open()).collect();
    assert_eq!(threads(), with_one, "each session would have brought threads of its own");
    drop((first, others));

    // The first load decides for the process.
    let other = RuntimeOptions { threads: 2, ..RuntimeOptions::default() };
    assert_eq!(Runtime::load(&other).unwrap_err().kind(), ErrorKind::InvalidState);
    let other = RuntimeOptions { library: Some("/other.so".into()), ..RuntimeOptions::default() };
    assert_eq!(Runtime::load(&other).unwrap_err().kind(), ErrorKind::InvalidState);
    Runtime::load(&RuntimeOptions { threads: 3, ..RuntimeOptions::default() }).unwrap();
}
