//! What was taken is given back: after clear the process is as large as before. (`c_tests/memory/soak.c` swaps 500 times.)
#![cfg(target_os = "linux")]

use crate::common::process::{child, mapped, memory};
use crate::common::synthetic::Shape;
use crate::common::{Model, device};
use ortshard::{Engine, Input, Logits, Request, RequestOptions};

#[test]
fn after_clear_the_process_is_as_large_as_before() {
    // glibc's malloc_trim leaves the ends of other threads' heaps as they are, and a test runs on another thread.
    child(module_path!(), "child_clears", &[("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")]);
}

#[test]
#[ignore = "a child's part"]
fn child_clears() {
    let folder = tempfile::tempdir().unwrap();
    let positions = 1024;
    let shape = Shape { layers: 4, hidden: 256, inner: 4096, heads: 4, kv_heads: 4, vocabulary: 4096, positions };
    let spec = shape.write(folder.path());
    // ONNX Runtime and the kernels' scratch memory come with the first run and stay.
    Model::open("llama_256").whole().run(&[1; 200], Logits::Last);
    let resident = || memory("RssAnon") + memory("RssFile");
    let engine = Engine::new(device::options()).unwrap();
    let baseline = resident();
    let options = RequestOptions { capacity: 1024, ..RequestOptions::default() };
    for _ in 0..3 {
        let shard = engine.ensure_shard(&spec, None).unwrap();
        let (mut one, mut two) = (Request::new(&shard, options).unwrap(), Request::new(&shard, options).unwrap());
        for request in [&mut one, &mut two] {
            let _ = request.infer(Input::Ids(&[1; 600]), Logits::Last).unwrap();
        }
        let loaded = resident();
        // A GPU's memory is none of the process's.
        let grown = loaded > baseline + shape_bytes(&engine);
        assert!(grown || !device::in_this_process(), "{loaded} bytes, {baseline} before");
        // Handles are alive. What they stand for is not, but for the outputs, which a program may still read.
        engine.clear().unwrap();
        let outputs = 2 * shape.vocabulary * size_of::<f32>();
        assert_eq!((engine.memory_used(), mapped(folder.path()).size), (outputs as u64, 0));
        let cleared = resident();
        assert!(cleared <= baseline + baseline / 20, "{cleared} bytes resident, {baseline} before");
    }
}

/// Bytes that the resident shard's weights and two full requests keep at least.
fn shape_bytes(engine: &Engine) -> u64 {
    let shard = engine.current_shard().unwrap();
    shard.info().weight_bytes + 2 * 600 * shard.info().kv_bytes_per_token
}
