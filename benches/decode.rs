//! One decode step after 256 tokens: beside the machine's read speed, in one shard and in three.
//!
//! A step reads every weight once, so weight bytes over read speed is the least time it can take. `read` moves
//! as many bytes with as many threads; the ratio of the two times is what the library reaches of the limit.
//! What choosing the next id from the step's logits adds: the bench `sample`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ortshard::{ModelInfo, Runtime};

fn decode(c: &mut Criterion) {
    let info = ModelInfo::read(&common::model()).unwrap();
    let prompt = common::prompt(&info);
    for (name, precision) in common::PRECISIONS {
        let mut one = common::pipeline(1, precision);
        let mut three = common::pipeline(3, precision);
        let bytes = one[0].shard().info().weight_bytes;
        common::run(&mut one, &prompt);
        common::run(&mut three, &prompt);

        let mut group = c.benchmark_group(format!("decode {name}"));
        group.sample_size(20).measurement_time(Duration::from_secs(5));
        group.throughput(Throughput::Bytes(bytes));
        let memory = vec![1_u64; bytes as usize / size_of::<u64>()];
        group.bench_function("read", |b| b.iter(|| read(&memory, Runtime::get().unwrap().threads())));
        drop(memory);
        for (name, requests) in [("one shard", &mut one), ("three shards", &mut three)] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    common::rewind(requests, common::PROMPT);
                    common::run(requests, &[1])
                });
            });
        }
    }
}

/// Reads `memory` once with `threads` threads, each walking eight parts side by side: a processor reads more streams
/// faster than one.
fn read(memory: &[u64], threads: usize) {
    const STREAMS: usize = 8;
    const STEP: usize = 32;
    std::thread::scope(|scope| {
        for part in memory.chunks(memory.len().div_ceil(threads)) {
            scope.spawn(|| {
                let stream = part.len() / STREAMS;
                let mut sums = [0_u64; STEP];
                for at in (0..stream.saturating_sub(STEP)).step_by(STEP) {
                    for start in (0..STREAMS).map(|s| s * stream + at) {
                        for (sum, value) in sums.iter_mut().zip(&part[start..start + STEP]) {
                            *sum = sum.wrapping_add(*value);
                        }
                    }
                }
                black_box(sums)
            });
        }
    });
}

criterion_group!(benches, decode);
criterion_main!(benches);
