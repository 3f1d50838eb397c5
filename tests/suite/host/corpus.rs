//! What fuzzing has gathered harms nothing: every input of `fuzz/corpus` goes through the body of its target again. Those of
//! `calls` are tried by `c_tests/process/corpus.c`, also under the sanitizers. A failing test prints its input's path.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, clippy::doc_markdown, reason = "a library of its own, as the fuzz targets see it")]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = targets::repository("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{}", input.display());
        run(&std::fs::read(input).unwrap());
    }
}

#[test]
fn config() {
    replay("config", targets::config::run);
}

#[test]
fn safetensors() {
    replay("safetensors", targets::safetensors::run);
}

#[test]
fn index() {
    replay("index", targets::index::run);
}

#[test]
fn state() {
    replay("state", targets::state::run);
}

#[test]
fn tokenizer() {
    replay("tokenizer", targets::tokenizer::run);
}

#[test]
fn tokenizer_config() {
    replay("tokenizer_config", targets::tokenizer_config::run);
}

#[test]
fn chat_template() {
    replay("chat_template", targets::chat_template::run);
}
