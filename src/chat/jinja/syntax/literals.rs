//! Numbers and texts as a template spells them.

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::numbers;
use crate::chat::jinja::python::repr;

/// The length of `(\d+_)*\d+` at the start of `text`.
fn digits(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let text = &text[..end];
    let valid = text.find("__").unwrap_or(text.len());
    let text = text[..valid].trim_end_matches('_');
    (!text.is_empty() && !text.starts_with('_')).then_some(text.len())
}

/// A `float` at the start of `text`, and its length.
pub(crate) fn float(text: &str) -> Option<(f64, usize)> {
    let whole = digits(text)?;
    let fraction = |from: usize| {
        let rest = text[from..].strip_prefix('.')?;
        Some(from + 1 + digits(rest)?)
    };
    let exponent = |from: usize| {
        let rest = text[from..].strip_prefix(['e', 'E'])?;
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        Some(text.len() - unsigned.len() + digits(unsigned)?)
    };
    let after_fraction = fraction(whole);
    let end = exponent(after_fraction.unwrap_or(whole)).or(after_fraction)?;
    Some((text[..end].replace('_', "").parse().ok()?, end))
}

/// An `int` at the start of `text`, and its length.
pub(crate) fn integer(text: &str) -> Result<Option<(i128, usize)>> {
    let run = |from: usize, is_digit: fn(char) -> bool| {
        let (mut end, mut characters) = (from, text[from..].char_indices().peekable());
        while let Some((place, character)) = characters.next() {
            let digit = match character {
                '_' => characters.peek().is_some_and(|(_, next)| is_digit(*next)),
                _ => is_digit(character),
            };
            if !digit {
                break;
            }
            end = from + place + 1;
        }
        end
    };
    let prefix = text.get(..2).map(str::to_ascii_lowercase);
    let (base, end) = match prefix.as_deref() {
        Some("0x") => (16, run(2, |c| c.is_ascii_hexdigit())),
        Some("0o") => (8, run(2, |c| ('0'..='7').contains(&c))),
        Some("0b") => (2, run(2, |c| c == '0' || c == '1')),
        _ => (10, 2),
    };
    let (base, end) = if end > 2 {
        (base, end)
    } else {
        match text.bytes().next() {
            Some(b'1'..=b'9') => (10, run(0, |c| c.is_ascii_digit())),
            Some(b'0') => (10, run(0, |c| c == '0')),
            _ => return Ok(None),
        }
    };
    Ok(numbers::parse_int(&text[..end], base)?.map(|number| (number, end)))
}

/// A quoted text at the start of `text`, and the length of its literal.
pub(crate) fn text(text: &str) -> Result<Option<(String, usize)>> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) else { return Ok(None) };
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Ok(Some((unescape(&text[1..place])?, place + 1)));
        }
    }
    Ok(None)
}

/// `text.encode("ascii", "backslashreplace").decode("unicode-escape")`.
fn unescape(text: &str) -> Result<String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let ascii: String = text.chars().map(|c| if c.is_ascii() { c.to_string() } else { repr::escape(c) }).collect();
    let mut plain = String::with_capacity(text.len());
    let mut rest = ascii.as_str();
    while let Some(start) = rest.find('\\') {
        plain.push_str(&rest[..start]);
        let escaped = &rest[start + 1..];
        let Some(letter) = escaped.chars().next() else { fail!(Syntax, "\\ at end of string") };
        rest = &escaped[1..];
        let code = match letter {
            '\n' => continue,
            '\\' | '\'' | '"' => u32::from(letter),
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            '0'..='7' => {
                let length = escaped.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                rest = &escaped[length..];
                u32::from_str_radix(&escaped[..length], 8).unwrap_or(0)
            }
            'x' => hexadecimal(&mut rest, 2, "\\xXX")?,
            'u' => hexadecimal(&mut rest, 4, "\\uXXXX")?,
            'U' => hexadecimal(&mut rest, 8, "\\UXXXXXXXX")?,
            'N' => fail!(Unsupported, "characters by their name, as in '\\N{{...}}'"),
            other => {
                plain.extend(['\\', other]);
                continue;
            }
        };
        match char::from_u32(code) {
            Some(character) => plain.push(character),
            None if code > 0x10_FFFF => fail!(Syntax, "illegal Unicode character"),
            None => fail!(Unsupported, "half a character (a surrogate), as in '\\ud800'"),
        }
    }
    plain.push_str(rest);
    Ok(plain)
}

fn hexadecimal(rest: &mut &str, length: usize, name: &str) -> Result<u32> {
    let digits = rest.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let Some(digits) = digits else { fail!(Syntax, "truncated {name} escape") };
    *rest = &rest[length..];
    Ok(u32::from_str_radix(digits, 16).unwrap_or(0))
}
