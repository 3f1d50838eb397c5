//! Published chat templates and tokenizers give what transformers gives for them, and what a template writes of a
//! tool call is read again. `make chats` fetches them, and what transformers gives.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::skipped;
use ortshard::{ChatFormat, ChatOptions, ChatParser, Error, ErrorKind, Tokenizer};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Setting {
    messages: String,
    tools: Option<String>,
    documents: Option<String>,
    variables: Option<String>,
    add_generation_prompt: bool,
    continue_field: Option<String>,
    /// Whether special tokens have names.
    tokens: bool,
}

impl Setting {
    fn options<'a>(&'a self, template: &'a str) -> ChatOptions<'a> {
        ChatOptions {
            tools: self.tools.as_deref(),
            documents: self.documents.as_deref(),
            variables: self.variables.as_deref(),
            own_template: Some(template),
            add_generation_prompt: self.add_generation_prompt,
            continue_field: self.continue_field.as_deref(),
            ..ChatOptions::default()
        }
    }
}

#[derive(Deserialize)]
struct Template {
    name: String,
    source: String,
    /// For each setting: the text, or the error's message.
    results: Vec<Result<String, String>>,
}

#[derive(Deserialize)]
struct Case {
    setting: usize,
    ids: Result<Vec<u32>, String>,
    as_text: Result<Vec<u32>, String>,
}

#[derive(Deserialize)]
struct Published {
    name: String,
    source: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Golden {
    settings: Vec<Setting>,
    templates: Vec<Template>,
    tokenizers: Vec<Published>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chat_templates")
}

fn golden() -> Option<Golden> {
    let Ok(bytes) = fs::read(folder().join("golden.json")) else {
        skipped("published chat templates were not fetched: `make chats` does that");
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// A small tokenizer with these names of special tokens.
fn small(names: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/llama2/tokenizer.json");
    fs::copy(file, folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), names.to_string()).unwrap();
    Tokenizer::open(folder.path()).unwrap()
}

fn named() -> Tokenizer {
    small(&json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}))
}

/// Whether two failures are one: a template's own words have to be the same.
fn same_failure(error: &Error, words: &str) -> bool {
    let own = error.to_string();
    match own.strip_prefix("the chat template refuses these messages: ") {
        Some(own) => own == words,
        None => error.kind() != ErrorKind::Internal,
    }
}

#[test]
fn templates_give_what_transformers_gives() {
    let Some(golden) = golden() else { return };
    let (named, nameless) = (named(), small(&json!({})));
    let (mut equal, mut both_refuse, mut wrong) = (0, 0, Vec::new());
    for template in &golden.templates {
        for (number, (setting, expected)) in golden.settings.iter().zip(&template.results).enumerate() {
            let tokenizer = if setting.tokens { &named } else { &nameless };
            match (tokenizer.chat_text(&setting.messages, &setting.options(&template.source)), expected) {
                (Ok(given), Ok(text)) if given == *text => equal += 1,
                (Err(error), Err(words)) if same_failure(&error, words) => both_refuse += 1,
                (given, expected) => {
                    wrong.push(format!("{} {number}\n  transformers: {expected:?}\n  here: {given:?}", template.name));
                }
            }
        }
    }
    println!("{} templates: {equal} equal, {both_refuse} refused by both", golden.templates.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn tokenizers_give_the_ids_of_transformers() {
    let Some(golden) = golden() else { return };
    let (mut equal, mut sanitised, mut wrong) = (0, 0, Vec::new());
    for published in &golden.tokenizers {
        let tokenizer = Tokenizer::open(&folder().join("tokenizers").join(&published.name)).unwrap();
        for case in &published.cases {
            let setting = &golden.settings[case.setting];
            for (wanted, control_as_text) in [(&case.ids, false), (&case.as_text, true)] {
                let options = ChatOptions { control_as_text, ..setting.options(&published.source) };
                match (tokenizer.chat_ids(&setting.messages, &options), wanted) {
                    (Ok(given), Ok(ids)) if given == *ids => equal += 1,
                    (Err(_), Err(_)) => {}
                    (given, wanted) => wrong.push(format!(
                        "{} {} {control_as_text}\n  transformers: {wanted:?}\n  here: {given:?}",
                        published.name, case.setting
                    )),
                }
            }
            sanitised += usize::from(case.ids.is_ok() && case.ids != case.as_text);
        }
    }
    println!("{} tokenizers: {equal} equal, {sanitised} with control tokens as text", golden.tokenizers.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sanitised > 0);
}

/// Templates of the formats that are parsed: a part of their name, and the format.
const FORMATS: &[(&str, &str)] = &[
    ("meta-llama-Llama-3.1", "llama3"),
    ("meta-llama-Llama-3.2", "llama3"),
    ("Qwen2.5-7B", "qwen3"),
    ("Qwen3-0.6B", "qwen3"),
    ("Qwen3-Coder", "qwen3-coder"),
    ("Qwen3.5-4B", "qwen3-coder"),
    ("Mistral-Nemo", "mistral"),
    ("Mistral-Small-3.2", "mistral"),
    ("Devstral-Small", "mistral"),
    ("Ministral-3", "mistral"),
    ("gpt-oss", "gpt-oss"),
    ("DeepSeek-V3.1", "deepseek"),
    ("DeepSeek-V3.2", "deepseek"),
    ("DeepSeek-V4.jinja", "deepseek"),
    ("gemma-4", "gemma"),
];

const TOOLS: &str = r#"[{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {
    "type": "object", "required": ["city"], "properties": {
    "city": {"type": "string", "description": "c"}, "days": {"type": "integer", "description": "n"}}}}}]"#;

#[test]
fn calls_that_templates_write_are_read_again() {
    let Some(golden) = golden() else { return };
    let tokenizer = named();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut wrong = Vec::new();
    for template in &golden.templates {
        let Some((part, format)) = FORMATS.iter().find(|(part, _)| template.name.contains(part)) else { continue };
        if ChatFormat::of_template(&template.source).name() != *format {
            wrong.push(format!("{} is taken for {:?}", template.name, ChatFormat::of_template(&template.source)));
        }
        for arguments in [json!({"city": "Zürich \"}] {x"}), json!({"city": "", "days": 3}), json!({"city": "a\nb"})] {
            let text = arguments.to_string();
            let (call, written) = (json!({"name": "get_weather", "arguments": arguments}), text.as_str());
            let function = json!({"type": "function", "id": "call00001", "function": call});
            let user = json!({"role": "user", "content": "Weather?"});
            let messages = json!([user, {"role": "assistant", "content": "", "tool_calls": [function]}]).to_string();
            // Some templates print the arguments as they are.
            let as_text = messages.replace(written, &serde_json::to_string(written).unwrap());
            let options =
                ChatOptions { tools: Some(TOOLS), own_template: Some(&template.source), ..ChatOptions::default() };
            let begun = ChatOptions { add_generation_prompt: true, ..options };
            let Ok(prompt) = tokenizer.chat_text(&json!([user]).to_string(), &begun) else { continue };
            let answers = [&messages, &as_text].map(|messages| tokenizer.chat_text(messages, &options).ok());
            let parsed = answers.into_iter().flatten().map(|whole| {
                // A prompt may begin the answer in another way than the history has it.
                let same = prompt.bytes().zip(whole.bytes()).take_while(|(a, b)| a == b).count();
                let (begun, answer) = whole.split_at(whole.floor_char_boundary(same));
                let mut parser = ChatParser::new(ChatFormat::named(format).unwrap(), begun, Some(TOOLS)).unwrap();
                parser.push(answer).unwrap();
                parser.finish().unwrap();
                let message: Value = serde_json::from_str(&parser.message().unwrap()).unwrap();
                (answer.to_owned(), message["tool_calls"][0]["function"].clone())
            });
            let parsed: Vec<_> = parsed.collect();
            match parsed.iter().find(|(_, function)| *function == call) {
                Some(_) => *seen.entry(part).or_default() += 1,
                None => wrong.push(format!("{}: {arguments}: {parsed:?} after {prompt:?}", template.name)),
            }
        }
    }
    println!("read again: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.len(), FORMATS.len(), "{seen:?}");
}
