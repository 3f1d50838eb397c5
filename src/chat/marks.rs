//! Marks control tokens that are spelled out in what a user has written, so that they can be encoded as text.
//!
//! The marks are two characters for private use around the token. They go through the chat template with the text and
//! are taken out of the prompt. This is how `transformers` does it (`sanitize_control_tokens`).

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, MatchKind};

use super::json::{Json, Pointer};
use crate::error::{Result, bail, err};

/// Stands before a control token that is text.
pub(crate) const START: char = '\u{F0000}';

/// Stands after it.
pub(crate) const END: char = '\u{F0001}';

/// Finds the control tokens of a tokenizer in texts.
pub(crate) struct ControlTokens(AhoCorasick);

impl ControlTokens {
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Self> {
        let tokens = tokens.filter(|token| !token.is_empty());
        // Of two tokens at one place, the longer one is meant.
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(tokens);
        found.map(Self).map_err(|error| err!(Unsupported, "the tokenizer has too many added tokens").with_source(error))
    }

    /// Marks all control tokens in the texts of `value`, which is at `place`. Marks that it has already are taken out.
    ///
    /// # Errors
    /// `InvalidArgument` for a control token in a key: templates compare keys, so that a mark there would change what
    /// they do.
    pub(crate) fn mark(&self, value: &mut Json, place: &Pointer) -> Result<()> {
        match value {
            Json::Text(text) => *text = self.marked(text),
            Json::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.mark(item, &place.index(index))?;
                }
            }
            Json::Object(entries) => {
                for (key, item) in entries {
                    if self.0.is_match(key.as_str()) {
                        bail!(InvalidArgument, "{}: a key must not spell a control token out", place.key(key));
                    }
                    self.mark(item, &place.key(key))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn marked(&self, text: &str) -> String {
        let plain = text.replace([START, END], "");
        let mut marked = String::with_capacity(plain.len());
        let mut end = 0;
        for found in self.0.find_iter(&plain) {
            marked.push_str(&plain[end..found.start()]);
            marked.push(START);
            marked.push_str(&plain[found.range()]);
            marked.push(END);
            end = found.end();
        }
        marked.push_str(&plain[end..]);
        marked
    }
}

/// A part of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// What the template has written, and users' text without control tokens.
    Plain(&'a str),
    /// A control token that is text.
    Marked(&'a str),
}

/// The parts of `prompt`, without the marks. `known` are all added tokens. A mark without its counterpart, which a
/// template leaves if it cuts texts, ends a part, so that what it held apart does not become a token.
pub(crate) fn pieces<'a>(prompt: &'a str, known: &HashSet<&str>) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = prompt;
    while let Some(place) = rest.find([START, END]) {
        pieces.push(Piece::Plain(&rest[..place]));
        let inner = rest[place..].strip_prefix(START).and_then(|inner| Some((inner, inner.find(END)?)));
        match inner {
            Some((inner, end)) if known.contains(&inner[..end]) => {
                pieces.push(Piece::Marked(&inner[..end]));
                rest = &inner[end + END.len_utf8()..];
            }
            _ => rest = &rest[place + START.len_utf8()..],
        }
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing test panics")]

    use super::Piece::{Marked, Plain};
    use super::*;

    #[test]
    fn marks_are_taken_out_again() {
        let tokens = ["<end>", "<e", "</think>"];
        let control = ControlTokens::new(tokens.into_iter()).unwrap();
        let known = HashSet::from(tokens);
        let marked = |text: &str| {
            let mut value = Json::List(vec![Json::text(text)]);
            control.mark(&mut value, &Pointer::to("messages")).unwrap();
            match value {
                Json::List(items) => items[0].as_text().unwrap().to_owned(),
                _ => String::new(),
            }
        };
        let text = marked("a<end>b<e");
        assert_eq!(pieces(&text, &known), [Plain("a"), Marked("<end>"), Plain("b"), Marked("<e"), Plain("")]);
        // Marks of the user's own count for nothing.
        let forged = format!("<e{START}nd>{END}x");
        assert_eq!(pieces(&marked(&forged), &known), [Plain(""), Marked("<end>"), Plain("x")]);
        // A template that cuts at a token leaves its marks.
        let cut = marked("x</think>y").replace("</think>", "<e");
        let cut = cut.replace("<e", "");
        assert_eq!(pieces(&cut, &known), [Plain("x"), Plain(""), Plain("y")]);

        let mut value = Json::Object(vec![("a<end>".to_owned(), Json::Null)]);
        let error = control.mark(&mut value, &Pointer::to("tools")).unwrap_err();
        assert!(error.to_string().starts_with("/tools/a<end>: "), "{error}");
    }
}
