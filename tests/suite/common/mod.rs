//! What the model tests share: the tiny models, the answers transformers gave for them, and pipelines of shards.
#![allow(clippy::needless_pass_by_value, reason = "array views are references")]

pub(crate) mod device;
pub(crate) mod paths;
pub(crate) mod process;
pub(crate) mod synthetic;
mod testing;

pub(crate) use testing::skipped;

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, s};
use ortshard::{
    Boundary, Engine, EngineOptions, Frame, FrameOptions, Input, Logits, Output, Request, RequestOptions, Shard,
    ShardSpec, Step, infer_batch,
};
use safetensors::SafeTensors;

/// Where `tests/` and `models/` lie: the source tree, or a copy of its parts elsewhere (`make gpu-suite`).
pub(crate) fn root() -> PathBuf {
    std::env::var_os("ORTSHARD_TEST_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) prompt: Vec<i64>,
    pub(crate) greedy: Vec<i64>,
    pub(crate) layers: u32,
    /// The type that its files store, as config.json names it.
    pub(crate) dtype: String,
    golden: Vec<u8>,
    /// Holds a copy in another type, if the device needs one.
    _copy: Option<tempfile::TempDir>,
}

impl Model {
    pub(crate) fn open(name: &str) -> Self {
        let path = root().join("tests/models").join(name);
        if device::own_dtype() && path.join("model.safetensors").exists() {
            let copy = tempfile::tempdir().unwrap();
            device::halve(&path, copy.path());
            return Self::at(name, copy.path().to_owned(), Some(copy));
        }
        Self::at(name, path, None)
    }

    /// The model as its files store it, even if the device computes in another type.
    pub(crate) fn as_stored(name: &str) -> Self {
        Self::at(name, root().join("tests/models").join(name), None)
    }

    fn at(name: &str, path: PathBuf, copy: Option<tempfile::TempDir>) -> Self {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("golden.json")).unwrap()).unwrap();
        let ids = |key: &str| json[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
        let text = config.get("text_config").unwrap_or(&config);
        Self {
            name: name.to_owned(),
            prompt: ids("prompt_ids"),
            greedy: ids("greedy_ids"),
            layers: u32::try_from(text["num_hidden_layers"].as_u64().unwrap()).unwrap(),
            dtype: config["torch_dtype"].as_str().or(config["dtype"].as_str()).unwrap().to_owned(),
            golden: std::fs::read(path.join("golden.safetensors")).unwrap(),
            path,
            _copy: copy,
        }
    }

    /// Every model of the folder that the device can run.
    pub(crate) fn all() -> Vec<Self> {
        let folder = root().join("tests/models");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("golden.json").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.len() >= 10, "the tiny models are missing: run tools/goldens/make_goldens.py");
        let models = Self::those_that_run(&names);
        assert!(models.len() >= 7, "{} models run on {}", models.len(), device::name());
        models
    }

    /// The models of `names` that the device can run.
    pub(crate) fn those_that_run(names: &[impl AsRef<str>]) -> Vec<Self> {
        names.iter().map(|name| Self::open(name.as_ref())).filter(device::runs).collect()
    }

    /// transformers' tensor `name`, `[tokens, width]`.
    pub(crate) fn golden(&self, name: &str) -> Array2<f32> {
        let tensors = SafeTensors::deserialize(&self.golden).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let [rows, width] = tensor.shape()[tensor.shape().len() - 2..] else { panic!("rank of {name}") };
        Array2::from_shape_vec((rows, width), values).unwrap()
    }

    /// What passes behind `layer`, and whether the model can be cut there.
    pub(crate) fn boundary(&self, layer: u32) -> Boundary {
        Boundary::read(&self.path, layer).unwrap()
    }

    /// The layers behind which the model can be cut: mostly all but the last.
    pub(crate) fn cuts(&self) -> Vec<u32> {
        (0..self.layers - 1).filter(|layer| self.boundary(*layer).refused.is_none()).collect()
    }

    /// The first of these layers, if there is one.
    pub(crate) fn first_cut(&self) -> Vec<u32> {
        self.cuts().into_iter().take(1).collect()
    }

    /// Layers `start..=end`.
    pub(crate) fn shard(&self, start: u32, end: u32) -> Arc<Shard> {
        self.shard_on(device::options(), start, end)
    }

    /// As [`shard`](Self::shard), on an engine of these options.
    pub(crate) fn shard_on(&self, options: EngineOptions, start: u32, end: u32) -> Arc<Shard> {
        let spec = ShardSpec::layers(self.path.to_str().unwrap(), start, end);
        let engine = Engine::new(options).unwrap();
        engine.ensure_shard(&spec, None).unwrap_or_else(|e| panic!("{}: {}", self.name, e.chain()))
    }

    /// The whole model as one shard.
    pub(crate) fn whole(&self) -> Pipeline {
        self.pipeline(&[])
    }

    /// As [`whole`](Self::whole), on an engine of these options.
    pub(crate) fn whole_on(&self, options: EngineOptions) -> Pipeline {
        self.pipeline_on(options, &[])
    }

    /// The model cut after each of the layers `cuts`.
    pub(crate) fn pipeline(&self, cuts: &[u32]) -> Pipeline {
        self.pipeline_with(cuts, RequestOptions::default())
    }

    /// As [`pipeline`](Self::pipeline), on engines of these options.
    pub(crate) fn pipeline_on(&self, options: EngineOptions, cuts: &[u32]) -> Pipeline {
        self.pipeline_of(cuts, &options, RequestOptions::default())
    }

    /// As [`pipeline`](Self::pipeline), with request options.
    pub(crate) fn pipeline_with(&self, cuts: &[u32], options: RequestOptions) -> Pipeline {
        self.pipeline_of(cuts, &device::options(), options)
    }

    fn pipeline_of(&self, cuts: &[u32], engine: &EngineOptions, options: RequestOptions) -> Pipeline {
        let mut start = 0;
        let ends = cuts.iter().copied().chain([self.layers - 1]);
        let requests = ends
            .map(|end| {
                let shard = self.shard_on(engine.clone(), start, end);
                start = end + 1;
                Request::new(&shard, options).unwrap()
            })
            .collect();
        Pipeline { requests }
    }
}

/// Requests on the shards of one model, first to last.
pub(crate) struct Pipeline {
    pub(crate) requests: Vec<Request>,
}

impl Pipeline {
    /// Runs ids through every shard and returns the last one's output.
    pub(crate) fn run(&mut self, ids: &[i64], logits: Logits) -> Array2<f32> {
        let (first, rest) = self.requests.split_first_mut().unwrap();
        let mut passed = Passed::from(first, Input::Ids(ids), logits);
        for request in rest {
            passed = passed.to(|input| Passed::from(request, input, logits));
        }
        passed.values()
    }

    /// `count` greedy ids after `prompt`.
    pub(crate) fn greedy(&mut self, prompt: &[i64], count: usize) -> Vec<i64> {
        let mut logits = self.run(prompt, Logits::Last);
        let mut ids = Vec::new();
        while ids.len() < count {
            let id = argmax(logits.row(0).as_slice().unwrap());
            ids.push(id);
            logits = self.run(&[id], Logits::Last);
        }
        ids
    }
}

/// What a shard gives to the next one, or to the caller: hidden states or logits; or a frame, where more passes.
pub(crate) enum Passed {
    Values(Array2<f32>),
    Frame(Vec<u8>),
}

impl Passed {
    /// What `request` gives for `input`.
    pub(crate) fn from(request: &mut Request, input: Input, logits: Logits) -> Self {
        if request.shard().info().output_parts > 1 {
            return Self::Frame(request.infer_frame(input, FrameOptions::default()).unwrap().to_vec().unwrap());
        }
        Self::Values(request.infer(input, logits).unwrap().values().to_owned())
    }

    /// What `request` has given.
    pub(crate) fn of(request: &Request) -> Self {
        if request.shard().info().output_parts > 1 {
            return Self::Frame(request.frame(FrameOptions::default()).unwrap().to_vec().unwrap());
        }
        Self::Values(request.output().unwrap().values().to_owned())
    }

    /// The frame, if it is one.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        match self {
            Self::Values(_) => None,
            Self::Frame(bytes) => Some(Frame::read(bytes).unwrap()),
        }
    }

    /// What the next shard takes; `frame` is the frame, if it is one.
    pub(crate) fn input<'p>(&'p self, frame: Option<&'p Frame<'p>>) -> Input<'p> {
        match self {
            Self::Values(values) => Input::Hidden(values.view()),
            Self::Frame(_) => Input::Frame(frame.unwrap()),
        }
    }

    /// Calls `next` with it.
    pub(crate) fn to<T>(&self, next: impl FnOnce(Input) -> T) -> T {
        next(self.input(self.frame().as_ref()))
    }

    /// Logits, or hidden states without what passes beside them.
    pub(crate) fn values(self) -> Array2<f32> {
        match self {
            Self::Values(values) => values,
            Self::Frame(bytes) => {
                let frame = Frame::read(&bytes).unwrap();
                let part = &frame.parts()[0];
                Array2::from_shape_vec((frame.tokens(), part.width), part.values().to_vec()).unwrap()
            }
        }
    }
}

/// Runs `ids` token by token, all requests in each run, and fails unless each gets `expected`, a row for a token, bit for bit.
pub(crate) fn assert_batches(what: &str, requests: &mut [Request], ids: &[i64], expected: ArrayView2<f32>) {
    for (i, id) in ids.iter().enumerate() {
        let input = Input::Ids(std::slice::from_ref(id));
        let mut steps: Vec<Step> =
            requests.iter_mut().map(|request| Step { request, input, logits: Logits::Last }).collect();
        assert!(infer_batch(&mut steps).iter().all(Result::is_ok), "{what}");
        for request in &*requests {
            assert_same(what, request.output().unwrap().values(), expected.slice(s![i..=i, ..]));
        }
    }
}

pub(crate) fn argmax(logits: &[f32]) -> i64 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    i64::try_from(best.unwrap().0).unwrap()
}

/// Fails unless `ours` is as close to `theirs` as the device's [`tolerance`](device::tolerance) says.
pub(crate) fn assert_close(what: &str, ours: ArrayView2<f32>, theirs: ArrayView2<f32>) {
    assert_within(device::tolerance(), what, ours, theirs);
}

/// Fails unless `ours` is within `tolerance` of `theirs`, relative to the largest value.
pub(crate) fn assert_within(tolerance: f32, what: &str, ours: ArrayView2<f32>, theirs: ArrayView2<f32>) {
    assert_eq!(ours.dim(), theirs.dim(), "{what}");
    let scale = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{what}: {worst} off at a scale of {scale}");
    assert!(ours.iter().all(|v| v.is_finite()), "{what}");
}

/// Fails unless `a` and `b`, the same tokens cut into calls or runs in two ways, are the same: bit for bit in this library's
/// operators, which promise that, and as close as to transformers in ONNX Runtime's.
pub(crate) fn assert_same_in_pieces(what: &str, a: ArrayView2<f32>, b: ArrayView2<f32>) {
    if device::native_operators() { assert_same(what, a, b) } else { assert_close(what, a, b) }
}

/// Fails unless every bit is the same.
pub(crate) fn assert_same(what: &str, a: ArrayView2<f32>, b: ArrayView2<f32>) {
    assert_eq!(a.dim(), b.dim(), "{what}");
    let differ = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differ, 0, "{what}: {differ} of {} values differ", a.len());
}

pub(crate) fn hidden(output: Output) -> Array2<f32> {
    match output {
        Output::Hidden(values) => values.to_owned(),
        Output::Logits(_) => panic!("logits"),
    }
}
