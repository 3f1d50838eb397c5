//! A text of any length is encoded and decoded as Python's `tokenizers` does it, in bounded memory.
//! `tools/goldens/make_long_text_goldens.py` makes the answers.
#![allow(unsafe_code, reason = "setrlimit")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::process::{child, memory, reset_peak};
use ortshard::{
    ChatFormat, ChatMessage, ChatOptions, ChatParser, EncodeOptions, Error, ErrorKind, Grammar, GrammarConstraint,
    Tokenizer,
};
use serde_json::{Value, json};

fn tokenizers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers")
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(tokenizers().join(name)).unwrap()).unwrap()
}

fn open(name: &str) -> Tokenizer {
    Tokenizer::open(&tokenizers().join(name)).unwrap()
}

/// The text of the Python script.
fn text(size: usize) -> String {
    let golden = golden("patterns.json");
    let fragments: Vec<&str> = golden["fragments"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    let (mut state, mut text) = (0x9E37_79B9_7F4A_7C15_u64, String::with_capacity(size + 64));
    while text.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        text += fragments[(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % fragments.len()];
    }
    text
}

fn fnv(numbers: impl Iterator<Item = u32>) -> String {
    let mut value = 0xCBF2_9CE4_8422_2325_u64;
    for number in numbers.chain([0xFFFF]) {
        value = (value ^ u64::from(number)).wrapping_mul(0x100_0000_01B3);
    }
    format!("{value:016x}")
}

fn try_out(name: &str, wanted: &Value) {
    let tokenizer = open(name);
    let text = text(usize::try_from(wanted["size"].as_u64().unwrap()).unwrap());
    let ids = tokenizer.encode(&text, true).unwrap();
    assert_eq!(ids.len() as u64, wanted["count"], "{name}");
    assert_eq!(fnv(ids.iter().copied()), wanted["ids"], "{name}");
    let text = tokenizer.decode(&ids, true).unwrap();
    assert_eq!(fnv(text.bytes().map(u32::from)), wanted["text"], "{name}");
}

#[test]
fn long_texts_have_the_ids_of_the_python_library() {
    let golden = golden("long.json");
    for (name, wanted) in golden.as_object().unwrap().iter().filter(|(name, _)| *name != "llama3") {
        try_out(name, wanted);
    }
}

#[test]
fn what_cannot_be_cut_has_a_limit() {
    let error = open("llama3").encode(&"a".repeat((16 << 20) + 1), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("more than 16 MiB"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_bounded_and_running_out_is_an_answer() {
    child(module_path!(), "child_peak", &[]);
    // In glibc each thread has a heap of its own, or all have one.
    for heaps in ["0", "1"] {
        for part in ["child_little", "child_little_around"] {
            child(module_path!(), part, &[("MALLOC_ARENA_MAX", heaps)]);
        }
    }
}

/// Runs `call` while this process can have only some MiB more than it has; gives its error.
#[cfg(target_os = "linux")]
fn with_little<T>(spare: u64, call: impl FnOnce() -> Result<T, Error>) -> Option<Error> {
    let cap = |limit| {
        let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a plain system call on a valid struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limits) }, 0);
    };
    let (mut ballast, size) = (Vec::with_capacity(4096), memory("VmSize"));
    cap(size);
    // What the allocator has of its own is taken.
    while ballast.len() < ballast.capacity() {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        ballast.push(block);
    }
    assert!(ballast.len() < ballast.capacity());
    // An error takes some memory, too.
    cap(size + (spare << 20) + (256 << 10));
    let result = call();
    drop(ballast);
    cap(libc::RLIM_INFINITY);
    result.err()
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "a child's part"]
fn child_peak() {
    let golden = golden("long.json");
    let before = reset_peak();
    try_out("llama3", &golden["llama3"]);
    let peak = memory("VmHWM") - before;
    println!("10 MB took {} MiB", peak >> 20);
    assert!(peak < 150 << 20, "{} MiB", peak >> 20);
}

/// With little memory, there is an answer or `OutOfMemory`; and with enough again, the answer.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "a child's part"]
fn child_little() {
    for name in ["llama3", "llama2", "unigram"] {
        let (tokenizer, text, word) = (open(name), text(300_000), "a".repeat(300_000));
        let wanted = tokenizer.encode(&text, true).unwrap();
        let decoded = tokenizer.decode(&wanted, false).unwrap();
        let (mut refused, mut done) = (0, 0);
        let mut count = |error: Option<Error>| match error {
            None => done += 1,
            Some(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{}", error.chain());
                assert!(error.out_of_memory().is_some());
                refused += 1;
            }
        };
        for spare in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
            for text in [text.as_str(), &text[..50_000], word.as_str()] {
                count(with_little(spare, || tokenizer.encode(text, true)));
            }
            for ids in [&wanted[..], &wanted[..10_000]] {
                count(with_little(spare, || tokenizer.decode(ids, false)));
            }
        }
        assert!(refused > 10 && done > 10, "{name}: {refused} refused, {done} done");
        assert_eq!(tokenizer.encode(&text, true).unwrap(), wanted);
        assert_eq!(tokenizer.decode(&wanted, false).unwrap(), decoded);
    }
}

/// A call that makes text.
#[cfg(target_os = "linux")]
type Call<'a> = &'a dyn Fn() -> Result<(), Error>;

/// A call is done with any amount of memory from some on, and `OutOfMemory` below. Returns the MiB with which it was done first.
#[cfg(target_os = "linux")]
fn enough(what: &str, call: Call<'_>) -> u64 {
    let (mut enough, mut done) = (None, 0);
    for spare in (0..40).chain((40..128).step_by(8)).chain((130..420).step_by(20)) {
        match with_little(spare, call) {
            None => {
                enough.get_or_insert(spare);
                done += 1;
            }
            Some(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{what}, {spare} MiB: {}", error.chain());
                assert!(error.out_of_memory().is_some());
            }
        }
        if done == 5 {
            break;
        }
    }
    println!("{what}: done with {enough:?} MiB");
    enough.unwrap_or_else(|| panic!("{what} is never done"))
}

/// The same of what stands around encoding: opening, chats, many texts, answers, grammars.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "a child's part"]
fn child_little_around() {
    for name in ["gemma", "gpt2", "llama2", "llama3", "mistral", "qwen", "unigram"] {
        enough(name, &|| Tokenizer::open(&tokenizers().join(name)).map(drop));
    }
    chats_with_little();
    answers_with_little();

    let texts = vec![text(10_000); 30];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokenizer = Arc::new(open("llama3"));
    for texts in [texts, vec!["a b"; 20_000]] {
        let options = EncodeOptions::default();
        assert!(enough("many texts", &|| tokenizer.encode_texts(&texts, options).map(drop)) > 0);
    }
    // The first sorts the vocabulary, for all that come.
    let schema = Grammar::JsonSchema(r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#.to_owned());
    assert!(enough("a grammar", &|| GrammarConstraint::new(&tokenizer, &schema, &[0]).map(drop)) > 0);
}

#[cfg(target_os = "linux")]
fn chats_with_little() {
    const TEMPLATE: &str = "{% for t in tools or [] %}{{ t | tojson(indent=2) }}{{ t.function.name.split('_') }}{% endfor %}\
                            {% for m in messages %}<s>{{ m.role | upper }}: {{ m.content | trim }}</s>\
                            {% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{{ m.reasoning_content }}{% endfor %}";
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tokenizers().join("llama3/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let text = text(200_000).replace('\0', "");
    let call = |arguments: &Value| json!({"function": {"name": "f", "arguments": arguments}});
    let message = |content: &str| {
        let call = call(&json!({"a": content}));
        json!({"role": "user", "content": content, "reasoning_content": content, "tool_calls": [call]})
    };
    let long = json!([message(&text)]).to_string();
    let many = Value::from(vec![message("a, b"); 2000]).to_string();
    let short = Value::from(vec![message("a, b"); 10_000 / message("a, b").to_string().len()]).to_string();
    let nested = (0..25).fold(json!(1), |inner, _| json!({"a": [inner, 1, 2.5, null], "b": {}}));
    let deep = Value::from(vec![json!({"role": "user", "content": "", "tool_calls": [call(&nested)]}); 40]).to_string();
    let properties = (0..20).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>();
    let tool =
        json!({"type": "function", "function": {"name": "get_it_all", "parameters": {"properties": properties}}});
    let tools = Value::from(vec![tool; 400]).to_string();
    let plain = ChatOptions::default();
    let with_tools = ChatOptions { tools: Some(&tools), ..plain };
    let control = ChatOptions { control_as_text: true, ..plain };

    for (what, messages, options) in [
        ("a long message", &long, &plain),
        ("many messages", &many, &plain),
        ("deep messages", &deep, &plain),
        ("many tools", &short, &with_tools),
    ] {
        assert!(enough(what, &|| tokenizer.chat_text(messages, options).map(drop)) > 0);
    }
    assert!(enough("control tokens", &|| tokenizer.chat_ids(&long, &control).map(drop)) > 0);
    for messages in [vec![ChatMessage::new("user", &*text)], vec![ChatMessage::new("user", "a, b"); 20_000]] {
        assert!(enough("plain messages", &|| tokenizer.apply_chat_template(&messages, true).map(drop)) > 0);
    }
    // 10 KB: a stack of 8 MiB, and as much again where the allocator can give small blocks of it.
    let least = enough("a short chat", &|| tokenizer.chat_ids(&short, &plain).map(drop));
    let one_heap = std::env::var("MALLOC_ARENA_MAX").is_ok_and(|heaps| heaps == "1");
    assert!(least > 0 && (least <= 16 || !one_heap), "{least} MiB");
}

#[cfg(target_os = "linux")]
fn answers_with_little() {
    let text = text(200_000);
    let call =
        |arguments: &Value| format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>");
    let long = format!("<think>{text}</think>a{}b", call(&json!({"a": text})));
    let calls = call(&json!({"a": 1, "b": 2})).repeat(5_000);
    let list = format!("<tool_call>[{}]</tool_call>", vec![r#"{"name":"f"}"#; 20_000].join(","));
    for (what, answer, piece) in [
        ("an answer", &long, usize::MAX),
        ("an answer in pieces", &long, 5_000),
        ("calls", &calls, usize::MAX),
        ("a list of calls", &list, usize::MAX),
    ] {
        let parse = || {
            let mut parser = ChatParser::new(ChatFormat::named("qwen3").unwrap(), "", None)?;
            let mut rest = answer.as_str();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.ceil_char_boundary(piece.min(rest.len())));
                parser.push(now)?;
                rest = later;
            }
            parser.finish()?;
            parser.message().map(drop)
        };
        assert!(enough(what, &parse) > 0);
    }
}
