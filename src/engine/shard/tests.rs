//! Nobody but runs waits for a shard's run, and a shard gives back all memory that it has taken.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use super::*;
use crate::engine::load::ModelPlace;
use crate::engine::memory::run_bytes;
use crate::engine::session::Session;
use crate::engine::{Device, Engine, EngineOptions, Input, Logits, Request, RequestOptions, ShardSpec};
use crate::error::{ErrorKind, Site};
use crate::graph;
use crate::model;

fn shard(model: &str) -> Shard {
    let spec = ShardSpec::whole(format!("{}/tests/models/{model}", env!("CARGO_MANIFEST_DIR")));
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let (options, target, report) = (&engine.options, &engine.target, &mut Report::silent());
    let recipe = Recipe::new(&ModelPlace::of(&spec).unwrap(), &spec, None, options, *target, report).unwrap();
    Shard::build(recipe, options, &engine.budget, &engine.counters, report).unwrap()
}

/// A node that stands for no operation, or for one of another kind, must not pass for something else.
#[test]
fn a_node_that_stands_for_another_operation_makes_no_session() {
    use prost::Message;
    let shard = shard("qwen3_16");
    let residence = shard.residence.read();
    let Residence::Here(loaded) = &*residence else { unreachable!() };
    let own = &shard.recipe.blueprint.graph;
    let whole = graph::onnx::Model::decode(&graph::native::write(own)[..]).unwrap();
    let makes_a_session = |change: &dyn Fn(&mut graph::onnx::Node), at: usize| {
        let mut model = whole.clone();
        change(&mut model.graph.as_mut().unwrap().node[at]);
        let weights = Arc::clone(&loaded.weights);
        crate::runtime::Session::native_of(&model.encode_to_vec(), own, weights, None).is_ok()
    };
    assert!(makes_a_session(&|_| {}, 0));
    for at in 0..own.ops.len() {
        assert!(!makes_a_session(&|node| node.attribute.clear(), at), "node {at} for nothing");
        for other in [-1, own.ops.len() as i64] {
            assert!(!makes_a_session(&|node| node.attribute[0].i = other, at), "node {at} for {other}");
        }
    }
    // Embedding and first norm.
    assert!(!makes_a_session(&|node| node.attribute[0].i = 1, 0));
}

/// The kernel's own tests compare any number of rotated pairs with f64; here it is the graph that says how many.
#[test]
fn a_graph_without_rotation_rotates_nothing() {
    let (with, mut without) = (shard("llama_256"), shard("llama_256"));
    let blueprint = &mut without.recipe.blueprint;
    blueprint.config.ropes = vec![model::Rope::default()];
    blueprint.graph = model::graph(&blueprint.config, blueprint.range);
    without.resume().unwrap();
    let answers = [with, without].map(|shard| {
        let mut request = Request::new(&Arc::new(shard), RequestOptions::default()).unwrap();
        request.infer(Input::Ids(&[3, 1]), Logits::All).unwrap().values().map(|value| value.to_bits())
    });
    // At position 0 a rotation changes nothing.
    assert_eq!(answers[0].row(0), answers[1].row(0));
    assert_ne!(answers[0].row(1), answers[1].row(1));
}

/// The requests' KV caches belong to the weights that filled them.
#[test]
fn a_shard_is_not_loaded_again_from_other_weights() {
    let model = format!("{}/tests/models/llama_256", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("{model}/{file}"), folder.path().join(file)).unwrap();
    }
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::whole(folder.path().to_str().unwrap()), None).unwrap();
    shard.suspend();
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 100] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let error = shard.resume().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleShard, "{}", error.chain());
    bytes[end - 100] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    shard.resume().unwrap();
}

fn limited() -> (Arc<Engine>, Arc<Shard>, ShardSpec) {
    let spec = ShardSpec::whole(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256"));
    let options = EngineOptions { memory_limit: 1 << 30, release_first: true, ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(options).unwrap());
    let shard = engine.ensure_shard(&spec, None).unwrap();
    (engine, shard, spec)
}

/// Does `work` on another thread, which must not wait for this one.
fn beside(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    wait.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
}

/// Everything that asks a shard for something and runs nothing.
fn ask(engine: &Engine, shard: &Arc<Shard>, spec: &ShardSpec) {
    let folder = tempfile::tempdir().unwrap();
    shard.export_onnx(&folder.path().join("model.onnx")).unwrap();
    engine.save_checkpoint(&folder.path().join("checkpoint")).unwrap();
    shard.fingerprint().unwrap();
    engine.estimate(spec, 64, 1).unwrap();
    for no_cache in [false, true] {
        Request::new(shard, RequestOptions { no_cache, ..RequestOptions::default() }).unwrap();
    }
}

#[test]
fn under_a_limit_only_runs_wait_for_runs() {
    let (engine, shard, spec) = limited();
    let loaded = shard.loaded_to_run().unwrap();
    let turn = loaded.session.turn();
    let asked = Arc::clone(&shard);
    beside(move || ask(&engine, &asked, &spec));
    drop(turn);
    drop(loaded);
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let run = move || assert!(request.infer(Input::Ids(&[1]), Logits::Last).is_ok());
    let _loaded = shard.loaded().unwrap();
    beside(run);
}

/// Who clears the engine waits for the run in progress; nobody else waits behind that.
#[test]
fn only_runs_wait_behind_somebody_who_waits_for_a_run() {
    let (engine, shard, spec) = limited();
    let run = shard.loaded_to_run().unwrap();
    let (suspended, asked) = (Arc::clone(&shard), Arc::clone(&shard));
    let suspends = std::thread::spawn(move || suspended.suspend());
    // Once somebody waits for writing, nobody gets the lock for reading in the usual way.
    while shard.residence.try_read().is_some() {
        std::thread::yield_now();
    }
    beside(move || ask(&engine, &asked, &spec));
    assert!(!suspends.is_finished());
    drop(run);
    suspends.join().unwrap();
    assert!(matches!(&*shard.residence.read(), Residence::Suspended));
}

#[test]
fn an_estimate_loads_nothing() {
    let (engine, shard, spec) = limited();
    *shard.residence.write() = Residence::Lost;
    engine.estimate(&spec, 64, 1).unwrap();
    assert!(matches!(&*shard.residence.read(), Residence::Lost));
    assert_eq!(engine.stats().shards_loaded, 1);
}

#[test]
fn a_shard_cannot_retire_before_a_new_cache_is_among_those_to_be_given_back() {
    let (engine, shard, _) = limited();
    let (before, caches) = (engine.memory_used(), shard.caches.lock());
    let maker = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || Request::new(&shard, RequestOptions::default()).unwrap()
    });
    while engine.memory_used() == before {
        std::thread::yield_now();
    }
    // The cache is there, and its maker waits for the list of caches.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(shard.residence.try_write().is_none());
    drop(caches);
    let _request = maker.join().unwrap();
    engine.clear().unwrap();
    assert_eq!(engine.memory_used(), 0);
}

#[test]
fn where_the_processor_took_a_devices_place_it_keeps_it() {
    let mut engine = Engine::new(EngineOptions::default()).unwrap();
    engine.target.device = Device::CoreMl;
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256");
    let shard = engine.ensure_shard(&ShardSpec::whole(model), None).unwrap();
    if shard.info.device == Device::CoreMl {
        return;
    }
    assert_eq!(shard.info.device, Device::Cpu);
    // What it is built again for, whatever has become of the device.
    assert_eq!(shard.recipe.target.device, Device::Cpu);
    assert!(!shard.recipe.target.stock());
    shard.suspend();
    shard.resume().unwrap();
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let _ = request.infer(Input::Ids(&[1]), Logits::Last).unwrap();
}

/// What ONNX Runtime itself does when its arena is full. A reservation in front of it normally sees to it that this
/// never happens, so the session is given an arena smaller than was reserved.
#[test]
fn a_full_arena_in_the_middle_of_a_run_is_out_of_memory_and_harms_nothing() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256");
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::whole(model), None).unwrap();
    let request = || Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
    let ids: Vec<i64> = (1..=40).collect();
    let before = request().infer(Input::Ids(&ids), Logits::All).unwrap().values().to_owned();

    let graph = &shard.recipe.blueprint.graph;
    let mut capped = shard.recipe.load(&shard.budget, &mut Report::silent()).unwrap();
    // One step short of the largest value, the MLP's inner one.
    let limit = run_bytes(graph, ids.len()) - 256;
    capped.session = Session::native_within(Some(limit), graph, &capped.weights, usize::MAX, Vec::new()).unwrap();
    *shard.residence.write() = Residence::Here(Box::new(capped));

    let mut request = request();
    for failures in 1..=3 {
        let error = request.infer(Input::Ids(&ids), Logits::All).unwrap_err();
        let oom = error.out_of_memory().unwrap();
        assert_eq!((oom.site, oom.device.as_str()), (Site::Run, "cpu"), "{}", error.chain());
        assert!(oom.requested > 0 && oom.requested <= limit, "{}", error.chain());
        assert!(error.chain().contains("Available memory of"), "these are its words: {}", error.chain());
        assert_eq!((engine.stats().out_of_memory_run, request.position()), (failures, 0));
        // The middle of the run: attention of the first layer has been computed, of the last one not.
        let written: Vec<bool> = request
            .with_cache(|cache| {
                let mut rows = Vec::new();
                cache.read(0..1, &mut rows)?;
                let head = shard.kept.rows.bytes(shard.config().head_dim);
                Ok(rows.chunks_exact(head).map(|head| head.iter().any(|byte| *byte != 0)).collect())
            })
            .unwrap();
        assert!(written[0] && !written[written.len() - 1]);
    }
    // Memory was given back: what fits runs in the same arena.
    let _ = request.infer(Input::Ids(&ids[..10]), Logits::None).unwrap();
    request.truncate(0).unwrap();
    // And with room again the same request gives the same bits.
    shard.resume().unwrap();
    let after = request.infer(Input::Ids(&ids), Logits::All).unwrap().values().to_owned();
    assert_eq!(after.map(|v| v.to_bits()), before.map(|v| v.to_bits()));
    assert_eq!(engine.stats().out_of_memory_run, 3);
}
