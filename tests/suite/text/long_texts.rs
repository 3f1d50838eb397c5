//! A text of any length is encoded and decoded as Python's `tokenizers` does it, in bounded memory.
//! `tools/goldens/make_long_text_goldens.py` makes the answers.
#![allow(unsafe_code, reason = "setrlimit")]

use std::path::{Path, PathBuf};

use crate::common::process::{child, memory, reset_peak};
use ortshard::{Error, ErrorKind, Tokenizer};
use serde_json::Value;

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
    for part in ["child_peak", "child_little"] {
        child(module_path!(), part, &[]);
    }
}

/// Runs `call` while this process can have only some MiB more than it has; gives its error.
#[cfg(target_os = "linux")]
fn with_little<T>(spare: usize, call: impl FnOnce() -> Result<T, Error>) -> Option<Error> {
    let cap = |limit| {
        let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a plain system call on a valid struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limits) }, 0);
    };
    let mut ballast = Vec::with_capacity(4096);
    cap(memory("VmSize") + (256 << 20));
    // What the allocator has of its own is taken, too.
    while ballast.len() < ballast.capacity() {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        ballast.push(block);
    }
    assert!(ballast.len() > spare);
    ballast.truncate(ballast.len() - spare);
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
