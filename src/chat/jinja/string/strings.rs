//! Python's ways to cut a text: `strip`, `split`, `splitlines` and their kin.

use super::unicode;

/// `text.strip(characters)`; without characters it strips white space.
pub(crate) fn strip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    lstrip(rstrip(text, characters), characters)
}

pub(crate) fn lstrip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    match characters {
        None => text.trim_start_matches(unicode::is_space),
        Some(characters) => text.trim_start_matches(|c| characters.contains(c)),
    }
}

pub(crate) fn rstrip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    match characters {
        None => text.trim_end_matches(unicode::is_space),
        Some(characters) => text.trim_end_matches(|c| characters.contains(c)),
    }
}

/// `text.split()`.
pub(crate) fn words(text: &str) -> Vec<&str> {
    split_space(text, usize::MAX)
}

/// `text.split(None, most)`.
pub(crate) fn split_space(text: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), lstrip(text, None));
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let end = rest.find(unicode::is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = lstrip(&rest[end..], None);
    }
    parts
}

/// `text.rsplit(None, most)`.
pub(crate) fn rsplit_space(text: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), rstrip(text, None));
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let start = rest.char_indices().rfind(|(_, c)| unicode::is_space(*c));
        let start = start.map_or(0, |(place, character)| place + character.len_utf8());
        parts.push(&rest[start..]);
        rest = rstrip(&rest[..start], None);
    }
    parts.reverse();
    parts
}

/// `text.split(separator, most)`.
pub(crate) fn split<'a>(text: &'a str, separator: &str, most: usize) -> Vec<&'a str> {
    text.splitn(most.saturating_add(1), separator).collect()
}

/// `text.rsplit(separator, most)`.
pub(crate) fn rsplit<'a>(text: &'a str, separator: &str, most: usize) -> Vec<&'a str> {
    let mut parts: Vec<_> = text.rsplitn(most.saturating_add(1), separator).collect();
    parts.reverse();
    parts
}

/// `text.splitlines(keep_ends)`.
pub(crate) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_break = |c: char| {
        matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = rest.find(is_break).unwrap_or(rest.len());
        let behind = &rest[end..];
        let length = if behind.starts_with("\r\n") { 2 } else { behind.chars().next().map_or(0, char::len_utf8) };
        lines.push(&rest[..if keep_ends { end + length } else { end }]);
        rest = &rest[end + length..];
    }
    lines
}

/// How often `part` occurs, without overlap.
pub(crate) fn count(text: &str, part: &str) -> usize {
    if part.is_empty() { text.chars().count() + 1 } else { text.matches(part).count() }
}

/// `text.expandtabs(size)`, for a size above 0.
pub(crate) fn expand_tabs(text: &str, size: usize) -> String {
    let (mut expanded, mut column) = (String::with_capacity(text.len()), 0);
    for character in text.chars() {
        match character {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                expanded.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            '\n' | '\r' => {
                expanded.push(character);
                column = 0;
            }
            _ => {
                expanded.push(character);
                column += 1;
            }
        }
    }
    expanded
}
