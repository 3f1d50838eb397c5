//! Opening a checkpoint: folder to a shard that is ready to run; and quantising one.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, PackCache, ShardSpec};

fn load(c: &mut Criterion) {
    let spec = ShardSpec::whole(common::model().to_str().unwrap());
    let mut group = c.benchmark_group("load");
    for (name, precision) in common::PRECISIONS {
        let ready = || Engine::new(common::options(precision)).unwrap().ensure_shard(&spec, None).unwrap();
        drop(ready());
        group.bench_function(name, |b| b.iter(ready));
    }
}

/// Quantising, in bytes of the checkpoint per second, into memory.
fn pack(c: &mut Criterion) {
    let spec = ShardSpec::whole(common::model().to_str().unwrap());
    let exact = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap();
    let mut group = c.benchmark_group("pack");
    group.sample_size(10).throughput(Throughput::Bytes(exact.info().weight_bytes));
    for (name, precision) in &common::PRECISIONS[1..] {
        let options = || EngineOptions { pack_cache: PackCache::Off, ..common::options(*precision) };
        group.bench_function(*name, |b| b.iter(|| Engine::new(options()).unwrap().ensure_shard(&spec, None).unwrap()));
    }
}

criterion_group!(benches, load, pack);
criterion_main!(benches);
