//! Replacing a shard is a transaction: whatever fails, the shard before gives the same bits, and the error names the file or
//! tensor.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::common::{Model, assert_same, device, process};
use ndarray::Array2;
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, Progress, Request, RequestOptions, Shard, ShardSpec, Stage,
};

fn engine(release_first: bool) -> Engine {
    Engine::new(EngineOptions { release_first, ..device::options() }).unwrap()
}

fn whole(model: &Model) -> ShardSpec {
    ShardSpec::whole(model.path.to_str().unwrap())
}

fn answer(shard: &Arc<Shard>, prompt: &[i64]) -> Array2<f32> {
    let mut request = Request::new(shard, RequestOptions::default()).unwrap();
    request.infer(Input::Ids(prompt), Logits::All).unwrap().values().to_owned()
}

/// A copy of a model folder, to be broken.
fn copy(model: &Model) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&model.path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

type Break = (&'static str, fn(&Path), ErrorKind, &'static str);

/// Ways to break a model, the error each gives, and what its message names.
const BREAKS: &[Break] = &[
    ("no config", |f| std::fs::remove_file(f.join("config.json")).unwrap(), ErrorKind::NotFound, "config.json"),
    ("config is no JSON", |f| std::fs::write(f.join("config.json"), "{").unwrap(), ErrorKind::Malformed, "config.json"),
    (
        "no weights",
        |f| std::fs::remove_file(f.join("model.safetensors")).unwrap(),
        ErrorKind::NotFound,
        "model.safetensors",
    ),
    (
        "truncated weights",
        |f| {
            let file = std::fs::OpenOptions::new().write(true).open(f.join("model.safetensors")).unwrap();
            file.set_len(file.metadata().unwrap().len() - 100).unwrap();
        },
        ErrorKind::Malformed,
        "model.safetensors",
    ),
    (
        "corrupt header",
        |f| {
            let mut bytes = std::fs::read(f.join("model.safetensors")).unwrap();
            bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
            std::fs::write(f.join("model.safetensors"), bytes).unwrap();
        },
        ErrorKind::Malformed,
        "model.safetensors",
    ),
    (
        "renamed tensor",
        |f| {
            let bytes = std::fs::read(f.join("model.safetensors")).unwrap();
            let at = bytes.windows(4).position(|w| w == b"up_p").unwrap();
            let mut bytes = bytes;
            bytes[at] = b'X';
            std::fs::write(f.join("model.safetensors"), bytes).unwrap();
        },
        ErrorKind::NotFound,
        "up_proj",
    ),
    (
        "another shape",
        |f| {
            let text = std::fs::read_to_string(f.join("config.json")).unwrap();
            let changed = text.replace("\"vocab_size\": 128", "\"vocab_size\": 127");
            assert_ne!(text, changed);
            std::fs::write(f.join("config.json"), changed).unwrap();
        },
        ErrorKind::Malformed,
        "model.embed_tokens.weight",
    ),
];

#[test]
fn a_failed_swap_leaves_the_old_shard_as_it_was() {
    let (model, other) = (Model::open("llama_256"), Model::open("mistral_window"));
    for release_first in [false, true] {
        let engine = engine(release_first);
        let shard = engine.ensure_shard(&whole(&model), None).unwrap();
        let before = answer(&shard, &model.prompt);
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        let _ = request.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
        let used = engine.memory_used();
        for (name, spoil, kind, named) in BREAKS {
            let broken = copy(&other);
            spoil(broken.path());
            let spec = ShardSpec::whole(broken.path().to_str().unwrap());
            let error = engine.ensure_shard(&spec, None).unwrap_err();
            assert_eq!(error.kind(), *kind, "{name}: {}", error.chain());
            assert!(error.chain().contains(named), "{name}: {}", error.chain());
            let current = engine.current_shard().unwrap();
            assert!(Arc::ptr_eq(&current, &shard), "{name}: another shard is resident");
            assert_same(name, answer(&current, &model.prompt).view(), before.view());
            assert_eq!(engine.memory_used(), used, "{name}: memory is still reserved");
        }
        // A request from before the failures goes on.
        let next = request.infer(Input::Ids(&[5]), Logits::Last).unwrap().values().to_owned();
        let mut fresh = Request::new(&shard, RequestOptions::default()).unwrap();
        let _ = fresh.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
        assert_same("request", next.view(), fresh.infer(Input::Ids(&[5]), Logits::Last).unwrap().values());
        assert_eq!(engine.stats().shards_loaded, 1);
    }
}

#[test]
fn cancelling_at_any_stage_leaves_the_old_shard() {
    let (model, other) = (Model::open("llama_256"), Model::open("qwen3_16"));
    for release_first in [false, true] {
        for stage in [Stage::Inspect, Stage::Fetch, Stage::Weights, Stage::Session, Stage::Ready] {
            let engine = engine(release_first);
            let shard = engine.ensure_shard(&whole(&model), None).unwrap();
            let before = answer(&shard, &model.prompt);
            let mut stop =
                |p: &Progress| if p.stage == stage { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let error = engine.ensure_shard(&whole(&other), Some(&mut stop)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
            assert_same("cancelled", answer(&engine.current_shard().unwrap(), &model.prompt).view(), before.view());
        }
    }
}

#[test]
fn progress_counts_up_to_the_whole() {
    let model = Model::those_that_run(&["qwen3_bias_sharded", "qwen3_16"]).remove(0);
    let mut seen = Vec::new();
    let mut record = |p: &Progress| {
        seen.push(*p);
        ControlFlow::Continue(())
    };
    let shard = engine(false).ensure_shard(&whole(&model), Some(&mut record)).unwrap();
    assert!(seen.is_sorted_by_key(|p| p.stage));
    let mapped: Vec<_> = seen.iter().filter(|p| p.stage >= Stage::Weights).collect();
    assert!(mapped.is_sorted_by_key(|p| (p.bytes_done, p.tensors_done)));
    let last = seen.last().unwrap();
    assert_eq!(
        (last.stage, last.bytes_done, last.bytes_total),
        (Stage::Ready, last.bytes_total, shard.info().weight_bytes)
    );
    assert_eq!(last.tensors_done, last.tensors_total);
}

#[test]
fn a_replaced_shard_serves_its_requests_and_a_released_one_makes_them_stale() {
    let (model, other) = (Model::open("llama_256"), Model::open("mistral_window"));
    for release_first in [false, true] {
        let engine = engine(release_first);
        let shard = engine.ensure_shard(&whole(&model), None).unwrap();
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        let _ = request.infer(Input::Ids(&model.prompt), Logits::Last).unwrap();
        engine.ensure_shard(&whole(&other), None).unwrap();
        let next = request.infer(Input::Ids(&[1]), Logits::Last).map(|_| ()).map_err(|e| e.kind());
        assert_eq!(next, if release_first { Err(ErrorKind::StaleShard) } else { Ok(()) });
    }
}

#[test]
fn clear_makes_everything_stale_and_the_engine_usable() {
    let model = Model::open("mistral_window");
    let engine = engine(false);
    engine.clear().unwrap();
    let shard = engine.ensure_shard(&whole(&model), None).unwrap();
    let before = answer(&shard, &model.prompt);
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    assert!(engine.memory_used() > 0);
    engine.clear().unwrap();
    engine.clear().unwrap();
    assert_eq!(engine.memory_used(), 0, "handles are alive, their memory is not");
    assert!(engine.current_shard().is_none());
    assert_eq!(request.infer(Input::Ids(&[1]), Logits::Last).unwrap_err().kind(), ErrorKind::StaleShard);
    assert_eq!(Request::new(&shard, RequestOptions::default()).unwrap_err().kind(), ErrorKind::StaleShard);
    assert_eq!(shard.info().layer_count, model.layers, "what it was can still be asked");
    let again = engine.ensure_shard(&whole(&model), None).unwrap();
    assert_same("again", answer(&again, &model.prompt).view(), before.view());
}

#[test]
fn a_shard_is_what_its_folder_holds_however_that_is_spelled() {
    let model = Model::open("mistral_window");
    let folder = copy(&model);
    let path = folder.path().to_str().unwrap();
    let engine = engine(false);
    let shard = engine.ensure_shard(&ShardSpec::whole(path), None).unwrap();
    let same = |spec: &ShardSpec| Arc::ptr_eq(&engine.ensure_shard(spec, None).unwrap(), &shard);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert!(same(&ShardSpec::whole(format!("{path}/"))) && same(&ShardSpec::whole(format!("{path}/../{name}"))));
    assert!(same(&ShardSpec { layer_count: model.layers, ..ShardSpec::layers(path, 0, model.layers - 1) }));
    #[cfg(unix)]
    {
        let links = tempfile::tempdir().unwrap();
        let link = links.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(same(&ShardSpec::whole(link.to_str().unwrap())));
    }
    assert_eq!(engine.stats().shards_loaded, 1);
    assert_eq!(
        engine.ensure_shard(&ShardSpec { layer_count: 7, ..ShardSpec::whole(path) }, None).unwrap_err().kind(),
        ErrorKind::InvalidArgument,
    );

    // Other weights in a file of the same name are another shard; the requests on the one before keep theirs.
    let before = answer(&shard, &model.prompt);
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4000..].fill(0);
    std::fs::write(folder.path().join("new"), &bytes).unwrap();
    std::fs::rename(folder.path().join("new"), &weights).unwrap();
    let changed = engine.ensure_shard(&ShardSpec::whole(path), None).unwrap();
    let other = answer(&changed, &model.prompt);
    assert!(other.iter().zip(&before).any(|(a, b)| a.to_bits() != b.to_bits()));
    assert_same("kept", request.infer(Input::Ids(&model.prompt), Logits::All).unwrap().values(), before.view());
}

/// Not only a file can change, but also which file counts: model.safetensors, where it is, before an index.
#[test]
fn a_file_that_goes_before_another_makes_another_shard() {
    let model = Model::open("qwen3_16");
    let folder = copy(&model);
    let spec = ShardSpec::whole(folder.path().to_str().unwrap());
    let single = folder.path().join("model.safetensors");
    let index = folder.path().join("model.safetensors.index.json");
    let bytes = std::fs::read(&single).unwrap();
    let names: serde_json::Map<_, _> = safetensors::SafeTensors::deserialize(&bytes)
        .unwrap()
        .names()
        .into_iter()
        .map(|name| (name.to_owned(), "part.safetensors".into()))
        .collect();
    std::fs::rename(&single, folder.path().join("part.safetensors")).unwrap();
    std::fs::write(&index, serde_json::json!({ "weight_map": names }).to_string()).unwrap();
    let engine = engine(false);
    let shard = engine.ensure_shard(&spec, None).unwrap();
    let before = answer(&shard, &model.prompt);
    let other = folder.path().join("other");
    engine.save_checkpoint(&other).unwrap();
    let mut bytes = std::fs::read(&other).unwrap();
    let end = bytes.len();
    bytes[end - 4000..].fill(0);
    std::fs::write(&other, &bytes).unwrap();
    assert!(Arc::ptr_eq(&engine.ensure_shard(&spec, None).unwrap(), &shard));

    std::fs::rename(&other, &single).unwrap();
    let changed = answer(&engine.ensure_shard(&spec, None).unwrap(), &model.prompt);
    assert!(changed.iter().zip(&before).any(|(a, b)| a.to_bits() != b.to_bits()));
    std::fs::rename(&single, &other).unwrap();
    let again = engine.ensure_shard(&spec, None).unwrap();
    assert_same("index", answer(&again, &model.prompt).view(), before.view());

    // Where nothing is left to load, what is loaded stays.
    std::fs::remove_file(&index).unwrap();
    assert!(Arc::ptr_eq(&engine.ensure_shard(&spec, None).unwrap(), &again));
    std::fs::rename(&other, &single).unwrap();
    let last = answer(&engine.ensure_shard(&spec, None).unwrap(), &model.prompt);
    assert_same("single", last.view(), changed.view());
}

#[test]
fn the_models_own_weights_come_back_after_a_checkpoint() {
    let model = Model::open("mistral_window");
    let engine = engine(false);
    let shard = engine.ensure_shard(&whole(&model), None).unwrap();
    let before = answer(&shard, &model.prompt);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.safetensors");
    engine.save_checkpoint(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4000..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let tuned = engine.load_checkpoint(&path, None).unwrap();
    assert!(answer(&tuned, &model.prompt).iter().zip(&before).any(|(a, b)| a.to_bits() != b.to_bits()));
    let again = engine.ensure_shard(&whole(&model), None).unwrap();
    assert!(!Arc::ptr_eq(&again, &tuned));
    assert_same("own", answer(&again, &model.prompt).view(), before.view());
}

/// A relative path means the folder that it meant when it was given, also where a failed swap loads the old shard again.
#[test]
fn the_process_may_go_elsewhere() {
    process::child(module_path!(), "child_goes_elsewhere", &[]);
}

#[test]
#[ignore = "a child's part: the working directory is the process's"]
fn child_goes_elsewhere() {
    let (llama, mistral) = (Model::open("llama_256"), Model::open("mistral_window"));
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (folder, model) in folders.iter().zip([&llama, &mistral]) {
        std::fs::rename(copy(model).keep(), folder.path().join("m")).unwrap();
        std::fs::create_dir(folder.path().join("broken")).unwrap();
        std::fs::copy(model.path.join("config.json"), folder.path().join("broken/config.json")).unwrap();
        std::fs::write(folder.path().join("broken/model.safetensors"), [0; 100]).unwrap();
    }
    let go = |at: usize| std::env::set_current_dir(folders[at].path()).unwrap();
    for release_first in [false, true] {
        let engine = engine(release_first);
        go(0);
        let shard = engine.ensure_shard(&ShardSpec::whole("m"), None).unwrap();
        assert_eq!(shard.info().architecture, "LlamaForCausalLM");
        let before = answer(&shard, &llama.prompt);
        engine.save_checkpoint(Path::new("saved.safetensors")).unwrap();

        // Whatever fails elsewhere, the shard is there, or loaded again from where it was.
        go(1);
        for name in ["no such model", "broken"] {
            engine.ensure_shard(&ShardSpec::whole(name), None).unwrap_err();
            let current = engine.current_shard().unwrap();
            assert_same(name, answer(&current, &llama.prompt).view(), before.view());
        }
        assert_eq!(
            engine.ensure_shard(&ShardSpec::whole("m"), None).unwrap().info().architecture,
            "MistralForCausalLM"
        );

        // So is one with the weights of a checkpoint.
        go(0);
        engine.ensure_shard(&ShardSpec::whole("m"), None).unwrap();
        engine.load_checkpoint(Path::new("saved.safetensors"), None).unwrap();
        go(1);
        engine.ensure_shard(&ShardSpec::whole("broken"), None).unwrap_err();
        let current = engine.current_shard().unwrap();
        assert_same("checkpoint", answer(&current, &llama.prompt).view(), before.view());
        // Its config.json is still that of the model that it belongs to.
        engine.load_checkpoint(&folders[0].path().join("saved.safetensors"), None).unwrap();
        assert_eq!(engine.current_shard().unwrap().info().architecture, "LlamaForCausalLM");
    }
}

#[test]
fn a_saved_checkpoint_loads_and_a_broken_one_changes_nothing() {
    for model in Model::those_that_run(&["qwen2_tied", "llama_bias_sharded", "llama31_tied"]) {
        let name = &model.name;
        let engine = engine(false);
        assert_eq!(engine.save_checkpoint(Path::new("/tmp/x")).unwrap_err().kind(), ErrorKind::InvalidState);
        let shard = engine.ensure_shard(&whole(&model), None).unwrap();
        let before = answer(&shard, &model.prompt);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved.safetensors");
        engine.save_checkpoint(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        // The same weights give the same bits; others give others.
        let same = engine.load_checkpoint(&path, None).unwrap();
        assert_same(name, answer(&same, &model.prompt).view(), before.view());
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 4000..].fill(0);
        let changed = folder.path().join("changed.safetensors");
        std::fs::write(&changed, &bytes).unwrap();
        let shard = engine.load_checkpoint(&changed, None).unwrap();
        let other = answer(&shard, &model.prompt);
        assert!(other.iter().zip(&before).any(|(a, b)| a.to_bits() != b.to_bits()));

        std::fs::write(folder.path().join("broken.safetensors"), &bytes[..end / 2]).unwrap();
        let error = engine.load_checkpoint(&folder.path().join("broken.safetensors"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{}", error.chain());
        let error = engine.load_checkpoint(&folder.path().join("missing.safetensors"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        assert_same(name, answer(&engine.current_shard().unwrap(), &model.prompt).view(), other.view());
    }
}
