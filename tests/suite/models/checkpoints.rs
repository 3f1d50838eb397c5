//! Weights are read from the files and by the names that transformers takes; what cannot be read is named with what to do.
//! `tools/goldens/make_checkpoint_goldens.py` makes the answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{Model, assert_close, assert_same, device};
use ndarray::{Array2, s};
use ortshard::{Engine, ErrorKind, FileState, Logits, ShardSpec};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors by name: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn golden(kind: &str) -> Vec<Value> {
    let text = std::fs::read(crate::common::root().join("tests/checkpoints.json")).unwrap();
    let golden: Value = serde_json::from_slice(&text).unwrap();
    golden[kind].as_array().unwrap().clone()
}

/// The tensors of `model`'s one file.
fn tensors(model: &Model) -> Tensors {
    let file = std::fs::read(model.path.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let owned = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    tensors.tensors().into_iter().map(|(name, view)| (name, owned(view))).collect()
}

fn reversed((dtype, shape, data): &(Dtype, Vec<usize>, Vec<u8>)) -> (Dtype, Vec<usize>, Vec<u8>) {
    let row = data.len() / shape[0];
    (*dtype, shape.clone(), data.chunks(row).rev().flatten().copied().collect())
}

fn write(tensors: &Tensors, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn write_index<'a>(map: impl IntoIterator<Item = (&'a String, &'a str)>, path: &Path) {
    let map: BTreeMap<_, _> = map.into_iter().collect();
    std::fs::write(path, json!({ "weight_map": map }).to_string()).unwrap();
}

/// A folder with `model`'s config.json, changed by `config`, and none of its weights.
fn without_weights(model: &Model, config: &Value) -> (Model, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read(model.path.join("config.json")).unwrap();
    let mut whole: Value = serde_json::from_slice(&text).unwrap();
    whole.as_object_mut().unwrap().extend(config.as_object().cloned().unwrap_or_default());
    std::fs::write(folder.path().join("config.json"), whole.to_string()).unwrap();
    let mut copy = Model::as_stored(&model.name);
    folder.path().clone_into(&mut copy.path);
    (copy, folder)
}

/// `model` with these tensors in one file.
fn with(model: &Model, tensors: &Tensors) -> (Model, TempDir) {
    let (copy, folder) = without_weights(model, &Value::Null);
    write(tensors, &copy.path.join(WEIGHTS));
    (copy, folder)
}

fn renamed(name: &str, rename: &[(&str, &str)]) -> String {
    let fits = rename.iter().find_map(|(old, new)| Some(((*new).to_owned(), name.strip_prefix(old)?)));
    fits.map_or_else(|| name.to_owned(), |(new, rest)| new + rest)
}

fn logits(model: &Model) -> Array2<f32> {
    model.whole().run(&model.prompt, Logits::All)
}

/// `copy` gives the bits `wanted`, whole and in two shards, and is estimated and audited as what it is.
fn assert_gives(what: &str, copy: &Model, wanted: &Array2<f32>) {
    assert_same(what, logits(copy).view(), wanted.view());
    assert_same(what, copy.pipeline(&[0]).run(&copy.prompt, Logits::All).view(), wanted.view());
    let engine = Engine::new(device::options()).unwrap();
    for (start, end) in [(0, ShardSpec::LAST), (0, 0), (1, ShardSpec::LAST)] {
        let spec = ShardSpec::layers(copy.path.to_str().unwrap(), start, end);
        let estimate = engine.estimate(&spec, 16, 1).unwrap();
        assert_eq!(estimate.weight_bytes, engine.ensure_shard(&spec, None).unwrap().info().weight_bytes, "{what}");
        let files = engine.audit_files(&spec).unwrap();
        assert!(files.iter().all(|file| matches!(file.state, FileState::Present { .. })), "{what}: {files:?}");
    }
}

/// transformers saves the experts of a layer one by one, or, with `save_original_format=False`, as it holds them.
/// A tensor of a file that is changed: its type, its shape and its bytes.
type Changed = (Dtype, Vec<usize>, Vec<u8>);

#[test]
fn stacked_experts_give_the_bits_of_single_ones() {
    for model in Model::those_that_run(&["qwen3_moe_stacked"]) {
        let stacked = tensors(&model);
        let mut single = stacked.clone();
        for (name, (dtype, shape, data)) in stacked.iter().filter(|(name, _)| name.contains(".experts.")) {
            let (module, part) = name.rsplit_once('.').unwrap();
            let parts = if part == "gate_up_proj" { vec!["gate_proj", "up_proj"] } else { vec![part] };
            for (index, expert) in data.chunks(data.len() / shape[0]).enumerate() {
                for (part, values) in parts.iter().zip(expert.chunks(expert.len() / parts.len())) {
                    let shape = vec![shape[1] / parts.len(), shape[2]];
                    single.insert(format!("{module}.{index}.{part}.weight"), (*dtype, shape, values.to_vec()));
                }
            }
            single.remove(name);
        }
        assert_eq!(single.len(), stacked.len() - 2 + 3 * 4, "one layer has four experts");
        let (copy, _folder) = with(&model, &single);
        assert_gives("single experts", &copy, &logits(&model));
        assert_gives("stacked experts", &model, &logits(&model));

        // What is saved is what was there.
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(device::options()).unwrap();
        engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        engine.save_checkpoint(&folder.path().join(WEIGHTS)).unwrap();
        let mut saved = Model::as_stored(&model.name);
        folder.path().clone_into(&mut saved.path);
        assert!(tensors(&saved) == stacked, "saved otherwise");
    }
}

/// GPT-OSS is published in four-bit floats.
#[test]
fn four_bit_floats_are_saved_as_they_were_and_named_where_they_are_not_whole() {
    const DOWN: &str = "model.layers.1.mlp.experts.down_proj";
    for model in Model::those_that_run(&["gpt_oss_mxfp4"]) {
        assert_gives("four-bit floats", &model, &logits(&model));
        let (engine, folder) = (Engine::new(device::options()).unwrap(), tempfile::tempdir().unwrap());
        engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        engine.save_checkpoint(&folder.path().join(WEIGHTS)).unwrap();
        let mut saved = Model::as_stored(&model.name);
        folder.path().clone_into(&mut saved.path);
        let own = tensors(&model);
        assert!(tensors(&saved) == own, "saved otherwise");

        let changed = |name: &str, change: &dyn Fn(&mut Changed)| {
            let mut tensors = own.clone();
            tensors.entry(format!("{DOWN}_{name}")).and_modify(change);
            tensors
        };
        let without = |name: &str| {
            let mut tensors = own.clone();
            tensors.remove(&format!("{DOWN}_{name}"));
            tensors
        };
        let cases: [(Tensors, Value, ErrorKind, &[&str]); 6] = [
            (without("scales"), json!({}), ErrorKind::NotFound, &["down_proj_scales` is missing"]),
            (without("blocks"), json!({}), ErrorKind::NotFound, &["down_proj_blocks` is missing"]),
            (
                changed("blocks", &|tensor| tensor.0 = Dtype::I8),
                json!({}),
                ErrorKind::Unsupported,
                &["down_proj_blocks", "I8", "U8"],
            ),
            (
                changed("scales", &|tensor| tensor.1.push(1)),
                json!({}),
                ErrorKind::Malformed,
                &["down_proj_scales", "[5, 96, 1, 1]", "[5, 96, 1]"],
            ),
            (
                own.clone(),
                json!({ "quantization_config": null }),
                ErrorKind::NotFound,
                &["gate_up_proj` is missing", "gate_up_proj_blocks", "quantization_config"],
            ),
            (
                own.clone(),
                json!({ "quantization_config": { "quant_method": "fp8" } }),
                ErrorKind::Unsupported,
                &["quantization_config.quant_method", "fp8", "mxfp4"],
            ),
        ];
        for (tensors, config, kind, words) in cases {
            let (copy, _folder) = without_weights(&model, &config);
            write(&tensors, &copy.path.join(WEIGHTS));
            let spec = ShardSpec::whole(copy.path.to_str().unwrap());
            let error = Engine::new(device::options()).unwrap().ensure_shard(&spec, None).unwrap_err();
            let said = error.chain();
            assert_eq!(error.kind(), kind, "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }

        // A scale that is no number is not hidden.
        let (copy, _folder) = with(&model, &changed("scales", &|tensor| tensor.2.fill(255)));
        assert!(logits(&copy).iter().all(|logit| !logit.is_finite()));
    }
}

#[test]
fn names_are_read_as_transformers_reads_them() {
    for row in golden("names") {
        let model = Model::as_stored(row["model"].as_str().unwrap());
        let pairs = |key: &str| -> Vec<(String, String)> {
            let map = row[key].as_object().into_iter().flatten();
            map.map(|(old, new)| (old.clone(), new.as_str().unwrap().to_owned())).collect()
        };
        let rename = pairs("rename");
        let rename: Vec<_> = rename.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        let own = tensors(&model);
        let mut changed: Tensors = own.iter().map(|(name, t)| (renamed(name, &rename), t.clone())).collect();
        changed.extend(pairs("add").into_iter().map(|(name, other)| (name, reversed(&own[&other]))));
        let (copy, _folder) = with(&model, &changed);
        let what = format!("{} {} {}", model.name, row["rename"], row["add"]);
        let Some(last) = row["last_logits"].as_array() else {
            assert_gives(&what, &copy, &logits(&model));
            continue;
        };
        let last: Vec<f32> = last.iter().map(|value| value.as_f64().unwrap() as f32).collect();
        let wanted = Array2::from_shape_vec((1, last.len()), last).unwrap();
        let found = logits(&copy);
        assert_close(&what, found.slice(s![-1.., ..]), wanted.view());
        assert_gives(&what, &copy, &found);
    }
}

#[test]
fn files_are_chosen_as_transformers_chooses_them() {
    for row in golden("files") {
        let model = Model::as_stored(row["model"].as_str().unwrap());
        let own = tensors(&model);
        let upside_down: Tensors = own.iter().map(|(name, tensor)| (name.clone(), reversed(tensor))).collect();
        let (copy, folder) = without_weights(&model, &row["config"]);
        for (file, which) in row["layout"].as_object().unwrap() {
            write(if which == "own" { &own } else { &upside_down }, &folder.path().join(file));
        }
        for (index, file) in row["index"].as_object().into_iter().flatten() {
            write_index(own.keys().map(|name| (name, file.as_str().unwrap())), &folder.path().join(index));
        }
        assert_eq!(row["counts"], "own");
        assert_gives(&row.to_string(), &copy, &logits(&model));
    }
}

/// Text parts of image-text models, under the names that those have.
#[test]
fn names_of_a_text_part() {
    for (name, rename) in [
        ("qwen3_tied", &[("model.", "language_model.model.")][..]),
        ("llama_gqa", &[("model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")]),
        ("llama_gqa", &[("model.", "model.language_model.")]),
        ("llama_gqa", &[("model.", "language_model.")]),
    ] {
        let model = Model::as_stored(name);
        let own = tensors(&model);
        let mut changed: Tensors = own.iter().map(|(name, t)| (renamed(name, rename), t.clone())).collect();
        let tower = own["model.norm.weight"].clone();
        changed.insert("vision_tower.layers.0.norm.weight".into(), tower.clone());
        changed.insert("model.vision_tower.norm.weight".into(), tower);
        let (copy, _folder) = with(&model, &changed);
        assert_gives(&format!("{name} {rename:?}"), &copy, &logits(&model));
    }
}

/// What is written is written under the usual names, whatever the names that were read.
#[test]
fn what_is_saved_has_the_usual_names() {
    let model = Model::as_stored("qwen3_16");
    let changed = tensors(&model)
        .into_iter()
        .map(|(name, tensor)| match name.as_str() {
            "model.embed_tokens.weight" => ("lm_head.weight".to_owned(), tensor),
            name => (renamed(name, &[("model.", "")]), tensor),
        })
        .collect();
    let (copy, folder) = with(&model, &changed);
    let saved = |model: &Model, name: &str| {
        let engine = Engine::new(device::options()).unwrap();
        let shard = engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        engine.save_checkpoint(&folder.path().join(format!("{name}.saved"))).unwrap();
        shard.export_onnx(&folder.path().join("model.onnx")).unwrap();
        ["model.onnx", "model.onnx.data", &format!("{name}.saved")]
            .map(|file| std::fs::read(folder.path().join(file)).unwrap())
    };
    assert!(saved(&model, "usual") == saved(&copy, "other"));
    let engine = Engine::new(device::options()).unwrap();
    engine.ensure_shard(&ShardSpec::whole(copy.path.to_str().unwrap()), None).unwrap();
    engine.load_checkpoint(&folder.path().join("other.saved"), None).unwrap();
    engine.load_checkpoint(&model.path, None).unwrap();
}

/// A folder, how it is made of one with config.json alone, and what is said of it.
type Case<'a> = (&'a str, &'a dyn Fn(&Path), ErrorKind, &'a [&'a str]);

fn assert_refused(model: &Model, cases: &[Case]) {
    for (what, spoil, kind, words) in cases {
        let (copy, folder) = without_weights(model, &Value::Null);
        spoil(folder.path());
        let spec = ShardSpec::whole(copy.path.to_str().unwrap());
        let error = Engine::new(device::options()).unwrap().ensure_shard(&spec, None).unwrap_err();
        let text = error.chain();
        assert_eq!(error.kind(), *kind, "{what}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{what}: {text}");
        assert_eq!(text.matches("model folder `").count(), 1, "{what}: {text}");
    }
}

#[test]
fn files_of_other_kinds_are_named_with_what_to_do() {
    use ErrorKind::{Malformed, NotFound};
    let model = Model::as_stored("llama_gqa");
    let bytes = std::fs::read(model.path.join(WEIGHTS)).unwrap();
    let put = |file: &str, content: &[u8]| {
        let (file, content) = (file.to_owned(), content.to_vec());
        move |folder: &Path| std::fs::write(folder.join(&file), &content).unwrap()
    };
    let weights = |content: &[u8]| put(WEIGHTS, content);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n";
    assert_refused(
        &model,
        &[
            ("bin", &put("pytorch_model.bin", b"PK"), NotFound, &["pytorch_model.bin", "save_pretrained"]),
            ("gguf", &put("m-q4.gguf", b"GGUF"), NotFound, &["m-q4.gguf", "convert"]),
            ("adapter", &put("adapter_config.json", b"{}"), NotFound, &["adapter_config.json", "merge"]),
            ("pointer", &weights(pointer), Malformed, &[WEIGHTS, "Git LFS pointer", "git lfs pull"]),
            ("pointer as index", &put(INDEX, pointer), Malformed, &[INDEX, "Git LFS pointer"]),
            ("empty", &weights(b""), Malformed, &[WEIGHTS, "is empty"]),
            ("page", &weights(b"<!DOCTYPE html>"), Malformed, &[WEIGHTS, "web page"]),
            ("link as text", &weights(b"../blobs/0123"), Malformed, &[WEIGHTS, "holds a path"]),
            ("archive", &weights(b"PK\x03\x04rest of it"), Malformed, &[WEIGHTS, "PyTorch"]),
            ("header only", &weights(&bytes[..100]), Malformed, &["ends in its header, after 100 bytes"]),
            ("cut", &weights(&bytes[..bytes.len() - 100]), Malformed, &["100 of its", "are missing"]),
        ],
    );
}

#[test]
fn tensors_that_are_not_the_models_are_named() {
    use ErrorKind::{NotFound, Unsupported};
    let model = Model::as_stored("llama_gqa");
    let own = &tensors(&model);
    let names = |rename: &'static [(&str, &str)]| {
        move |folder: &Path| {
            let changed = own.iter().map(|(name, tensor)| (renamed(name, rename), tensor.clone())).collect();
            write(&changed, &folder.join(WEIGHTS));
        }
    };
    let packed = |folder: &Path| {
        let mut packed = own.clone();
        let (dtype, shape, _) = packed.get_mut("model.embed_tokens.weight").unwrap();
        (*dtype, shape[1]) = (Dtype::U32, shape[1] / 2);
        write(&packed, &folder.join(WEIGHTS));
    };
    let gptq = names(&[("model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.qweight")]);
    let peft = names(&[("model.", "base_model.model.model."), ("lm_head.", "base_model.model.lm_head.")]);
    assert_refused(
        &model,
        &[
            ("gptq", &gptq, NotFound, &["model.layers.1.mlp.up_proj.qweight", "quantised"]),
            ("mlx", &packed, Unsupported, &["model.embed_tokens.weight", "U32", "quantised"]),
            ("peft", &peft, NotFound, &["base_model.model.lm_head.weight", "another kind"]),
            ("no head", &names(&[("lm_head.", "other.")]), NotFound, &["lm_head.weight", "tie_word_embeddings"]),
        ],
    );
}

#[test]
fn what_is_wrong_with_an_index_is_told() {
    use ErrorKind::{Malformed, NotFound, Unsupported};
    let model = Model::as_stored("llama_gqa");
    let own = &tensors(&model);
    let all_in = |file: &'static str| {
        move |folder: &Path| {
            write(own, &folder.join("shards/a.safetensors"));
            write_index(own.keys().map(|name| (name, file)), &folder.join(INDEX));
        }
    };
    let twice = |folder: &Path| {
        write(own, &folder.join("a.safetensors"));
        let [head, norm] = ["lm_head.weight", "model.norm.weight"];
        let b = [(head.to_owned(), own[head].clone()), (norm.to_owned(), reversed(&own[norm]))];
        write(&b.into(), &folder.join("b.safetensors"));
        let file = |name: &String| if name == head { "b.safetensors" } else { "a.safetensors" };
        write_index(own.keys().map(|name| (name, file(name))), &folder.join(INDEX));
    };
    let not_in_it = |folder: &Path| {
        let most = own.iter().filter(|(name, _)| *name != "model.norm.weight");
        write(&most.map(|(name, tensor)| (name.clone(), tensor.clone())).collect(), &folder.join("a.safetensors"));
        write_index(own.keys().map(|name| (name, "a.safetensors")), &folder.join(INDEX));
    };
    let named = |file: &'static str| {
        move |folder: &Path| {
            let path = folder.join("config.json");
            let old = std::fs::read_to_string(&path).unwrap();
            let key = format!(r#"{{"transformers_weights": "{file}","#);
            std::fs::write(path, old.replacen('{', &key, 1)).unwrap();
        }
    };
    assert_refused(
        &model,
        &[
            ("backslash", &all_in(r"shards\a.safetensors"), Malformed, &[r"shards\\a.safetensors", "has a backslash"]),
            ("parent", &all_in("../a.safetensors"), Malformed, &["../a.safetensors", "leaves the model folder"]),
            ("absolute", &all_in("/a.safetensors"), Malformed, &["/a.safetensors", "leaves the model folder"]),
            ("twice", &twice, Malformed, &["model.norm.weight", "a.safetensors", "b.safetensors"]),
            ("not in it", &not_in_it, NotFound, &["model.norm.weight", "a.safetensors", "its index"]),
            ("bin", &named("pytorch_model.bin"), Unsupported, &["transformers_weights", "pytorch_model.bin"]),
            ("none", &named("x.safetensors"), NotFound, &["x.safetensors"]),
        ],
    );
}

#[test]
fn a_checkpoint_that_is_not_there_is_named() {
    let model = Model::as_stored("llama_gqa");
    let engine = Engine::new(device::options()).unwrap();
    engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path: PathBuf = scratch.path().join("nope");
    let error = engine.load_checkpoint(&path, None).unwrap_err();
    assert_eq!((error.kind(), error.chain()), (ErrorKind::NotFound, format!("`{}` does not exist", path.display())));
}
