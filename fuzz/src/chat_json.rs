//! The JSON of a chat: messages, tools, documents and variables.

use std::path::PathBuf;
use std::sync::LazyLock;

use ortshard::{ChatOptions, Tokenizer};

use super::{repository, scratch, sound};

/// Shows all that a template is given, and writes no token itself. It joins no texts, which could make one.
const TEMPLATE: &str = "{{ messages | tojson }}{{ tools | tojson(indent=1) }}{{ documents }} {{ more | default(0) }}\
                        {% for m in messages %} {{ m.content if m.content is string else '' }}{% endfor %}";

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let folder: PathBuf = scratch("chat-json");
    std::fs::copy(repository("tests/tokenizers/llama3/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
    Tokenizer::open(&folder).unwrap()
});

/// The first byte says which of the texts the input is.
pub fn run(data: &[u8]) {
    let Some((kind, json)) = data.split_first() else { return };
    let json = String::from_utf8_lossy(json);
    let (mut messages, mut options) = (r#"[{"role": "user", "content": "Hi <|eot|>"}]"#, ChatOptions::default());
    match kind % 8 {
        0 => options.tools = Some(&json),
        1 => options.documents = Some(&json),
        2 => options.variables = Some(&json),
        3 => options.template = Some(&json),
        4 => {
            messages = &json;
            options.continue_field = Some("content");
        }
        _ => messages = &json,
    }
    let text = sound(TOKENIZER.chat_text(messages, &options));
    options.control_as_text = true;
    if let Some(ids) = sound(TOKENIZER.chat_ids(messages, &options)) {
        assert!(text.is_some());
        let eot = TOKENIZER.token_to_id("<|eot|>").unwrap();
        assert!(!ids.contains(&eot), "{messages} {options:?}");
    }
}
