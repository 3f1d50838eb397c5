//! What a frame costs beside its bytes: 8 KiB of hidden states through a Unix socket, as they are; and as a frame that is written, sent in
//! pieces, received, checked and read. One thread does both ends, so that no switch between threads is measured.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot start stops")]

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, Frame, FrameOptions, Input, PartType, Request, RequestOptions, ShardSpec};

const BYTES: usize = 8 << 10;

fn through_a_socket(c: &mut Criterion) {
    let mut group = c.benchmark_group("8 KiB through a Unix socket");
    group.measurement_time(Duration::from_secs(5));
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut words = vec![0_u64; BYTES];
    let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut words);

    let values = vec![1_u8; BYTES];
    group.bench_function("as they are", |b| {
        b.iter(|| {
            near.write_all(&values).unwrap();
            far.read_exact(&mut memory[..BYTES]).unwrap();
        });
    });

    // As many tokens as give 8 KiB, whatever the model's width.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256");
    let spec = ShardSpec::layers(model, 0, 0);
    let shard = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap();
    for (name, dtype) in [("as a frame", PartType::F32), ("as a frame, 4,096 values in half precision", PartType::F16)]
    {
        let options = FrameOptions { hidden_states: dtype, ..FrameOptions::default() };
        let tokens = BYTES / dtype.size() / shard.info().hidden_size as usize;
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        let ids: Vec<i64> = (0..tokens as i64).map(|id| id % i64::from(shard.info().vocab_size)).collect();
        request.infer_frame(Input::Ids(&ids), options).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                let frame = request.frame(options).unwrap();
                let pieces: Vec<IoSlice> = frame.pieces().map(IoSlice::new).collect();
                assert_eq!(near.write_vectored(&pieces).unwrap(), frame.size());
                far.read_exact(&mut memory[..Frame::START]).unwrap();
                let size = Frame::size(&memory[..Frame::START]).unwrap() as usize;
                far.read_exact(&mut memory[Frame::START..size]).unwrap();
                Frame::read(&memory[..size]).unwrap().parts()[0].values().len()
            });
        });
    }
}

criterion_group!(benches, through_a_socket);
criterion_main!(benches);
