//! The mask of a token under a JSON schema, a regular expression and a Lark grammar, with a vocabulary of Qwen2.5's size.
//!
//! A mask must take less than half a millisecond after the first texts.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Grammar, GrammarConstraint, Tokenizer};
use serde_json::json;

const VOCABULARY: usize = 151_936;
const EOS: u32 = 151_935;

/// A byte-level vocabulary of words that look like those of a language and of code: bytes, then syllables joined, with and without a
/// space in front, then runs of white space, digits and punctuation.
fn tokenizer() -> Arc<Tokenizer> {
    let byte = |byte: u8| {
        char::from_u32(match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
            0..=0x20 => u32::from(byte) + 0x100,
            0x7f..=0xa0 => u32::from(byte) + 0x100 - 0x7f + 0x21,
            0xad => 0x143,
        })
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut tokens: Vec<String> = (0..=255).map(|b| byte(b).unwrap().to_string()).collect();
    seen.extend(tokens.iter().cloned());
    let spell = |text: &str| text.bytes().map(|b| byte(b).unwrap()).collect::<String>();
    let parts = [
        "th", "er", "in", "a", "on", "st", "re", "o", "li", "ment", "con", "e", "qu", "ï", "ß", "今", "日", "мо", "да",
        "é",
    ];
    let signs =
        ["{\"", "\":", "\",\"", "},{", "[]", "()", ");\n", "\n\n", "    ", "  ", "//", "==", "...", "', '", "\": \""];
    let mut state = 7_u32;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % bound
    };
    while tokens.len() < VOCABULARY - 1 {
        let mut text = String::new();
        match below(20) {
            0 => (0..=below(2)).for_each(|_| text.push_str(signs[below(signs.len())])),
            1 => write!(text, "{}", below(1000)).unwrap(),
            kind => {
                text.push_str(["", " "][kind % 2]);
                (0..=below(4)).for_each(|_| text.push_str(parts[below(parts.len())]));
                if kind == 2 {
                    text = text.to_uppercase();
                }
                if kind == 3 {
                    text.push_str(signs[below(signs.len())]);
                }
            }
        }
        let token = spell(&text);
        if !token.is_empty() && seen.insert(token.clone()) {
            tokens.push(token);
        }
    }
    let vocabulary: serde_json::Map<_, _> =
        tokens.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let folder = tempfile::tempdir().unwrap();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let file = json!({
        "added_tokens": [{"id": EOS, "content": "<|eot|>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false}],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}
    });
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
    Arc::new(Tokenizer::open(folder.path()).unwrap())
}

fn grammars() -> Vec<(&'static str, Grammar)> {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
            "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x", "y"]}
        },
        "required": ["name", "age", "tags", "place"]
    });
    vec![
        ("schema", Grammar::JsonSchema(schema.to_string())),
        ("any JSON", Grammar::JsonSchema("true".to_owned())),
        ("regex", Grammar::Regex(r"(\w+ ){3,20}[0-9]{4}-[0-9]{2}".to_owned())),
        (
            "lark",
            Grammar::Lark(
                "start: (line \"\\n\")+\nline: NAME \"(\" (NAME (\", \" NAME)*)? \")\"\nNAME: /[a-z]+/".to_owned(),
            ),
        ),
    ]
}

/// Walks a text, choosing among what may come by a hash, and returns how long each mask took.
fn walk(constraint: &GrammarConstraint, seed: u32, logits: &mut Vec<f32>) -> Vec<f64> {
    let mut constraint = constraint.clone();
    let mut times = Vec::new();
    for step in 0..60_u32 {
        logits.clear();
        logits.resize(VOCABULARY, 0.0);
        let begin = Instant::now();
        if constraint.mask(logits).is_err() {
            break;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        let allowed: Vec<u32> = (0..).zip(&*logits).filter(|(_, logit)| logit.is_finite()).map(|(id, _)| id).collect();
        let mix = (seed ^ step.wrapping_mul(0x9e37_79b1)).wrapping_mul(0x85eb_ca6b) >> 9;
        constraint.accept(allowed[mix as usize % allowed.len()]).unwrap();
    }
    times
}

fn grammar(c: &mut Criterion) {
    let tokenizer = tokenizer();
    let begin = Instant::now();
    let first = GrammarConstraint::new(&tokenizer, &Grammar::Regex("a".to_owned()), &[EOS]).unwrap();
    println!("sorting the vocabulary: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    drop(first);
    let mut logits = Vec::new();
    let mut group = c.benchmark_group("grammar");
    for (name, grammar) in grammars() {
        let begin = Instant::now();
        let constraint = GrammarConstraint::new(&tokenizer, &grammar, &[EOS]).unwrap();
        let compiled = begin.elapsed().as_secs_f64() * 1e3;
        (0..10).for_each(|seed| drop(walk(&constraint, seed, &mut logits)));
        let mut times: Vec<f64> = (10..40).flat_map(|seed| walk(&constraint, seed, &mut logits)).collect();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{name}: compiled in {compiled:.1} ms; a mask of {} takes {:.3} ms, half of them {:.3}, at most {:.3}",
            times.len(),
            times.iter().sum::<f64>() / times.len() as f64,
            at(0.5),
            at(1.0)
        );
        let mut start = constraint.clone();
        logits.clear();
        logits.resize(VOCABULARY, 0.0);
        group.bench_function(name, |b| b.iter(|| start.mask(&mut logits).unwrap()));
    }
}

criterion_group!(benches, grammar);
criterion_main!(benches);
