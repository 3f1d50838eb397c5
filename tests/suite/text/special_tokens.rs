//! Where a folder's files disagree about special tokens, the tokenizer does what `AutoTokenizer` of transformers does.
//! `tools/goldens/make_special_token_goldens.py` makes the answers.

use std::path::Path;

use ortshard::{ChatMessage, ErrorKind, Tokenizer};
use serde_json::{Value, json};

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/special.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A folder with the files of `case`.
fn folder(golden: &Value, case: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tokenizer = golden["bases"][case["base"].as_str().unwrap()].clone();
    for (key, value) in case["patch"].as_object().unwrap() {
        tokenizer[key] = value.clone();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, content) in case["files"].as_object().unwrap() {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A chat template that tells all names.
fn names(tokenizer: &Path, wanted: &Value) -> Value {
    let keys: Vec<_> = wanted.as_object().unwrap().keys().cloned().collect();
    let template = keys.iter().map(|key| format!("{{{{ {key} }}}}")).collect::<Vec<_>>().join("\n");
    std::fs::write(tokenizer.join("chat_template.jinja"), template).unwrap();
    let text = Tokenizer::open(tokenizer).unwrap().apply_chat_template(&[ChatMessage::new("user", "")], false).unwrap();
    keys.into_iter().zip(text.lines().map(|line| json!(line))).collect::<serde_json::Map<_, _>>().into()
}

fn answer(path: &Path, golden: &Value, wanted: &Value) -> Value {
    let tokenizer = match Tokenizer::open(path) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Malformed);
            return json!({"refused": error.to_string()});
        }
    };
    let texts = || golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let encode = |special| texts().map(|text| tokenizer.encode(text, special).unwrap()).collect::<Vec<_>>();
    let ids: Vec<u32> = serde_json::from_value(wanted["decoded"].clone()).unwrap();
    json!({
        "encode": encode(true),
        "plain": encode(false),
        "decode": [tokenizer.decode(&ids, false).unwrap(), tokenizer.decode(&ids, true).unwrap()],
        "decoded": ids,
        "size": tokenizer.vocab_size(),
        "bos": tokenizer.bos(),
        "eos": tokenizer.eos().first(),
        "pad": tokenizer.pad(),
        "names": names(path, &wanted["names"]),
    })
}

#[test]
fn files_that_disagree_give_what_transformers_gives() {
    let golden = golden();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let (folder, wanted) = (folder(&golden, case), &case["answer"]);
        let given = answer(folder.path(), &golden, wanted);
        if wanted.get("error").is_some() {
            let broken = case["files"].as_object().unwrap().iter().find(|(_, content)| content.is_string()).unwrap().0;
            let named = given["refused"].as_str().is_some_and(|message| message.contains(broken));
            wrong.extend((!named).then(|| format!("{}: {given}", case["name"])));
            continue;
        }
        for (key, value) in wanted.as_object().unwrap() {
            if given[key] != *value {
                wrong.push(format!("{}: {key}: {} but transformers {value}", case["name"], given[key]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
