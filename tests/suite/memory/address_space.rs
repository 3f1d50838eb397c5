//! Memory that really runs out is an answer: at load, at the KV cache and in the middle of a run the call returns
//! `OUT_OF_MEMORY`, and afterwards the same request gives the same bits. A child process caps its
//! own address space (`RLIMIT_AS`) and takes the cap away again.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "setrlimit")]

use std::sync::Arc;

use crate::common::process::{child, memory};
use crate::common::synthetic::Shape;
use crate::common::{Model, assert_same};
use ortshard::{
    Engine, EngineOptions, Error, ErrorKind, Generation, GenerationOptions, Input, Logits, Request, RequestOptions,
    SamplerOptions, Shard, ShardSpec, Site, step_batch,
};

#[test]
fn running_out_of_address_space_is_an_answer() {
    for part in ["child_load", "child_kv", "child_run", "child_generation"] {
        child(module_path!(), part, &[]);
    }
}

/// Allows this process `spare` bytes more than it has; `None`: any number.
fn cap(spare: Option<u64>) {
    let limit = spare.map_or(libc::RLIM_INFINITY, |spare| memory("VmSize") + spare);
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a plain system call on a valid struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limits) }, 0);
}

/// A wide model: its runs take megabytes, its weights little more.
fn wide(folder: &std::path::Path) -> ShardSpec {
    let positions = 1_000_000;
    Shape { layers: 1, hidden: 16, inner: 131_072, heads: 1, kv_heads: 1, vocabulary: 1000, positions }.write(folder)
}

/// `error` says that more than the `spare` bytes there were ran out at `site`.
fn assert_oom(error: &Error, site: Site, spare: u64) {
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error.chain());
    let oom = error.out_of_memory().unwrap();
    assert_eq!((oom.site, oom.device.as_str()), (site, "cpu"), "{}", error.chain());
    assert!(oom.requested > spare, "{}", error.chain());
}

fn request(shard: &Arc<Shard>, capacity: u32) -> Result<Request, Error> {
    Request::new(shard, RequestOptions { capacity, ..RequestOptions::default() })
}

#[test]
#[ignore = "a child's part"]
fn child_load() {
    let (small, folder) = (Model::open("llama_gqa"), tempfile::tempdir().unwrap());
    let spec = wide(folder.path());
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::whole(small.path.to_str().unwrap()), None).unwrap();
    let before =
        request(&shard, 64).unwrap().infer(Input::Ids(&small.prompt), Logits::All).unwrap().values().to_owned();
    cap(Some(2 << 20));
    assert_oom(&engine.ensure_shard(&spec, None).unwrap_err(), Site::Load, 2 << 20);
    assert_eq!(engine.stats().out_of_memory_load, 1);
    let resident = engine.current_shard().unwrap();
    let mut again = request(&resident, 64).unwrap();
    assert_same("after", again.infer(Input::Ids(&small.prompt), Logits::All).unwrap().values(), before.view());
    cap(None);
    engine.ensure_shard(&spec, None).unwrap();
}

#[test]
#[ignore = "a child's part"]
fn child_kv() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&wide(folder.path()), None).unwrap();
    cap(Some(64 << 20));
    assert_oom(&request(&shard, 1_000_000).unwrap_err(), Site::Kv, 64 << 20);
    assert_eq!(engine.stats().out_of_memory_kv, 1);
    request(&shard, 100).unwrap();
    cap(None);
    request(&shard, 1_000_000).unwrap();
}

#[test]
#[ignore = "a child's part"]
fn child_run() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&wide(folder.path()), None).unwrap();
    let prompt: Vec<i64> = (0..160).collect();
    let (mut request, mut other) = (request(&shard, 512).unwrap(), request(&shard, 512).unwrap());
    let _ = request.infer(Input::Ids(&prompt[..1]), Logits::Last).unwrap();
    request.truncate(0).unwrap();
    // A run of 160 rows needs 160 x 131,072 floats, 84 MB, at once: more than any reserve of the C allocator.
    cap(Some(16 << 20));
    let error = request.infer(Input::Ids(&prompt), Logits::Last).unwrap_err();
    assert_oom(&error, Site::Run, 16 << 20);
    assert_eq!((engine.stats().out_of_memory_run, request.position()), (1, 0));
    // Smaller pieces fit, even now.
    let _ = request.infer(Input::Ids(&prompt[..20]), Logits::Last).unwrap();
    request.truncate(0).unwrap();
    cap(None);
    let after = request.infer(Input::Ids(&prompt), Logits::Last).unwrap().values().to_owned();
    assert_same("after", other.infer(Input::Ids(&prompt), Logits::Last).unwrap().values(), after.view());
}

/// A step that failed gives, repeated, the token that it would have given; alone, and where it failed in a batch.
#[test]
#[ignore = "a child's part"]
fn child_generation() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&wide(folder.path()), None).unwrap();
    let generation = || {
        let sampling = SamplerOptions { temperature: 1.0, top_k: 0, repetition_penalty: 1.2, ..Default::default() };
        let options = GenerationOptions { sampling, max_new_tokens: 4, ..GenerationOptions::default() };
        let mut generation = Generation::new(vec![request(&shard, 512).unwrap()], None, options).unwrap();
        generation.append_ids(&(0..160).collect::<Vec<_>>()).unwrap();
        generation
    };
    let pull = |generation: &mut Generation| -> Vec<_> { (0..4).map(|_| generation.step().unwrap().id).collect() };
    let wanted = pull(&mut generation());
    let [mut first, mut second] = [generation(), generation()];
    cap(Some(16 << 20));
    assert_oom(&first.step().unwrap_err(), Site::Run, 16 << 20);
    for outcome in step_batch(&mut [&mut first, &mut second]) {
        assert_oom(&outcome.unwrap_err(), Site::Run, 16 << 20);
    }
    assert_eq!((first.position(), second.position()), (0, 0));
    // Smaller pieces fit, even now.
    while first.prefill(20).unwrap() > 1 {}
    assert_eq!(pull(&mut first), wanted);
    cap(None);
    assert_eq!(pull(&mut second), wanted);
}
