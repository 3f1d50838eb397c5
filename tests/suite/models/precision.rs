//! Quantised shards stay close to exact ones, give the same bits however they are cut, and are written to the cache once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{self, Model, Passed, assert_batches, assert_same};
use ndarray::{Array2, ArrayView1};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, KvType, Logits, PackCache, Precision, Progress, Request, RequestOptions,
    Shard, ShardSpec, Stage,
};
use safetensors::SafeTensors;
use tempfile::TempDir;

const QUANTISED: [Precision; 3] = [Precision::Int8, Precision::Int4Fine, Precision::Int4];

fn engine(precision: Precision, pack_cache: PackCache) -> Engine {
    Engine::new(EngineOptions { precision, pack_cache, ..EngineOptions::default() }).unwrap()
}

fn stories() -> PathBuf {
    common::root().join("models/stories")
}

fn whole(path: &Path, precision: Precision) -> Request {
    on(&engine(precision, PackCache::Off), path)
}

fn on(engine: &Engine, path: &Path) -> Request {
    let shard = engine.ensure_shard(&ShardSpec::whole(path.to_str().unwrap()), None).unwrap();
    Request::new(&shard, RequestOptions::default()).unwrap()
}

fn logits(request: &mut Request, ids: &[i64]) -> Array2<f32> {
    request.infer(Input::Ids(ids), Logits::All).unwrap().values().to_owned()
}

/// A story of the demo model's own making: what it is sure about and what not, as in real text.
pub(super) fn story() -> Vec<i64> {
    let mut request = whole(&stories(), Precision::Exact);
    let mut sampler =
        ortshard::Sampler::new(ortshard::SamplerOptions { temperature: 0.8, ..Default::default() }).unwrap();
    let mut ids = vec![0];
    while ids.len() < 200 {
        let logits = request.infer(Input::Ids(&ids[ids.len() - 1..]), Logits::Last).unwrap().values().to_owned();
        ids.push(i64::from(sampler.sample(logits.as_slice().unwrap()).unwrap()));
    }
    ids
}

/// Kullback-Leibler divergence of `q` from `p`, both given as logits, in nats.
fn divergence(p: &ArrayView1<f32>, q: &ArrayView1<f32>) -> f64 {
    let log_softmax = |x: &ArrayView1<f32>| -> Vec<f64> {
        let most = x.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = x.iter().map(|v| f64::from(v - most).exp()).sum();
        x.iter().map(|v| f64::from(v - most) - sum.ln()).collect()
    };
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// The mean divergence of `ours` from `exact`, and how often the first choice is the same.
fn compare(exact: &Array2<f32>, ours: &Array2<f32>) -> (f64, f64) {
    let rows = || exact.rows().into_iter().zip(ours.rows());
    let kl = rows().map(|(p, q)| divergence(&p, &q)).sum::<f64>() / exact.nrows() as f64;
    let best = |row: ArrayView1<f32>| common::argmax(row.as_slice().unwrap());
    (kl, rows().filter(|(p, q)| best(*p) == best(*q)).count() as f64 / exact.nrows() as f64)
}

/// The same for rounded keys and values, whose bounds leave three times what was measured, too.
#[test]
fn predictions_from_rounded_caches_stay_close_to_exact_ones() {
    let ids = story();
    let exact = logits(&mut whole(&stories(), Precision::Exact), &ids);
    let mut last = 0.0;
    for (kv_type, most_kl, least_agreement) in [(KvType::F16, 3e-8, 0.99), (KvType::Int8, 1e-5, 0.98)] {
        let engine = Engine::new(EngineOptions { kv_type, ..EngineOptions::default() }).unwrap();
        let (kl, agreement) = compare(&exact, &logits(&mut on(&engine, &stories()), &ids));
        println!("{kv_type:?}: {kl:.2e} nats, the same first choice {:.1} % of the time", 100.0 * agreement);
        assert!(kl < most_kl && agreement > least_agreement, "{kv_type:?}: {kl} nats, {agreement}");
        assert!(kl > last, "{kv_type:?} is closer than a finer type");
        last = kl;
    }
}

/// How far quantisation moves the demo model's predictions. Rounding to 8 bits costs ten-thousandths of a nat, to 4 bits
/// thousandths; the bounds leave three times what was measured.
#[test]
fn quantised_predictions_stay_close_to_exact_ones() {
    let ids = story();
    let exact = logits(&mut whole(&stories(), Precision::Exact), &ids);
    let bounds = [(Precision::Int8, 0.0005, 0.98), (Precision::Int4Fine, 0.01, 0.92), (Precision::Int4, 0.02, 0.9)];
    let mut last = 0.0;
    for (precision, most_kl, least_agreement) in bounds {
        let (kl, agreement) = compare(&exact, &logits(&mut whole(&stories(), precision), &ids));
        println!("{precision:?}: {kl:.5} nats, the same first choice {:.1} % of the time", 100.0 * agreement);
        assert!(kl < most_kl && agreement > least_agreement, "{precision:?}: {kl} nats, {agreement}");
        assert!(kl > last, "{precision:?} is closer than a finer precision");
        last = kl;
    }
}

#[test]
fn every_partition_chunk_and_batch_gives_the_same_bits_in_every_precision() {
    let models = [
        "qwen2_tied",
        "llama_bias_sharded",
        "qwen3_tied",
        "gemma2_plain",
        "phi3_partial",
        "qwen3_moe_mixed",
        "qwen3_moe_stacked",
        "cohere_norms",
        "gpt_neox_serial",
        "qwen2_moe_stacked",
        "glm4_moe_groups",
        "llama4_mixed",
        "gpt_oss_columns",
        "gpt_oss_mxfp4",
        "deepseek_v2_lite",
        "deepseek_v3_16",
        "gemma4_shared",
        "gemma4_experts",
    ];
    for model in models.map(Model::open) {
        for precision in QUANTISED {
            let what = format!("{} in {precision:?}", model.name);
            let load = |start, end| -> Arc<Shard> {
                let spec = ShardSpec::layers(model.path.to_str().unwrap(), start, end);
                engine(precision, PackCache::Off).ensure_shard(&spec, None).unwrap()
            };
            let request = |shard: &Arc<Shard>, prefill_chunk| {
                Request::new(shard, RequestOptions { prefill_chunk, ..RequestOptions::default() }).unwrap()
            };
            let shard = load(0, ShardSpec::LAST);
            let whole = logits(&mut request(&shard, 0), &model.prompt);
            assert_same(&what, logits(&mut request(&shard, 3), &model.prompt).view(), whole.view());
            for cut in model.cuts() {
                let (mut first, mut rest) = (request(&load(0, cut), 0), request(&load(cut + 1, ShardSpec::LAST), 0));
                let passed = Passed::from(&mut first, Input::Ids(&model.prompt), Logits::All);
                let cut = passed.to(|input| Passed::from(&mut rest, input, Logits::All)).values();
                assert_same(&what, cut.view(), whole.view());
            }
            let mut requests = [request(&shard, 0), request(&shard, 0)];
            assert_batches(&what, &mut requests, &model.prompt, whole.view());
        }
    }
}

/// A router decides which experts a token passes, so a small error in it is a large one in what comes out.
#[test]
fn routers_keep_their_values_where_experts_are_quantised() {
    let model = Model::open("qwen3_moe_mixed");
    let stored = std::fs::read(model.path.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&stored).unwrap();
    for precision in QUANTISED {
        let folder = TempDir::new().unwrap();
        let engine = engine(precision, PackCache::Folder(folder.path().to_owned()));
        engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        let pack = std::fs::read(files(folder.path(), "safetensors").remove(0)).unwrap();
        let pack = SafeTensors::deserialize(&pack).unwrap();
        let routers: Vec<String> =
            pack.names().into_iter().filter(|name| name.ends_with(".mlp.gate.weight")).map(str::to_owned).collect();
        assert_eq!(routers.len(), 2, "layers 1 and 5 have experts");
        for router in routers {
            let (ours, theirs) = (pack.tensor(&router).unwrap(), stored.tensor(&router).unwrap());
            assert_eq!((ours.dtype(), ours.data()), (theirs.dtype(), theirs.data()), "{router} in {precision:?}");
        }
        let expert = "model.layers.1.mlp.experts.0.up_proj.weight";
        assert_ne!(pack.tensor(expert).unwrap().dtype(), stored.tensor(expert).unwrap().dtype(), "{precision:?}");
    }
}

/// They are small already, and a copy of them would be most of the checkpoint.
#[test]
fn four_bit_floats_of_a_checkpoint_are_in_no_pack() {
    let model = Model::open("gpt_oss_mxfp4");
    for precision in QUANTISED {
        let folder = TempDir::new().unwrap();
        let engine = engine(precision, PackCache::Folder(folder.path().to_owned()));
        engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        let pack = std::fs::read(files(folder.path(), "safetensors").remove(0)).unwrap();
        let pack = SafeTensors::deserialize(&pack).unwrap();
        let names = pack.names();
        assert!(names.iter().any(|name| name.ends_with("self_attn.q_proj.weight")), "{precision:?}: {names:?}");
        assert!(
            !names.iter().any(|name| name.contains("_blocks") || name.contains("_scales")),
            "{precision:?}: {names:?}"
        );
    }
}

/// A table of per-layer embeddings is as large as all else together, and a text reads a few of its rows: it is read where it lies.
#[test]
fn per_layer_embeddings_are_in_no_pack() {
    let model = Model::open("gemma4_shared");
    for precision in QUANTISED {
        let folder = TempDir::new().unwrap();
        let engine = engine(precision, PackCache::Folder(folder.path().to_owned()));
        engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        let pack = std::fs::read(files(folder.path(), "safetensors").remove(0)).unwrap();
        let pack = SafeTensors::deserialize(&pack).unwrap();
        let names = pack.names();
        assert!(names.iter().any(|name| name.ends_with("embed_tokens.weight")), "{precision:?}: {names:?}");
        assert!(!names.iter().any(|name| name.contains("per_layer.weight")), "{precision:?}: {names:?}");
    }
}

/// Loads the demo model in 4 bits with `cache`. Returns its logits and whether weights were quantised for it.
fn load(cache: &PackCache, limit: u64) -> (Array2<f32>, bool) {
    let options = EngineOptions {
        precision: Precision::Int4,
        pack_cache: cache.clone(),
        pack_cache_limit: limit,
        ..EngineOptions::default()
    };
    let (mut packed, mut last) = (false, (Stage::Inspect, 0));
    let mut progress = |now: &Progress| {
        packed |= now.stage == Stage::Pack;
        assert!(now.stage > last.0 || now.bytes_done >= last.1, "{now:?} after {last:?}");
        last = (now.stage, now.bytes_done);
        ControlFlow::Continue(())
    };
    let spec = ShardSpec::whole(stories().to_str().unwrap());
    let shard = Engine::new(options).unwrap().ensure_shard(&spec, Some(&mut progress)).unwrap();
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    (logits(&mut request, &[1, 5, 9, 100]), packed)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files
}

#[test]
fn a_packed_shard_is_written_once_and_mapped_from_then_on() {
    let folder = TempDir::new().unwrap();
    let cache = PackCache::Folder(folder.path().join("not/there/yet"));
    let PackCache::Folder(path) = &cache else { unreachable!() };
    let (first, packed) = load(&cache, 0);
    assert!(packed);
    let (second, packed) = load(&cache, 0);
    assert!(!packed, "quantised again");
    assert_same("from the cache", second.view(), first.view());
    assert_same("without a cache", load(&PackCache::Off, 0).0.view(), first.view());

    // One file and its seal, nothing unfinished, and any safetensors reader can open it.
    let shards = files(path, "safetensors");
    assert_eq!((shards.len(), std::fs::read_dir(path).unwrap().count()), (1, 2));
    assert!(shards[0].file_name().unwrap().to_str().unwrap().starts_with("stories-0-"), "{shards:?}");
    let bytes = std::fs::read(&shards[0]).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert!(header.tensors().contains_key("model.embed_tokens.weight"));

    let engine = engine(Precision::Int4, cache.clone());
    assert_eq!(engine.clear_pack_cache(), bytes.len() as u64);
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
}

#[test]
fn a_damaged_entry_is_found_and_made_anew() {
    let folder = TempDir::new().unwrap();
    let cache = PackCache::Folder(folder.path().to_owned());
    let (expected, _) = load(&cache, 0);
    let file = files(folder.path(), "safetensors").remove(0);
    let seal = file.with_extension("seal");
    let sound = std::fs::read(&file).unwrap();
    let flip = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 5] = [
        ("one bit of a weight", &|| flip(sound.len() / 2)),
        ("one bit of the header", &|| flip(40)),
        ("the end is missing", &|| std::fs::write(&file, &sound[..sound.len() - 64]).unwrap()),
        ("nothing in it", &|| std::fs::write(&file, b"").unwrap()),
        ("no seal", &|| std::fs::remove_file(&seal).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        let (logits, packed) = load(&cache, 0);
        assert!(packed, "{what}: not noticed");
        assert_same(what, logits.view(), expected.view());
        assert_eq!(std::fs::read(&file).unwrap(), sound, "{what}");
    }
    // A copy is no damage.
    std::fs::write(&file, &sound).unwrap();
    assert!(!load(&cache, 0).1, "a touched file was quantised again");
    assert!(!load(&cache, 0).1);
}

#[test]
fn the_cache_keeps_within_its_limit_and_without_one_shards_still_load() {
    let folder = TempDir::new().unwrap();
    let cache = PackCache::Folder(folder.path().to_owned());
    for start in 0..3 {
        let spec = ShardSpec::layers(stories().to_str().unwrap(), start, start);
        let options = EngineOptions {
            precision: Precision::Int8,
            pack_cache: cache.clone(),
            pack_cache_limit: 1,
            ..EngineOptions::default()
        };
        Engine::new(options).unwrap().ensure_shard(&spec, None).unwrap();
        let left = files(folder.path(), "safetensors");
        assert_eq!(left.len(), 1, "the newest alone is over the limit, and stays");
        assert!(left[0].file_name().unwrap().to_str().unwrap().starts_with(&format!("stories-{start}-{start}-int8")));
    }
    // A folder that cannot be one.
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (logits, packed) = load(&PackCache::Folder(file), 0);
    assert!(packed);
    assert_same("in memory", logits.view(), load(&PackCache::Off, 0).0.view());
}

#[test]
fn quantised_weights_count_as_what_they_take_and_cancelling_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let cache = PackCache::Folder(folder.path().to_owned());
    let spec = ShardSpec::whole(stories().to_str().unwrap());
    for precision in QUANTISED {
        let engine = engine(precision, cache.clone());
        let mut stop = |now: &Progress| match now.stage {
            Stage::Pack => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let cancelled = engine.ensure_shard(&spec, Some(&mut stop)).map(|_| ()).unwrap_err();
        assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
        assert_eq!((engine.memory_used(), files(folder.path(), "safetensors").len()), (0, 0));
        let estimate = engine.estimate(&spec, 16, 1).unwrap();
        let info = engine.ensure_shard(&spec, None).unwrap().info().clone();
        assert_eq!(info.weight_bytes, estimate.weight_bytes, "{precision:?}");
        engine.clear_pack_cache();
    }
}

#[test]
fn a_quantised_shard_saves_the_checkpoint_it_was_made_from() {
    let folder = TempDir::new().unwrap();
    let save = |precision| {
        let (engine, path) = (engine(precision, PackCache::Off), folder.path().join(format!("{precision:?}")));
        engine.ensure_shard(&ShardSpec::layers(stories().to_str().unwrap(), 1, 2), None).unwrap();
        engine.save_checkpoint(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(save(Precision::Int4), save(Precision::Exact));
}

/// Exact weights that are not finite give logits that are not; codes would hide them.
#[test]
fn a_weight_that_is_not_finite_is_not_quantised() {
    let (model, folder) = (Model::open("qwen2_tied"), tempfile::tempdir().unwrap());
    std::fs::copy(model.path.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(model.path.join("model.safetensors")).unwrap();
    let name = "model.layers.0.mlp.down_proj.weight";
    let at = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.as_ptr() as usize - bytes.as_ptr() as usize + data.len() - 2
    };
    // An infinity in bfloat16.
    bytes[at..at + 2].copy_from_slice(&[0x80, 0x7f]);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let spec = ShardSpec::whole(folder.path().to_str().unwrap());
    assert!(engine(Precision::Exact, PackCache::Off).ensure_shard(&spec, None).is_ok());
    for precision in QUANTISED {
        let error = engine(precision, PackCache::Off).ensure_shard(&spec, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{}", error.chain());
        assert!(error.chain().contains(name), "{}", error.chain());
    }
}
