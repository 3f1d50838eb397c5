//! What the C interface adds to a run: one step of a tiny model, so that little else is measured, through `ortshard_request_infer` and through
//! `Request::infer`. The two differ by the interface alone.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a bench of the C interface")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::c_interface::{
    ORTSHARD_DTYPE_I64, ORTSHARD_LOGITS_LAST, ortshard_engine_create, ortshard_engine_ensure_shard,
    ortshard_request_create, ortshard_request_infer, ortshard_request_truncate, ortshard_shard_spec,
    ortshard_shard_spec_init, ortshard_tensor,
};
use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, ShardSpec};

fn overhead(c: &mut Criterion) {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/mistral_full");
    let mut group = c.benchmark_group("ffi");
    group.measurement_time(Duration::from_secs(10));

    let shard = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&ShardSpec::whole(model), None).unwrap();
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    group.bench_function("rust", |b| {
        b.iter(|| {
            request.truncate(0).unwrap();
            request.infer(Input::Ids(&[1]), Logits::Last).unwrap().values().len()
        });
    });

    let path = CString::new(model).unwrap();
    let (mut engine, mut shard, mut request) = (null_mut(), null_mut(), null_mut());
    let mut spec = MaybeUninit::uninit();
    let mut id = 1_i64;
    let (data, byte_length) = ((&raw mut id).cast(), size_of::<i64>());
    let input = ortshard_tensor { dtype: ORTSHARD_DTYPE_I64, rank: 1, shape: [1, 0, 0, 0], data, byte_length };
    let mut output = ortshard_tensor { dtype: 0, rank: 0, shape: [0; 4], data: null_mut(), byte_length: 0 };
    // SAFETY: all pointers are valid.
    unsafe {
        assert_eq!(ortshard_shard_spec_init(spec.as_mut_ptr(), size_of::<ortshard_shard_spec>()), 0);
        let mut spec = spec.assume_init();
        spec.model = path.as_ptr();
        assert_eq!(ortshard_engine_create(null(), &raw mut engine), 0);
        assert_eq!(ortshard_engine_ensure_shard(engine, &raw const spec, None, null_mut(), &raw mut shard), 0);
        assert_eq!(ortshard_request_create(shard, null(), &raw mut request), 0);
    }
    group.bench_function("c", |b| {
        b.iter(|| {
            // SAFETY: as above.
            unsafe {
                assert_eq!(ortshard_request_truncate(request, 0), 0);
                assert_eq!(ortshard_request_infer(request, &raw const input, ORTSHARD_LOGITS_LAST, &raw mut output), 0);
            }
            output.byte_length
        });
    });
}

criterion_group!(benches, overhead);
criterion_main!(benches);
