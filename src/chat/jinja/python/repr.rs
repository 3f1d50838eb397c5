//! What Python prints: `str(value)` and `repr(value)`.

use super::numbers;
use super::text::{Buffer, Text};
use super::value::{Value, View};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::string::unicode;
use crate::chat::marks::{END, START};

/// `str(value)`: a plain text, even if `value` is a `Markup`.
pub(crate) fn text(cx: &Cx, value: &Value) -> Result<Text> {
    if let Value::Str(text) = value {
        return Ok(text.marked(false));
    }
    let mut buffer = Buffer::new(&cx.meter)?;
    write(&mut buffer, value)?;
    Ok(Text::of(buffer))
}

/// markupsafe's `soft_str`: a `Markup` stays one.
pub(crate) fn soft(cx: &Cx, value: &Value) -> Result<Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        _ => text(cx, value),
    }
}

/// Writes `str(value)`.
pub(crate) fn write(buffer: &mut Buffer, value: &Value) -> Result<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) => buffer.push(text),
        _ => write_repr(buffer, value, 0),
    }
}

/// `repr(value)`.
pub(crate) fn repr(cx: &Cx, value: &Value) -> Result<String> {
    let mut buffer = Buffer::new(&cx.meter)?;
    write_repr(&mut buffer, value, 0)?;
    Ok(buffer.text)
}

fn write_repr(buffer: &mut Buffer, value: &Value, depth: u32) -> Result<()> {
    let depth = nest(depth)? + 1;
    match value {
        Value::Undefined(_) => buffer.push("Undefined"),
        Value::None => buffer.push("None"),
        Value::Bool(truth) => buffer.push(if *truth { "True" } else { "False" }),
        Value::Int(number) => buffer.push(&number.to_string()),
        Value::Float(number) => buffer.push(&numbers::repr(*number)),
        Value::Str(text) if text.markup => {
            buffer.push("Markup(")?;
            write_quoted(buffer, text)?;
            buffer.push(")")
        }
        Value::Str(text) => write_quoted(buffer, text),
        Value::Bytes(bytes) => write_bytes(buffer, &bytes.octets),
        Value::List(items) => write_items(buffer, ("[", "]"), items.items.iter(), depth),
        Value::Tuple(items) => {
            let end = if items.items.len() == 1 { ",)" } else { ")" };
            write_items(buffer, ("(", end), items.items.iter(), depth)
        }
        Value::Dict(dict) => write_entries(buffer, ("{", "}"), dict.entries(), depth),
        Value::View(View::Keys, dict) => {
            write_items(buffer, ("dict_keys([", "])"), dict.entries().iter().map(|(key, _)| key), depth)
        }
        Value::View(View::Values, dict) => {
            write_items(buffer, ("dict_values([", "])"), dict.entries().iter().map(|(_, value)| value), depth)
        }
        Value::View(View::Items, dict) => {
            buffer.push("dict_items([")?;
            for (index, (key, value)) in dict.entries().iter().enumerate() {
                buffer.push(if index > 0 { ", " } else { "" })?;
                write_items(buffer, ("(", ")"), [key, value].into_iter(), depth)?;
            }
            buffer.push("])")
        }
        Value::Range(range) if range.step == 1 => buffer.push(&format!("range({}, {})", range.start, range.stop)),
        Value::Range(range) => buffer.push(&format!("range({}, {}, {})", range.start, range.stop, range.step)),
        Value::Macro(object) => match object.name() {
            Some(name) => buffer.push(&format!("<Macro '{name}'>")),
            None => buffer.push("<Macro anonymous>"),
        },
        Value::Namespace(space) => {
            buffer.push("<Namespace ")?;
            write_entries(buffer, ("{", "}"), space.attributes.borrow().entries(), depth)?;
            buffer.push(">")
        }
        Value::Loop(state) => buffer.push(&format!("<LoopContext {}/{}>", state.index(), state.known_length())),
        Value::Template => buffer.push("<TemplateReference None>"),
        Value::Iter(_)
        | Value::Function(_)
        | Value::Method(_)
        | Value::Cycler(_)
        | Value::Joiner(_)
        | Value::Block(_) => {
            fail!(Unsupported, "printing a {}, which Python prints with its address", value.type_name())
        }
    }
}

fn write_items<'a>(
    buffer: &mut Buffer,
    (start, end): (&str, &str),
    items: impl Iterator<Item = &'a Value>,
    depth: u32,
) -> Result<()> {
    buffer.push(start)?;
    for (index, item) in items.enumerate() {
        buffer.push(if index > 0 { ", " } else { "" })?;
        write_repr(buffer, item, depth)?;
    }
    buffer.push(end)
}

fn write_entries(
    buffer: &mut Buffer,
    (start, end): (&str, &str),
    entries: &[(Value, Value)],
    depth: u32,
) -> Result<()> {
    buffer.push(start)?;
    for (index, (key, value)) in entries.iter().enumerate() {
        buffer.push(if index > 0 { ", " } else { "" })?;
        write_repr(buffer, key, depth)?;
        buffer.push(": ")?;
        write_repr(buffer, value, depth)?;
    }
    buffer.push(end)
}

/// The quote that Python uses: `'`, unless the text contains `'` and no `"`.
fn quote(single: bool, double: bool) -> char {
    if single && !double { '"' } else { '\'' }
}

fn write_quoted(buffer: &mut Buffer, text: &str) -> Result<()> {
    let quote = quote(text.contains('\''), text.contains('"'));
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            // Marks are no part of the text, and must be found again.
            c if unicode::is_printable(c) || matches!(c, START | END) => quoted.push(c),
            c => quoted.push_str(&escape(c)),
        }
    }
    quoted.push(quote);
    buffer.push(&quoted)
}

/// The escape that Python prints for a character that cannot be printed.
pub(crate) fn escape(character: char) -> String {
    match u32::from(character) {
        code @ 0..=0xFF => format!("\\x{code:02x}"),
        code @ 0x100..=0xFFFF => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

fn write_bytes(buffer: &mut Buffer, bytes: &[u8]) -> Result<()> {
    let quote = quote(bytes.contains(&b'\''), bytes.contains(&b'"'));
    let mut quoted = String::from("b");
    quoted.push(quote);
    for &byte in bytes {
        match byte {
            b'\\' => quoted.push_str("\\\\"),
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            _ if char::from(byte) == quote => quoted.extend(['\\', quote]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted += &format!("\\x{byte:02x}"),
        }
    }
    quoted.push(quote);
    buffer.push(&quoted)
}
