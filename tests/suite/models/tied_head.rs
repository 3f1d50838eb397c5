//! Where config.json ties the head to the embedding and the files hold a head all the same, the head of the files counts, as
//! in transformers 5.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::common::{Model, assert_same, hidden};
use ndarray::Array2;
use ortshard::{Engine, EngineOptions, Input, Logits, Progress, Request, RequestOptions, ShardSpec, Stage};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// `model` in `folder`, tied or not, with the embedding upside down as its head, in one file or in a file of its own.
fn with_head(model: &Model, folder: &Path, tied: bool, own_file: bool) -> PathBuf {
    let folder = folder.join(format!("{tied}-{own_file}"));
    std::fs::create_dir(&folder).unwrap();
    let config = std::fs::read(model.path.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["tie_word_embeddings"], true);
    config["tie_word_embeddings"] = json!(tied);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();

    let weights = std::fs::read(model.path.join("model.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&weights).unwrap();
    let mut tensors: BTreeMap<String, TensorView> = weights.tensors().into_iter().collect();
    let embedding = weights.tensor(EMBEDDING).unwrap();
    let row = embedding.data().len() / embedding.shape()[0];
    let reversed: Vec<u8> = embedding.data().chunks(row).rev().flatten().copied().collect();
    let head = TensorView::new(embedding.dtype(), embedding.shape().to_vec(), &reversed).unwrap();
    if own_file {
        let map: BTreeMap<&str, &str> = tensors
            .keys()
            .map(|name| (name.as_str(), "most.safetensors"))
            .chain([(HEAD, "head.safetensors")])
            .collect();
        let index = json!({"weight_map": map}).to_string();
        std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        safetensors::serialize_to_file(tensors, None, &folder.join("most.safetensors")).unwrap();
        safetensors::serialize_to_file([(HEAD, head)], None, &folder.join("head.safetensors")).unwrap();
    } else {
        tensors.insert(HEAD.to_owned(), head);
        safetensors::serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
    }
    folder
}

fn logits(engine: &Engine, prompt: &[i64]) -> Array2<f32> {
    let mut request = Request::new(&engine.current_shard().unwrap(), RequestOptions::default()).unwrap();
    request.infer(Input::Ids(prompt), Logits::All).unwrap().values().to_owned()
}

fn engine(folder: &Path) -> Engine {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    engine.ensure_shard(&ShardSpec::whole(folder.to_str().unwrap()), None).unwrap();
    engine
}

#[test]
fn the_files_head_counts() {
    let model = Model::open("qwen2_tied");
    let scratch = tempfile::tempdir().unwrap();
    let untied = with_head(&model, scratch.path(), false, false);
    let wanted = logits(&engine(&untied), &model.prompt);
    let embedding = logits(&engine(&model.path), &model.prompt);
    assert!(wanted != embedding);
    for own_file in [false, true] {
        let tied = with_head(&model, scratch.path(), true, own_file);
        assert_same("whole", logits(&engine(&tied), &model.prompt).view(), wanted.view());

        let spec = |start, end| ShardSpec::layers(tied.to_str().unwrap(), start, end);
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let front = engine.ensure_shard(&spec(0, 0), None).unwrap();
        let mut request = Request::new(&front, RequestOptions::default()).unwrap();
        let states = hidden(request.infer(Input::Ids(&model.prompt), Logits::All).unwrap());
        let last = spec(1, ShardSpec::LAST);
        let estimate = engine.estimate(&last, 16, 1).unwrap();
        let back = engine.ensure_shard(&last, None).unwrap();
        let mut request = Request::new(&back, RequestOptions::default()).unwrap();
        let logits = request.infer(Input::Hidden(states.view()), Logits::All).unwrap().values();
        assert_same("last shard", logits, wanted.view());
        assert_eq!(estimate.weight_bytes, back.info().weight_bytes);
        let files = engine.audit_files(&last).unwrap();
        assert_eq!(files.iter().any(|file| file.name == "head.safetensors"), own_file);
    }
}

/// What counts is the checkpoint that is loaded, not the model's own files.
#[test]
fn a_checkpoint_with_a_head_brings_it() {
    let model = Model::open("qwen2_tied");
    let scratch = tempfile::tempdir().unwrap();
    let untied = with_head(&model, scratch.path(), false, false);
    let engine = engine(&model.path);
    let embedding = logits(&engine, &model.prompt);
    engine.load_checkpoint(&untied, None).unwrap();
    assert_same(
        "with a head",
        logits(&engine, &model.prompt).view(),
        logits(&self::engine(&untied), &model.prompt).view(),
    );
    engine.load_checkpoint(&model.path.join("model.safetensors"), None).unwrap();
    assert_same("without", logits(&engine, &model.prompt).view(), embedding.view());
}

/// Looking for the head first does not make the progress of loading go back.
#[test]
fn progress_only_grows() {
    let model = Model::open("qwen2_tied");
    let scratch = tempfile::tempdir().unwrap();
    for own_file in [false, true] {
        let folder = with_head(&model, scratch.path(), true, own_file);
        let mut told: Vec<Progress> = Vec::new();
        let mut tell = |now: &Progress| {
            told.push(*now);
            ControlFlow::Continue(())
        };
        let engine = Engine::new(EngineOptions::default()).unwrap();
        engine.ensure_shard(&ShardSpec::whole(folder.to_str().unwrap()), Some(&mut tell)).unwrap();
        for pair in told.windows(2) {
            let grows = (pair[0].stage, pair[0].bytes_done) <= (pair[1].stage, pair[1].bytes_done);
            assert!(grows, "{pair:?}");
        }
        assert_eq!(told.last().unwrap().stage, Stage::Ready);
    }
}
