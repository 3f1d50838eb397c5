//! A pack is written in pieces: one tensor that holds all experts of a layer may be larger than the memory limit, and than what this
//! process takes while it is packed.
#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::process::{child, memory};
use crate::common::synthetic::{self, Content, Tensor};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, PackCache, Precision, Progress, Request, RequestOptions,
    ShardSpec, Stage,
};

/// A model whose layers have all experts in two tensors.
struct Stacked {
    layers: usize,
    hidden: usize,
    experts: usize,
    inner: usize,
    /// Whether matrices are stored column after column, as in Llama 4; else row after row, as in Qwen3-MoE.
    columns: bool,
    content: Content,
}

impl Stacked {
    /// Writes the folder. A file for each layer, so that one of sixty gigabytes can be made of holes.
    fn write(&self, folder: &Path) {
        let Self { layers, hidden, experts, inner, columns, content } = *self;
        let (family, vocabulary) = (if columns { "llama4_text" } else { "qwen3_moe" }, 64);
        let config = format!(
            r#"{{"model_type":"{family}","hidden_size":{hidden},"intermediate_size":{inner},"moe_intermediate_size":{inner},
            "num_hidden_layers":{layers},"num_attention_heads":4,"num_key_value_heads":2,"head_dim":64,
            "vocab_size":{vocabulary},"num_experts":{experts},"num_local_experts":{experts},"num_experts_per_tok":1,
            "tie_word_embeddings":true}}"#
        );
        std::fs::write(folder.join("config.json"), config).unwrap();
        let mut index = Vec::new();
        let mut file = |name: String, tensors: Vec<Tensor>| {
            index.extend(tensors.iter().map(|(tensor, _)| format!(r#""{tensor}":"{name}""#)));
            synthetic::write(&folder.join(name), &tensors, content);
        };
        for layer in 0..layers {
            file(format!("layer-{layer}.safetensors"), self.layer(layer));
        }
        let rest = [("embed_tokens", vec![vocabulary, hidden]), ("norm", vec![hidden])];
        file("rest.safetensors".into(), rest.map(|(name, shape)| (format!("model.{name}.weight"), shape)).into());
        let index = format!(r#"{{"weight_map":{{{}}}}}"#, index.join(","));
        std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    }

    fn layer(&self, layer: usize) -> Vec<Tensor> {
        let Self { hidden, experts, inner, .. } = *self;
        let (query, kv) = (4 * 64, 2 * 64);
        let mut tensors = vec![
            ("input_layernorm.weight", vec![hidden]),
            ("post_attention_layernorm.weight", vec![hidden]),
            ("self_attn.q_proj.weight", vec![query, hidden]),
            ("self_attn.k_proj.weight", vec![kv, hidden]),
            ("self_attn.v_proj.weight", vec![kv, hidden]),
            ("self_attn.o_proj.weight", vec![hidden, query]),
        ];
        if self.columns {
            tensors.extend([
                ("feed_forward.router.weight", vec![experts, hidden]),
                ("feed_forward.experts.gate_up_proj", vec![experts, hidden, 2 * inner]),
                ("feed_forward.experts.down_proj", vec![experts, inner, hidden]),
                ("feed_forward.shared_expert.gate_proj.weight", vec![inner, hidden]),
                ("feed_forward.shared_expert.up_proj.weight", vec![inner, hidden]),
                ("feed_forward.shared_expert.down_proj.weight", vec![hidden, inner]),
            ]);
        } else {
            tensors.extend([
                ("self_attn.q_norm.weight", vec![64]),
                ("self_attn.k_norm.weight", vec![64]),
                ("mlp.gate.weight", vec![experts, hidden]),
                ("mlp.experts.gate_up_proj", vec![experts, 2 * inner, hidden]),
                ("mlp.experts.down_proj", vec![experts, hidden, inner]),
            ]);
        }
        tensors.into_iter().map(|(part, shape)| (format!("model.layers.{layer}.{part}"), shape)).collect()
    }

    /// Bytes of the tensor with the first projections of a layer's experts.
    fn largest_tensor(&self) -> u64 {
        (self.experts * 2 * self.inner * self.hidden * 2) as u64
    }
}

fn engine(memory_limit: u64, pack_cache: PackCache) -> Engine {
    let precision = Precision::Int4;
    Engine::new(EngineOptions { precision, memory_limit, pack_cache, ..EngineOptions::default() }).unwrap()
}

#[test]
fn a_tensor_larger_than_the_limit_is_packed() {
    child(module_path!(), "child_packs", &[]);
}

#[test]
#[ignore = "a child's part"]
fn child_packs() {
    for columns in [false, true] {
        let content = Content::Random;
        let model = Stacked { layers: 1, hidden: 512, experts: 48, inner: 512, columns, content };
        let (folder, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.write(folder.path());
        let spec = ShardSpec::whole(folder.path().to_str().unwrap());
        let estimate = engine(0, PackCache::Off).estimate(&spec, 16, 1).unwrap();
        let limit = estimate.load_peak_bytes + estimate.kv_bytes + estimate.run_bytes;
        assert!(limit < model.largest_tensor() / 2, "{limit} bytes hold the tensor: the test shows nothing");
        let engine = engine(limit, PackCache::Folder(packed.path().to_owned()));

        // Stopped within the tensor, it leaves nothing: no file, and no memory.
        let mut stop = |now: &Progress| match now.stage {
            Stage::Pack if now.bytes_done > model.largest_tensor() / 2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error = engine.ensure_shard(&spec, Some(&mut stop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
        assert_eq!((engine.memory_used(), packed.path().read_dir().unwrap().count()), (0, 0));

        let (before, mut most, mut told) = (memory("RssAnon"), 0, Vec::new());
        let mut watch = |now: &Progress| {
            most = most.max(memory("RssAnon"));
            told.extend((now.stage == Stage::Pack).then_some(now.bytes_done));
            ControlFlow::Continue(())
        };
        let shard = engine.ensure_shard(&spec, Some(&mut watch)).unwrap();
        let own = most.saturating_sub(before);
        assert!(
            own < model.largest_tensor() / 4,
            "{own} bytes of private memory, the tensor has {}",
            model.largest_tensor()
        );
        told.dedup();
        let widest = told.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest < model.largest_tensor() / 8, "progress goes {widest} bytes at once");

        let logits = |shard| {
            let options = RequestOptions { capacity: 16, ..RequestOptions::default() };
            Request::new(shard, options)
                .unwrap()
                .infer(Input::Ids(&[1, 2, 3]), Logits::Last)
                .unwrap()
                .values()
                .to_owned()
        };
        let whole = self::engine(0, PackCache::Off).ensure_shard(&spec, None).unwrap();
        assert_eq!(logits(&shard), logits(&whole));
    }
}

/// A checkpoint of the shape of Qwen3-30B-A3B, 58 GB of holes, packed range by range within a memory limit of 2 GiB. It needs
/// 4 GB on the disk.
#[test]
#[ignore = "takes minutes; docs/precision.md has its figures"]
fn a_checkpoint_of_sixty_gigabytes() {
    let model =
        Stacked { layers: 48, hidden: 2048, experts: 128, inner: 768, columns: false, content: Content::Sparse };
    let (folder, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    model.write(folder.path());
    let options = EngineOptions {
        precision: Precision::Int4,
        memory_limit: 2 << 30,
        pack_cache: PackCache::Folder(packed.path().to_owned()),
        pack_cache_limit: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options).unwrap();
    let (before, mut most, mut reports) = (memory("RssAnon"), 0, 0);
    let path = folder.path().to_str().unwrap();
    let begin = std::time::Instant::now();
    let mut bytes = 0;
    for first in (0..u32::try_from(model.layers).unwrap()).step_by(6) {
        engine.clear().unwrap();
        let mut watch = |now: &Progress| {
            if now.stage == Stage::Pack && now.bytes_done < now.bytes_total {
                reports += 1;
                most = most.max(memory("RssAnon"));
            }
            ControlFlow::Continue(())
        };
        let shard = engine.ensure_shard(&ShardSpec::layers(path, first, first + 5), Some(&mut watch)).unwrap();
        bytes += shard.info().weight_bytes;
    }
    let own = most.saturating_sub(before);
    println!("{bytes} bytes packed in {:?}, {reports} reports, {own} bytes of private memory at most", begin.elapsed());
    assert!(own < 64 << 20, "{own} bytes of private memory");
}
