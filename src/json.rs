//! JSON as Python's `json` module reads it, since that is what wrote, and what else reads, a model's files.
//!
//! | in the file                                | Python                   | here                                        |
//! |--------------------------------------------|--------------------------|---------------------------------------------|
//! | `NaN`, `Infinity`, `-Infinity`             | floats                   | [not finite](not_finite)                    |
//! | a number beyond a float's range, `1e400`   | infinite; ints: exact    | [not finite](not_finite)                    |
//! | an integer beyond 64 bits                  | exact                    | the nearest float                           |
//! | a key twice in one object                  | the last one             | the last one                                |
//! | a byte order mark, another encoding        | refused                  | refused, saying what to do                  |
//! | half of a surrogate pair, `"\ud800"`       | half a character         | refused: no text has it                     |
//! | nesting                                    | refused near 1,000 deep  | refused from 128 deep                       |

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::error::{self, Result, Site, bail, err};

/// The only key of the object that stands for a number which is not finite: [`Value`] has no such numbers, and
/// transformers 5 writes `{"__float__": "Infinity"}` for them itself.
const NOT_FINITE: &str = "__float__";

/// What a JSON text is made of, which tells how much memory its values take at most. Marks within texts count, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Makeup {
    /// Bytes of the text.
    pub(crate) bytes: usize,
    /// `,`: there is one more value for each.
    pub(crate) commas: usize,
    /// `:`: as many keys.
    pub(crate) colons: usize,
    /// `[` and `{`: as many lists and objects, which begin with room for some values.
    pub(crate) brackets: usize,
}

impl Makeup {
    pub(crate) fn of(json: &[u8]) -> Self {
        let mut counts = [0; 256];
        for byte in json {
            counts[usize::from(*byte)] += 1;
        }
        let of = |byte: u8| counts[usize::from(byte)];
        Self { bytes: json.len(), commas: of(b','), colons: of(b':'), brackets: of(b'[') + of(b'{') }
    }

    /// Bytes for values that take so many for each of these.
    pub(crate) fn memory(self, byte: usize, comma: usize, colon: usize, bracket: usize) -> usize {
        const SPARE: usize = 64 << 10;
        SPARE + byte * self.bytes + comma * self.commas + colon * self.colons + bracket * self.brackets
    }
}

/// The value in `bytes`; errors name the file by `label`.
pub(crate) fn parse(bytes: &[u8], label: &str) -> Result<Value> {
    check_beginning(bytes, label)?;
    // Three times a value of 72 bytes, while a list grows; of an entry 112; and for each key a block and its places.
    error::probe(Site::Load, Makeup::of(bytes).memory(4, 220, 400, 500), label)?;
    serde_json::from_slice(bytes)
        // Only a file that is refused may need it, and few do.
        .or_else(|error| mark(bytes).map_or(Err(error), |marked| serde_json::from_slice(&marked)))
        .map_err(|error| err!(Malformed, "{label} is not valid JSON").with_source(error))
}

/// Refuses what begins in a way that no JSON does, and that no parser's message explains.
pub(crate) fn check_beginning(bytes: &[u8], label: &str) -> Result<()> {
    if is_lfs_pointer(bytes) {
        bail!(Malformed, "{label} is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the file");
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bail!(Malformed, "{label} starts with a byte order mark: save the file as UTF-8 without it");
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!(Malformed, "{label} starts with the byte order mark of UTF-16: save the file as UTF-8 without one");
    }
    Ok(())
}

/// Whether `bytes` are what Git leaves in place of a file that Git LFS has not fetched.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/v1")
}

/// A number as the file spells it, if `value` stands for one that is not finite.
pub(crate) fn not_finite(value: &Value) -> Option<&str> {
    match value.as_object() {
        Some(object) if object.len() == 1 => object.get(NOT_FINITE)?.as_str(),
        _ => None,
    }
}

/// `json` with objects in place of the numbers that are not finite; none if there are no such numbers.
fn mark(json: &[u8]) -> Option<Vec<u8>> {
    let mut marked = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while at < json.len() {
        let length = match json[at] {
            b'"' => string(&json[at..]),
            byte if of_word(byte) => json[at..].iter().take_while(|byte| of_word(**byte)).count(),
            _ => 1,
        };
        let end = at + length;
        if is_not_finite(&json[at..end]) {
            marked.extend_from_slice(&json[copied..at]);
            for part in [b"{\"", NOT_FINITE.as_bytes(), b"\":\"", &json[at..end], b"\"}"] {
                marked.extend_from_slice(part);
            }
            copied = end;
        }
        at = end;
    }
    (copied > 0).then(|| {
        marked.extend_from_slice(&json[copied..]);
        marked
    })
}

/// Bytes of the string that `json` starts with, quotes and all.
fn string(json: &[u8]) -> usize {
    let mut escaped = false;
    let closing = json.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(json.len(), |position| position + 2)
}

/// Whether a number or a word such as `NaN` may hold `byte`.
fn of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_not_finite(word: &[u8]) -> bool {
    match word {
        b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-' | b'0'..=b'9', ..] => {
            // Rust reads more as a number than JSON does.
            let number = serde_json::from_slice::<IgnoredAny>(word).is_ok();
            let value = str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
            number && value.is_some_and(f64::is_infinite)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing test panics")]

    use serde_json::json;

    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let error = parse(bytes, "config.json").unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Malformed);
        error.chain()
    }

    #[test]
    fn numbers_that_are_not_finite() {
        let digits = "9".repeat(400);
        for number in ["NaN", "Infinity", "-Infinity", "1e400", "-1.5E+999", &digits] {
            let text = format!(r#"{{"a":[{number}, 1, {number}],"b" :{number} }}"#);
            let value = parse(text.as_bytes(), "").unwrap();
            for value in [&value["a"][0], &value["a"][2], &value["b"]] {
                assert_eq!(not_finite(value), Some(number));
                assert!(value.as_f64().is_none() && value.as_str().is_none() && !value.is_null());
            }
            assert_eq!(value["a"][1], 1);
            assert_eq!(not_finite(&parse(number.as_bytes(), "").unwrap()), Some(number));
        }
        assert_eq!(not_finite(&json!({"__float__": "-Infinity"})), Some("-Infinity"));
    }

    #[test]
    fn text_is_left_alone() {
        let value = parse(br#"{"NaN": "a \" NaN, Infinity \\", "b": [1e400, "\\", "-Infinity"]}"#, "").unwrap();
        assert_eq!(value["NaN"], r#"a " NaN, Infinity \"#);
        assert_eq!(value["b"].as_array().unwrap()[1..], [json!("\\"), json!("-Infinity")]);
    }

    /// Each is what Python's `json.loads` gives, or raises.
    #[test]
    fn as_python() {
        let value = |text: &str| parse(text.as_bytes(), "").unwrap();
        assert_eq!(value(r#"{"a": 1, "a": 2}"#), json!({"a": 2}));
        assert_eq!(value("1000000000000000019884624838656"), json!(1e30));
        assert_eq!(value("1e-400"), json!(0.0));
        assert_eq!(value(r#""\ud83d\ude00""#), "\u{1f600}");
        for text in
            ["", "NaN NaN", "{NaN: 1}", "-NaN", "+Infinity", "nan", "Infinity1", "[1e400", "01e400", "1.e400", "\"NaN"]
        {
            assert!(refusal(text.as_bytes()).starts_with("config.json is not valid JSON: "), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
        let wanted = "config.json is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the file";
        assert_eq!(refusal(pointer), wanted);
        let wanted = "config.json starts with a byte order mark: save the file as UTF-8 without it";
        assert_eq!(refusal(b"\xef\xbb\xbf{}"), wanted);
        assert!(refusal(b"\xff\xfe{\0}\0").contains("byte order mark of UTF-16"));
        for half in [r"\ud800", r"\ud800\u0041", r"\udc00", r"\ud800x"] {
            assert!(refusal(format!("\"{half}\"").as_bytes()).contains("hex escape at line 1"), "{half}");
        }
        assert!(refusal(b"\"\xff\"").contains("unicode"));
    }

    #[test]
    fn nesting_is_bounded() {
        for deep in ["[", "{\"a\":", "[NaN,", "[\""] {
            assert!(!refusal(deep.repeat(100_000).as_bytes()).is_empty());
        }
    }
}
