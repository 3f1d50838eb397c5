//! Offline, files come from the hub's cache or from the host program, no socket is opened, and what is missing is listed.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::common::{self, Model, assert_close};
use ortshard::{
    ChatMessage, Engine, EngineOptions, ErrorKind, Fetch, FileState, Input, Logits, ModelInfo, Progress, Request,
    RequestOptions, Shard, ShardSpec, SourceOptions, Tokenizer,
};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: &[&str] = &["config.json", "model.safetensors.index.json"];

/// `model` as the hub's cache holds it: blobs, and a snapshot of links to them. Returns the snapshot.
fn cache(model: &Model, root: &Path) -> PathBuf {
    let repository = root.join("models--tiny--model");
    let snapshot = repository.join("snapshots").join(COMMIT);
    for folder in ["refs", "blobs", "snapshots"] {
        std::fs::create_dir_all(repository.join(folder)).unwrap();
    }
    std::fs::create_dir(&snapshot).unwrap();
    std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for (index, entry) in std::fs::read_dir(&model.path).unwrap().enumerate() {
        let entry = entry.unwrap();
        let blob = format!("{index:064x}");
        std::fs::copy(entry.path(), repository.join("blobs").join(&blob)).unwrap();
        symlink(Path::new("../../blobs").join(&blob), snapshot.join(entry.file_name())).unwrap();
    }
    snapshot
}

fn engine(source: SourceOptions) -> Engine {
    Engine::new(EngineOptions { source, ..EngineOptions::default() }).unwrap()
}

fn offline(root: &Path) -> Engine {
    engine(SourceOptions { offline: true, cache_dir: Some(root.to_owned()), ..SourceOptions::default() })
}

fn check(model: &Model, shard: &Arc<Shard>) {
    let mut request = Request::new(shard, RequestOptions::default()).unwrap();
    let logits = request.infer(Input::Ids(&model.prompt), Logits::All).unwrap().values().to_owned();
    assert_close(&model.name, logits.view(), model.golden("logits").view());
}

#[test]
fn the_hubs_cache_serves_a_model_by_name_and_revision() {
    let model = Model::open("qwen3_bias_sharded");
    let root = tempfile::tempdir().unwrap();
    cache(&model, root.path());
    let engine = offline(root.path());
    for revision in [None, Some("main"), Some(COMMIT)] {
        let spec = ShardSpec { revision: revision.map(str::to_owned), ..ShardSpec::whole("tiny/model") };
        check(&model, &engine.ensure_shard(&spec, None).unwrap());
    }
    let spec = ShardSpec { revision: Some("v2".into()), ..ShardSpec::whole("tiny/model") };
    let error = engine.ensure_shard(&spec, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline, "{}", error.chain());
    check(&model, &engine.current_shard().unwrap());
}

#[test]
fn what_is_missing_offline_is_listed_by_error_and_audit() {
    let model = Model::open("llama_bias_sharded");
    let root = tempfile::tempdir().unwrap();
    let snapshot = cache(&model, root.path());
    let engine = offline(root.path());
    let spec = ShardSpec::whole("tiny/model");
    let audit = |spec: &ShardSpec| -> Vec<(String, bool)> {
        let files = engine.audit_files(spec).unwrap();
        files.into_iter().map(|f| (f.name, matches!(f.state, FileState::Present { .. }))).collect()
    };
    let all = audit(&spec);
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert!(FILES.iter().all(|name| names.contains(name)) && all.len() == 5, "{all:?}");
    assert!(all.iter().all(|(_, here)| *here));

    let gone: Vec<&str> = names.iter().copied().filter(|name| name.starts_with("model-")).take(2).collect();
    for name in &gone {
        std::fs::remove_file(snapshot.join(name)).unwrap();
    }
    let missing: Vec<_> = audit(&spec).into_iter().filter(|(_, here)| !here).map(|(name, _)| name).collect();
    assert_eq!(missing, gone);
    let error = engine.ensure_shard(&spec, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline);
    for name in gone {
        assert!(error.chain().contains(name), "{}", error.chain());
    }
    let error = engine.ensure_shard(&ShardSpec::whole("tiny/other"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline, "{}", error.chain());
}

/// A model with a tokenizer, two ids that end a text and a chat template.
fn chatty() -> (Model, TempDir) {
    let mut model = Model::open("llama_gqa");
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = common::root().join("tests/tokenizers/qwen/tokenizer.json");
    std::fs::copy(model.path.join("config.json"), folder.path().join("config.json")).unwrap();
    std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [5, 7]}"#).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), "<{{ messages[0].content }}>").unwrap();
    folder.path().clone_into(&mut model.path);
    (model, folder)
}

fn check_tokenizer(model: &Model, engine: &Engine, spec: &ShardSpec) {
    let info = engine.model_info(spec, None).unwrap();
    assert_eq!(info, ModelInfo::read(&model.path).unwrap());
    assert_eq!((info.layer_count, &info.eos_ids[..2]), (model.layers, &[5, 7][..]));
    let (by_name, by_folder) = (engine.tokenizer(spec, None).unwrap(), Tokenizer::open(&model.path).unwrap());
    assert_eq!(by_name.encode("Hello world", true).unwrap(), by_folder.encode("Hello world", true).unwrap());
    assert_eq!(by_name.eos(), by_folder.eos());
    let message = [ChatMessage::new("user", "Hi")];
    assert_eq!(by_name.apply_chat_template(&message, true).unwrap(), "<Hi>");
}

#[test]
fn model_and_tokenizer_come_from_where_shards_do() {
    let (model, _folder) = chatty();
    let root = tempfile::tempdir().unwrap();
    let snapshot = cache(&model, root.path());
    let engine = offline(root.path());
    for revision in [None, Some(COMMIT)] {
        let spec = ShardSpec { revision: revision.map(str::to_owned), ..ShardSpec::whole("tiny/model") };
        check_tokenizer(&model, &engine, &spec);
    }
    check_tokenizer(&model, &engine, &ShardSpec::whole(model.path.to_str().unwrap()));
    let mut stop = |_: &Progress| ControlFlow::Break(());
    let spec = ShardSpec::whole("tiny/model");
    assert_eq!(engine.tokenizer(&spec, Some(&mut stop)).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(engine.model_info(&spec, Some(&mut stop)).unwrap_err().kind(), ErrorKind::Cancelled);

    // What is optional may be missing; the tokenizer and config.json may not.
    std::fs::remove_file(snapshot.join("chat_template.jinja")).unwrap();
    assert!(engine.tokenizer(&spec, None).is_ok());
    for file in ["tokenizer.json", "config.json"] {
        std::fs::remove_file(snapshot.join(file)).unwrap();
        let error = match file {
            "config.json" => engine.model_info(&spec, None).unwrap_err(),
            _ => engine.tokenizer(&spec, None).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Offline);
        assert!(error.chain().contains(file), "{}", error.chain());
    }
}

/// A host that keeps models in a folder of its own and remembers what it was asked for.
struct Shelf {
    model: PathBuf,
    asked: Mutex<BTreeSet<String>>,
}

impl Fetch for Shelf {
    fn fetch(&self, model: &str, revision: Option<&str>, file: &str) -> ortshard::Result<Option<PathBuf>> {
        assert_eq!((model, revision), ("my model", Some("7")));
        self.asked.lock().unwrap().insert(file.to_owned());
        Ok(Some(self.model.join(file)).filter(|path| path.exists()))
    }
}

#[test]
fn a_host_brings_only_the_files_of_the_shard() {
    let model = Model::open("llama_bias_sharded");
    let shelf = Arc::new(Shelf { model: model.path.clone(), asked: Mutex::default() });
    let engine = engine(SourceOptions { host: Some(shelf.clone()), ..SourceOptions::default() });
    let spec = |start, end| ShardSpec { revision: Some("7".into()), ..ShardSpec::layers("my model", start, end) };
    engine.ensure_shard(&spec(1, 1), None).unwrap();
    let asked = shelf.asked.lock().unwrap().clone();
    let index = std::fs::read_to_string(model.path.join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let of_layer = map.iter().filter(|(name, _)| name.starts_with("model.layers.1.")).map(|(_, file)| file);
    let expected: BTreeSet<_> =
        of_layer.map(|file| file.as_str().unwrap()).chain(FILES.iter().copied()).map(str::to_owned).collect();
    // One file of all weights would count, whatever the index says.
    let expected: BTreeSet<_> = expected.into_iter().chain(["model.safetensors".to_owned()]).collect();
    assert_eq!(asked, expected);
    check(&model, &engine.ensure_shard(&spec(0, model.layers - 1), None).unwrap());
}

#[test]
fn a_host_brings_the_tokenizer() {
    let (model, _folder) = chatty();
    let shelf = Arc::new(Shelf { model: model.path.clone(), asked: Mutex::default() });
    let engine = engine(SourceOptions { host: Some(shelf.clone()), ..SourceOptions::default() });
    let spec = ShardSpec { revision: Some("7".into()), ..ShardSpec::whole("my model") };
    check_tokenizer(&model, &engine, &spec);
    let asked = shelf.asked.lock().unwrap().clone();
    let wanted = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
        "config.json",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "additional_chat_templates/rag.jinja",
    ];
    assert_eq!(asked, wanted.map(str::to_owned).into());
}
