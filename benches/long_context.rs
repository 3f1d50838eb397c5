//! One decode step after a long context, for every type of KV cache beside each other.
//!
//! The model is small and its caches are large (16 KB a token in float32), so that a step is the attention over them; what the
//! weights take is the step without a context.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/suite/common/synthetic.rs"]
#[allow(dead_code, reason = "a part is used")]
mod synthetic;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, Input, KvType, Logits, Request, RequestOptions};
use synthetic::Shape;

const CONTEXTS: [usize; 3] = [1, 4096, 16384];

const SHAPE: Shape =
    Shape { layers: 4, hidden: 1024, inner: 256, heads: 16, kv_heads: 8, vocabulary: 256, positions: 16385 };

fn long_context(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let spec = SHAPE.write(folder.path());
    let prompt: Vec<i64> = (0..CONTEXTS[2] as i64).map(|i| i * 7919 % 256).collect();
    let mut requests = [("f32", KvType::F32), ("f16", KvType::F16), ("int8", KvType::Int8)].map(|(name, kv_type)| {
        let engine = Engine::new(EngineOptions { kv_type, ..EngineOptions::default() }).unwrap();
        let shard = engine.ensure_shard(&spec, None).unwrap();
        let options = RequestOptions { capacity: SHAPE.positions as u32, ..RequestOptions::default() };
        (name, Request::new(&shard, options).unwrap())
    });
    for tokens in CONTEXTS {
        let mut group = c.benchmark_group(format!("decode after {tokens}"));
        group.sample_size(30).measurement_time(Duration::from_secs(5));
        for (name, request) in &mut requests {
            let done = request.position();
            let _ = request.infer(Input::Ids(&prompt[done..tokens]), Logits::None).unwrap();
            let bytes = request.shard().info().kv_bytes_per_token * tokens as u64;
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(*name, |b| {
                b.iter(|| {
                    let _ = request.infer(Input::Ids(&[1]), Logits::Last).unwrap();
                    request.truncate(tokens).unwrap();
                });
            });
        }
    }
}

criterion_group!(benches, long_context);
criterion_main!(benches);
