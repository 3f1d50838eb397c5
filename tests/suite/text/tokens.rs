//! Single tokens have their bytes, ids their places in the text, and texts their numbers of ids, as in the Python
//! library. `tools/goldens/make_tokenizer_goldens.py` makes the answers.

use std::fs;
use std::path::Path;

use ortshard::{EncodeOptions, ErrorKind, Tokenizer};
use serde_json::Value;

const NAMES: [&str; 7] = ["llama3", "qwen", "gpt2", "llama2", "mistral", "gemma", "unigram"];

fn open(name: &str) -> (Tokenizer, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers").join(name);
    let golden = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    (Tokenizer::open(&folder).unwrap(), golden)
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn ids_know_their_places_and_special_tokens_can_be_text() {
    for name in NAMES {
        let (tokenizer, golden) = open(name);
        for case in golden["encode"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let whole = EncodeOptions { add_special: true, ..EncodeOptions::default() };
            let given = tokenizer.encode_with_ranges(text, whole).unwrap();
            let ranges: Vec<(usize, usize)> = serde_json::from_value(case["ranges"].clone()).unwrap();
            assert_eq!(given.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(given.iter().map(|(_, r)| (r.start, r.end)).collect::<Vec<_>>(), ranges, "{name}: {text:?}");
            assert_eq!(tokenizer.count(text, whole).unwrap(), given.len());
            let as_text = EncodeOptions { special_as_text: true, ..EncodeOptions::default() };
            assert_eq!(tokenizer.encode_as(text, as_text).unwrap(), ids(&case["as_text"]), "{name}: {text:?}");
        }
    }
}

#[test]
fn tokens_have_their_bytes() {
    for name in NAMES {
        let (tokenizer, golden) = open(name);
        for (id, wanted) in (0..).zip(golden["bytes"].as_array().unwrap()) {
            let bytes = tokenizer.token_bytes(id).unwrap();
            let wanted = wanted.as_str().unwrap().as_bytes().chunks(2);
            let wanted = wanted.map(|hex| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap());
            assert_eq!(bytes, wanted.collect::<Vec<_>>(), "{name}: {id}");
            let spelled = tokenizer.id_to_token(id).unwrap();
            assert_eq!(tokenizer.token_to_id(&spelled), Some(id), "{name}: {spelled}");
        }
        assert_eq!(tokenizer.token_bytes(1 << 30).unwrap_err().kind(), ErrorKind::OutOfRange);
        assert_eq!(tokenizer.id_to_token(1 << 30), None);
    }
    let (tokenizer, _) = open("llama3");
    let special = |token: &str| tokenizer.is_special(tokenizer.token_to_id(token).unwrap());
    assert!(special("<|eot|>") && !special("<tool call>") && !tokenizer.is_special(1 << 30));
}

/// Long texts are encoded in pieces, many texts on threads, and counts keep no ids: always the same ids.
#[test]
fn long_texts_and_many_are_encoded_alike() {
    for name in NAMES {
        let (tokenizer, golden) = open(name);
        let texts: Vec<&str> =
            golden["encode"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
        let long = texts.join(" and <|eot|> so \n").repeat(300);
        for special_as_text in [false, true] {
            let options = EncodeOptions { add_special: true, special_as_text };
            let wanted: Vec<u32> =
                tokenizer.encode_with_ranges(&long, options).unwrap().into_iter().map(|(id, _)| id).collect();
            assert!(long.len() > 200_000 && tokenizer.encode_as(&long, options).unwrap() == wanted, "{name}");
            assert_eq!(tokenizer.count(&long, options).unwrap(), wanted.len());
            let many: Vec<&str> = texts.iter().copied().chain([long.as_str(); 3]).collect();
            let one_by_one: Vec<Vec<u32>> =
                many.iter().map(|text| tokenizer.encode_as(text, options).unwrap()).collect();
            assert_eq!(tokenizer.encode_texts(&many, options).unwrap(), one_by_one, "{name}");
        }
    }
    let (tokenizer, _) = open("gpt2");
    let word = "a".repeat((16 << 20) + 1);
    let error = tokenizer.encode_texts(&["fine", &word], EncodeOptions::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().starts_with("text 1 of 2"), "{error}");
    let spaced = "a b ".repeat(5 << 20);
    assert_eq!(
        tokenizer.encode_with_ranges(&spaced, EncodeOptions::default()).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}
