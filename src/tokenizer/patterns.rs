//! Bounds on the regular expressions of a tokenizer.
//!
//! They run on Oniguruma, the engine of Python's `tokenizers`: engines disagree about what a pattern means, and a cut
//! elsewhere in a text is other ids. Its time has [limits](super::retries), and memory for its steps that runs out is
//! an error. But it reads a pattern by recursion, once for each group in a group and each quantifier on a quantifier,
//! which would overflow a small stack, and that ends the process. So those are bounded here, before it sees a pattern.

use serde_json::Value;

/// Bytes of a pattern. Those of published tokenizers have 1,000 at most.
const LONGEST: usize = 64 << 10;

/// Groups and character classes in one another. Published: 4.
const DEEPEST: usize = 50;

/// Quantifiers on one another. Published: 2, as in `{1,3}+`.
const STACKED: usize = 8;

/// Why a pattern in `stage`, a part of `tokenizer.json`, is refused.
pub(super) fn check(stage: &Value) -> Result<(), String> {
    match stage {
        Value::Array(list) => list.iter().try_for_each(check),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| match value.as_str() {
            Some(pattern) if key == "Regex" => bounded(pattern),
            _ => check(value),
        }),
        _ => Ok(()),
    }
}

fn bounded(pattern: &str) -> Result<(), String> {
    let refused = |why: String| Err(format!("the pattern `{}` {why}", pattern.chars().take(100).collect::<String>()));
    if pattern.len() > LONGEST {
        return refused(format!("has {} bytes, more than {LONGEST}", pattern.len()));
    }
    let (mut depth, mut stacked) = (0_usize, 0);
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        let before = std::mem::take(&mut stacked);
        match character {
            '\\' => drop(rest.next()),
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '*' | '+' | '?' => stacked = before + 1,
            '{' => {
                if let Some((_, behind)) = rest.as_str().split_once('}') {
                    (rest, stacked) = (behind.chars(), before + 1);
                }
            }
            _ => {}
        }
        if depth > DEEPEST {
            return refused(format!("has more than {DEEPEST} groups in one another"));
        }
        if stacked > STACKED {
            return refused(format!("has more than {STACKED} quantifiers on one another"));
        }
    }
    Ok(())
}
