//! A boundary of several parts: every part is handed over in chains, frames and batches, and the bits are those of the whole model; a
//! model is cut only where it can be. The family is of these tests alone: its tokens give every layer but the last two something
//! besides hidden states.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array2;

use super::half::tells_where_nodes_run;
use super::vocabulary::{checkpoint, config, engine};
use crate::engine::inspect::{Blueprint, range};
use crate::engine::load::{Checkpoint, ModelPlace, Report};
use crate::engine::recipe::Recipe;
use crate::engine::{
    Beyond, Boundary, Engine, Frame, FrameOptions, Input, Logits, PartType, Precision, Request, RequestOptions, Role,
    Shard, ShardSpec, Step, infer_batch, infer_chain, next_token,
};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Builder, Linear, PerPart, Value, Weight};
use crate::model::{self, Encoding, Family, Layer, ModelConfig, Range};
use crate::sampler::{Sampler, SamplerOptions};

const LAYERS: usize = 5;
/// The layers that take something from the tokens, and how much.
const TAKING: usize = 3;
const WIDTH: usize = 24;
/// The layer behind which the model cannot be cut.
const JOINED: usize = 3;

/// The family.
#[derive(Debug)]
pub(crate) struct TwoParts;

impl Family for TwoParts {
    fn encode(&self, _: &mut Encoding) {}

    fn embedded(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        let inputs = g.linear(x, exact("model.layers.0.per_layer_model", c.hidden_size, WIDTH));
        g.carry(Role::PerLayerInputs, inputs);
        x
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = g.rms_norm(x, &layer.name("norm.weight"), 1e-5);
        let kv = g.linear(normed, exact(&layer.name("kv"), c.hidden_size, c.kv_heads * c.head_dim));
        let attended = g.attention([normed, kv, kv], layer.attention(c));
        let x = g.add(x, attended, 1.0);
        match g.carried(Role::PerLayerInputs).filter(|_| layer.index < TAKING) {
            Some(inputs) => g.linear_onto(x, inputs, exact(&layer.name("per_layer"), WIDTH, c.hidden_size)),
            None => x,
        }
    }

    fn boundary(&self, c: &ModelConfig, layer: usize) -> model::Boundary {
        let parts = [(Role::HiddenStates, c.hidden_size), (Role::PerLayerInputs, WIDTH)];
        let count = if layer + 1 < TAKING { 2 } else { 1 };
        let refused = (layer == JOINED).then(|| format!("layer {} reads what layer {JOINED} keeps", JOINED + 1));
        model::Boundary { parts: parts.into_iter().take(count).collect(), refused }
    }
}

fn exact(module: &str, input: usize, out: usize) -> Linear {
    Linear { weight: Weight::new(format!("{module}.weight"), [out, input]).exact(), bias: None }
}

pub(crate) fn two_parts() -> ModelConfig {
    ModelConfig { layers: LAYERS, family: Arc::new(TwoParts), ..config() }
}

/// A checkpoint of the whole model.
pub(crate) fn whole(folder: &Path) -> PathBuf {
    checkpoint(&model::graph(&two_parts(), Range::new(0, LAYERS - 1, LAYERS).unwrap()), folder)
}

/// Layers `start..=end`.
pub(crate) fn shard(engine: &Engine, path: &Path, start: usize, end: usize) -> Result<Arc<Shard>> {
    let spec = ShardSpec::whole(format!("{}/tests/models/llama_256", env!("CARGO_MANIFEST_DIR")));
    let (options, target, report) = (&engine.options, engine.target, &mut Report::silent());
    let mut recipe = Recipe::new(&ModelPlace::of(&spec)?, &spec, None, options, target, report)?;
    let (config, range) = (two_parts(), Range::new(start, end, LAYERS)?);
    model::check_cuts(&config, range)?;
    let graph = model::graph(&config, range);
    recipe.blueprint = Blueprint { config, range, graph };
    recipe.source = Checkpoint::at(path, report)?;
    Shard::build(recipe, options, &engine.budget, &engine.counters, report).map(Arc::new)
}

/// Requests on the model, cut behind each of the layers `cuts`.
fn requests(engine: &Engine, path: &Path, cuts: &[usize], options: RequestOptions) -> Vec<Request> {
    let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut + 1));
    let ends = cuts.iter().copied().chain([LAYERS - 1]);
    let request = |(start, end)| {
        let options = RequestOptions { capacity: 16, ..options };
        Request::new(&shard(engine, path, start, end).unwrap(), options).unwrap()
    };
    starts.zip(ends).map(request).collect()
}

const IDS: [i64; 9] = [3, 17, 0, 25, 9, 9, 38, 1, 12];
const CUTS: [&[usize]; 4] = [&[0], &[1], &[2], &[0, 1, 2]];

/// Logits of all of [`IDS`], so many at a time, by `run`.
fn logits(at_once: usize, mut run: impl FnMut(&[i64]) -> Array2<f32>) -> Vec<u32> {
    IDS.chunks(at_once).flat_map(|ids| run(ids).into_iter().map(f32::to_bits)).collect()
}

fn by_chain(requests: &mut [Request], ids: &[i64]) -> Array2<f32> {
    let mut requests: Vec<&mut Request> = requests.iter_mut().collect();
    infer_chain(&mut requests, Input::Ids(ids), Logits::All).unwrap().values().to_owned()
}

/// Through frames that are written and read between all.
fn by_frames(requests: &mut [Request], ids: &[i64], options: FrameOptions) -> Array2<f32> {
    let (last, front) = requests.split_last_mut().unwrap();
    let mut bytes: Option<Vec<u8>> = None;
    for request in front {
        let frame = bytes.as_deref().map(|bytes| Frame::read(bytes).unwrap());
        let input = frame.as_ref().map_or(Input::Ids(ids), Input::Frame);
        let written = request.infer_frame(input, options).unwrap();
        assert_eq!(request.frame_size(ids.len(), options), Some(written.size()));
        let written = written.to_vec().unwrap();
        drop(frame);
        bytes = Some(written);
    }
    let bytes = bytes.unwrap();
    let frame = Frame::read(&bytes).unwrap();
    last.infer(Input::Frame(&frame), Logits::All).unwrap().values().to_owned()
}

fn engines() -> Vec<Engine> {
    let stock = tells_where_nodes_run().then_some(true);
    std::iter::once(false).chain(stock).map(|stock| engine(stock, Precision::Exact)).collect()
}

#[test]
fn graphs_take_and_give_what_passes_their_boundaries() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let configs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("config.json"));
    let configs = configs.filter_map(|path| model::read_config(&std::fs::read(path).ok()?).ok());
    for config in configs.chain([two_parts()]) {
        let behind = |layer: usize| model::boundary(&config, layer).parts;
        for layer in 0..config.layers {
            let graph = model::graph(&config, Range { start: layer, end: layer, layers: config.layers });
            let before = layer.checked_sub(1).map(behind).unwrap_or_default();
            assert_eq!(graph.input.widths(), before, "{} {layer}", config.architecture);
            let behind = if layer + 1 < config.layers { behind(layer) } else { PerPart::default() };
            assert_eq!(graph.output.widths(), behind, "{} {layer}", config.architecture);
            let roles: Vec<Role> = behind.iter().map(|(role, _)| *role).collect();
            assert!(roles.is_sorted() && roles.first().is_none_or(|role| *role == Role::HiddenStates));
        }
    }
}

#[test]
fn chains_and_frames_give_the_bits_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = whole(folder.path());
    for (dialect, engine) in engines().iter().enumerate() {
        let options = RequestOptions::default();
        for at_once in [IDS.len(), 4, 1] {
            let mut one = requests(engine, &path, &[], options);
            let expected =
                logits(at_once, |ids| one[0].infer(Input::Ids(ids), Logits::All).unwrap().values().to_owned());
            for cuts in CUTS {
                let what = format!("dialect {dialect}, {at_once} at once, cut behind {cuts:?}");
                for no_cache in [false, true] {
                    // Stock operators give the same bits only for the same runs, which what is run again is not cut into.
                    if no_cache && dialect == 1 && at_once < IDS.len() {
                        continue;
                    }
                    let options = RequestOptions { no_cache, ..options };
                    let mut chain = requests(engine, &path, cuts, options);
                    assert_eq!(logits(at_once, |ids| by_chain(&mut chain, ids)), expected, "{what}");
                    let mut framed = requests(engine, &path, cuts, options);
                    let wide = FrameOptions::default();
                    assert_eq!(logits(at_once, |ids| by_frames(&mut framed, ids, wide)), expected, "{what}");
                }
                // In chunks of a call.
                let options = RequestOptions { prefill_chunk: 2, ..options };
                let mut chunked = requests(engine, &path, cuts, options);
                let chunks = logits(at_once, |ids| by_frames(&mut chunked, ids, FrameOptions::default()));
                assert!(dialect == 1 || chunks == expected, "{what}");
            }
        }
    }
}

/// Forked and truncated, and with another request's rows in each run.
#[test]
fn batches_of_frames_give_each_request_its_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = whole(folder.path());
    for engine in engines() {
        let alone = |ids: &[i64]| {
            let mut pair = requests(&engine, &path, &[1], RequestOptions::default());
            ids.iter().map(|id| by_frames(&mut pair, &[*id], FrameOptions::default())).collect::<Vec<_>>()
        };
        let texts = [&IDS[..], &IDS[2..], &IDS[4..8]];
        let expected = texts.map(alone);
        let [mut front, mut back]: [Vec<Request>; 2] = [(0, 1), (2, LAYERS - 1)].map(|(start, end)| {
            let shard = shard(&engine, &path, start, end).unwrap();
            let first = Request::new(&shard, RequestOptions { capacity: 16, ..RequestOptions::default() }).unwrap();
            let forks = [first.fork().unwrap(), first.fork().unwrap()];
            std::iter::once(first).chain(forks).collect()
        });
        for at in 0..4 {
            for _ in 0..2 {
                let step = |(request, text): (_, &&'static [i64])| Step {
                    request,
                    input: Input::Ids(&text[at..=at]),
                    logits: Logits::Last,
                };
                let texts: [&'static [i64]; 3] = [&IDS[..], &IDS[2..], &IDS[4..8]];
                let mut steps: Vec<Step> = front.iter_mut().zip(&texts).map(step).collect();
                assert!(infer_batch(&mut steps).iter().all(Result::is_ok));
                drop(steps);
                let frames: Vec<Vec<u8>> =
                    front.iter().map(|one| one.frame(FrameOptions::default()).unwrap().to_vec().unwrap()).collect();
                let frames: Vec<Frame> = frames.iter().map(|bytes| Frame::read(bytes).unwrap()).collect();
                let step = |(request, frame)| Step { request, input: Input::Frame(frame), logits: Logits::Last };
                let mut steps: Vec<Step> = back.iter_mut().zip(&frames).map(step).collect();
                assert!(infer_batch(&mut steps).iter().all(Result::is_ok));
                drop(steps);
                for (request, expected) in back.iter().zip(&expected) {
                    assert_eq!(request.output().unwrap().values(), expected[at]);
                }
                // A step back, and the same again.
                front.iter_mut().chain(&mut back).for_each(|request| request.truncate(at).unwrap());
            }
            for (request, ids) in front.iter_mut().zip(texts) {
                let bytes = request.infer_frame(Input::Ids(&ids[at..=at]), FrameOptions::default()).unwrap();
                let index = texts.iter().position(|text| std::ptr::eq(*text, ids)).unwrap();
                let bytes = bytes.to_vec().unwrap();
                let frame = Frame::read(&bytes).unwrap();
                back[index].infer(Input::Frame(&frame), Logits::None).unwrap();
            }
        }
    }
}

#[test]
fn the_next_token_comes_from_frames_too() {
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = (whole(folder.path()), engine(false, Precision::Exact));
    let greedy = || Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap();
    let mut one = requests(&engine, &path, &[], RequestOptions::default());
    let expected = next_token(&mut [&mut one[0]], Input::Ids(&IDS), &mut greedy()).unwrap();
    let mut three = requests(&engine, &path, &[0, 2], RequestOptions::default());
    let (first, rest) = three.split_first_mut().unwrap();
    let bytes = first.infer_frame(Input::Ids(&IDS), FrameOptions::default()).unwrap().to_vec().unwrap();
    let frame = Frame::read(&bytes).unwrap();
    let mut rest: Vec<&mut Request> = rest.iter_mut().collect();
    assert_eq!(next_token(&mut rest, Input::Frame(&frame), &mut greedy()).unwrap(), expected);
}

#[test]
fn parts_have_types_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = (whole(folder.path()), engine(false, Precision::Exact));
    let mut front = requests(&engine, &path, &[1], RequestOptions::default()).remove(0);
    let wide = front.infer_frame(Input::Ids(&IDS), FrameOptions::default()).unwrap().to_vec().unwrap();
    let options =
        FrameOptions { hidden_states: PartType::F16, per_layer_inputs: PartType::Bf16, beyond: Beyond::Refuse };
    let narrow = front.frame(options).unwrap();
    let (size, narrow) = (narrow.size(), narrow.to_vec().unwrap());
    assert_eq!(size, 192 + (2 * IDS.len() * (two_parts().hidden_size)).next_multiple_of(64) + 2 * IDS.len() * WIDTH);
    let [wide, narrow] = [&wide, &narrow].map(|bytes| Frame::read(bytes).unwrap());
    let kinds =
        |frame: &Frame| frame.parts().iter().map(|part| (part.role, part.dtype, part.width)).collect::<Vec<_>>();
    let hidden = two_parts().hidden_size;
    assert_eq!(
        kinds(&wide),
        [(Role::HiddenStates, PartType::F32, hidden), (Role::PerLayerInputs, PartType::F32, WIDTH)]
    );
    assert_eq!(
        kinds(&narrow),
        [(Role::HiddenStates, PartType::F16, hidden), (Role::PerLayerInputs, PartType::Bf16, WIDTH)]
    );
    for (part, bits) in [(0, 11), (1, 8)] {
        let [a, b] = [&wide, &narrow].map(|frame| frame.parts()[part].values());
        let off = a.iter().zip(b).map(|(a, b)| ((a - b) / a).abs()).fold(0.0_f32, f32::max);
        assert!(off > 0.0 && off <= 1.0 / (1 << bits) as f32, "{off}");
    }
}

#[test]
fn hidden_states_alone_are_refused_where_more_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = (whole(folder.path()), engine(false, Precision::Exact));
    let mut pair = requests(&engine, &path, &[1], RequestOptions::default());
    let infos: Vec<_> =
        pair.iter().map(|one| (one.shard().info().input_parts, one.shard().info().output_parts)).collect();
    assert_eq!(infos, [(1, 2), (2, 1)]);
    let refused = |error: Error, words: &str| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let message = error.chain();
        assert!(message.contains(words) && message.contains("frame"), "{message}");
    };
    let names = "hidden_states and per_layer_inputs pass the boundary";
    refused(pair[0].infer(Input::Ids(&IDS), Logits::Last).map(drop).unwrap_err(), names);
    let error = infer_chain(&mut [&mut pair[0]], Input::Ids(&IDS), Logits::Last).map(drop).unwrap_err();
    refused(error, names);
    let hidden = Array2::zeros((2, two_parts().hidden_size));
    refused(pair[1].infer(Input::Hidden(hidden.view()), Logits::Last).map(drop).unwrap_err(), names);
    assert_eq!((pair[0].position(), pair[1].position()), (0, 0));
}

#[test]
fn a_model_is_cut_only_where_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = (whole(folder.path()), engine(false, Precision::Exact));
    let config = two_parts();
    for (first_layer, last_layer, words) in [
        (
            0,
            3,
            "last_layer 3: the model cannot be cut behind layer 3, since layer 4 reads what layer 3 keeps; the nearest cuts are behind layer 2",
        ),
        (4, 4, "first_layer 4: the model cannot be cut behind layer 3"),
    ] {
        let error = range(&ShardSpec::layers("m", first_layer, last_layer), &config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.chain().contains(words), "{}", error.chain());
        assert!(shard(&engine, &path, first_layer as usize, last_layer as usize).is_err());
    }
    for (first_layer, last_layer) in [(0, 2), (3, 4), (0, ShardSpec::LAST)] {
        range(&ShardSpec::layers("m", first_layer, last_layer), &config).unwrap();
    }
    let at = |layer| Boundary::behind(&config, layer).unwrap();
    assert_eq!((at(0).parts.len(), at(2).parts.len(), at(2).refused), (2, 1, None));
    assert_eq!(at(3).refused.unwrap(), "layer 4 reads what layer 3 keeps");
    let bytes = [PartType::F32, PartType::F16].map(|dtype| at(0).bytes_per_token(dtype));
    assert_eq!(bytes, [4, 2].map(|size| size * (config.hidden_size + WIDTH) as u64));
    assert_eq!(Boundary::behind(&config, 4).unwrap_err().kind(), ErrorKind::OutOfRange);
    // What the weights of a layer are known by needs a range that can be loaded.
    assert_eq!(model::cut_around(&config, 4), Range { start: 3, end: 4, layers: LAYERS });
}
