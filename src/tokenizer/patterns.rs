//! Bounds on the regular expressions of a tokenizer.
//!
//! Patterns run on Oniguruma, the engine of Python's `tokenizers`: other engines read some patterns in another way,
//! cut a text elsewhere, and so give other ids. Oniguruma's time is [limited](super::retries), and it reports it as
//! an error if memory for its steps runs out. But it parses a pattern by recursion, one level for each group in a
//! group and each quantifier on a quantifier. A deep pattern would overflow a small stack and end the process. So the
//! depth of a pattern is checked here first.

use serde_json::Value;

/// The most bytes of a pattern. Published tokenizers have 1,000 at most.
const LONGEST: usize = 64 << 10;

/// How deep groups and character classes may nest. Published tokenizers: 4.
const DEEPEST: usize = 50;

/// How many quantifiers may follow each other. Published tokenizers: 2, as in `{1,3}+`.
const STACKED: usize = 8;

/// Checks the patterns in `stage`, a part of `tokenizer.json`. The error says why one is refused.
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
