//! Shards that pass frames give the bits of the whole model, and a frame that is not the request's next one is refused by name before
//! anything changes.

use std::path::Path;

use crate::common::{Model, Pipeline, assert_same, assert_same_in_pieces, assert_within, device};
use ndarray::{Array2, s};
use ortshard::{
    Beyond, Boundary, Engine, EngineOptions, Error, ErrorKind, Frame, FrameOptions, Input, Logits, PackCache, PartType,
    Precision, Request, RequestOptions, Role, ShardSpec, Step, infer_batch, infer_chain,
};
use safetensors::SafeTensors;

const WIDE: FrameOptions =
    FrameOptions { hidden_states: PartType::F32, per_layer_inputs: PartType::F32, beyond: Beyond::Saturate };

fn with_type(hidden_states: PartType) -> FrameOptions {
    FrameOptions { hidden_states, ..WIDE }
}

/// Runs `ids` through all shards, by frames that are written and read between them.
fn run(pipeline: &mut Pipeline, ids: &[i64], options: FrameOptions) -> Array2<f32> {
    let (last, front) = pipeline.requests.split_last_mut().unwrap();
    let mut bytes: Option<Vec<u8>> = None;
    for request in front {
        let frame = bytes.as_deref().map(|bytes| Frame::read(bytes).unwrap());
        let input = frame.as_ref().map_or(Input::Ids(ids), Input::Frame);
        let next = request.infer_frame(input, options).unwrap().to_vec().unwrap();
        drop(frame);
        bytes = Some(next);
    }
    let bytes = bytes.unwrap();
    last.infer(Input::Frame(&Frame::read(&bytes).unwrap()), Logits::All).unwrap().values().to_owned()
}

#[test]
fn every_model_in_shards_gives_the_same_bits_through_frames() {
    for model in Model::all() {
        let mut whole = model.whole();
        let prefill = whole.run(&model.prompt, Logits::All);
        let decode = whole.run(&model.greedy[..1], Logits::All);
        let cuts = model.cuts();
        if cuts.is_empty() {
            continue;
        }
        let mut shards = model.pipeline(&cuts);
        assert_same(&model.name, run(&mut shards, &model.prompt, WIDE).view(), prefill.view());
        assert_same(&model.name, run(&mut shards, &model.greedy[..1], WIDE).view(), decode.view());
    }
}

#[test]
fn rounded_frames_stay_close_and_take_half_the_bytes() {
    let model = Model::open("qwen3_16");
    let expected = model.whole().run(&model.prompt, Logits::All);
    for (dtype, tolerance) in [(PartType::F16, 0.01), (PartType::Bf16, 0.05)] {
        let mut shards = model.pipeline(&[0, 1]);
        let given = run(&mut shards, &model.prompt, with_type(dtype));
        assert_within(tolerance, dtype.name(), given.view(), expected.view());
        let size = |dtype| shards.requests[0].frame_size(100, with_type(dtype)).unwrap() - 128;
        assert_eq!(2 * size(dtype), size(PartType::F32));
        let boundary = Boundary::read(&model.path, 0).unwrap();
        assert_eq!((size(dtype), boundary.header_bytes()), (100 * boundary.bytes_per_token(dtype) as usize, 128));
        assert_eq!(boundary.parts, [(Role::HiddenStates, shards.requests[0].shard().info().hidden_size)]);
    }
    assert_eq!(Boundary::read(&model.path, model.layers - 1).unwrap_err().kind(), ErrorKind::OutOfRange);
}

/// Two requests on the two halves of a model.
struct Halves {
    front: Request,
    back: Request,
}

fn halves_on(options: &EngineOptions, model: &Path, cut: u32) -> Halves {
    let request = |first, last| request_on(options, model, first, last);
    Halves { front: request(0, cut), back: request(cut + 1, ShardSpec::LAST) }
}

fn request_on(options: &EngineOptions, model: &Path, first: u32, last: u32) -> Request {
    let spec = ShardSpec::layers(model.to_str().unwrap(), first, last);
    let shard = Engine::new(options.clone()).unwrap().ensure_shard(&spec, None).unwrap();
    Request::new(&shard, RequestOptions::default()).unwrap()
}

fn halves(model: &Path, cut: u32) -> Halves {
    halves_on(&device::options(), model, cut)
}

impl Halves {
    fn frame(&mut self, ids: &[i64]) -> Vec<u8> {
        self.front.infer_frame(Input::Ids(ids), WIDE).unwrap().to_vec().unwrap()
    }

    fn take(&mut self, frame: &[u8]) -> Result<Array2<f32>, Error> {
        let frame = Frame::read(frame)?;
        self.back.infer(Input::Frame(&frame), Logits::All).map(|output| output.values().to_owned())
    }

    /// The frame is refused, with these words, and nothing changes.
    fn refuses(&mut self, frame: &[u8], kind: ErrorKind, words: &str) {
        let before = self.back.position();
        let error = self.take(frame).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().contains(words), "{}", error.chain());
        assert_eq!(self.back.position(), before);
        // In a batch and in a chain, too.
        if let Ok(frame) = Frame::read(frame) {
            let input = Input::Frame(&frame);
            let mut step = [Step { request: &mut self.back, input, logits: Logits::Last }];
            assert_eq!(infer_batch(&mut step).remove(0).unwrap_err().kind(), kind);
            let error = infer_chain(&mut [&mut self.back], input, Logits::Last).map(drop).unwrap_err();
            assert_eq!((error.kind(), self.back.position()), (kind, before));
        }
    }
}

/// A copy of `model` whose tensor `name` has other bytes: a fine-tune, as its files show it.
fn tuned(model: &Model, name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::read(model.path.join("model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let (start, end) = metadata.info(name).unwrap().data_offsets;
    file[8 + header + start..8 + header + end].rotate_left(4);
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    std::fs::copy(model.path.join("config.json"), folder.path().join("config.json")).unwrap();
    folder
}

#[test]
fn a_frame_that_is_not_the_next_one_is_refused_and_the_text_goes_on() {
    let model = Model::open("llama_256");
    let mut pair = halves(&model.path, 0);
    let ids = &model.prompt[..6];
    let expected = model.whole().run(ids, Logits::All);
    let row = |first: usize, end: usize| expected.slice(s![first..end, ..]);
    let frames = [pair.frame(&ids[..2]), pair.frame(&ids[2..3]), pair.frame(&ids[3..6])];
    let told = |frame: &Vec<u8>| {
        let frame = Frame::read(frame).unwrap();
        (frame.layer(), frame.position(), frame.tokens())
    };
    assert_eq!(frames.each_ref().map(told), [(0, 0, 2), (0, 2, 1), (0, 3, 3)]);

    // Lost: the second comes without the first.
    pair.refuses(&frames[1], ErrorKind::InvalidState, "tokens 2 to 2, and the request's next one is 0: those between");
    assert_same_in_pieces("frames", pair.take(&frames[0]).unwrap().view(), row(0, 2));
    // Repeated.
    pair.refuses(
        &frames[0],
        ErrorKind::InvalidState,
        "tokens 0 to 1, and the request's next one is 2: it has been run",
    );
    pair.refuses(&frames[2], ErrorKind::InvalidState, "those between have not come yet");
    // Cut and damaged.
    let last = frames[1].len() - 1;
    pair.refuses(&frames[1][..last], ErrorKind::Malformed, "it is cut");
    pair.refuses(&[], ErrorKind::Malformed, "too few");
    for at in [0, 20, 30, 100, 127, 128, last] {
        let mut damaged = frames[1].clone();
        damaged[at] ^= 4;
        pair.refuses(&damaged, ErrorKind::Malformed, "frame: ");
    }
    let mut newer = frames[1].clone();
    newer[8] += 1;
    pair.refuses(&newer, ErrorKind::Unsupported, "version 2, this library reads version 1");
    // And it goes on with the bits that it would have had.
    assert_same_in_pieces("frames", pair.take(&frames[1]).unwrap().view(), row(2, 3));
    assert_same_in_pieces("frames", pair.take(&frames[2]).unwrap().view(), row(3, 6));
    // Some of its tokens have been run.
    pair.back.truncate(4).unwrap();
    pair.refuses(&frames[2], ErrorKind::InvalidState, "some of its tokens have been run already");
    pair.back.truncate(3).unwrap();
    assert_same_in_pieces("frames", pair.take(&frames[2]).unwrap().view(), row(3, 6));
}

#[test]
fn a_frame_of_another_model_checkpoint_layer_or_precision_is_refused() {
    let (model, prompt) = (Model::open("qwen3_16"), Model::open("qwen3_16").prompt);
    let mut pair = halves(&model.path, 0);
    let mut refuses = |other: &mut Halves, words: &str| {
        let frame = other.frame(&prompt[..2]);
        pair.refuses(&frame, ErrorKind::InvalidArgument, words);
    };
    refuses(&mut halves(&Model::open("llama_256").path, 0), "it comes from another model");
    refuses(&mut halves(&model.path, 1), "a shard that ends at layer 1, and the request's shard begins at layer 1");
    // On either side of the boundary, whichever side has the layer.
    for (layer, tensor) in [
        (0, "model.layers.0.mlp.up_proj.weight"),
        (0, "model.layers.0.input_layernorm.weight"),
        (1, "model.layers.1.self_attn.v_proj.weight"),
    ] {
        let folder = tuned(&model, tensor);
        refuses(&mut halves(folder.path(), 0), &format!("with other weights in layer {layer} than"));
    }
    // Weights far from the boundary are not looked at.
    let folder = tuned(&model, "model.layers.2.mlp.up_proj.weight");
    let frame = halves(folder.path(), 0).frame(&prompt[..2]);
    let int8 = EngineOptions { precision: Precision::Int8, pack_cache: PackCache::Off, ..device::options() };
    refuses(&mut halves_on(&int8, &model.path, 0), "a shard with int8 weights, the request's shard has exact ones");
    pair.take(&frame).unwrap();
    // A copy of the model elsewhere is the same model.
    pair.back.truncate(0).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(model.path.join(file), copy.path().join(file)).unwrap();
    }
    let frame = halves(copy.path(), 0).frame(&prompt[..2]);
    pair.take(&frame).unwrap();
    // Where frames do not belong at all.
    let whole = model.shard(0, model.layers - 1);
    let mut request = Request::new(&whole, RequestOptions::default()).unwrap();
    let error = request.infer(Input::Frame(&Frame::read(&frame).unwrap()), Logits::Last).map(drop).unwrap_err();
    assert!(error.chain().contains("a frame given, but the shard starts at layer 0"), "{}", error.chain());
    let error = request.infer_frame(Input::Ids(&prompt[..1]), WIDE).map(drop).unwrap_err();
    assert!(error.chain().contains("gives logits, which are no frame"), "{}", error.chain());
    assert_eq!(pair.back.frame(WIDE).map(drop).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// A shard's files are enough: what the other side alone has is not compared.
#[test]
fn halves_of_a_model_in_two_folders_take_each_others_frames() {
    // The first layer is in a file of its own.
    let (model, cut) = (Model::open("llama_bias_sharded"), 0);
    if !device::runs(&model) {
        return;
    }
    let index = std::fs::read_to_string(model.path.join("model.safetensors.index.json")).unwrap();
    let whole = model.whole().run(&model.prompt, Logits::All);
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let files = |wanted: &dyn Fn(&str) -> bool| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors.index.json"] {
            std::fs::copy(model.path.join(name), folder.path().join(name)).unwrap();
        }
        for (tensor, file) in index["weight_map"].as_object().unwrap() {
            let file = file.as_str().unwrap();
            if wanted(tensor) {
                std::fs::copy(model.path.join(file), folder.path().join(file)).unwrap();
            }
        }
        folder
    };
    let front = files(&|tensor| tensor.contains("layers.0.") || tensor.contains("embed"));
    let back = files(&|tensor| !tensor.contains("layers.0."));
    let mut pair = Halves {
        front: request_on(&device::options(), front.path(), 0, cut),
        back: request_on(&device::options(), back.path(), cut + 1, ShardSpec::LAST),
    };
    let frame = pair.frame(&model.prompt);
    assert_same(&model.name, pair.take(&frame).unwrap().view(), whole.view());
}

/// Frames lie where the run has left its output, and stay as they are while the request goes on.
#[test]
fn a_frame_outlives_the_run_that_made_it() {
    let model = Model::open("llama_256");
    let mut pair = halves(&model.path, 0);
    let kept = pair.front.infer_frame(Input::Ids(&model.prompt[..3]), WIDE).unwrap();
    let bytes = kept.to_vec().unwrap();
    assert_eq!(kept.pieces().map(<[u8]>::len).sum::<usize>(), bytes.len());
    let output = pair.front.output().unwrap().values();
    let piece = kept.pieces().nth(1).unwrap();
    assert!(std::ptr::eq(output.as_ptr().cast(), piece.as_ptr()), "the part is copied");
    pair.frame(&model.prompt[3..]);
    assert_eq!(kept.to_vec().unwrap(), bytes);
    // What was given before a step back is still what was given.
    pair.front.truncate(0).unwrap();
    let again = pair.front.frame(WIDE).unwrap().to_vec().unwrap();
    assert_eq!(Frame::read(&again).unwrap().position(), 3);
    pair.front.cancel_handle().cancel().unwrap();
    assert!(pair.front.infer_frame(Input::Ids(&[1]), WIDE).is_err());
    let error = pair.front.frame(WIDE).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{}", error.chain());
}

/// Numbers beyond the largest half are refused if that is wanted, and the position is as before.
#[test]
fn what_a_type_cannot_hold_is_refused_before_anything_changes() {
    let model = Model::open("qwen3_16");
    let shard = model.shard(1, 1);
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let width = shard.info().hidden_size as usize;
    let states = Array2::from_shape_fn((3, width), |(row, column)| if row == 1 { 1e5 } else { column as f32 });
    let refuse = FrameOptions { beyond: Beyond::Refuse, ..with_type(PartType::F16) };
    let error = request.infer_frame(Input::Hidden(states.view()), refuse).map(drop).unwrap_err();
    assert_eq!((error.kind(), request.position()), (ErrorKind::OutOfRange, 0), "{}", error.chain());
    let said = error.chain();
    assert!(said.contains("hidden_states: ") && said.contains("in row 1") && said.contains("float16"), "{said}");
    for options in [with_type(PartType::F16), FrameOptions { hidden_states: PartType::Bf16, ..refuse }] {
        let frame = request.infer_frame(Input::Hidden(states.view()), options).unwrap().to_vec().unwrap();
        let frame = Frame::read(&frame).unwrap();
        let most = frame.parts()[0].values().iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(most >= 65_504.0 && most.is_finite());
        request.truncate(0).unwrap();
    }
}

/// Positions that one side rotates as in a long text and the other as in a short one would give a silently different answer.
#[test]
fn long_and_short_texts_do_not_meet() {
    let Some(model) = Model::those_that_run(&["phi3_longrope"]).pop() else { return };
    let request = |first, last, long_context| {
        let options = RequestOptions { long_context, ..RequestOptions::default() };
        Request::new(&model.shard(first, last), options).unwrap()
    };
    let mut pair = Halves { front: request(0, 0, true), back: request(1, model.layers - 1, false) };
    let frame = pair.frame(&model.prompt[..2]);
    pair.refuses(
        &frame,
        ErrorKind::InvalidArgument,
        "rotated as in a long text, and the request would rotate them as in a short",
    );
    let mut pair = Halves { front: request(0, 0, true), back: request(1, model.layers - 1, true) };
    let frame = pair.frame(&model.prompt[..2]);
    pair.take(&frame).unwrap();
}
