//! Python's `textwrap.wrap`, as the filter `wordwrap` calls it.

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::string::unicode;

pub(crate) struct Options {
    pub(crate) width: i128,
    pub(crate) break_long: bool,
    pub(crate) hyphens: bool,
}

fn is_space(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\u{B}' | '\u{C}' | '\r' | ' ')
}

fn is_letter(character: Option<&char>) -> bool {
    character.is_some_and(|c| unicode::is_regex_word(*c) && unicode::decimal(*c).is_none())
}

fn is_word_or_mark(character: char) -> bool {
    unicode::is_regex_word(character) || "!\"'&.,?".contains(character)
}

/// The length of a dash of two or more hyphens in front of a word.
fn dash(text: &[char]) -> Option<usize> {
    let length = text.iter().take_while(|c| **c == '-').count();
    (length >= 2 && text.get(length).is_some_and(|c| unicode::is_regex_word(*c))).then_some(length)
}

/// Whether a word may be broken behind the hyphen at `at`.
fn breaks_behind(text: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| text.get(at));
    let two_letters = is_letter(before(1)) && is_letter(before(2));
    let one_letter = is_letter(before(3)) && before(2) == Some(&'-') && before(1).is_some_and(|c| is_word_or_mark(*c));
    let behind = text.get(at + 1..).unwrap_or_default();
    let letters = is_letter(behind.first())
        && (is_letter(behind.get(1)) || (behind.get(1) == Some(&'-') && is_letter(behind.get(2))));
    (two_letters || one_letter) && letters
}

/// Cuts a text into pieces that stay together: words, parts of words and spaces.
fn chunks(text: &[char], hyphens: bool) -> Vec<&[char]> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        let mut length = rest.iter().take_while(|c| is_space(**c)).count();
        if length == 0 && !hyphens {
            length = rest.iter().take_while(|c| !is_space(**c)).count();
        } else if length == 0 {
            let behind_word = at > 0 && is_word_or_mark(text[at - 1]);
            length = dash(rest).filter(|_| behind_word).unwrap_or_else(|| word(text, at) - at);
        }
        chunks.push(&rest[..length]);
        at += length;
    }
    chunks
}

/// The end of the word that begins at `at`.
fn word(text: &[char], at: usize) -> usize {
    for end in at + 1..text.len() {
        if is_space(text[end]) || (is_word_or_mark(text[end - 1]) && dash(&text[end..]).is_some()) {
            return end;
        }
        if text[end] == '-' && breaks_behind(text, end) {
            return end + 1;
        }
    }
    text.len()
}

pub(crate) fn wrap(text: &str, options: &Options) -> Result<Vec<String>> {
    let Ok(width) = usize::try_from(options.width) else { fail!(Value, "invalid width {}", options.width) };
    if width == 0 {
        fail!(Value, "invalid width 0 (must be > 0)");
    }
    let text: Vec<char> = text.chars().collect();
    let mut chunks = chunks(&text, options.hyphens);
    chunks.reverse();
    let blank = |chunk: &[char]| chunk.iter().all(|c| unicode::is_space(*c));
    let mut lines: Vec<String> = Vec::new();
    while let Some(next) = chunks.last() {
        if blank(next) && !lines.is_empty() {
            chunks.pop();
            if chunks.is_empty() {
                break;
            }
        }
        let (mut line, mut length) = (Vec::new(), 0);
        while let Some(chunk) = chunks.last().copied().filter(|chunk| length + chunk.len() <= width) {
            length += chunk.len();
            line.push(chunk);
            chunks.pop();
        }
        if let Some(chunk) = chunks.last().copied().filter(|chunk| chunk.len() > width) {
            long_word(&mut chunks, &mut line, chunk, width - length, options);
        }
        if line.last().is_some_and(|chunk| blank(chunk)) {
            line.pop();
        }
        if !line.is_empty() {
            lines.push(line.concat().into_iter().collect());
        }
    }
    Ok(lines)
}

/// Places a word that is longer than a line.
fn long_word<'a>(
    chunks: &mut Vec<&'a [char]>,
    line: &mut Vec<&'a [char]>,
    chunk: &'a [char],
    left: usize,
    options: &Options,
) {
    let left = if options.width < 1 { 1 } else { left };
    if options.break_long {
        let mut end = left;
        if options.hyphens && chunk.len() > left {
            let hyphen = chunk[..left].iter().rposition(|c| *c == '-').filter(|at| *at > 0);
            if let Some(hyphen) = hyphen.filter(|at| chunk[..*at].iter().any(|c| *c != '-')) {
                end = hyphen + 1;
            }
        }
        line.push(&chunk[..end]);
        chunks.pop();
        chunks.push(&chunk[end..]);
    } else if line.is_empty() {
        line.push(chunk);
        chunks.pop();
    }
}
