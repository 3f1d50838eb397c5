//! What a frame costs beside its bytes: 8 KiB of hidden states through a Unix socket to another thread, which answers with one byte. As
//! they are; and as a frame that is written, sent in pieces, received, checked and read.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot start stops")]

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Engine, EngineOptions, Frame, FrameOptions, Input, PartType, Request, RequestOptions, ShardSpec};

const BYTES: usize = 8 << 10;

/// A thread that answers with one byte to what `take` takes from the socket.
fn answering(mut take: impl FnMut(&mut UnixStream) -> std::io::Result<()> + Send + 'static) -> UnixStream {
    let (near, mut far) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        while take(&mut far).is_ok() {
            far.write_all(&[1]).unwrap();
        }
    });
    near
}

fn answer(socket: &mut UnixStream) {
    socket.read_exact(&mut [0]).unwrap();
}

fn through_a_socket(c: &mut Criterion) {
    let mut group = c.benchmark_group("8 KiB through a Unix socket");
    group.measurement_time(Duration::from_secs(5));

    let values = vec![1_u8; BYTES];
    let mut buffer = vec![0; BYTES];
    let mut socket = answering(move |far| far.read_exact(&mut buffer));
    group.bench_function("as they are", |b| {
        b.iter(|| {
            socket.write_all(&values).unwrap();
            answer(&mut socket);
        });
    });

    // As many tokens as give 8 KiB, whatever the model's width.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256");
    let spec = ShardSpec::layers(model, 0, 0);
    let shard = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap();
    for (name, dtype) in [("as a frame", PartType::F32), ("as a frame of 16 KiB in half precision", PartType::F16)] {
        let options = FrameOptions { hidden_states: dtype, ..FrameOptions::default() };
        let tokens = BYTES / dtype.size() / shard.info().hidden_size as usize;
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        let ids: Vec<i64> = (0..tokens as i64).map(|id| id % i64::from(shard.info().vocab_size)).collect();
        request.infer_frame(Input::Ids(&ids), options).unwrap();
        let mut memory = vec![0_u64; BYTES];
        let mut socket = answering(move |far| {
            let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
            far.read_exact(&mut memory[..Frame::START])?;
            let size = Frame::size(&memory[..Frame::START]).unwrap() as usize;
            far.read_exact(&mut memory[Frame::START..size])?;
            let frame = Frame::read(&memory[..size]).unwrap();
            assert!(frame.parts()[0].values().len() * dtype.size() <= BYTES);
            Ok(())
        });
        group.bench_function(name, |b| {
            b.iter(|| {
                let frame = request.frame(options).unwrap();
                let pieces: Vec<IoSlice> = frame.pieces().map(IoSlice::new).collect();
                let sent = socket.write_vectored(&pieces).unwrap();
                assert_eq!(sent, frame.size());
                answer(&mut socket);
            });
        });
    }
}

criterion_group!(benches, through_a_socket);
criterion_main!(benches);
