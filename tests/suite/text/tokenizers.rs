//! Tokenizers, text streams and chat templates give what the Python libraries give, within bounds of time, memory and stack.
//! `tools/goldens/make_tokenizer_goldens.py` makes the answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::common::process;
use ortshard::{ChatMessage, Error, ErrorKind, TextStream, Tokenizer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAMES: [&str; 7] = ["llama3", "qwen", "gpt2", "llama2", "mistral", "gemma", "unigram"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers").join(name)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn open(name: &str) -> Arc<Tokenizer> {
    Arc::new(Tokenizer::open(&fixture(name)).unwrap())
}

/// A folder of its own for each test, gone afterwards.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            fs::write(folder.path(name), content).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// With the tokenizer of a fixture in it.
    fn with(fixture_name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self::new(files);
        fs::copy(fixture(fixture_name).join("tokenizer.json"), folder.path("tokenizer.json")).unwrap();
        folder
    }

    fn open(&self) -> Result<Tokenizer, Error> {
        Tokenizer::open(self.0.path())
    }
}

fn try_stream(tokenizer: &Arc<Tokenizer>, ids: &[u32], skip: bool) -> Result<String, Error> {
    let mut stream = TextStream::new(tokenizer.clone(), skip);
    let text = ids.iter().map(|&id| stream.push(id)).collect::<Result<String, _>>()?;
    Ok(text + &stream.finish()?)
}

fn stream(tokenizer: &Arc<Tokenizer>, ids: &[u32], skip: bool) -> String {
    try_stream(tokenizer, ids, skip).unwrap()
}

#[test]
fn encodes_and_decodes_as_the_python_library() {
    for name in NAMES {
        let (tokenizer, golden) = (open(name), read_json(&fixture(name).join("golden.json")));
        assert_eq!(tokenizer.vocab_size() as u64, golden["vocab_size"].as_u64().unwrap());
        for case in golden["encode"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["plain"]), "{name}: {text:?}");
        }
        for case in golden["decode"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            for (skip, key) in [(false, "text"), (true, "skip")] {
                assert_eq!(tokenizer.decode(&ids, skip).unwrap(), case[key].as_str().unwrap(), "{name}: {ids:?}");
                assert_eq!(stream(&tokenizer, &ids, skip), case[key].as_str().unwrap(), "{name}: {ids:?}");
            }
        }
    }
}

#[test]
fn streams_what_decode_gives_for_random_ids() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for name in NAMES {
        let tokenizer = open(name);
        let size = u32::try_from(tokenizer.vocab_size()).unwrap();
        for round in 0..400 {
            // Half of the rounds draw from few neighbouring ids, where bytes meet bytes.
            let (base, span) = if round % 2 == 0 { (0, size) } else { (random.next_u32() % (size - 40), 40) };
            let ids: Vec<u32> = (0..random.next_u32() % 60).map(|_| base + random.next_u32() % span).collect();
            for skip in [false, true] {
                assert_eq!(stream(&tokenizer, &ids, skip), tokenizer.decode(&ids, skip).unwrap(), "{name}: {ids:?}");
            }
        }
    }
}

/// Decoders that are rare, or that no file should have, behind a vocabulary that provokes them.
#[test]
fn streams_what_decode_gives_for_any_decoder() {
    let vocab = [
        "a", "▁b", "##c", "c</w>", "<0xE4>", "<0xBD>", "<0xA0>", "<0xZZ>", "Ġ", "ä½", "ł", " . ", "▁▁", ",", "你", "H",
    ];
    let stages = [
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "CTC", "pad_token": "a", "word_delimiter_token": ",", "cleanup": true}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true}),
        json!({"type": "Replace", "pattern": {"Regex": "[a▁]"}, "content": " "}),
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "Strip", "content": " ", "start": 2, "stop": 0}),
        json!({"type": "Strip", "content": "a", "start": 1, "stop": 0}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(8);
    for round in 0..500 {
        let count = round % 6;
        let chain: Vec<_> = (0..count).map(|_| &stages[random.next_u32() as usize % stages.len()]).collect();
        let decoder = if count == 0 { Value::Null } else { json!({"type": "Sequence", "decoders": chain}) };
        let numbered: serde_json::Map<_, _> = vocab.iter().zip(0..).map(|(t, id)| ((*t).into(), json!(id))).collect();
        let model = json!({"type": "WordLevel", "vocab": numbered, "unk_token": "a"});
        let file = json!({"version": "1.0", "added_tokens": [], "decoder": decoder, "model": model}).to_string();
        let tokenizer = Arc::new(Folder::new(&[("tokenizer.json", &file)]).open().unwrap());
        for _ in 0..40 {
            let ids: Vec<u32> = (0..random.next_u32() % 12).map(|_| random.next_u32() % 16).collect();
            match (try_stream(&tokenizer, &ids, false), tokenizer.decode(&ids, false)) {
                (Ok(streamed), Ok(text)) => assert_eq!(streamed, text, "{decoder}: {ids:?}"),
                (streamed, text) => assert!(streamed.is_err() && text.is_err(), "{decoder}: {ids:?}"),
            }
        }
    }
}

#[test]
fn streams_whole_characters_without_delay() {
    let tokenizer = open("gpt2");
    let mut stream = TextStream::new(tokenizer.clone(), false);
    let text = "Hello 😀 done 今日は";
    for id in tokenizer.encode(text, false).unwrap() {
        let piece = stream.push(id).unwrap();
        assert!(text.contains(&piece) && !piece.contains('\u{FFFD}'));
    }
    assert_eq!(stream.finish().unwrap(), "");

    // Cut inside an emoji: the rest comes as decode gives it, and the stream is at its start again.
    let ids = tokenizer.encode("👍🏽", false).unwrap();
    let cut = &ids[..ids.len() - 1];
    let given: Vec<_> = cut.iter().map(|&id| stream.push(id).unwrap()).collect();
    let rest = stream.finish().unwrap();
    assert!(rest.ends_with('\u{FFFD}') && !given.concat().contains('\u{FFFD}'));
    assert_eq!(given.concat() + &rest, tokenizer.decode(cut, false).unwrap());
    assert_eq!(stream.finish().unwrap(), "");

    // Byte tokens wait for the end of their run; the first token loses the space it stands behind.
    let llama = open("llama2");
    let mut stream = TextStream::new(llama.clone(), true);
    let given: Vec<_> = llama.encode("a今a", true).unwrap().iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(given, ["", "a", "", "", "", "今a"]);
}

#[test]
fn ids_outside_the_vocabulary_are_refused() {
    let tokenizer = open("llama3");
    let error = tokenizer.decode(&[1, 2, 999_999], false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(error.to_string().contains("999999") && error.to_string().contains("index 2"), "{error}");

    let mut stream = TextStream::new(tokenizer.clone(), false);
    let ids = tokenizer.encode("é", false).unwrap();
    let mut text = stream.push(ids[0]).unwrap();
    assert_eq!(stream.push(u32::MAX).unwrap_err().kind(), ErrorKind::OutOfRange);
    text.extend(ids[1..].iter().map(|&id| stream.push(id).unwrap()));
    assert_eq!(text + &stream.finish().unwrap(), tokenizer.decode(&ids, false).unwrap());
}

/// What the order of files is for each of them: see `src/tokenizer/special.rs`, and `tests/special_tokens.rs`.
#[test]
fn generation_ends_where_the_files_say() {
    let plain = open("llama3");
    let id = |token| plain.token_to_id(token).unwrap();
    let (begin, eot, pad) = (id("<|begin|>"), id("<|eot|>"), id("<|pad|>"));
    // Its padding names a token.
    assert_eq!((plain.bos(), plain.eos(), plain.pad()), (None, &[][..], Some(pad)));
    let named = r#"{"eos_token": "<|eot|>"}"#;
    let generation = |eos: Value| json!({"eos_token_id": eos, "bos_token_id": 5, "pad_token_id": 6}).to_string();
    let model = |eos: Value| {
        json!({"text_config": {"eos_token_id": eos}, "pad_token_id": -1, "bos_token_id": null}).to_string()
    };
    for (config, generation, model, wanted) in [
        // An ordinary token that config.json declares is stale; a special one may be the end of a turn.
        ("{}", generation(json!([7, 8])), model(json!(9)), vec![7, 8]),
        (named, generation(json!(7)), model(json!([9, begin])), vec![7, begin, eot]),
        (named, generation(json!([eot, pad, eot])), model(json!(pad)), vec![eot, pad]),
        (named, generation(Value::Null), model(json!([9, 10, 9])), vec![9, 10, eot]),
        (named, String::new(), model(json!(9)), vec![9, eot]),
        ("{}", r#"{"eos_token_id": 7,}"#.to_owned(), model(json!(9)), vec![9]),
    ] {
        let mut files = vec![("tokenizer_config.json", config), ("config.json", &model)];
        files.extend((!generation.is_empty()).then_some(("generation_config.json", generation.as_str())));
        let tokenizer = Folder::with("llama3", &files).open().unwrap();
        assert_eq!(tokenizer.eos(), wanted, "{config} {generation} {model}");
        assert!(wanted.iter().all(|id| tokenizer.is_eos(*id)) && !tokenizer.is_eos(11));
        if generation.starts_with('{') && generation.ends_with("6}") {
            assert_eq!((tokenizer.bos(), tokenizer.pad()), (Some(5), Some(pad)));
        }
    }
}

#[test]
fn text_streams_as_it_becomes_certain_in_every_order() {
    let words = json!({"<unk>": 0, "▁red": 1, "▁blue": 2, "▁sky": 3, "<0xE4>": 4, "<0xBD>": 5, "<0xA0>": 6, "x": 7});
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    for decoders in [
        // What transformers writes for Llama, for Gemma, and for what it converts from GGUF.
        json!([replace, bytes, fuse, strip]),
        json!([replace, bytes, fuse]),
        json!([bytes, fuse, replace, strip]),
        json!([bytes, fuse, replace]),
    ] {
        let file = json!({
            "version": "1.0", "added_tokens": [], "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "vocab": words, "merges": [], "byte_fallback": true}
        });
        let tokenizer = Arc::new(Folder::new(&[("tokenizer.json", &file.to_string())]).open().unwrap());
        let mut stream = TextStream::new(tokenizer.clone(), true);
        let given: Vec<_> = [1, 2, 4, 5, 6, 3].map(|id| stream.push(id).unwrap()).into();
        let first = if decoders.as_array().unwrap().contains(&strip) { "red" } else { " red" };
        assert_eq!(given, [first, " blue", "", "", "", "你 sky"], "{decoders}");
        assert_eq!(stream.finish().unwrap(), "");
    }
}

#[test]
fn long_texts_are_neither_truncated_nor_slow() {
    for name in NAMES {
        let tokenizer = open(name);
        for text in
            ["Hello world 123! ".repeat(4000), " ".repeat(60_000) + "x", "a".repeat(60_000), "\n \n".repeat(20_000)]
        {
            let ids = tokenizer.encode(&text, false).unwrap();
            assert!(ids.len() > 100);
            if !matches!(name, "llama2" | "mistral" | "unigram") {
                assert!(tokenizer.decode(&ids, false).unwrap() == text); // the others take spaces for a prefix
            }
        }
    }
}

#[test]
fn one_tokenizer_serves_many_threads() {
    let tokenizer = open("llama3");
    let golden = read_json(&fixture("llama3").join("golden.json"));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for case in golden["encode"].as_array().unwrap() {
                    assert_eq!(tokenizer.encode(case["text"].as_str().unwrap(), true).unwrap(), ids(&case["ids"]));
                }
            });
        }
    });
}

#[test]
fn missing_and_hostile_files_have_clear_errors() {
    let error = Folder::new(&[]).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("tokenizer.json"));
    assert_eq!(Tokenizer::open(Path::new("no/such/tokenizer.json")).unwrap_err().kind(), ErrorKind::NotFound);

    let renamed = Folder::new(&[]);
    fs::copy(fixture("qwen").join("tokenizer.json"), renamed.path("mine.json")).unwrap();
    assert_eq!(Tokenizer::open(&renamed.path("mine.json")).unwrap().vocab_size(), open("qwen").vocab_size());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(fixture("qwen").join("tokenizer.json"), renamed.path("tokenizer.json")).unwrap();
        let error = renamed.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "a link that leaves the folder: {error}");
    }

    let deep = format!(r#"{{"decoder": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let mut nested = r#"{"type":"Fuse"}"#.to_owned();
    for _ in 0..40 {
        nested = format!(r#"{{"type":"Sequence","decoders":[{nested},{{"type":"Fuse"}}]}}"#);
    }
    let model = r#"{"type":"BPE","vocab":{"a":0},"merges":[]}"#;
    let nested = format!(r#"{{"version":"1.0","decoder":{nested},"model":{model}}}"#);
    assert!(Folder::new(&[("tokenizer.json", &nested)]).open().is_ok());
    let bad = [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\u{0}",
        &deep,
        r#"{"version": "9.0"}"#,
        r#"{"decoder": {"type": "Nope"}}"#,
        r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}"#,
        r#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}}"#,
        r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}}"#,
        r#"{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}"#,
        r#"{"model": {"type": "Unigram", "vocab": [], "unk_id": 7}}"#,
        r#"{"added_tokens": [{"id": 0}]}"#,
    ];
    for content in bad {
        let error = Folder::new(&[("tokenizer.json", content)]).open().unwrap_err();
        let start: String = content.chars().take(60).collect();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{start}: {error}");
        assert!(error.to_string().contains("tokenizer.json"), "{start}: {error}");
    }
    for (name, content) in [
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", r#"{"bos_token": 3}"#),
        ("tokenizer_config.json", r#"{"extra_special_tokens": "a"}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"a": {"content": "<a>"}}}"#),
        ("tokenizer_config.json", "\u{feff}{}"),
        ("added_tokens.json", r#"{"<a>": "b"}"#),
        ("special_tokens_map.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ("tokenizer_config.json", r#"{"chat_template": [{"name": "default"}]}"#),
        ("special_tokens_map.json", r#"{"pad_token": []}"#),
        ("generation_config.json", r#"{"eos_token_id": [1, "2"]}"#),
        ("config.json", r#"{"eos_token_id": 4294967296}"#),
    ] {
        let error = Folder::with("gpt2", &[(name, content)]).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{content}");
        assert!(error.to_string().contains(name), "{content}: {error}");
    }
}

/// Patterns as deep as they may be, on the smallest stack that threads have anywhere; deeper ones are refused.
#[test]
fn patterns_fit_the_stack() {
    let open = |pattern: &str| {
        let mut json = read_json(&fixture("gpt2").join("tokenizer.json"));
        json["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        Folder::new(&[("tokenizer.json", &json.to_string())]).open()
    };
    let nested = |open: &str, n: usize, close: &str| format!("{}a{}", open.repeat(n), close.repeat(n));
    let run = move || {
        for (deep, deeper) in [
            (nested("(", 50, ")+"), nested("(", 51, ")+")),
            (nested("(?:b|", 50, ")*?"), nested("(?:b|", 100_000, ")*?")),
            (nested("(?=", 50, ")"), nested("(?=", 4000, ")")),
            (nested("[^", 50, "]"), nested("[^", 4000, "]")),
            (format!("a{}", "{2}".repeat(5)), format!("a{}", "{2}".repeat(4000))),
            (format!("a{}", "*?".repeat(4)), format!("a{}", "*?+".repeat(4000))),
            ("(a|b)".repeat(10_000), "a".repeat(70_000)),
        ] {
            let tokenizer = open(&deep).unwrap_or_else(|error| panic!("{}", error.chain()));
            drop(tokenizer.encode("aaab ab 12", false));
            let error = open(&deeper).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.to_string().contains("the pattern `"), "{error}");
        }
    };
    thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn files_in_disguise_are_named() {
    for (content, wanted) in
        [("\u{feff}{}", "byte order mark"), ("version https://git-lfs.github.com/spec/v1\n", "Git LFS")]
    {
        let error = Folder::new(&[("tokenizer.json", content)]).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains(wanted) && error.to_string().contains("tokenizer.json"), "{error}");
    }
    // Python's json writes such numbers and reads them.
    Folder::with("gpt2", &[("tokenizer_config.json", r#"{"model_max_length": Infinity}"#)]).open().unwrap();
}

/// Cuts and flips in a good file: any answer but a panic.
#[test]
fn damaged_files_never_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    for name in ["llama3", "llama2", "unigram"] {
        let good = fs::read(fixture(name).join("tokenizer.json")).unwrap();
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..=random.next_u32() % 3 {
                let at = random.next_u32() as usize % bytes.len();
                bytes[at] = b"0919{}[],:\"a-"[random.next_u32() as usize % 13];
            }
            if random.next_u32() % 4 == 0 {
                bytes.truncate(random.next_u32() as usize % bytes.len());
            }
            let folder = Folder::new(&[]);
            fs::write(folder.path("tokenizer.json"), &bytes).unwrap();
            if let Ok(tokenizer) = folder.open() {
                let tokenizer = Arc::new(tokenizer);
                if let Ok(ids) = tokenizer.encode("Hello 今日 <|eot|> world", true) {
                    let (streamed, text) = (try_stream(&tokenizer, &ids, true), tokenizer.decode(&ids, true));
                    assert_eq!(streamed.ok(), text.ok());
                }
            }
        }
    }
}

#[test]
fn renders_chats_as_jinja2_does() {
    let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#;
    let golden = read_json(&fixture("chat").join("golden.json"));
    let mut refused = 0;
    for case in golden.as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = fs::read_to_string(fixture("chat").join(name)).unwrap();
        let folder = Folder::with("llama2", &[("tokenizer_config.json", config), ("chat_template.jinja", &template)]);
        let message = |m: &Value| ChatMessage::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap());
        let messages: Vec<_> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let answer = folder.open().unwrap().apply_chat_template(&messages, case["generate"].as_bool().unwrap());
        if messages.is_empty() {
            // As transformers refuses it, whatever the template would do.
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("the conversation is empty"), "{error}");
            continue;
        }
        if let Some(text) = case["text"].as_str() {
            assert_eq!(answer.unwrap(), text, "{name}");
        } else {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(case["error"].as_str().unwrap()), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 3);
}

fn chat(template: &str) -> Result<String, Error> {
    let config = json!({"chat_template": template}).to_string();
    let tokenizer = Folder::with("qwen", &[("tokenizer_config.json", &config)]).open().unwrap();
    tokenizer.apply_chat_template(&[ChatMessage::new("user", "Hi")], true)
}

/// Chains of any length, and the deepest nestings that are allowed, on the smallest stack that threads have anywhere.
#[test]
fn chains_and_nestings_fit_the_stack() {
    let chains = [" ~ 'a'", ".a", "|trim", " and v", " ** v", "()", " + 1", "['a']", " is defined == v"];
    let mut templates: Vec<_> = chains.map(|part| format!("{{{{ v{} }}}}", part.repeat(50_000))).into();
    templates.push(format!("{{% if v %}}{}{{% endif %}}", "{% elif v %}".repeat(50_000)));
    for count in [140, 50_000] {
        let nestings =
            [("(", ")"), ("[", "]"), ("{1: ", "}"), ("not ", ""), ("-", ""), ("v if v else ", ""), ("v[", "]")];
        templates.extend(nestings.map(|(a, b)| format!("{{{{ {}v{} }}}}", a.repeat(count), b.repeat(count))));
        let tags = [("if 1", "endif"), ("for x in [1]", "endfor"), ("macro m()", "endmacro"), ("with", "endwith")];
        let opened = |tag: &str| format!("{{% {tag} %}}").repeat(count);
        templates.extend(tags.map(|(a, b)| format!("{}x{}", opened(a), opened(b))));
    }
    templates.push("{% macro f() %}{% if 1 %}{{ [f()] }}{% endif %}{% endmacro %}{{ f() }}".to_owned());
    templates.push("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned());
    let render = move || templates.iter().for_each(|template| drop(chat(template)));
    thread::Builder::new().stack_size(512 << 10).spawn(render).unwrap().join().unwrap();
}

/// `strftime_now` follows `TZ`, read in a process of its own.
#[test]
fn the_clock_is_local() {
    const CHILD: &str = "ORTSHARD_TEST_CLOCK";
    if std::env::var_os(CHILD).is_some() {
        println!("<{}>", chat("{{ strftime_now('%H %s') }}").unwrap());
        return;
    }
    let tokyo = Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists().then_some(("Asia/Tokyo", 9));
    for (zone, ahead) in [("UTC", 0), ("JST-9", 9), ("EST5", 19)].into_iter().chain(tokyo) {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = process::output(child.args(["the_clock_is_local", "--nocapture"]).env(CHILD, "1").env("TZ", zone));
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, shown) = text.split_once('<').unwrap();
        let (hour, seconds) = shown.split_once('>').unwrap().0.split_once(' ').unwrap();
        let utc = seconds.parse::<u64>().unwrap() / 3600;
        assert_eq!(hour.parse::<u64>().unwrap(), (utc + ahead) % 24, "{zone}");
    }
}

/// What a person may send is no attack, whatever the template does with it.
#[test]
fn bounds_grow_with_the_messages() {
    let each_character = "{% for m in messages %}{% for c in m.content %}{{ c if c != 'x' }}{% endfor %}{% endfor %}";
    let each_before = "{% for m in messages %}{% set ns = namespace(n=0) %}{% for o in messages[:loop.index0] %}\
        {% if o.role == m.role %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ ns.n }} {% endfor %}";
    let copies = "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ m.content | trim %}\
        {% endfor %}{{ ns.t }}";
    for (template, count, length) in
        [(each_character, 1, 1_000_000), (each_before, 1500, 20), (copies, 3, 7_000_000), (copies, 5000, 200)]
    {
        let messages = vec![ChatMessage::new("user", "ab cd".repeat(length / 5)); count];
        let tokenizer = Folder::with("qwen", &[("chat_template.jinja", template)]).open().unwrap();
        let text = tokenizer.apply_chat_template(&messages, true);
        assert!(text.as_ref().is_ok_and(|text| text.len() > count), "{}", text.unwrap_err().chain());
    }
}

#[test]
fn chat_templates_are_found_and_bounded() {
    let error = open("qwen").apply_chat_template(&[], true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);

    let list = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "{{ messages[0].content }}"}
    ]});
    let tokenizer = Folder::with("qwen", &[("tokenizer_config.json", &list.to_string())]).open().unwrap();
    assert_eq!(tokenizer.apply_chat_template(&[ChatMessage::new("user", "Hi")], false).unwrap(), "Hi");

    assert_eq!(chat("{{ strftime_now('%Y') | length }}").unwrap(), "4");
    assert_eq!(
        chat("{{ 1000000 * 1000000 }} {{ 'ab' * 2 }} {{ ([1] * 3) | list }}").unwrap(),
        "1000000000000 abab [1, 1, 1]"
    );
    assert_eq!(
        chat("{%- generation -%} a {%- endgeneration %}\nb{% set generation = 1 %}{{ generation }}").unwrap(),
        "ab1"
    );

    let constants = "{{ 'x' * 99999999 }}".repeat(1000);
    let branch = |n| format!("{{% elif v{n} %}}{{% set w{n} = 1 %}}");
    let branches = format!("{{% if v %}}{}{{% endif %}}", (0..20_000).map(branch).collect::<Vec<_>>().concat());
    for (template, word) in [
        ("\n\n{% if %}", "line 3"),
        ("a\n{{ messages.nope.nope }}", "line 2"),
        ("{% include 'chat_template' %}", "line 1"),
        ("{{ 'x' | nope }}", "line 1"),
        ("{% break %}", "line 1"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it takes"),
        (&branches, "it holds"),
        ("{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "256 MiB"),
        ("{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "256 MiB"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x|replace('a', n.x) %}{% endfor %}",
            "256 MiB",
        ),
        ("{{ ((1, 2) * 49999999) | length }}", "256 MiB"),
        ("{{ (['x' * 99999] * 99999) | map('upper') | list }}", "256 MiB"),
        ("{{ '%0999999999d' | format(1) }}", "256 MiB"),
        ("{{ '{:999999999}'.format(1) }}", "256 MiB"),
        ("{{ [1] | tojson(indent=999999999) }}", "256 MiB"),
        (&constants, "256 MiB"),
        ("{% set n = namespace(x=[]) %}{% for i in range(999) %}{% set n.x = [n.x] %}{% endfor %}", "nest deeper"),
        (
            "{% set n = namespace(x=[]) %}{% for i in range(999) %}{% set n.x = n.x|map('e') %}{% endfor %}",
            "nest deeper",
        ),
        ("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "nest deeper"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nest deeper"),
        (&"x".repeat((1 << 20) + 1), "longer than 1 MiB"),
    ] {
        let error = chat(template).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        // A machine that is busy may come to the bound of time first.
        let late = error.chain().contains("it takes longer than");
        assert!(error.chain().contains(word) || late, "{}", error.chain());
        let bound = !word.starts_with("line");
        assert_eq!(error.to_string().contains("exceeds a bound"), bound, "{}", error.chain());
    }
    for (template, word) in
        [("{{ lipsum() }}", "lipsum"), ("{{ 2 ** 200 }}", "127 bits"), ("{{ 'a' | urlize }}", "urlize")]
    {
        let error = chat(template).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.chain().contains(word), "{}", error.chain());
    }
}
