//! A prompt of 256 tokens, in tokens per second.
#![allow(missing_docs, reason = "a bench")]

mod common;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ortshard::ModelInfo;

fn prefill(c: &mut Criterion) {
    let Ok(info) = ModelInfo::read(&common::model()) else { return };
    let prompt = common::prompt(&info);
    let mut group = c.benchmark_group("prefill");
    group.throughput(Throughput::Elements(common::PROMPT as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for (name, precision) in common::PRECISIONS {
        let mut requests = common::pipeline(1, precision);
        group.bench_function(name, |b| {
            b.iter(|| {
                common::rewind(&mut requests, 0);
                common::run(&mut requests, &prompt)
            });
        });
    }
}

criterion_group!(benches, prefill);
criterion_main!(benches);
