//! Promise: a request whose layers keep states of fixed size goes back, forks, is exported and fails like any other, with the ids and
//! bits of one that never went further.

use std::path::Path;
use std::sync::Arc;

use crate::common::{Model, assert_same};
use ndarray::{Array2, s};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, Request, RequestOptions, Shard, ShardSpec, Step, infer_batch,
    infer_chain,
};
use sha2::{Digest, Sha256};

/// Tokens, more than a run has at once.
const TOKENS: usize = 700;
/// Models that have such layers beside others.
const MODELS: [&str; 7] = [
    "lfm2_conv",
    "lfm2_moe_16",
    "qwen3_5_text_16",
    "qwen3_next_16",
    "granite_hybrid_stacked",
    "falcon_h1_bias",
    "nemotron_h_stacked",
];

/// A copy of a tiny model for longer contexts than it was made for.
pub(super) fn long(name: &str) -> tempfile::TempDir {
    let (model, folder) = (Model::as_stored(name), tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(&model.path).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = 2048.into();
    std::fs::write(path, config.to_string()).unwrap();
    folder
}

fn engine() -> Engine {
    Engine::new(EngineOptions::default()).unwrap()
}

pub(super) fn shard(folder: &Path, first: u32, last: u32) -> Arc<Shard> {
    engine().ensure_shard(&ShardSpec::layers(folder.to_str().unwrap(), first, last), None).unwrap()
}

fn request(shard: &Arc<Shard>, prefill_chunk: u32, snapshot_interval: u32) -> Request {
    let options = RequestOptions { capacity: 1024, prefill_chunk, snapshot_interval, ..RequestOptions::default() };
    Request::new(shard, options).unwrap()
}

pub(super) fn ids() -> Vec<i64> {
    (0..TOKENS as i64).map(|i| (i * i + 7 * i) % 23).collect()
}

fn run(request: &mut Request, ids: &[i64]) -> Array2<f32> {
    request.infer(Input::Ids(ids), Logits::All).unwrap().values().to_owned()
}

/// One call of everything, which has all bits.
fn whole(shard: &Arc<Shard>, ids: &[i64]) -> Array2<f32> {
    run(&mut request(shard, TOKENS as u32, 0), ids)
}

/// Whichever states were put aside: at few positions or at all, in runs of any size.
#[test]
fn a_request_goes_back_anywhere() {
    for name in MODELS {
        let folder = long(name);
        let (shard, ids) = (shard(folder.path(), 0, ShardSpec::LAST), ids());
        let wanted = whole(&shard, &ids);
        for (chunk, interval) in [(512, 0), (50, 16), (7, 1), (64, 1000)] {
            let mut request = request(&shard, chunk, interval);
            let _ = run(&mut request, &ids);
            for position in [TOKENS - 1, 640, 600, 512, 500, 256, 250, 64, 50, 16, 7, 1, 0] {
                request.truncate(position).unwrap();
                assert_eq!(request.position(), position);
                let again = run(&mut request, &ids[position..TOKENS.min(position + 40)]);
                let end = position + again.nrows();
                assert_same(&format!("{name} at {position}"), again.view(), wanted.slice(s![position..end, ..]));
                // And further back, with tokens in front that are still to be run again.
                request.truncate(position.saturating_sub(5)).unwrap();
            }
            assert_eq!(request.truncate(1).unwrap_err().kind(), ErrorKind::OutOfRange);
        }
    }
}

/// As speculation does it: some tokens are tried, and some of them kept.
#[test]
fn tokens_that_are_tried_and_dropped_leave_nothing() {
    for name in MODELS {
        let folder = long(name);
        let ids = &ids()[..200];
        for last in [0, ShardSpec::LAST] {
            let shard = shard(folder.path(), 0, last);
            let wanted = whole(&shard, ids);
            let mut request = request(&shard, 512, 0);
            let (mut position, mut round) = (0, 0);
            while position + 8 < ids.len() {
                let kept = round % 5;
                let mut tried = ids[position..position + 5].to_vec();
                tried[kept + (kept == 0) as usize..].iter_mut().for_each(|id| *id = (*id + 1) % 23);
                let given = run(&mut request, &tried);
                let right = kept.max(1);
                let own = wanted.slice(s![position..position + right, ..]);
                assert_same(&format!("{name} from {position}"), given.slice(s![..right, ..]), own);
                position += right;
                request.truncate(position).unwrap();
                // Now and then something else happens in between.
                if round % 3 == 0 {
                    request = request.fork().unwrap();
                }
                if round % 4 == 0 {
                    let state = request.export_state().unwrap();
                    assert_eq!(state.len(), request.state_size(0).unwrap());
                    let mut other = self::request(&shard, 3, 7);
                    other.import_state(&state).unwrap();
                    assert_eq!(other.position(), position);
                    request = other;
                }
                round += 1;
            }
        }
    }
}

/// An imported state goes back further than it was exported at.
#[test]
fn a_fork_and_an_imported_state_go_back_anywhere_too() {
    for name in MODELS {
        let folder = long(name);
        let (shard, ids) = (shard(folder.path(), 0, ShardSpec::LAST), ids());
        let wanted = whole(&shard, &ids);
        let mut first = request(&shard, 100, 0);
        let _ = run(&mut first, &ids[..600]);
        first.truncate(597).unwrap();
        let mut imported = request(&shard, 512, 0);
        imported.import_state(&first.export_state().unwrap()).unwrap();
        for mut request in [first.fork().unwrap(), imported, first] {
            for position in [597, 590, 300, 2] {
                request.truncate(position).unwrap();
                let again = run(&mut request, &ids[position..=position]);
                assert_same(name, again.view(), wanted.slice(s![position..=position, ..]));
                request.truncate(position).unwrap();
            }
        }
    }
}

#[test]
fn a_state_of_another_position_or_with_foreign_ids_is_refused() {
    let folder = long("lfm2_conv");
    let whole = shard(folder.path(), 0, ShardSpec::LAST);
    let mut request = request(&whole, 512, 0);
    let _ = run(&mut request, &ids()[..20]);
    let state = request.export_state().unwrap();
    let changed = |at: usize, byte: u8| {
        let mut state = state[..state.len() - 32].to_vec();
        state[at] = byte;
        let hash = Sha256::digest(&state);
        [&state[..], &hash].concat()
    };
    let before = request.position();
    // The position, where it begins, that of the states behind the header, and the last id.
    for (at, byte) in [(52, 19), (44, 21), (68, 21), (68, 19), (state.len() - 40, 255)] {
        let error = request.import_state(&changed(at, byte)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{at}: {}", error.chain());
        assert_eq!(request.position(), before);
    }
    request.import_state(&state).unwrap();
}

/// Without a KV cache between calls, in chains and in batches of requests with other states.
#[test]
fn chains_batches_and_requests_without_a_cache_go_back_alike() {
    for name in MODELS {
        let (folder, model) = (long(name), Model::as_stored(name));
        let ids = &ids()[..120];
        let all = shard(folder.path(), 0, ShardSpec::LAST);
        let wanted = whole(&all, ids);
        let shards = [shard(folder.path(), 0, 1), shard(folder.path(), 2, model.layers - 1)];
        let mut chain = shards.each_ref().map(|shard| request(shard, 9, 4));
        let without = RequestOptions { no_cache: true, ..RequestOptions::default() };
        let mut others = vec![request(&all, 512, 0), request(&all, 5, 3), Request::new(&all, without).unwrap()];
        let mut position = 0;
        for (tokens, kept) in [(60, 41), (10, 3), (1, 1), (4, 0), (20, 19), (30, 30)] {
            let tried = &ids[position..position + tokens];
            let expected = wanted.slice(s![position..position + tokens, ..]);
            let [front, back] = &mut chain;
            let mut both = [front, back];
            let output = infer_chain(&mut both, Input::Ids(tried), Logits::All).unwrap();
            assert_same(&format!("{name} in a chain"), output.values(), expected);
            let input = Input::Ids(tried);
            let mut steps: Vec<Step> =
                others.iter_mut().map(|request| Step { request, input, logits: Logits::All }).collect();
            assert!(infer_batch(&mut steps).iter().all(Result::is_ok));
            for request in &others {
                assert_same(&format!("{name} in a batch"), request.output().unwrap().values(), expected);
            }
            position += kept;
            for request in chain.iter_mut().chain(&mut others) {
                request.truncate(position).unwrap();
            }
        }
        // One that fails in the second shard changes nothing in the first.
        let cancel = chain[1].cancel_handle();
        cancel.cancel().unwrap();
        let [front, back] = &mut chain;
        let error = infer_chain(&mut [front, back], Input::Ids(&ids[position..position + 4]), Logits::All).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        let [front, back] = &mut chain;
        let mut both = [front, back];
        let output = infer_chain(&mut both, Input::Ids(&ids[position..position + 4]), Logits::All).unwrap();
        assert_same(name, output.values(), wanted.slice(s![position..position + 4, ..]));
    }
}

/// One of a batch is cancelled while both are under way; it is where it was, and the other one has its bits.
#[test]
fn a_call_that_is_cancelled_half_way_leaves_its_states_and_those_of_others() {
    for name in MODELS {
        let folder = long(name);
        let (shard, ids) = (shard(folder.path(), 0, ShardSpec::LAST), ids());
        let wanted = whole(&shard, &ids);
        let mut requests = [request(&shard, 2, 0), request(&shard, 3, 0)];
        for (request, tokens) in requests.iter_mut().zip([30, 50]) {
            let _ = run(request, &ids[..tokens]);
            request.truncate(tokens - 3).unwrap();
        }
        let mut cancelled = 0;
        for micros in (0..6).map(|power| 300 << power) {
            let cancel = requests[0].cancel_handle();
            let [a, b] = &mut requests;
            let stop = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_micros(micros));
                cancel.cancel().unwrap();
            });
            let mut steps = [
                Step { request: a, input: Input::Ids(&ids[27..]), logits: Logits::All },
                Step { request: b, input: Input::Ids(&ids[47..]), logits: Logits::All },
            ];
            let done = infer_batch(&mut steps);
            stop.join().unwrap();
            requests[0].cancel_handle().clear().unwrap();
            assert!(done[1].is_ok());
            let of = |from: usize| wanted.slice(s![from.., ..]);
            assert_same(name, requests[1].output().unwrap().values(), of(47));
            if done[0].is_ok() {
                assert_same(name, requests[0].output().unwrap().values(), of(27));
            } else {
                cancelled += 1;
                assert_eq!(requests[0].position(), 27);
                assert_same(name, run(&mut requests[0], &ids[27..]).view(), of(27));
            }
            for (request, position) in requests.iter_mut().zip([27, 47]) {
                request.truncate(position).unwrap();
            }
        }
        assert!(cancelled > 0, "{name}: no call was cancelled");
    }
}

/// States of fixed size, those put aside and the input are taken when the request is made, given back with it, and estimated.
#[test]
fn what_is_put_aside_is_reserved_at_once() {
    let folder = long("qwen3_5_text_16");
    let spec = ShardSpec::layers(folder.path().to_str().unwrap(), 0, ShardSpec::LAST);
    let each = engine().estimate(&spec, 1024, 1).unwrap().kv_bytes;
    let options = RequestOptions { capacity: 1024, ..RequestOptions::default() };
    let limited = |memory_limit| Engine::new(EngineOptions { memory_limit, ..EngineOptions::default() }).unwrap();
    let all = limited(1 << 30);
    let shard = all.ensure_shard(&spec, None).unwrap();
    let fit = |options: RequestOptions, most: usize| {
        let requests: Vec<_> = (0..most).map_while(|_| Request::new(&shard, options).ok()).collect();
        requests.len()
    };
    let most = fit(options, usize::MAX);
    assert!(most > 100 && (1 << 30) / each <= most as u64 * 11 / 10 && most as u64 <= (1 << 30) / each);
    // All have given back what they had.
    assert_eq!(fit(options, usize::MAX), most);
    assert!(fit(RequestOptions { snapshot_bytes: 1, ..options }, usize::MAX) > most);
    let error = Request::new(&shard, RequestOptions { snapshot_bytes: 1 << 30, snapshot_interval: 1, ..options });
    assert_eq!(error.err().map(|error| error.kind()), None, "there are no more snapshots than tokens");
}
