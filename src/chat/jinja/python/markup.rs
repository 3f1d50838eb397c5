//! Escaped texts, as Python's markupsafe has them.

use super::repr;
use super::text::Text;
use super::value::Value;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::string::strings;

/// `text` with HTML's special characters escaped.
pub(crate) fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `escape(value)`: a `Markup` stays as it is.
pub(crate) fn escape(cx: &Cx, value: &Value) -> Result<Text> {
    match value {
        Value::Str(text) if text.markup => Ok(text.clone()),
        _ => {
            let text = repr::text(cx, value)?;
            Ok(Text::new(&cx.meter, escape_text(&text))?.marked(true))
        }
    }
}

/// `Markup.striptags`.
pub(crate) fn strip_tags(text: &str) -> Result<String> {
    let (mut stripped, mut rest) = (String::new(), text);
    while let Some(start) = rest.find('<') {
        let end = match rest[start..].strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|end| start + 4 + end + 3),
            None => rest[start..].find('>').map(|end| start + end + 1),
        };
        let Some(end) = end else { break };
        stripped.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    stripped.push_str(rest);
    unescape(&strings::words(&stripped).join(" "))
}

/// `html.unescape`, as far as it is known here.
pub(crate) fn unescape(text: &str) -> Result<String> {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let body = &rest[1..];
        if let Some(number) = body.strip_prefix('#') {
            let (radix, digits) = match number.strip_prefix(['x', 'X']) {
                Some(digits) => (16, digits),
                None => (10, number),
            };
            let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
            if end > 0 {
                let code = u32::from_str_radix(&digits[..end], radix).unwrap_or(u32::MAX);
                match char::from_u32(code) {
                    Some(character) if (0x20..0x7F).contains(&code) || code >= 0xA0 || code == 9 || code == 10 => {
                        plain.push(character);
                    }
                    _ => fail!(Unsupported, "the entity '&#{}'", &number[..number.len() - digits.len() + end]),
                }
                let after = &digits[end..];
                rest = after.strip_prefix(';').unwrap_or(after);
                continue;
            }
        } else if body.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let end = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len());
            let named = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("nbsp", '\u{A0}')];
            match named.iter().find(|(name, _)| *name == &body[..end]) {
                Some((_, character)) if body[end..].starts_with(';') => {
                    plain.push(*character);
                    rest = &body[end + 1..];
                    continue;
                }
                _ if body[end..].starts_with(';') => fail!(Unsupported, "the entity '&{};'", &body[..end]),
                _ => {}
            }
        }
        plain.push('&');
        rest = body;
    }
    plain.push_str(rest);
    Ok(plain)
}
