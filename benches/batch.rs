//! Decode steps of many requests in one run, in tokens per second of all together.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ortshard::{Input, Logits, ModelInfo, Request, RequestOptions, Step, infer_batch};

fn batch(c: &mut Criterion) {
    let info = ModelInfo::read(&common::model()).unwrap();
    let prompt = common::prompt(&info);
    for (name, precision) in common::PRECISIONS {
        let shard = Arc::clone(common::pipeline(1, precision)[0].shard());
        let mut group = c.benchmark_group(format!("batch {name}"));
        group.sample_size(10).measurement_time(Duration::from_secs(5));
        for count in [1, 4, 16] {
            let options = RequestOptions { capacity: 512, ..RequestOptions::default() };
            let mut requests: Vec<Request> = (0..count).map(|_| Request::new(&shard, options).unwrap()).collect();
            for request in &mut requests {
                request.infer(Input::Ids(&prompt), Logits::None).unwrap();
            }
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    common::rewind(&mut requests, common::PROMPT);
                    let input = Input::Ids(&[1]);
                    let mut steps: Vec<Step> =
                        requests.iter_mut().map(|request| Step { request, input, logits: Logits::Last }).collect();
                    infer_batch(&mut steps)
                });
            });
        }
    }
}

criterion_group!(benches, batch);
criterion_main!(benches);
