//! Memory that really runs out: a child process caps its own address space (`RLIMIT_AS`) at load, at the KV cache and
//! in the middle of a run. Each gives a typed error, and with the cap gone the same request gives the same bits.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]
#![allow(unsafe_code, reason = "setrlimit")]

mod common;

use std::process::Command;
use std::sync::Arc;

use common::{Model, assert_same};
use ortshard::{
    Engine, EngineOptions, Error, ErrorKind, Input, Logits, Request, RequestOptions, Shard, ShardSpec, Site,
};

const PARTS: &[&str] = &["child_load", "child_kv", "child_run"];

#[test]
fn running_out_of_address_space_is_an_answer() {
    for part in PARTS {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && text.contains("1 passed"), "{part}: {text}");
    }
}

/// Allows this process `spare` bytes more than it has; `None`: any number.
fn cap(spare: Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size = size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    let limit = spare.map_or(libc::RLIM_INFINITY, |spare| size + spare);
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a plain system call on a valid struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limits) }, 0);
}

/// A wide model whose files are sparse: its runs take megabytes, itself nothing on disk.
fn wide(folder: &std::path::Path) -> ShardSpec {
    use std::io::Write;
    let (hidden, inner, vocabulary) = (16, 131_072, 1000);
    let config = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"hidden_size":{hidden},"intermediate_size":{inner},
        "num_hidden_layers":1,"num_attention_heads":1,"num_key_value_heads":1,"vocab_size":{vocabulary},
        "max_position_embeddings":1000000,"tie_word_embeddings":true}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
    let layer = |part: &str, shape: &[usize]| (format!("model.layers.0.{part}.weight"), shape.to_vec());
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
        layer("input_layernorm", &[hidden]),
        layer("post_attention_layernorm", &[hidden]),
        layer("self_attn.q_proj", &[hidden, hidden]),
        layer("self_attn.k_proj", &[hidden, hidden]),
        layer("self_attn.v_proj", &[hidden, hidden]),
        layer("self_attn.o_proj", &[hidden, hidden]),
        layer("mlp.gate_proj", &[inner, hidden]),
        layer("mlp.up_proj", &[inner, hidden]),
        layer("mlp.down_proj", &[hidden, inner]),
    ];
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, shape)| {
            let begin = end;
            end += shape.iter().product::<usize>() * 2;
            format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = std::fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    ShardSpec::whole(folder.to_str().unwrap())
}

fn assert_oom(error: &Error, site: Site) {
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error.chain());
    assert_eq!(error.out_of_memory().unwrap().site, site, "{}", error.chain());
}

fn request(shard: &Arc<Shard>, capacity: u32) -> Result<Request, Error> {
    Request::new(shard, RequestOptions { capacity, ..RequestOptions::default() })
}

#[test]
#[ignore = "a child's part"]
fn child_load() {
    let (small, folder) = (Model::open("llama_gqa"), tempfile::tempdir().unwrap());
    let spec = wide(folder.path());
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::whole(small.path.to_str().unwrap()), None).unwrap();
    let before =
        request(&shard, 64).unwrap().infer(Input::Ids(&small.prompt), Logits::All).unwrap().values().to_owned();
    cap(Some(2 << 20));
    assert_oom(&engine.ensure_shard(&spec, None).unwrap_err(), Site::Load);
    assert_eq!(engine.stats().out_of_memory_load, 1);
    let resident = engine.current_shard().unwrap();
    let mut again = request(&resident, 64).unwrap();
    assert_same("after", again.infer(Input::Ids(&small.prompt), Logits::All).unwrap().values(), before.view());
    cap(None);
    engine.ensure_shard(&spec, None).unwrap();
}

#[test]
#[ignore = "a child's part"]
fn child_kv() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&wide(folder.path()), None).unwrap();
    cap(Some(64 << 20));
    assert_oom(&request(&shard, 1_000_000).unwrap_err(), Site::Kv);
    assert_eq!(engine.stats().out_of_memory_kv, 1);
    request(&shard, 100).unwrap();
    cap(None);
    request(&shard, 1_000_000).unwrap();
}

#[test]
#[ignore = "a child's part"]
fn child_run() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let shard = engine.ensure_shard(&wide(folder.path()), None).unwrap();
    let prompt: Vec<i64> = (0..160).collect();
    let (mut request, mut other) = (request(&shard, 512).unwrap(), request(&shard, 512).unwrap());
    let _ = request.infer(Input::Ids(&prompt[..1]), Logits::Last).unwrap();
    request.truncate(0).unwrap();
    // A run of 160 rows needs 160 x 131,072 floats, 84 MB, at once: more than any reserve of the C allocator.
    cap(Some(16 << 20));
    let error = request.infer(Input::Ids(&prompt), Logits::Last).unwrap_err();
    assert_oom(&error, Site::Run);
    assert_eq!((engine.stats().out_of_memory_run, request.position()), (1, 0));
    // Smaller pieces fit, even now.
    let _ = request.infer(Input::Ids(&prompt[..20]), Logits::Last).unwrap();
    request.truncate(0).unwrap();
    cap(None);
    let after = request.infer(Input::Ids(&prompt), Logits::Last).unwrap().values().to_owned();
    assert_same("after", other.infer(Input::Ids(&prompt), Logits::Last).unwrap().values(), after.view());
}
