//! Regular expressions of tokenizers cut texts where Python's `tokenizers` cuts them. `tools/goldens/make_pattern_goldens.py` makes
//! the answers.

use std::path::Path;

use ortshard::{ErrorKind, Tokenizer};
use serde_json::Value;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/patterns.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The texts of the Python script.
fn texts(golden: &Value) -> Vec<String> {
    let fragments: Vec<&str> = golden["fragments"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |bound: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    };
    let text = |_| (0..=below(12)).map(|_| fragments[below(fragments.len())]).collect();
    (0..10_000).map(text).collect()
}

fn fnv(sequences: &[Vec<u32>]) -> String {
    let mut value = 0xCBF2_9CE4_8422_2325_u64;
    for number in sequences.iter().flat_map(|ids| ids.iter().chain(&[0xFFFF])) {
        value = (value ^ u64::from(*number)).wrapping_mul(0x100_0000_01B3);
    }
    format!("{value:016x}")
}

#[test]
fn patterns_cut_where_the_python_library_does() {
    let golden = golden();
    let texts = texts(&golden);
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let pattern = &case["pattern"];
        let mut file = golden["tokenizer"].clone();
        file["pre_tokenizer"]["pretokenizers"][0]["pattern"] = serde_json::json!({"Regex": pattern});
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        match Tokenizer::open(folder.path()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Malformed);
                wrong.extend(case.get("error").is_none().then(|| format!("{pattern} is refused: {}", error.chain())));
            }
            Ok(_) if case.get("error").is_some() => wrong.push(format!("{pattern} is not refused")),
            Ok(tokenizer) => {
                let count = usize::try_from(case["count"].as_u64().unwrap()).unwrap();
                let ids: Vec<_> = texts[..count].iter().map(|text| tokenizer.encode(text, false).unwrap()).collect();
                let first: Vec<Vec<u32>> = serde_json::from_value(case["first"].clone()).unwrap();
                assert_eq!(ids[..first.len()], first, "{pattern}");
                wrong.extend((fnv(&ids) != case["hash"]).then(|| format!("{pattern} cuts elsewhere")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
