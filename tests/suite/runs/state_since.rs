//! Promise: what a state has gained since a position is all that another request at that position lacks, and each token's rows are
//! exported once.

use std::path::Path;
use std::sync::Arc;

use super::recurrent::{ids, long, shard};
use crate::common::assert_same;
use ndarray::Array2;
use ortshard::{Engine, EngineOptions, ErrorKind, Input, KvType, Logits, Request, RequestOptions, Shard, ShardSpec};

/// Layers that keep every token, a window, chunks of the text, states, or several of these.
const MODELS: [&str; 8] = [
    "qwen3_16",
    "mistral_window",
    "gemma3_plain",
    "llama4_kinds",
    "lfm2_conv",
    "qwen3_5_text_16",
    "falcon_h1_bias",
    "nemotron_h_stacked",
];
/// Bytes of a state beside what is kept of the tokens.
const FRAME: usize = 100;

fn request(shard: &Arc<Shard>, capacity: u32, prefill_chunk: u32) -> Request {
    Request::new(shard, RequestOptions { capacity, prefill_chunk, ..RequestOptions::default() }).unwrap()
}

fn next(request: &mut Request, id: i64) -> Array2<f32> {
    request.infer(Input::Ids(&[id]), Logits::Last).unwrap().values().to_owned()
}

/// Runs `ids` in pieces, and gives the others what each of them adds.
fn follow(name: &str, request: &mut Request, others: &mut [Request], pieces: &[usize], ids: &[i64]) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    for tokens in pieces {
        let since = request.position();
        let _ = request.infer(Input::Ids(&ids[since..since + tokens]), Logits::None).unwrap();
        let state = request.export_state_since(since).unwrap();
        assert_eq!(state.len(), request.state_size(since).unwrap());
        for other in &mut *others {
            other.import_state(&state).unwrap();
            assert_eq!(other.position(), request.position(), "{name}");
        }
        states.push(state);
    }
    states
}

#[test]
fn requests_follow_another_by_what_its_state_gains() {
    let ids = ids();
    for name in MODELS {
        let folder = long(name);
        let shard = shard(folder.path(), 0, ShardSpec::LAST);
        for pieces in [&[30, 1, 1, 64, 256, 3, 300][..], &[640], &[1, 639], &[300, 340], &[5; 120]] {
            let mut request = self::request(&shard, 1024, 50);
            let mut others = [self::request(&shard, 1024, 512), self::request(&shard, 700, 7)];
            let _ = follow(name, &mut request, &mut others, pieces, &ids);
            let position = request.position();
            let wanted = next(&mut request, 9);
            for other in &mut others {
                assert_same(name, next(other, 9).view(), wanted.view());
            }
            // They go back like any other, and take what comes behind.
            for request in others.iter_mut().chain([&mut request]) {
                request.truncate(position).unwrap();
            }
            let _ = follow(name, &mut request, &mut others, &[20], &ids);
            let wanted = next(&mut request, 3);
            for other in &mut others {
                assert_same(name, next(other, 3).view(), wanted.view());
            }
        }
        follows_from_hidden_states(name, folder.path());
    }
}

/// A shard in the middle, whose requests keep hidden states as their input where layers have states.
fn follows_from_hidden_states(name: &str, folder: &Path) {
    let (front, back) = (shard(folder, 0, 0), shard(folder, 1, ShardSpec::LAST));
    if back.info().input_parts > 1 {
        return;
    }
    let (mut front, mut request, mut other) =
        (self::request(&front, 1024, 512), self::request(&back, 1024, 512), self::request(&back, 1024, 512));
    for tokens in [40, 1, 300, 1] {
        let start = front.position();
        let hidden = front.infer(Input::Ids(&ids()[start..start + tokens]), Logits::None).unwrap().values().to_owned();
        let _ = request.infer(Input::Hidden(hidden.view()), Logits::None).unwrap();
        other.import_state(&request.export_state_since(start).unwrap()).unwrap();
    }
    let hidden = front.infer(Input::Ids(&[3]), Logits::None).unwrap().values().to_owned();
    let wanted = request.infer(Input::Hidden(hidden.view()), Logits::Last).unwrap().values().to_owned();
    assert_same(name, other.infer(Input::Hidden(hidden.view()), Logits::Last).unwrap().values(), wanted.view());
}

#[test]
fn every_token_is_exported_once() {
    let folder = long("qwen3_16");
    let engines = [
        EngineOptions::default(),
        EngineOptions { kv_type: KvType::Int8, ..EngineOptions::default() },
        EngineOptions { stock_operators: true, ..EngineOptions::default() },
    ];
    for options in engines {
        let spec = ShardSpec::layers(folder.path().to_str().unwrap(), 0, ShardSpec::LAST);
        let shard = Engine::new(options).unwrap().ensure_shard(&spec, None).unwrap();
        let (mut request, mut other) = (self::request(&shard, 300, 64), self::request(&shard, 200, 64));
        let states = follow("qwen3_16", &mut request, std::slice::from_mut(&mut other), &[60, 1, 1, 40, 50], &ids());
        let bytes: usize = states.iter().map(|state| state.len() - FRAME).sum();
        assert_eq!(bytes, request.export_state().unwrap().len() - FRAME);
        assert_eq!((states[1].len() - FRAME) * 152, bytes);
        let wanted = next(&mut request, 9);
        assert_same("the same rows", next(&mut other, 9).view(), wanted.view());
    }
}

#[test]
fn what_does_not_fit_a_request_is_refused_and_changes_nothing() {
    let folder = long("lfm2_conv");
    let shard = shard(folder.path(), 0, ShardSpec::LAST);
    let mut request = request(&shard, 1024, 512);
    let _ = request.infer(Input::Ids(&ids()[..100]), Logits::None).unwrap();
    let since = |request: &Request, position| request.export_state_since(position).map_err(|error| error.kind());
    assert_eq!(since(&request, 101), Err(ErrorKind::OutOfRange));
    assert_eq!(request.state_size(101).unwrap_err().kind(), ErrorKind::OutOfRange);
    let (part, nothing) = (since(&request, 60).unwrap(), since(&request, 100).unwrap());
    for (position, state) in [(0, &part), (59, &part), (61, &part), (99, &nothing)] {
        let mut other = self::request(&shard, 1024, 512);
        let _ = position > 0 && other.infer(Input::Ids(&ids()[..position.max(1)]), Logits::None).is_ok();
        let error = other.import_state(state).unwrap_err();
        assert_eq!((error.kind(), other.position()), (ErrorKind::InvalidArgument, position), "{}", error.chain());
    }
    request.import_state(&nothing).unwrap();
    // With no state kept between there and the position.
    request.truncate(90).unwrap();
    assert_eq!(since(&request, 89), Err(ErrorKind::OutOfRange));
    assert!(since(&request, 0).is_ok());
    let mut small = self::request(&shard, 90, 512);
    let _ = small.infer(Input::Ids(&ids()[..60]), Logits::None).unwrap();
    assert_eq!(small.import_state(&part).unwrap_err().kind(), ErrorKind::ContextFull);
    let _ = small.infer(Input::Ids(&ids()[60..89]), Logits::None).unwrap();
    assert_eq!(small.position(), 89);
    request.truncate(89).unwrap();
    assert_same("goes on", next(&mut small, 5).view(), next(&mut request, 5).view());
}

/// A request that has gone back has rows, but not the states of layers, or neither: what is to be run again.
#[test]
fn a_request_that_lacks_states_of_its_position_takes_a_whole_state() {
    for name in ["lfm2_conv", "falcon_h1_bias"] {
        let folder = long(name);
        let shard = shard(folder.path(), 0, ShardSpec::LAST);
        let [mut request, mut truncated, mut imported] = [(); 3].map(|()| self::request(&shard, 1024, 512));
        let _ = request.infer(Input::Ids(&ids()[..100]), Logits::None).unwrap();
        let _ = truncated.infer(Input::Ids(&ids()[..120]), Logits::None).unwrap();
        truncated.truncate(100).unwrap();
        // From here on it is what `truncated` is, without the rows.
        imported.import_state(&truncated.export_state().unwrap()).unwrap();
        let _ = request.infer(Input::Ids(&ids()[100..130]), Logits::None).unwrap();
        let (part, whole) = (request.export_state_since(100).unwrap(), request.export_state().unwrap());
        let wanted = next(&mut request, 9);
        for other in [&mut truncated, &mut imported] {
            let error = other.import_state(&part).unwrap_err();
            assert_eq!((error.kind(), other.position()), (ErrorKind::OutOfRange, 100), "{}", error.chain());
            other.import_state(&whole).unwrap();
            assert_same(name, next(other, 9).view(), wanted.view());
        }
    }
}
