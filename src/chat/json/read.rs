//! Reads JSON. An error names the place, as a pointer, and the byte.

use super::{Json, Pointer};
use crate::error::{self, Result, Site, bail};
use crate::json::Makeup;

/// The most bytes of a JSON text.
const LONGEST: usize = 64 << 20;

/// How deep lists and objects may nest. A chat template may wrap some more around them, and has its own limit.
pub(crate) const DEEPEST: usize = 64;

/// The most values of a text. Each takes memory, however short its text is.
const MOST: usize = 1_000_000;

/// The value in `text`, which goes by `name` in messages and pointers.
///
/// # Errors
/// `InvalidArgument`; `OutOfMemory`.
pub(crate) fn read(text: &str, name: &str) -> Result<Json> {
    if text.len() > LONGEST {
        bail!(InvalidArgument, "/{name} has {} bytes of JSON, more than {} MiB", text.len(), LONGEST >> 20);
    }
    // Values of 32 bytes and entries of 56, thrice while they grow, and once more where a message is changed; lists begin with
    // room for four. Texts are copied as they grow, for messages with reasoning, and with marks.
    error::probe(Site::Run, Makeup::of(text.as_bytes()).memory(8, 160, 320, 320), name)?;
    let mut reader = Reader { text, at: 0, place: Pointer::to(name), depth: 0, values: 0 };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return reader.wrong("the JSON has ended, and something follows");
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    place: Pointer,
    depth: usize,
    values: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, why: &str) -> Result<T> {
        bail!(InvalidArgument, "{}: {why}, at byte {}", self.place, self.at)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Whether `byte` comes next, perhaps after spaces; it is taken.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json> {
        self.values += 1;
        if self.values > MOST {
            return self.wrong(&format!("there are more than {MOST} values"));
        }
        match self.byte() {
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'[') => self.nested(Self::list),
            Some(b'{') => self.nested(Self::object),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words = [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                    ("NaN", Json::Float(f64::NAN)),
                    ("Infinity", Json::Float(f64::INFINITY)),
                ];
                for (word, value) in words {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                self.wrong(if self.byte().is_some() { "this is no JSON value" } else { "the JSON is not complete" })
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Json>) -> Result<Json> {
        if self.depth == DEEPEST {
            return self.wrong(&format!("lists and objects nest deeper than {DEEPEST}"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Json> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Json::List(items));
        }
        loop {
            let back = self.place.enter_index(items.len());
            self.space();
            items.push(self.value()?);
            self.place.leave(back);
            if self.takes(b']') {
                return Ok(Json::List(items));
            }
            if !self.takes(b',') {
                return self.wrong("a list goes on with , or ends with ]");
            }
        }
    }

    fn object(&mut self) -> Result<Json> {
        let mut entries = Vec::new();
        if self.takes(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            self.space();
            if self.byte() != Some(b'"') {
                return self.wrong("an object's key is a text in quotes");
            }
            let key = self.string()?;
            let back = self.place.enter_key(&key);
            if !self.takes(b':') {
                return self.wrong("a key is followed by :");
            }
            self.space();
            let value = self.value()?;
            self.place.leave(back);
            entries.push((key, value));
            if self.takes(b'}') {
                return Ok(Json::Object(last_of_each(entries)));
            }
            if !self.takes(b',') {
                return self.wrong("an object goes on with , or ends with }");
            }
        }
    }

    fn number(&mut self) -> Result<Json> {
        let rest = &self.text[self.at..];
        if rest.starts_with("-Infinity") {
            self.at += "-Infinity".len();
            return Ok(Json::Float(f64::NEG_INFINITY));
        }
        let (length, whole) = number_length(rest.as_bytes());
        if length == 0 {
            return self.wrong("this is no number");
        }
        let digits = &rest[..length];
        let number = if whole { digits.parse().ok().map(Json::Int) } else { digits.parse().ok().map(Json::Float) };
        match number {
            Some(number) => {
                self.at += length;
                Ok(number)
            }
            None => self.wrong("the number has more than 127 bits"),
        }
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut value = String::new();
        loop {
            let plain =
                self.text.as_bytes()[self.at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=31));
            let end = self.at + plain.count();
            value.push_str(&self.text[self.at..end]);
            self.at = end;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => value.push(self.escape()?),
                Some(_) => return self.wrong("a text has a control character that is not escaped"),
                None => return self.wrong("the JSON is not complete"),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let character = match letter {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'u') => return self.unicode(),
            _ => return self.wrong("this is no escape that JSON has"),
        };
        self.at += 2;
        Ok(character)
    }

    /// The character of `\uXXXX`, or of the two of them that make one.
    fn unicode(&mut self) -> Result<char> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            if hexadecimal { u16::from_str_radix(digits, 16).ok() } else { None }
        };
        let Some(first) = unit(self.at) else { return self.wrong("\\u is followed by four hexadecimal digits") };
        if first == 0 {
            return self.wrong("U+0000 ends a text in C, so that no text may have it");
        }
        let second = unit(self.at + 6).filter(|_| (0xD800..0xDC00).contains(&first));
        let mut read = char::decode_utf16([first].into_iter().chain(second));
        match read.next() {
            Some(Ok(character)) => {
                self.at += if character.len_utf16() == 2 { 12 } else { 6 };
                Ok(character)
            }
            _ => self.wrong("half of a surrogate pair is no character"),
        }
    }
}

/// Bytes of the number that `text` begins with, 0 if it begins with none, and whether it is a whole number.
pub(crate) fn number_length(text: &[u8]) -> (usize, bool) {
    let digits = |from: usize| text[from.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(sign) {
        Some(b'0') => sign + 1,
        Some(b'1'..=b'9') => sign + digits(sign),
        _ => return (0, false),
    };
    let mut whole = true;
    if text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        whole = false;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
            whole = false;
        }
    }
    (end, whole)
}

/// `entries` with each key once: where it came first, with the value that came last.
fn last_of_each(entries: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|a, b| entries[*a].0.cmp(&entries[*b].0).then(a.cmp(b)));
    let same = |pair: &[usize]| entries[pair[0]].0 == entries[pair[1]].0;
    if !order.windows(2).any(same) {
        return entries;
    }
    let mut value_of: Vec<Option<usize>> = vec![None; entries.len()];
    for run in order.chunk_by(|a, b| entries[*a].0 == entries[*b].0) {
        value_of[run[0]] = run.last().copied();
    }
    let values: Vec<Json> = entries.iter().map(|(_, value)| value.clone()).collect();
    let kept = entries.into_iter().zip(value_of).filter_map(|((key, _), place)| Some((key, values[place?].clone())));
    kept.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing test panics")]

    use super::*;

    fn refusal(text: &str) -> String {
        read(text, "messages").unwrap_err().to_string()
    }

    /// Each is what Python's `json.loads` gives.
    #[test]
    fn values_are_pythons() {
        let value = |text: &str| read(text, "x").unwrap();
        assert_eq!(value(" 123456789012345678901234567890 "), Json::Int(123_456_789_012_345_678_901_234_567_890));
        assert_eq!(value("-0"), Json::Int(0));
        assert_eq!(value("1E2"), Json::Float(100.0));
        assert_eq!(value("0.1234567890123456789"), Json::Float(0.123_456_789_012_345_68));
        assert_eq!(
            value("[-Infinity, 1e999]"),
            Json::List(vec![Json::Float(f64::NEG_INFINITY), Json::Float(f64::INFINITY)])
        );
        assert!(matches!(value("NaN"), Json::Float(number) if number.is_nan()));
        assert_eq!(value(r#""\ud83d\ude00\u00e9\/\b""#), Json::text("\u{1f600}\u{e9}/\u{8}"));
        let object = vec![("a".to_owned(), Json::Int(3)), ("b".to_owned(), Json::Null)];
        assert_eq!(value(r#"{"a": 1, "b": null, "a": 3}"#), Json::Object(object));
    }

    #[test]
    fn refusals_tell_the_place() {
        let deep = "[".repeat(1000);
        for (text, wanted) in [
            (r#"[{"role": "user", "content": tru}]"#, "/messages/0/content: this is no JSON value, at byte 29"),
            (r#"[{"a/b~": [1, 2,]}]"#, "/messages/0/a~1b~0/2: this is no JSON value"),
            (r#"[{"role" "user"}]"#, "/messages/0/role: a key is followed by :"),
            ("[] x", "/messages: the JSON has ended"),
            ("[1", "/messages: a list goes on with"),
            ("[\"abc", "/messages/0: the JSON is not complete"),
            ("", "/messages: the JSON is not complete"),
            ("[01]", "/messages: a list goes on with"),
            ("[1.]", "/messages: a list goes on with"),
            ("[-]", "/messages/0: this is no number"),
            ("[\"\u{1}\"]", "/messages/0: a text has a control character"),
            (r#"["\ud800"]"#, "/messages/0: half of a surrogate pair"),
            (r#"["\ud800\u0041"]"#, "/messages/0: half of a surrogate pair"),
            (r#"["\u+041"]"#, "/messages/0: \\u is followed by four"),
            (r#"["\u0000"]"#, "/messages/0: U+0000"),
            (r#"["\x"]"#, "/messages/0: this is no escape"),
            ("[1000000000000000000000000000000000000000]", "/messages/0: the number has more than 127 bits"),
            (&deep, "nest deeper than 64"),
        ] {
            assert!(refusal(text).contains(wanted), "{text}: {}", refusal(text));
        }
        assert!(refusal(&format!("[{}0]", "0,".repeat(MOST))).contains("more than 1000000 values"));
    }
}
