//! A frame.

use std::sync::LazyLock;

use ortshard::{
    Engine, EngineOptions, Frame, FrameOptions, Input, Logits, Request, RequestOptions, ShardSpec, Step, infer_batch,
};
use twox_hash::XxHash3_64;

use super::{repository, sound};

const CAPACITY: u32 = 8;

/// A request on the second shard that has run two tokens, which each input begins with a fork of; the frame of the third token; and the
/// ids that they are.
static NEXT: LazyLock<(Request, Vec<u8>)> = LazyLock::new(|| {
    let model = repository("tests/models/mistral_window");
    let request = |first, last| {
        let spec = ShardSpec::layers(model.to_str().unwrap(), first, last);
        let shard = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap();
        Request::new(&shard, RequestOptions { capacity: CAPACITY, ..RequestOptions::default() }).unwrap()
    };
    let (mut front, mut back) = (request(0, 0), request(1, ShardSpec::LAST));
    let mut frame =
        |ids: &[i64]| front.infer_frame(Input::Ids(ids), FrameOptions::default()).unwrap().to_vec().unwrap();
    let (first, next) = (frame(&[5, 6]), frame(&[7]));
    back.infer(Input::Frame(&Frame::read(&first).unwrap()), Logits::None).unwrap();
    (back, next)
});

/// Bytes up to the hash, and up to what it is of.
const HASH: usize = 24;

/// The first byte says whether the rest is a whole frame; a sound one from the byte on that the second says, with the right size and
/// hash; or changes to the sound frame, a place and a byte each, with the right hash.
pub fn run(data: &[u8]) {
    let (request, next) = &*NEXT;
    let Some((kind, rest)) = data.split_first() else { return };
    let mut frame = match kind % 3 {
        0 => rest.to_vec(),
        1 => {
            let (from, rest) = rest.split_first().unwrap_or((&0, &[]));
            let sound = usize::from(*from).clamp(Frame::START, next.len());
            [&next[..sound], rest].concat()
        }
        _ => {
            let mut frame = next.clone();
            for change in rest.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
                let len = frame.len();
                frame[at % len] = change[2];
            }
            frame
        }
    };
    if kind % 3 != 0 {
        let size = frame.len() as u64;
        frame[16..HASH].copy_from_slice(&size.to_le_bytes());
        let hash = XxHash3_64::oneshot(&frame[Frame::START..]);
        frame[HASH..Frame::START].copy_from_slice(&hash.to_le_bytes());
    }
    if let Some(size) = sound(Frame::size(&frame)) {
        assert!(size >= Frame::START as u64);
    }
    let Some(read) = sound(Frame::read(&frame)) else { return };
    assert_eq!(Frame::size(&frame).unwrap(), frame.len() as u64);
    for part in read.parts() {
        assert_eq!(part.values().len(), read.tokens() * part.width);
        assert_eq!(part.bytes.len(), part.values().len() * part.dtype.size());
        assert!(frame.as_ptr_range().contains(&part.bytes.as_ptr()));
    }
    let mut request = request.fork().unwrap();
    let (before, input) = (request.position(), Input::Frame(&read));
    let ran = sound(request.infer(input, Logits::Last).map(drop)).is_some();
    // What is run is what follows: nothing else is.
    assert!(!ran || (read.position(), read.layer()) == (before, 0));
    assert_eq!(request.position(), if ran { before + read.tokens() } else { before });
    request.truncate(before).unwrap();
    let mut step = [Step { request: &mut request, input, logits: Logits::Last }];
    assert_eq!(sound(infer_batch(&mut step).remove(0)).is_some(), ran);
}
