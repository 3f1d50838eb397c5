//! What a fuzz target does with one input. tests/suite/host/corpus.rs does the same with every input of the corpus.
//!
//! Inputs are files that a stranger could have written, so each target puts its input where such a file lies and then
//! goes the way of a program: look, load, run. Whatever the file holds, the answer is a value or an error of a kind
//! that callers can act upon, in a short message; and an engine that refused it still holds the shard it held.

pub mod answer;
pub mod chat_json;
pub mod chat_template;
pub mod config;
pub mod frame;
pub mod generation;
pub mod grammar;
pub mod index;
mod model;
pub mod safetensors;
pub mod state;
pub mod stop_strings;
pub mod tokenizer;
pub mod tokenizer_config;

use std::path::{Path, PathBuf};

use ortshard::{Error, ErrorKind, Result};

/// Bytes of an error's message with its causes, at most.
const LONGEST_MESSAGE: usize = 16 << 10;

/// Lets panics unwind, where libFuzzer's own hook would abort. The library catches those of its dependencies; one that
/// it does not catch ends the run all the same.
pub fn catch_panics() {
    drop(std::panic::take_hook());
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// The value, if there is one. An error must be one that the caller can act upon.
fn sound<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(check).ok()
}

fn check(error: &Error) {
    let message = error.chain();
    assert_ne!(error.kind(), ErrorKind::Internal, "{message}");
    assert!(message.len() <= LONGEST_MESSAGE, "{} bytes of message", message.len());
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// A folder for the files of the target `name`: of this process alone, where several may fuzz.
pub fn scratch(name: &str) -> PathBuf {
    let folder = match option_env!("CARGO_TARGET_TMPDIR") {
        Some(folder) => Path::new(folder).join(format!("fuzz-{name}")),
        None => std::env::temp_dir().join(format!("ortshard-fuzz-{name}-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// `path` in the repository.
pub fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if root.ends_with("fuzz") { root.parent().unwrap() } else { root };
    root.join(path)
}
