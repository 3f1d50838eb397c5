//! Opening a checkpoint: folder to a shard that is ready to run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, ShardSpec};

fn load(c: &mut Criterion) {
    let spec = ShardSpec::whole(common::model().to_str().unwrap());
    c.bench_function("load/whole model", |b| {
        b.iter(|| Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap());
    });
}

criterion_group!(benches, load);
criterion_main!(benches);
