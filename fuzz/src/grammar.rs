//! Grammars, and a text under them that the rest of the input chooses.

use std::sync::{Arc, OnceLock};

use ortshard::{Grammar, GrammarConstraint, Tokenizer};

use super::{repository, sound};

/// The input's first byte says what the grammar is written in; it goes up to a NUL or the end, and what follows chooses
/// among the tokens that may come.
pub fn run(data: &[u8]) {
    static TOKENIZER: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    let open = || Arc::new(Tokenizer::open(&repository("tests/tokenizers/gpt2")).expect("a tokenizer"));
    let tokenizer = TOKENIZER.get_or_init(open);
    let Some((kind, rest)) = data.split_first() else { return };
    let (text, choices) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let text = String::from_utf8_lossy(text).into_owned();
    let grammar = match kind {
        b'j' => Grammar::JsonSchema(text),
        b'r' => Grammar::Regex(text),
        _ => Grammar::Lark(text),
    };
    let eos = tokenizer.token_to_id("<|eot|>").expect("a token");
    let Some(mut constraint) = sound(GrammarConstraint::new(tokenizer, &grammar, &[eos])) else { return };
    let mut said = Vec::new();
    for choice in choices.iter().chain(&[1, 200, 31, 7, 90]) {
        let mut logits = vec![0.0; tokenizer.vocab_size()];
        let known: Vec<u32> = sound(constraint.known()).map(<[u32]>::to_vec).unwrap_or_default();
        if sound(constraint.mask(&mut logits)).is_none() {
            break;
        }
        let may: Vec<u32> = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0).map(|(id, _)| id).collect();
        assert!(!may.is_empty() && known.first().is_none_or(|id| may.contains(id)), "{known:?} of {may:?}");
        // What may not come is refused, and changes nothing.
        let other = (u32::from(*choice) * 7) % tokenizer.vocab_size() as u32;
        assert!(may.contains(&other) || constraint.clone().accept(other).is_err(), "token {other} after {said:?}");
        let id = may[usize::from(*choice) * 31 % may.len()];
        if sound(constraint.accept(id)).is_none() {
            break;
        }
        said.push(id);
        if id == eos {
            // The same text is taken again.
            let again = sound(GrammarConstraint::new(tokenizer, &grammar, &[eos]));
            let mut again = again.expect("it was made before");
            for id in &said {
                again.accept(*id).expect("it was taken before");
            }
            break;
        }
    }
}
