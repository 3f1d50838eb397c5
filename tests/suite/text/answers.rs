//! A model's answer is parsed into the message that transformers makes of it, in whatever parts its text comes.
//! `tools/goldens/make_chat_goldens.py` makes the answers.

use std::fs;
use std::path::Path;

use ortshard::{ChatEvent, ChatFormat, ChatParser};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

const FORMATS: [&str; 8] = ["plain", "qwen3", "qwen3-coder", "llama3", "mistral", "gpt-oss", "deepseek", "gemma"];

fn parser(format: &str, prompt: &str, tools: Option<&str>) -> ChatParser {
    ChatParser::new(ChatFormat::named(format).unwrap(), prompt, tools).unwrap()
}

/// The events, those of one kind in a row joined.
fn events(parser: &mut ChatParser, joined: &mut Vec<ChatEvent>) {
    while let Some(event) = parser.next_event() {
        match (joined.last_mut(), &event) {
            (Some(ChatEvent::Content(text)), ChatEvent::Content(more))
            | (Some(ChatEvent::Reasoning(text)), ChatEvent::Reasoning(more)) => text.push_str(more),
            _ => joined.push(event),
        }
    }
}

/// The events and the message of `text` that comes in parts as long as `length` says.
fn parse(mut parser: ChatParser, text: &str, mut length: impl FnMut() -> usize) -> (Vec<ChatEvent>, Value) {
    let (mut joined, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = rest.ceil_char_boundary(length().clamp(1, rest.len()));
        parser.push(&rest[..end]).unwrap();
        events(&mut parser, &mut joined);
        rest = &rest[end..];
    }
    parser.finish().unwrap();
    events(&mut parser, &mut joined);
    let message = parser.message().unwrap();
    (joined, serde_json::from_str(&message).unwrap_or_else(|error| panic!("{error}: {message}")))
}

/// A message without what may differ: white space around texts, ids, and keys that say nothing.
fn plain(message: &Value) -> Value {
    let mut plain = json!({"role": "assistant"});
    for key in ["content", "reasoning_content"] {
        let text = message[key].as_str().unwrap_or_default().trim();
        if !text.is_empty() {
            plain[key] = text.into();
        }
    }
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls: Vec<Value> = calls.map(|call| call["function"].clone()).collect();
    if !calls.is_empty() {
        plain["tool_calls"] = calls.into();
    }
    plain
}

fn golden() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/answers.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn messages_are_those_of_transformers() {
    let golden = golden();
    let mut wrong = Vec::new();
    for case in &golden {
        let text = |key: &str| case[key].as_str();
        let parser = parser(text("format").unwrap(), text("prompt").unwrap(), text("tools"));
        let (_, message) = parse(parser, text("text").unwrap(), || usize::MAX);
        if plain(&message) != plain(&case["message"]) {
            wrong.push(format!("{case}\n  here: {message}"));
        }
    }
    assert!(golden.len() > 25 && wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a model may write of a format, right or wrong.
const FRAGMENTS: &[&str] = &[
    "Hello",
    " ",
    "\n",
    "é😀",
    "{",
    "}",
    "\"",
    "\\",
    "[",
    "]",
    "<",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "{\"name\": \"f\", \"arguments\": {\"a\": \"<\"}}",
    "<function=f>",
    "<parameter=a>",
    "</parameter>",
    "</function>",
    "<|im_end|>",
    "<|python_tag|>",
    "f.call(a=\"b\")",
    "{\"name\"",
    ";",
    "<|eom_id|>",
    "[TOOL_CALLS]",
    "f[ARGS]",
    "[THINK]",
    "[/THINK]",
    "[CALL_ID]",
    "</s>",
    "<|start|>",
    "assistant",
    "<|channel|>",
    "analysis",
    "final",
    "commentary to=functions.f ",
    "<|constrain|>json",
    "<|message|>",
    "<|end|>",
    "<|call|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "f<｜tool▁sep｜>{\"a\": 1}",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "<｜DSML｜invoke name=\"f\">",
    "<｜DSML｜parameter name=\"a\" string=\"true\">",
    "</｜DSML｜parameter>",
    "</｜DSML｜invoke>",
    "<|channel>thought\n",
    "<channel|>",
    "<|tool_call>call:f{a:<|\"|>",
    "<|\"|>",
    "}<tool_call|>",
    "<tool_call|>",
    "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
    "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>",
    "[TOOL_CALLS]f[ARGS]{\"a\": 1}",
    "<|channel|>commentary to=functions.f<|message|>{}<|call|>",
    "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
    "<|tool_call>call:f{a:1}<tool_call|>",
    "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}<|eom_id|>",
    "```json\n",
    "\n```",
    "<thi",
    "nk>",
];

#[test]
fn parts_do_not_matter() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut texts, mut calls) = (Vec::new(), 0);
    for case in golden() {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        texts.push((text("format"), text("prompt"), text("text")));
    }
    for round in 0..6000 {
        let count = random.next_u32() % 14;
        let text = (0..count).map(|_| FRAGMENTS[random.next_u32() as usize % FRAGMENTS.len()]).collect();
        texts.push((FORMATS[round % FORMATS.len()].to_owned(), String::new(), text));
    }
    for (format, prompt, text) in texts {
        let whole = parse(parser(&format, &prompt, None), &text, || usize::MAX);
        calls += whole.0.iter().filter(|event| matches!(event, ChatEvent::ToolCall { .. })).count();
        for longest in [1, 3, 20] {
            let parts = parse(parser(&format, &prompt, None), &text, || 1 + random.next_u32() as usize % longest);
            assert_eq!(parts, whole, "{format}: {text:?}");
        }
        let arguments =
            whole.1["tool_calls"].as_array().into_iter().flatten().map(|call| &call["function"]["arguments"]);
        assert!(arguments.into_iter().all(Value::is_object), "{text}");
    }
    assert!(calls > 300, "{calls}");
}

#[test]
fn nothing_is_lost_of_what_is_no_call() {
    for (format, text, content) in [
        ("plain", "<think>a</think> <tool_call>", "<think>a</think> <tool_call>"),
        ("qwen3", "a <tool_call>\nnot JSON\n</tool_call> b", "a <tool_call>\nnot JSON\n</tool_call> b"),
        ("qwen3", "<tool_call>{\"name\": \"f\", \"argu", "<tool_call>{\"name\": \"f\", \"argu"),
        (
            "qwen3",
            "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        ),
        (
            "qwen3-coder",
            "<tool_call><function=f><parameter=a>1</parameter>",
            "<tool_call><function=f><parameter=a>1</parameter>",
        ),
        ("llama3", "{\"name\": \"f\"", "{\"name\": \"f\""),
        ("llama3", " {\"a\": 1}", " {\"a\": 1}"),
        ("mistral", "[TOOL_CALLS]f[ARGS]{\"a\": ", "[TOOL_CALLS]f[ARGS]{\"a\": "),
        ("gpt-oss", "no channel", "no channel"),
        (
            "gpt-oss",
            "<|channel|>commentary to=functions.f <|message|>{\"a\"<|call|>",
            "<|channel|>commentary to=functions.f <|message|>{\"a\"",
        ),
        ("deepseek", "<｜tool▁call▁begin｜>f<｜tool▁call▁end｜>", "<｜tool▁call▁begin｜>f<｜tool▁call▁end｜>"),
        ("gemma", "<|tool_call>call:f{a:}<tool_call|>", "<|tool_call>call:f{a:}<tool_call|>"),
    ] {
        let (_, message) = parse(parser(format, "", None), text, || 1);
        assert_eq!(message, json!({"role": "assistant", "content": content}), "{format}: {text}");
    }
}

#[test]
fn calls_of_every_kind_are_read() {
    let one = |name: &str, arguments: Value| vec![json!({"name": name, "arguments": arguments})];
    let rain = json!({"q": "rain"});
    for (format, text, wanted) in [
        (
            "llama3",
            "<|python_tag|>brave_search.call(query=\"rain\", n=\"2\")<|eom_id|>",
            one("brave_search", json!({"query": "rain", "n": "2"})),
        ),
        ("llama3", "<|python_tag|>print(1)<|eom_id|>", one("code_interpreter", json!({"code": "print(1)"}))),
        (
            "llama3",
            "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"q\": \"rain\"}}",
            one("f", rain.clone()),
        ),
        (
            "llama3",
            "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}",
            [one("f", json!({})), one("g", json!({}))].concat(),
        ),
        (
            "mistral",
            "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"q\": \"rain\"}, \"id\": \"a1\"}, {\"name\": \"g\"}]",
            [one("f", rain.clone()), one("g", json!({}))].concat(),
        ),
        ("qwen3", "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"q\\\": \\\"rain\\\"}\"}", one("f", rain.clone())),
        (
            "deepseek",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"q\": \"rain\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            one("f", rain.clone()),
        ),
        (
            "deepseek",
            "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"q\" string=\"true\">rain</｜DSML｜parameter>\n<｜DSML｜parameter name=\"n\" string=\"false\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
            one("f", json!({"q": "rain", "n": [1]})),
        ),
        ("gemma", "<start_function_call>call:f{q:<escape>rain<escape>}<end_function_call>", one("f", rain)),
        (
            "gpt-oss",
            "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
            one("python", json!({"code": "print(1)"})),
        ),
    ] {
        let (_, message) = parse(parser(format, "", None), text, || 2);
        let calls: Vec<Value> =
            message["tool_calls"].as_array().into_iter().flatten().map(|call| call["function"].clone()).collect();
        assert_eq!(calls, wanted, "{format}: {text}: {message}");
        assert!(message.get("content").is_none(), "{message}");
    }
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let mut parser = parser("qwen3", "<|im_start|>assistant\n<think>\n", None);
    let mut given = Vec::new();
    for part in ["rea", "sons ", "go\n", "</thi", "nk>", "\n\nThe", " end", " <t", "ool", " x"] {
        parser.push(part).unwrap();
        given.push(std::iter::from_fn(|| parser.next_event()).collect::<Vec<_>>());
    }
    let (reasoning, content) =
        (|text: &str| vec![ChatEvent::Reasoning(text.into())], |text: &str| vec![ChatEvent::Content(text.into())]);
    let wanted = [
        reasoning("rea"),
        reasoning("sons"),
        reasoning(" go"),
        vec![],
        vec![],
        content("The"),
        content(" end"),
        vec![],
        vec![],
        content(" <tool x"),
    ];
    assert_eq!(given, wanted);
}

#[test]
fn templates_tell_the_format() {
    for (template, wanted) in [
        ("{{ '<|channel|>final<|message|>' }}", ChatFormat::GptOss),
        ("<tool_call>\n<function=' + name", ChatFormat::Qwen3Coder),
        ("<think> </think> <tool_call>", ChatFormat::Qwen3),
        ("<|python_tag|>", ChatFormat::Llama3),
        ("[INST] [/INST]", ChatFormat::Mistral),
        ("{{ '<｜tool▁calls▁begin｜>' }} <think>", ChatFormat::DeepSeek),
        ("<start_of_turn>model", ChatFormat::Gemma),
        ("{{ messages[0].content }}", ChatFormat::Plain),
    ] {
        assert_eq!(ChatFormat::of_template(template), wanted, "{template}");
    }
    assert!(FORMATS.iter().all(|name| ChatFormat::named(name).unwrap().name() == *name));
}
