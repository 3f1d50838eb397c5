//! chat_template.jinja.

use std::path::PathBuf;
use std::sync::LazyLock;

use ortshard::{ChatMessage, Tokenizer};

use super::{repository, scratch, sound};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = scratch("chat-template");
    std::fs::copy(repository("tests/tokenizers/unigram/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), r#"{"bos_token": "<s>", "eos_token": "</s>"}"#).unwrap();
    folder
});

pub fn run(data: &[u8]) {
    std::fs::write(FOLDER.join("chat_template.jinja"), data).unwrap();
    if let Some(tokenizer) = sound(Tokenizer::open(&FOLDER)) {
        try_out(&tokenizer);
    }
}

/// Renders a conversation and an empty one.
pub(crate) fn try_out(tokenizer: &Tokenizer) {
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Hi\n {{ 1 }} <think> \u{e9}"),
        ChatMessage::new("assistant", "<think>no</think> Yes?"),
        ChatMessage::new("user", ""),
    ];
    sound(tokenizer.apply_chat_template(&messages, true));
    sound(tokenizer.apply_chat_template(&[], false));
}
