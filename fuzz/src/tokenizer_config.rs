//! tokenizer_config.json, its chat template included.

use std::path::PathBuf;
use std::sync::LazyLock;

use ortshard::Tokenizer;

use super::{chat_template, repository, scratch, sound, tokenizer};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = scratch("tokenizer-config");
    std::fs::copy(repository("tests/tokenizers/unigram/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    folder
});

pub fn run(data: &[u8]) {
    std::fs::write(FOLDER.join("tokenizer_config.json"), data).unwrap();
    if let Some(opened) = sound(Tokenizer::open(&FOLDER)) {
        chat_template::try_out(&opened);
        tokenizer::try_out(opened);
    }
}
