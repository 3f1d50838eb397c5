//! Every operation that a model file may use, and every way to use it, gives what plain arithmetic in f64 gives, in native operators
//! and in stock ones; where stock ones cannot compute it, the error names it. The families use less than the vocabulary, so each is
//! used here in a small graph, over weights made for it, in one run and token by token.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]
#![allow(clippy::cast_precision_loss, reason = "test values are small")]

mod cases;
mod reference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::half::tells_where_nodes_run;
use crate::engine::inspect::Blueprint;
use crate::engine::load::{Checkpoint, ModelPlace, Report};
use crate::engine::recipe::Recipe;
use crate::engine::{
    Engine, EngineOptions, Input, Logits, PackCache, Precision, Request, RequestOptions, Shard, ShardSpec,
};
use crate::error::{ErrorKind, Result};
use crate::graph::{self, Builder, Graph, Linear, Output, Weight};
use crate::kernels::{Activation, Norm};
use crate::model::{self, ModelConfig, Range};
use crate::runtime::{self, Contents, Provider};
use cases::{Case, all, full, parts, usual};
use reference::{Rows, attention, both, each, layer, norm, stored, tensor};

/// Of hidden states, and of all heads together.
const WIDTH: usize = HEADS * HEAD_DIM;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// ONNX Runtime rotates heads in multiples of 16 only.
const HEAD_DIM: usize = 16;
const VOCABULARY: usize = 40;
const TOKENS: usize = 9;

/// The rotations that there are: theta and pairs.
const ROTATIONS: [(f64, usize); 3] = [(10_000.0, HEAD_DIM / 2), (50.0, HEAD_DIM / 2), (10_000.0, 3)];

/// Each value is a sum of at most 64 products in float32, or a few such after one another: 100 roundings of 6e-8 are 6e-6 of the
/// scale. 1e-6 was measured.
const TOLERANCE: f64 = 1e-5;

pub(super) fn config() -> ModelConfig {
    let read = |theta: f64, pairs: usize| {
        let config = format!(
            r#"{{"model_type": "llama", "hidden_size": {WIDTH}, "intermediate_size": 8, "num_hidden_layers": 9,
            "num_attention_heads": {HEADS}, "num_key_value_heads": {KV_HEADS}, "head_dim": {}, "vocab_size": {VOCABULARY},
            "max_position_embeddings": 32, "rope_theta": {theta:?}}}"#,
            2 * pairs
        );
        model::read_config(config.as_bytes()).unwrap()
    };
    let [first, ..] = ROTATIONS;
    let ropes = ROTATIONS.iter().flat_map(|(theta, pairs)| read(*theta, *pairs).ropes).collect();
    ModelConfig { ropes, ..read(first.0, first.1) }
}

/// A checkpoint of the tensors that `graph` reads.
pub(super) fn checkpoint(graph: &Graph, folder: &Path) -> PathBuf {
    let tensors: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = graph
        .weights()
        .into_iter()
        .map(|weight| {
            let shape = weight.tensor_shape().to_vec();
            let values = stored(weight.tensor(), shape.iter().product());
            (weight.tensor(), (shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect();
    let view = |(name, (shape, data))| (name, TensorView::new(Dtype::F32, shape, data).unwrap());
    let views: Vec<_> = tensors.iter().map(|(name, (shape, data))| view((*name, (shape.clone(), data)))).collect();
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}

/// The shard of `graph`, over a checkpoint at `path`.
fn shard(graph: Graph, range: Range, path: &Path, engine: &Engine) -> Result<Arc<Shard>> {
    let spec = ShardSpec::whole(format!("{}/tests/models/llama_256", env!("CARGO_MANIFEST_DIR")));
    let (options, target, report) = (&engine.options, engine.target, &mut Report::silent());
    let mut recipe = Recipe::new(&ModelPlace::of(&spec)?, &spec, None, options, target, report)?;
    recipe.blueprint = Blueprint { config: config(), range, graph };
    recipe.source = Checkpoint::at(path, report)?;
    Shard::build(recipe, options, &engine.budget, &engine.counters, report).map(Arc::new)
}

pub(super) fn engine(stock_operators: bool, precision: Precision) -> Engine {
    let options = EngineOptions { stock_operators, precision, pack_cache: PackCache::Off, ..EngineOptions::default() };
    Engine::new(options).unwrap()
}

/// The linear layer `module` of rows `WIDTH` wide, which is never quantised.
fn exact(module: &str, out: usize) -> Linear {
    Linear { weight: Weight::new(format!("{module}.weight"), [out, WIDTH]).exact(), bias: None }
}

/// The graph of `case` beside an attention, without which there is no layer: `case(x) + attention(x)`.
fn built(case: &Case) -> Graph {
    let mut g = Builder::new();
    let x = g.input(WIDTH);
    // Keys that are the values, too.
    let kv = g.linear(x, exact(&full("kv"), KV_HEADS * HEAD_DIM));
    let attended = g.attention([x, kv, kv], usual(0));
    let own = (case.build)(&mut g, x);
    let y = g.add(own, attended, 1.0);
    g.finish(graph::Input::hidden(x), Output::hidden(y))
}

fn expected(case: &Case, x: &Rows) -> Rows {
    let kv = layer(x, &full("kv"), KV_HEADS * HEAD_DIM);
    both(&(case.reference)(x), &attention([x, &kv, &kv], &usual(0)), |own, attended| own + attended)
}

fn inside() -> Range {
    Range::new(1, 3, 9).unwrap()
}

/// The rows of a prompt.
fn prompt() -> (Array2<f32>, Rows) {
    let values: Vec<f32> = stored("prompt", TOKENS * WIDTH).iter().map(|x| 2.0 * x).collect();
    let rows = values.chunks(WIDTH).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    (Array2::from_shape_vec((TOKENS, WIDTH), values).unwrap(), rows)
}

/// What `shard` gives for the rows of `x`, so many at a time.
fn given(shard: &Arc<Shard>, x: &Array2<f32>, at_once: usize) -> Rows {
    let mut request = Request::new(shard, RequestOptions { capacity: 16, ..RequestOptions::default() }).unwrap();
    let mut rows = Rows::new();
    for x in x.axis_chunks_iter(ndarray::Axis(0), at_once) {
        rows.extend(wide(&request.infer(Input::Hidden(x), Logits::All).unwrap().values()));
    }
    rows
}

fn wide(values: &ArrayView2<f32>) -> Rows {
    values.rows().into_iter().map(|row| row.iter().map(|y| f64::from(*y)).collect()).collect()
}

/// The largest difference, relative to the largest value.
fn apart(ours: &Rows, expected: &Rows) -> f64 {
    assert_eq!((ours.len(), ours[0].len()), (expected.len(), expected[0].len()));
    let scale = expected.iter().flatten().fold(0.0_f64, |most, value| most.max(value.abs()));
    let differences = ours.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| (a - b).abs());
    // A NaN is no maximum, but makes a sum.
    differences.clone().fold(0.0_f64, f64::max) / scale + 0.0 * differences.sum::<f64>()
}

/// Eight bits for a weight and for what it meets: each is off by at most a 254th of the largest value around, and sums even it out;
/// 1 % was measured.
fn is_sound(off: f64, quantised: bool) -> bool {
    if quantised { (TOLERANCE..0.02).contains(&off) } else { off < TOLERANCE }
}

fn check(case: &Case, shard: &Arc<Shard>, sound: impl Fn(f64) -> bool) {
    let (x, rows) = prompt();
    for at_once in [TOKENS, 1] {
        let off = apart(&given(shard, &x, at_once), &expected(case, &rows));
        assert!(sound(off), "{}, {at_once} tokens at once: {off:.1e} of the scale", case.name);
    }
}

#[test]
fn native_operators_give_what_f64_gives() {
    let engine = engine(false, Precision::Exact);
    for case in all() {
        let (folder, graph) = (tempfile::tempdir().unwrap(), built(&case));
        let path = checkpoint(&graph, folder.path());
        check(&case, &shard(graph, inside(), &path, &engine).unwrap(), |off| off < TOLERANCE);
    }
}

#[test]
fn stock_operators_give_it_too_or_name_what_they_lack() {
    if !tells_where_nodes_run() {
        return;
    }
    let engine = engine(true, Precision::Exact);
    for case in all() {
        let (folder, graph) = (tempfile::tempdir().unwrap(), built(&case));
        let path = checkpoint(&graph, folder.path());
        let made = shard(graph, inside(), &path, &engine);
        if let Some(what) = case.refused {
            let error = made.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{}: {}", case.name, error.chain());
            assert!(error.chain().contains(what), "{}: {}", case.name, error.chain());
            continue;
        }
        let shard = made.map_err(|error| error.within(&case.name)).unwrap();
        check(&case, &shard, |off| off < TOLERANCE);

        // What other programs get is at least a sound graph.
        let exported = folder.path().join("model.onnx");
        shard.export_onnx(&exported).unwrap();
        let data = std::fs::read(folder.path().join("model.onnx.data")).unwrap();
        let contents = Contents { files: vec![("model.onnx.data".into(), &data)], ..Contents::default() };
        let model = std::fs::read(exported).unwrap();
        runtime::Session::stock(&model, &contents, &Provider::Cpu, None).unwrap();
    }
}

#[test]
fn parts_are_quantised_each_for_itself_and_exact_weights_are_not() {
    for stock in [false, true] {
        if stock && !tells_where_nodes_run() {
            return;
        }
        let engine = engine(stock, Precision::Int8);
        for case in parts().into_iter().filter(|case| !stock || case.refused.is_none()) {
            let (folder, graph) = (tempfile::tempdir().unwrap(), built(&case));
            let path = checkpoint(&graph, folder.path());
            let quantised = graph.weights().into_iter().any(Weight::is_quantisable);
            let shard = shard(graph, inside(), &path, &engine).unwrap();
            check(&case, &shard, |off| is_sound(off, quantised));
        }
    }
}

/// A whole model: part of a table, one layer of attention, and logits with a soft cap.
#[test]
fn ids_become_logits() {
    const FIRST: usize = 5;
    let ids: Vec<i64> = (0..TOKENS as i64).map(|i| 7 * i % VOCABULARY as i64).collect();
    let build = |is_exact: bool| {
        let table = Weight::new(model::EMBEDDING, [FIRST + VOCABULARY, WIDTH]);
        let table = if is_exact { table.exact() } else { table }.rows(FIRST..FIRST + VOCABULARY);
        let mut g = Builder::new();
        let x = g.embed(table);
        let kv = g.linear(x, exact(&full("kv"), KV_HEADS * HEAD_DIM));
        let x = g.attention([x, kv, kv], usual(0));
        let x = g.rows(x);
        let x = g.norm(x, Norm::layer(1e-5), Some(Weight::new("model.norm.weight", [WIDTH])), None);
        let logits = g.linear(x, exact("lm_head", VOCABULARY));
        let logits = g.soft_cap(logits, 0.75);
        g.finish(graph::Input::Ids, Output::Logits(logits))
    };
    let table = tensor(model::EMBEDDING, (FIRST + VOCABULARY) * WIDTH);
    let x: Rows = ids.iter().map(|id| table[(FIRST + *id as usize) * WIDTH..][..WIDTH].to_vec()).collect();
    let kv = layer(&x, &full("kv"), KV_HEADS * HEAD_DIM);
    let x = attention([&x, &kv, &kv], &usual(0));
    let x = norm(&x, Norm::layer(1e-5), WIDTH, Some(&tensor("model.norm.weight", WIDTH)), None);
    let expected = each(&layer(&x, "lm_head", VOCABULARY), |x| 0.75 * (x / 0.75).tanh());

    for (stock, precision, is_exact) in [
        (false, Precision::Exact, false),
        (true, Precision::Exact, false),
        (false, Precision::Int8, true),
        (true, Precision::Int8, true),
        (false, Precision::Int8, false),
        (true, Precision::Int8, false),
    ] {
        if stock && !tells_where_nodes_run() {
            continue;
        }
        let (folder, graph, engine) = (tempfile::tempdir().unwrap(), build(is_exact), engine(stock, precision));
        let path = checkpoint(&graph, folder.path());
        let shard = shard(graph, Range::new(0, 0, 1).unwrap(), &path, &engine).unwrap();
        for at_once in [TOKENS, 1] {
            let mut request =
                Request::new(&shard, RequestOptions { capacity: 16, ..RequestOptions::default() }).unwrap();
            let run = |ids| wide(&request.infer(Input::Ids(ids), Logits::All).unwrap().values());
            let off = apart(&ids.chunks(at_once).flat_map(run).collect(), &expected);
            let quantised = precision == Precision::Int8 && !is_exact;
            assert!(
                is_sound(off, quantised),
                "stock: {stock}, {precision:?}, exact: {is_exact}: {off:.1e} of the scale"
            );
        }
    }
}

/// Also where only some parts of a tensor are used, and where the shard's own weights are quantised.
#[test]
fn parts_are_saved_as_the_tensors_that_they_are_parts_of() {
    for precision in [Precision::Exact, Precision::Int8] {
        let engine = engine(false, precision);
        for case in parts() {
            let (folder, graph) = (tempfile::tempdir().unwrap(), built(&case));
            let path = checkpoint(&graph, folder.path());
            let shard = shard(graph, inside(), &path, &engine).unwrap();
            let saved = folder.path().join("saved.safetensors");
            shard.save_checkpoint(&saved).unwrap();
            let [original, saved] = [path, saved].map(|path| std::fs::read(path).unwrap());
            let [original, saved] = [&original, &saved].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
            let tensors = |file: &SafeTensors| {
                let tensors = file.tensors().into_iter();
                tensors
                    .map(|(name, tensor)| (name, (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())))
                    .collect::<BTreeMap<_, _>>()
            };
            assert_eq!(tensors(&saved), tensors(&original), "{}", case.name);
        }
    }
}

/// In messages and profiles a value is called after the module that it comes from, not after some rows of it.
#[test]
fn values_of_parts_are_called_after_the_whole() {
    let mut g = Builder::new();
    let x = g.input(WIDTH);
    let whole = Linear::new(&full("mlp.gate_up_proj"), WIDTH, 6, false);
    let y = g.gated(x, whole.rows(0..2), whole.rows(2..4), Activation::Silu);
    let z = g.linear(x, whole.rows(4..6));
    let graph = g.finish(graph::Input::hidden(x), Output::hidden(x));
    assert_eq!([y, z].map(|value| graph.name(value)), ["layers.1.mlp.gated", "layers.1.mlp.gate_up_proj"]);
}
