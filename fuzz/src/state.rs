//! A request's exported state.

use std::sync::{Arc, LazyLock};

use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, Shard, ShardSpec};
use sha2::{Digest, Sha256};

use super::{repository, sound};

const CAPACITY: u32 = 8;

/// A shard and what every state of it begins with: all but the numbers, the rows and the hash.
static SHARD: LazyLock<(Arc<Shard>, Vec<u8>)> = LazyLock::new(|| {
    let model = repository("tests/models/mistral_window");
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::layers(model.to_str().unwrap(), 0, 0), None).unwrap();
    let mut head = request(&shard).export_state().unwrap();
    head.truncate(head.len() - HASH - NUMBERS);
    (shard, head)
});

/// The position, and whether the text is a long one.
const NUMBERS: usize = 16;
const HASH: usize = 32;

fn request(shard: &Arc<Shard>) -> Request {
    Request::new(shard, RequestOptions { capacity: CAPACITY, ..RequestOptions::default() }).unwrap()
}

/// The first byte says whether the rest is a whole state, or numbers and rows between a sound head and hash.
pub fn run(data: &[u8]) {
    let (shard, head) = &*SHARD;
    let Some((kind, rest)) = data.split_first() else { return };
    let state = if kind % 2 == 0 {
        rest.to_vec()
    } else {
        let mut state = [head, rest].concat();
        let hash = Sha256::digest(&state);
        state.extend_from_slice(&hash);
        state
    };
    let mut request = request(shard);
    request.infer(Input::Ids(&[5, 6]), Logits::Last).unwrap();
    match sound(request.import_state(&state)) {
        Some(()) => assert_eq!(request.export_state().unwrap(), state),
        None => assert_eq!(request.position(), 2),
    }
    sound(request.infer(Input::Ids(&[7]), Logits::Last));
    assert!(request.position() <= CAPACITY as usize);
}
