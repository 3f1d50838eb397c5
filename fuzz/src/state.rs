//! A request's exported state.

use std::sync::{Arc, LazyLock};

use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, Shard, ShardSpec};
use sha2::{Digest, Sha256};

use super::{repository, sound};

const CAPACITY: u32 = 8;

/// Shards, one of whose layers has a window and one whose layers have states of fixed size, and what every state of each begins with:
/// all but the numbers, what layers keep and the hash.
static SHARDS: LazyLock<[(Arc<Shard>, Vec<u8>); 2]> = LazyLock::new(|| {
    [("mistral_window", 0), ("lfm2_conv", 2)].map(|(model, last)| {
        let model = repository(&format!("tests/models/{model}"));
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let shard = engine.ensure_shard(&ShardSpec::layers(model.to_str().unwrap(), 0, last), None).unwrap();
        let mut head = request(&shard).export_state().unwrap();
        head.truncate(HEAD);
        (shard, head)
    })
});

/// Magic, version and fingerprint.
const HEAD: usize = 8 + 4 + 32;

fn request(shard: &Arc<Shard>) -> Request {
    Request::new(shard, RequestOptions { capacity: CAPACITY, ..RequestOptions::default() }).unwrap()
}

/// The first byte says whether the rest is a whole state, or numbers and what layers keep between a sound head and hash; and of which
/// shard.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let (shard, head) = &SHARDS[usize::from(kind / 2 % 2)];
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
        Some(()) => {
            let since = u64::from_le_bytes(*state[HEAD..].first_chunk().unwrap());
            assert_eq!(request.export_state_since(since as usize).unwrap(), state);
        }
        None => assert_eq!(request.position(), 2),
    }
    sound(request.infer(Input::Ids(&[7]), Logits::Last));
    assert!(request.position() <= CAPACITY as usize);
}
