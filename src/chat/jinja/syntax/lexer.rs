//! Jinja2's lexer with `trim_blocks` and `lstrip_blocks`: a template's source as tokens.

use super::literals;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::string::unicode;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Operators and brackets, longer ones before their beginnings.
const SIGNS: [&str; 24] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|",
];
const MORE_SIGNS: [&str; 2] = [",", ";"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Variable,
    Block,
}

struct Lexer<'a> {
    source: &'a str,
    /// The current byte of the source.
    place: usize,
    line: u32,
    /// Whether the text that was read last ended with a line break.
    line_starting: bool,
    tokens: Vec<(Token, u32)>,
}

/// The tokens of `source`, each with its line.
pub(crate) fn tokenize(source: &str) -> Result<Vec<(Token, u32)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, place: 0, line: 1, line_starting: true, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => {
            let line = lexer.line;
            lexer.tokens.push((Token::End, line));
            Ok(lexer.tokens)
        }
        Err(mut error) => {
            error.line = lexer.line;
            Err(error)
        }
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.place..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Moves on by `bytes` bytes.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.rest()[..bytes];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count() as u32;
        if bytes > 0 {
            self.line_starting = passed.ends_with('\n');
        }
        self.place += bytes;
    }

    fn run(&mut self) -> Result<()> {
        while !self.rest().is_empty() {
            let Some((start, kind)) = next_tag(self.rest()) else {
                self.data(self.rest().len());
                return Ok(());
            };
            let tag = &self.rest()[start..];
            let raw = raw_tag(tag);
            let sign = tag.as_bytes().get(2).copied().filter(|byte| matches!(byte, b'-' | b'+'));
            let kept = self.kept(start, kind, sign);
            let text = self.rest()[..kept].to_owned();
            let line = self.line;
            self.advance(start);
            if !text.is_empty() {
                self.tokens.push((Token::Data(text), line));
            }
            if let Some(length) = raw {
                self.advance(length);
                self.raw()?;
                continue;
            }
            match kind {
                '#' => {
                    self.advance(2 + usize::from(sign.is_some()));
                    self.comment()?;
                }
                '{' => self.tag(Tag::Variable, sign)?,
                _ => self.tag(Tag::Block, sign)?,
            }
        }
        Ok(())
    }

    fn data(&mut self, length: usize) {
        self.push(Token::Data(self.rest()[..length].to_owned()));
        self.advance(length);
    }

    /// How many bytes of the text in front of a tag are kept.
    fn kept(&self, length: usize, kind: char, sign: Option<u8>) -> usize {
        let text = &self.rest()[..length];
        if sign == Some(b'-') {
            return text.trim_end_matches(unicode::is_space).len();
        }
        if sign == Some(b'+') || kind == '{' {
            return length;
        }
        let line = text.rfind('\n').map_or(0, |place| place + 1);
        let own_line = line > 0 || self.line_starting;
        if own_line && text[line..].chars().all(unicode::is_space) { line } else { length }
    }

    /// Skips the rest of a comment.
    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest().find("#}") else {
            // Jinja2 complains only if something follows.
            return if self.rest().is_empty() { Ok(()) } else { fail!(Syntax, "Missing end of comment tag") };
        };
        let sign = self.rest()[..end].bytes().next_back();
        self.advance(end + 2);
        self.after_tag(sign.filter(|_| end > 0), Tag::Block);
        Ok(())
    }

    /// Removes from the text behind a closed tag what the tag strips.
    fn after_tag(&mut self, sign: Option<u8>, tag: Tag) {
        self.line_starting = false;
        if sign == Some(b'-') {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(unicode::is_space).len());
        } else if sign != Some(b'+') && tag == Tag::Block && self.rest().starts_with('\n') {
            self.advance(1);
        }
    }

    /// Reads the rest of a raw block.
    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(start) = rest[from..].find("{%").map(|place| place + from) {
            let Some((length, open, close)) = endraw_tag(&rest[start..]) else {
                from = start + 2;
                continue;
            };
            let kept = self.kept(start, '%', open);
            if kept > 0 {
                self.push(Token::Data(rest[..kept].to_owned()));
            }
            self.advance(start + length);
            self.after_tag(close, Tag::Block);
            return Ok(());
        }
        // Jinja2 complains only if something follows.
        if rest.is_empty() { Ok(()) } else { fail!(Syntax, "Missing end of raw directive") }
    }

    /// Reads a whole tag, from its first brace on.
    fn tag(&mut self, tag: Tag, sign: Option<u8>) -> Result<()> {
        let (begin, end_sign, end) = match tag {
            Tag::Variable => (Token::VariableBegin, "}}", Token::VariableEnd),
            Tag::Block => (Token::BlockBegin, "%}", Token::BlockEnd),
        };
        self.push(begin);
        self.advance(2 + usize::from(sign.is_some()));
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            if open.is_empty() {
                let close = match rest.as_bytes().first() {
                    Some(b'-') => Some(b'-'),
                    Some(b'+') if tag == Tag::Block => Some(b'+'),
                    _ => None,
                };
                if rest[usize::from(close.is_some())..].starts_with(end_sign) {
                    self.push(end);
                    self.advance(2 + usize::from(close.is_some()));
                    self.after_tag(close, tag);
                    return Ok(());
                }
            }
            let Some(first) = rest.chars().next() else { return Ok(()) };
            if unicode::is_space(first) {
                self.advance(rest.len() - rest.trim_start_matches(unicode::is_space).len());
            } else {
                self.word(first, &mut open)?;
            }
        }
    }

    /// Reads one token inside a tag.
    fn word(&mut self, first: char, open: &mut Vec<&'static str>) -> Result<()> {
        let rest = self.rest();
        let after_dot = self.source[..self.place].ends_with('.');
        if let Some((number, length)) = literals::float(rest).filter(|_| !after_dot) {
            self.push(Token::Float(number));
            self.advance(length);
        } else if let Some((number, length)) = literals::integer(rest)? {
            self.push(Token::Int(number));
            self.advance(length);
        } else if unicode::is_word(first) {
            let length = rest.find(|c| !unicode::is_word(c)).unwrap_or(rest.len());
            if !unicode::is_identifier(&rest[..length]) {
                fail!(Syntax, "Invalid character in identifier");
            }
            self.push(Token::Name(rest[..length].to_owned()));
            self.advance(length);
        } else if let Some((text, length)) = literals::text(rest)? {
            self.push(Token::Str(text));
            self.advance(length);
        } else {
            let Some(sign) = SIGNS.iter().chain(&MORE_SIGNS).find(|sign| rest.starts_with(**sign)) else {
                fail!(Syntax, "unexpected char '{first}'");
            };
            match *sign {
                "{" => open.push("}"),
                "(" => open.push(")"),
                "[" => open.push("]"),
                "}" | ")" | "]" => match open.pop() {
                    None => fail!(Syntax, "unexpected '{sign}'"),
                    Some(expected) if expected != *sign => fail!(Syntax, "unexpected '{sign}', expected '{expected}'"),
                    Some(_) => {}
                },
                _ => {}
            }
            self.push(Token::Sign(sign));
            self.advance(sign.len());
        }
        Ok(())
    }
}

/// The byte at which the next tag begins, and the tag's second character.
fn next_tag(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let start = text[from..].find('{')? + from;
        match bytes.get(start + 1) {
            Some(b'{') => return Some((start, '{')),
            Some(b'%') => return Some((start, '%')),
            Some(b'#') => return Some((start, '#')),
            _ => from = start + 1,
        }
    }
}

/// The length of the tag that begins a raw block.
fn raw_tag(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start_matches(unicode::is_space);
    let rest = rest.strip_prefix("raw")?.trim_start_matches(unicode::is_space);
    let rest = match rest.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(unicode::is_space),
        None => rest.strip_prefix("%}")?,
    };
    Some(text.len() - rest.len())
}

/// The length of the tag that ends a raw block, and its signs.
fn endraw_tag(text: &str) -> Option<(usize, Option<u8>, Option<u8>)> {
    let rest = text.strip_prefix("{%")?;
    let open = rest.bytes().next().filter(|byte| matches!(byte, b'-' | b'+'));
    let rest = rest[usize::from(open.is_some())..].trim_start_matches(unicode::is_space);
    let rest = rest.strip_prefix("endraw")?.trim_start_matches(unicode::is_space);
    let close = rest.bytes().next().filter(|byte| matches!(byte, b'-' | b'+'));
    let rest = rest[usize::from(close.is_some())..].strip_prefix("%}")?;
    Some((text.len() - rest.len(), open, close))
}
