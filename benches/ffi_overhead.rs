//! What the C interface adds to a run: one step of a tiny model, so that little else is measured, through `ortshard_request_infer` and through
//! `Request::infer`. The two differ by the interface alone.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a bench of the C interface")]

use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, ShardSpec};

/// `ortshard_tensor`.
#[repr(C)]
struct Tensor {
    dtype: i32,
    rank: u32,
    shape: [i64; 4],
    data: *mut c_void,
    byte_length: usize,
}

/// `ortshard_shard_spec`.
#[repr(C)]
struct Spec {
    struct_size: usize,
    model: *const c_char,
    start_layer: u32,
    end_layer: u32,
    n_layers: u32,
}

const I64: i32 = 2;
const LAST_LAYER: u32 = u32::MAX;

unsafe extern "C" {
    fn ortshard_engine_create(options: *const c_void, engine: *mut *mut c_void) -> i32;
    fn ortshard_engine_ensure_shard(
        engine: *const c_void,
        spec: *const Spec,
        progress: *const c_void,
        user_data: *mut c_void,
        shard: *mut *mut c_void,
    ) -> i32;
    fn ortshard_request_create(shard: *const c_void, options: *const c_void, request: *mut *mut c_void) -> i32;
    fn ortshard_request_infer(request: *mut c_void, input: *const Tensor, logits: i32, output: *mut Tensor) -> i32;
    fn ortshard_request_truncate(request: *mut c_void, position: u64) -> i32;
}

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
    let spec = Spec {
        struct_size: size_of::<Spec>(),
        model: path.as_ptr(),
        start_layer: 0,
        end_layer: LAST_LAYER,
        n_layers: 0,
    };
    let mut id = 1_i64;
    let data = (&raw mut id).cast();
    let input = Tensor { dtype: I64, rank: 1, shape: [1, 0, 0, 0], data, byte_length: 8 };
    let mut output = Tensor { dtype: 0, rank: 0, shape: [0; 4], data: null_mut(), byte_length: 0 };
    // SAFETY: the declarations above are those of include/ortshard.h, and all pointers are valid.
    unsafe {
        assert_eq!(ortshard_engine_create(null(), &raw mut engine), 0);
        assert_eq!(ortshard_engine_ensure_shard(engine, &raw const spec, null(), null_mut(), &raw mut shard), 0);
        assert_eq!(ortshard_request_create(shard, null(), &raw mut request), 0);
    }
    group.bench_function("c", |b| {
        b.iter(|| {
            // SAFETY: as above.
            unsafe {
                assert_eq!(ortshard_request_truncate(request, 0), 0);
                assert_eq!(ortshard_request_infer(request, &raw const input, 0, &raw mut output), 0);
            }
            output.byte_length
        });
    });
}

criterion_group!(benches, overhead);
criterion_main!(benches);
