//! A request's state is forked, exported and continued elsewhere with the same bits, and refused where it does not belong.

use crate::common::process::child;
use crate::common::{Model, assert_same};
use ortshard::{Device, Engine, EngineOptions, ErrorKind, Input, KvType, Logits, Request, RequestOptions, ShardSpec};

fn options(capacity: u32) -> RequestOptions {
    RequestOptions { capacity, ..RequestOptions::default() }
}

#[test]
fn a_fork_goes_its_own_way() {
    let model = Model::open("qwen3_16");
    let shard = model.shard(0, model.layers - 1);
    let mut one = Request::new(&shard, RequestOptions::default()).unwrap();
    let _ = one.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
    let mut two = one.fork().unwrap();
    assert_eq!((two.position(), two.capacity()), (one.position(), one.capacity()));
    let _ = two.infer(Input::Ids(&[1, 2, 3]), Logits::None).unwrap();
    let ours = one.infer(Input::Ids(&[7]), Logits::Last).unwrap().values().to_owned();
    two.truncate(model.prompt.len()).unwrap();
    assert_same("fork", two.infer(Input::Ids(&[7]), Logits::Last).unwrap().values(), ours.view());
}

/// What a state says it belongs to is what tools/goldens/fingerprint.py computes from the model's files: the same in every version of
/// this library that has the same version of state.
#[test]
fn a_state_says_what_it_belongs_to() {
    let model = Model::as_stored("llama_256");
    let shard = |kv_type, start| {
        let engine = Engine::new(EngineOptions { kv_type, device: Device::Cpu, ..EngineOptions::default() }).unwrap();
        engine.ensure_shard(&ShardSpec::layers(model.path.to_str().unwrap(), start, 1), None).unwrap()
    };
    for (shard, fingerprint) in [
        (shard(KvType::Auto, 0), "75354212b0fee4417afa4c0ef340dc636b5bf1556753371269124ffefd13a358"),
        (shard(KvType::Int8, 1), "8dc52434648e331a1455b29bb4b5fdcc065ccf4fc5baae945a269df76f022c6c"),
    ] {
        let state = Request::new(&shard, options(8)).unwrap().export_state().unwrap();
        assert_eq!(state[..12], *b"ORTSHKV\0\x06\0\0\0");
        let hex: Vec<String> = state[12..44].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex.concat(), fingerprint);
    }
}

#[test]
fn an_exported_state_continues_in_another_process() {
    let model = Model::open("llama_256");
    let shard = model.shard(0, model.layers - 1);
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let _ = request.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (state, answer) = (folder.path().join("state"), folder.path().join("answer"));
    let bytes = request.export_state().unwrap();
    assert_eq!(bytes.len(), request.state_size(0).unwrap());
    std::fs::write(&state, bytes).unwrap();
    let [state, answer] = [&state, &answer].map(|path| path.to_str().unwrap());
    child(module_path!(), "child_continues", &[("STATE", state), ("ANSWER", answer)]);
    let ours = request.infer(Input::Ids(&[9]), Logits::Last).unwrap().values().to_owned();
    let theirs: Vec<u8> = std::fs::read(answer).unwrap();
    let ours: Vec<u8> = ours.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(ours, theirs);
}

#[test]
#[ignore = "a child's part"]
fn child_continues() {
    let model = Model::open("llama_256");
    // Another capacity: the rows lie elsewhere, the bits are the same.
    let mut request = Request::new(&model.shard(0, model.layers - 1), options(100)).unwrap();
    request.import_state(&std::fs::read(std::env::var("STATE").unwrap()).unwrap()).unwrap();
    assert_eq!(request.position(), model.prompt.len());
    let logits = request.infer(Input::Ids(&[9]), Logits::Last).unwrap().values().to_owned();
    let bytes: Vec<u8> = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(std::env::var("ANSWER").unwrap(), bytes).unwrap();
}

#[test]
fn a_state_that_does_not_belong_is_refused_and_changes_nothing() {
    let model = Model::open("mistral_window");
    let mut request = Request::new(&model.shard(0, 1), RequestOptions::default()).unwrap();
    let _ = request.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
    let state = request.export_state().unwrap();
    let refused = |request: &mut Request, state: &[u8], kind: ErrorKind| {
        let before = request.position();
        let error = request.import_state(state).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert_eq!(request.position(), before);
    };
    let other = Model::open("qwen3_16");
    refused(&mut Request::new(&other.shard(0, 1), options(0)).unwrap(), &state, ErrorKind::InvalidArgument);
    refused(&mut Request::new(&model.shard(0, 0), options(0)).unwrap(), &state, ErrorKind::InvalidArgument);
    refused(&mut Request::new(&model.shard(0, 1), options(8)).unwrap(), &state, ErrorKind::ContextFull);

    refused(&mut request, &[], ErrorKind::Malformed);
    refused(&mut request, &state[..state.len() - 1], ErrorKind::Malformed);
    refused(&mut request, &state[..100], ErrorKind::Malformed);
    for at in [0, 9, 13, 50, 60, state.len() - 1] {
        let mut damaged = state.clone();
        damaged[at] ^= 1;
        let kind = if at == 9 { ErrorKind::Unsupported } else { ErrorKind::Malformed };
        refused(&mut request, &damaged, kind);
    }
    request.import_state(&state).unwrap();
}
