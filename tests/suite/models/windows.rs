//! Promise: a layer that sees a window of tokens keeps that and some slack behind it, not the whole context, and no bit shows it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Model, assert_same};
use ndarray::{Array2, s};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, KvType, Logits, Request, RequestOptions, Shard, ShardSpec, infer_chain,
};

/// Tokens, enough for windows to move on several times.
const TOKENS: usize = 900;
/// What a request can go back at least.
const SLACK: usize = 256;

/// A copy of a tiny model for longer contexts than it was made for.
fn long(name: &str) -> tempfile::TempDir {
    let (model, folder) = (Model::as_stored(name), tempfile::tempdir().unwrap());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(model.path.join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = 4096.into();
    std::fs::write(path, config.to_string()).unwrap();
    folder
}

fn shard(folder: &Path, kv_type: KvType, first: u32, last: u32) -> Arc<Shard> {
    let engine = Engine::new(EngineOptions { kv_type, ..EngineOptions::default() }).unwrap();
    engine.ensure_shard(&ShardSpec::layers(folder.to_str().unwrap(), first, last), None).unwrap()
}

fn request(shard: &Arc<Shard>, prefill_chunk: u32) -> Request {
    Request::new(shard, RequestOptions { capacity: 2048, prefill_chunk, ..RequestOptions::default() }).unwrap()
}

fn ids() -> Vec<i64> {
    (0..TOKENS as i64).map(|i| (i * i + 7 * i) % 23).collect()
}

fn logits(request: &mut Request, ids: &[i64]) -> Array2<f32> {
    request.infer(Input::Ids(ids), Logits::All).unwrap().values().to_owned()
}

/// Requests whose windows move on, by chunks and token by token, beside one that keeps everything since it runs all at once.
#[test]
fn a_window_that_moves_on_gives_the_bits_of_a_whole_context() {
    for name in ["mistral_window", "qwen3_alternating", "llama4_16"] {
        let folder = long(name);
        for kv_type in [KvType::F32, KvType::F16, KvType::Int8] {
            let (what, ids) = (format!("{name} {kv_type:?}"), ids());
            let shard = shard(folder.path(), kv_type, 0, ShardSpec::LAST);
            let whole = logits(&mut request(&shard, TOKENS as u32), &ids);
            let mut moved = request(&shard, 50);
            assert_same(&what, logits(&mut moved, &ids[..TOKENS - 30]).view(), whole.slice(s![..TOKENS - 30, ..]));
            for at in TOKENS - 30..TOKENS {
                let one = logits(&mut moved, &ids[at..=at]);
                assert_same(&what, one.view(), whole.slice(s![at..=at, ..]));
            }

            // A fork, and a state in another request, go on alike.
            let mut fork = moved.fork().unwrap();
            let mut other = request(&shard, 70);
            let state = moved.export_state().unwrap();
            assert_eq!(state.len(), moved.state_size(0).unwrap(), "{what}");
            other.import_state(&state).unwrap();
            let next = logits(&mut moved, &ids[..3]);
            assert_same(&what, logits(&mut fork, &ids[..3]).view(), next.view());
            assert_same(&what, logits(&mut other, &ids[..3]).view(), next.view());
        }
    }
}

#[test]
fn a_request_goes_back_as_far_as_its_windows_keep_or_says_how_far_that_is() {
    for name in ["qwen3_alternating", "llama4_16"] {
        let folder = long(name);
        let shard = shard(folder.path(), KvType::F32, 0, ShardSpec::LAST);
        let (ids, mut moved) = (ids(), request(&shard, 64));
        let whole = logits(&mut moved, &ids);

        let error = moved.truncate(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{}", error.chain());
        assert!(error.chain().contains("the earliest is"), "{}", error.chain());
        assert_eq!(moved.position(), TOKENS);

        for back in [1, 100, SLACK] {
            moved.truncate(TOKENS - back).unwrap();
            let again = logits(&mut moved, &ids[TOKENS - back..]);
            assert_same("back", again.view(), whole.slice(s![TOKENS - back.., ..]));
        }
        moved.truncate(0).unwrap();
        assert_same("from the start", logits(&mut moved, &ids).view(), whole.view());
    }
}

/// A call that fails after its windows have moved on leaves the request as it was: here the second shard has no room for what the
/// first one has run, which then goes on alone.
#[test]
fn a_call_that_fails_behind_its_windows_can_be_repeated() {
    let folder = long("mistral_window");
    let (first, rest) = (shard(folder.path(), KvType::F32, 0, 0), shard(folder.path(), KvType::F32, 1, 2));
    let ids = ids();
    let expected = logits(&mut request(&first, TOKENS as u32), &ids);
    let mut moved = request(&first, 50);
    let small = RequestOptions { capacity: 200, ..RequestOptions::default() };
    let mut small = Request::new(&rest, small).unwrap();
    let _ = infer_chain(&mut [&mut moved, &mut small], Input::Ids(&ids[..100]), Logits::None).unwrap();
    let error = infer_chain(&mut [&mut moved, &mut small], Input::Ids(&ids[100..]), Logits::None).unwrap_err();
    assert_eq!((error.kind(), moved.position()), (ErrorKind::ContextFull, 100), "{}", error.chain());
    let state = moved.export_state().unwrap();
    assert_same("repeated", logits(&mut moved, &ids[100..]).view(), expected.slice(s![100.., ..]));
    moved.import_state(&state).unwrap();
    assert_same("exported", logits(&mut moved, &ids[100..]).view(), expected.slice(s![100.., ..]));
}

/// A prompt that is cancelled wherever it is then.
#[test]
fn a_prompt_that_is_cancelled_can_be_repeated() {
    let folder = long("qwen3_alternating");
    let shard = shard(folder.path(), KvType::F32, 0, ShardSpec::LAST);
    let ids: Vec<i64> = ids().into_iter().cycle().take(1800).collect();
    let whole = logits(&mut request(&shard, 1800), &ids);
    let mut moved = request(&shard, 16);
    let _ = logits(&mut moved, &ids[..40]);
    let mut cancelled = 0;
    for delay in 0..400 {
        let handle = moved.cancel_handle();
        let done = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                handle.cancel().unwrap();
            });
            moved.infer(Input::Ids(&ids[40..]), Logits::None).map(drop)
        });
        match done {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain()),
            Ok(()) => break,
        }
        cancelled += 1;
        assert_eq!(moved.position(), 40);
        if delay % 8 == 0 {
            assert_same("repeated", logits(&mut moved.fork().unwrap(), &ids[40..]).view(), whole.slice(s![40.., ..]));
        }
    }
    assert!(cancelled > 0);
}

/// And in parts of the model, each with windows of its own.
#[test]
fn shards_move_their_windows_each_for_itself() {
    let folder = long("qwen3_alternating");
    let ids = ids();
    let whole = logits(&mut request(&shard(folder.path(), KvType::F32, 0, ShardSpec::LAST), TOKENS as u32), &ids);
    let mut first = request(&shard(folder.path(), KvType::F32, 0, 0), 33);
    let mut rest = request(&shard(folder.path(), KvType::F32, 1, ShardSpec::LAST), 128);
    let hidden = logits(&mut first, &ids);
    let logits = rest.infer(Input::Hidden(hidden.view()), Logits::All).unwrap().values().to_owned();
    assert_same("cut", logits.view(), whole.view());
}

#[test]
fn a_window_takes_less_memory_than_a_context() {
    let folder = long("mistral_window");
    let spec = ShardSpec::whole(folder.path().to_str().unwrap());
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&spec, None).unwrap();
    let of = |context| engine.estimate(&spec, context, 1).unwrap().kv_bytes;
    let token = shard.info().kv_bytes_per_token;
    assert_eq!(of(500), 500 * token);
    // The window of 6 and the slack, twice since a call may fail, and a run.
    assert_eq!(of(4096), (2 * (6 + SLACK as u64) + 512) * token);
    assert_eq!(of(4096), of(2048));
    // What is estimated is what is taken.
    let before = engine.memory_used();
    let _request = request(&shard, 0);
    assert_eq!(engine.memory_used() - before, of(2048));
}
