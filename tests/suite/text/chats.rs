//! A chat becomes the text and the ids that transformers makes of it, and a field that is wrong is named.
//! `tools/goldens/make_chat_goldens.py` makes the answers.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ortshard::{ChatOptions, ErrorKind, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

fn tokenizers() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers")
}

/// The tokenizer `name` with these chat templates.
fn open(name: &str, templates: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(tokenizers().join(name).join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let templates = match templates.as_object() {
        Some(named) => named.iter().map(|(name, text)| serde_json::json!({"name": name, "template": text})).collect(),
        None => templates.clone(),
    };
    let config = serde_json::json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": templates});
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::open(folder.path()).unwrap()
}

fn options(given: &Value) -> ChatOptions<'_> {
    let text = |key: &str| given[key].as_str();
    ChatOptions {
        tools: text("tools"),
        documents: text("documents"),
        variables: text("variables"),
        template: text("template"),
        continue_field: text("continue_field"),
        add_generation_prompt: given["add_generation_prompt"] == true,
        ..ChatOptions::default()
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[derive(Deserialize)]
struct Golden {
    tokenizers: Vec<String>,
    templates: Vec<Value>,
    messages: Vec<String>,
    options: Vec<Value>,
    cases: Vec<Vec<Value>>,
}

#[test]
fn chats_are_those_of_transformers() {
    let golden: Golden = serde_json::from_slice(&fs::read(tokenizers().join("chats.json")).unwrap()).unwrap();
    let mut opened: HashMap<(usize, usize), Tokenizer> = HashMap::new();
    let (mut wrong, mut sanitised) = (Vec::new(), 0);
    for case in &golden.cases {
        let place = |index: usize| usize::try_from(case[index].as_u64().unwrap()).unwrap();
        let (name, template) = (&golden.tokenizers[place(0)], &golden.templates[place(1)]);
        let tokenizer = opened.entry((place(0), place(1))).or_insert_with(|| open(name, template));
        let (messages, options) = (&golden.messages[place(2)], options(&golden.options[place(3)]));
        let mut differs = |given: String| wrong.push(format!("{name} {template} {messages} {case:?}\n  here: {given}"));
        match (tokenizer.chat_text(messages, &options), case[4].as_str()) {
            (Ok(text), Some(wanted)) if text == wanted => {}
            (Err(error), None) if error.kind() != ErrorKind::Internal => {}
            (given, _) => differs(format!("{given:?}")),
        }
        for (wanted, control_as_text) in case.iter().skip(5).zip([false, true]) {
            let options = ChatOptions { control_as_text, ..options };
            // Python's repr escapes transformers' marks: what a user wrote becomes the token after all, or the message that is to be
            // continued is not found. Here it stays text.
            let repr = case[4].as_str().is_some_and(|text| text.contains("[{'type': 'text'"));
            let written = messages.contains("<|eot|>") && tokenizer.token_to_id("<|eot|>").is_some();
            let leaks = control_as_text && repr && written;
            match (tokenizer.chat_ids(messages, &options), wanted.is_array()) {
                (Ok(given), _) if leaks => {
                    assert_eq!(Some(tokenizer.decode(&given, false).unwrap().as_str()), case[4].as_str());
                    assert_ne!(given, ids(&case[5]), "{messages}");
                }
                (Ok(given), true) if given == ids(wanted) => {}
                (Err(_), false) => {}
                (given, _) => differs(format!("{given:?}")),
            }
        }
        sanitised += usize::from(case.len() > 6 && case[5] != case[6]);
    }
    let count = golden.cases.len();
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 200 && sanitised > 30, "{sanitised} of {count}");
}

/// As transformers saves a model's templates.
#[test]
fn templates_in_files_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::copy(tokenizers().join("qwen/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    write("chat_template.jinja", "plain");
    write("additional_chat_templates/tool_use.jinja", "with tools");
    write("additional_chat_templates/rag.jinja", "documents");
    write("tokenizer_config.json", r#"{"chat_template": "not looked at"}"#);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let text = |options| tokenizer.chat_text(r#"[{"role": "user", "content": "x"}]"#, &options).unwrap();
    let plain = ChatOptions::default();
    assert_eq!(text(plain), "plain");
    assert_eq!(text(ChatOptions { tools: Some("[]"), ..plain }), "with tools");
    assert_eq!(text(ChatOptions { template: Some("rag"), ..plain }), "documents");
    assert_eq!(text(ChatOptions { template: Some("default"), tools: Some("[]"), ..plain }), "plain");
}

#[test]
fn wrong_fields_are_named_by_pointers() {
    let tokenizer = open("llama3", &Value::from("{{ messages[0].content }}"));
    let refusal = |messages: &str, options: ChatOptions<'_>| {
        let error = tokenizer.chat_text(messages, &options).unwrap_err();
        (error.kind(), error.to_string())
    };
    let plain = ChatOptions::default();
    let deep = format!("[{{\"role\": \"user\", \"content\": {}", "[".repeat(100));
    for (messages, kind, wanted) in [
        ("{}", ErrorKind::InvalidArgument, "/messages must be a list"),
        ("[1]", ErrorKind::InvalidArgument, "/messages/0 must be an object, and is a number"),
        (r#"[{"content": "x"}]"#, ErrorKind::InvalidArgument, "/messages/0/role is missing"),
        (r#"[{"role": 1}]"#, ErrorKind::InvalidArgument, "/messages/0/role must be a text"),
        (r#"[{"role": "user", "content": 1}]"#, ErrorKind::InvalidArgument, "/messages/0/content must be a text or"),
        (
            r#"[{"role": "a"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text"}]}]"#,
            ErrorKind::InvalidArgument,
            "/messages/1/content/1/text is missing",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "text", "text": []}]}]"#,
            ErrorKind::InvalidArgument,
            "/messages/0/content/0/text must be a text, and is a list",
        ),
        (r#"[{"role": "user", "content": ["a"]}]"#, ErrorKind::InvalidArgument, "/messages/0/content/0 must be an"),
        (r#"[{"role": "user", "content": [{}]}]"#, ErrorKind::InvalidArgument, "/messages/0/content/0/type is missing"),
        (
            r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#,
            ErrorKind::Unsupported,
            "/messages/0/content/0/type is `image_url`",
        ),
        (
            r#"[{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}]"#,
            ErrorKind::InvalidArgument,
            "/messages/0/tool_calls/0/function/name is missing",
        ),
        (
            r#"[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}]"#,
            ErrorKind::InvalidArgument,
            "/messages/0/tool_calls/0/function/arguments must be an object",
        ),
        (r#"[{"role": "assistant", "tool_calls": {}}]"#, ErrorKind::InvalidArgument, "/messages/0/tool_calls must be"),
        (r#"[{"role": "a", "thinking": 1}]"#, ErrorKind::InvalidArgument, "/messages/0/thinking must be a text"),
        (r#"[{"role": "a", "content": "x}]"#, ErrorKind::InvalidArgument, "/messages/0/content: the JSON is not"),
        (&deep, ErrorKind::InvalidArgument, "nest deeper than 64"),
        ("[]", ErrorKind::InvalidArgument, "the conversation is empty"),
    ] {
        let (given, message) = refusal(messages, plain);
        assert!(given == kind && message.contains(wanted), "{messages}: {given:?} {message}");
    }
    let user = r#"[{"role": "user", "content": "x"}]"#;
    for (options, kind, wanted) in [
        (ChatOptions { tools: Some("{}"), ..plain }, ErrorKind::InvalidArgument, "/tools must be a list"),
        (ChatOptions { tools: Some("[{}, 1]"), ..plain }, ErrorKind::InvalidArgument, "/tools/1 must be an object"),
        (ChatOptions { documents: Some("[null]"), ..plain }, ErrorKind::InvalidArgument, "/documents/0 must be an"),
        (ChatOptions { variables: Some("[]"), ..plain }, ErrorKind::InvalidArgument, "/variables must be an object"),
        (
            ChatOptions { variables: Some(r#"{"messages": 1}"#), ..plain },
            ErrorKind::InvalidArgument,
            "/variables/messages: the chat sets",
        ),
        (
            ChatOptions { template: Some("rag"), ..plain },
            ErrorKind::NotFound,
            "no chat template `rag`; it has `default`",
        ),
        (
            ChatOptions { continue_field: Some("reasoning"), ..plain },
            ErrorKind::InvalidArgument,
            "/messages/0/reasoning is missing",
        ),
        (ChatOptions { continue_field: Some("role"), ..plain }, ErrorKind::InvalidArgument, "does not name `role`"),
    ] {
        let (given, message) = refusal(user, options);
        assert!(given == kind && message.contains(wanted), "{given:?} {message}");
    }
    let options = ChatOptions { tools: Some(r#"[{"a": {"<|eot|>": 1}}]"#), control_as_text: true, ..plain };
    let error = tokenizer.chat_ids(user, &options).unwrap_err();
    assert!(error.to_string().starts_with("/tools/0/a/<|eot|>: "), "{error}");
    let own = ChatOptions { own_template: Some("{{ messages | length }} {{ eos_token }}"), ..plain };
    assert_eq!(tokenizer.chat_text(user, &own).unwrap(), "1 </s>");
}
