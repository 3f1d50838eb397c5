//! How far quantisation moves the logits of one model of each group of families; docs/precision.md has the table.

use std::path::PathBuf;

use crate::common::{self, Model};
use crate::models::precision::story;
use ndarray::{Array2, Axis};
use ortshard::{Engine, EngineOptions, Input, Logits, PackCache, Precision, Request, RequestOptions, ShardSpec};

const QUANTISED: [Precision; 3] = [Precision::Int8, Precision::Int4Fine, Precision::Int4];

/// What a group has, one of its models, and the errors that were measured, in percent: with the last layer and the head quantised, and
/// with everything.
const GROUPS: &[(&str, &str, [f64; 6])] = &[
    ("the demo model, which has learned", "stories", [1.1, 8.8, 10.1, 2.0, 16.4, 18.8]),
    ("dense", "llama_gqa", [1.4, 12.9, 14.4, 6.0, 60.5, 61.4]),
    ("norms of heads", "qwen3_16", [1.3, 11.7, 12.7, 4.0, 38.0, 38.0]),
    ("LayerNorm, MLP without a gate", "starcoder2_plain", [1.5, 13.7, 14.6, 3.1, 32.1, 32.3]),
    ("LayerNorm, attention beside the MLP", "cohere_16", [1.6, 13.5, 15.0, 3.3, 31.4, 35.2]),
    ("windows, norms on both sides, soft caps", "gemma2_16", [1.2, 10.9, 13.1, 4.0, 34.6, 36.5]),
    ("fused matrices, LongRoPE", "phi3_longrope", [1.4, 12.5, 13.9, 7.6, 65.5, 72.2]),
    ("factors", "granite_16", [1.6, 14.7, 16.3, 4.1, 39.9, 47.2]),
    ("experts by softmax", "qwen3_moe", [1.3, 14.6, 16.2, 29.8, 67.5, 70.9]),
    ("experts by sigmoid, in groups, and shared ones", "glm4_moe_groups", [10.9, 12.3, 16.2, 24.0, 60.4, 62.9]),
    ("experts weighed on the input, chunks", "llama4_16", [1.3, 12.0, 11.9, 18.1, 53.2, 59.3]),
    ("sinks, experts in bfloat16", "gpt_oss_columns", [1.6, 13.5, 14.1, 9.1, 59.3, 60.0]),
    ("sinks, experts in MXFP4", "gpt_oss_mxfp4", [8.8, 16.5, 19.2, 7.7, 59.5, 64.8]),
];

/// A model and a text for it.
struct Case {
    path: PathBuf,
    last: u32,
    ids: Vec<i64>,
}

impl Case {
    fn new(name: &str) -> Self {
        if name == "stories" {
            return Self { path: common::root().join("models/stories"), last: 5, ids: story() };
        }
        let Model { path, layers, prompt, greedy, .. } = Model::open(name);
        Self { path, last: layers - 1, ids: [prompt, greedy].concat() }
    }

    /// What layers `first` to `last` make of `input`.
    fn run(&self, precision: Precision, (first, last): (u32, u32), input: Input) -> Array2<f32> {
        let options = EngineOptions { precision, pack_cache: PackCache::Off, ..EngineOptions::default() };
        let spec = ShardSpec::layers(self.path.to_str().unwrap(), first, last);
        let shard = Engine::new(options).unwrap().ensure_shard(&spec, None).unwrap();
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        request.infer(input, Logits::All).unwrap().values().to_owned()
    }
}

/// The root of the mean square of what logits are off, as a share of that of the exact ones, in percent; each row without its mean,
/// which moves no prediction.
fn error(exact: &Array2<f32>, ours: &Array2<f32>) -> f64 {
    let power = |logits: &Array2<f32>| {
        let centred = logits - &logits.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
        centred.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
    };
    100.0 * (power(&(ours - exact)) / power(exact)).sqrt()
}

/// What is measured may be half or twice as much on another processor: one token that goes to another expert counts much in so small
/// a model.
#[test]
fn quantised_logits_of_every_group_stay_close_to_exact_ones() {
    let mut wrong = Vec::new();
    for (group, name, measured) in GROUPS {
        let case = Case::new(name);
        let hidden = case.run(Precision::Exact, (0, case.last - 1), Input::Ids(&case.ids));
        let (end, whole) = ((case.last, case.last), (0, case.last));
        let exact = case.run(Precision::Exact, whole, Input::Ids(&case.ids));
        let ends = QUANTISED.map(|precision| error(&exact, &case.run(precision, end, Input::Hidden(hidden.view()))));
        let wholes = QUANTISED.map(|precision| error(&exact, &case.run(precision, whole, Input::Ids(&case.ids))));
        let errors = [ends, wholes].concat();
        let cells: Vec<String> = errors.iter().map(|error| format!("{error:.1}")).collect();
        println!("| {group} | `{name}` | {} |", cells.join(" | "));
        let far = |(error, measured): (&f64, &f64)| *error > 2.0 * measured || *error < measured / 2.0;
        if errors.iter().zip(measured).any(far) {
            wrong.push(format!("{name}: [{}] %, measured {measured:?} %", cells.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
