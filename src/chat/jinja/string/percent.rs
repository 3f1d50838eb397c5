//! `format % values` of Python's `str`.

use super::spec::{self, Spec, take_number};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::numbers;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::cx::Cx;

/// The values that a format takes, one after another or by name.
struct Values<'a> {
    cx: &'a Cx,
    all: &'a Value,
    next: usize,
    named: bool,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value> {
        let value = match self.all {
            Value::Tuple(items) => items.items.get(self.next).cloned(),
            other => (self.next == 0).then(|| other.clone()),
        };
        self.next += 1;
        match value {
            Some(value) => Ok(value),
            None => fail!(Type, "not enough arguments for format string"),
        }
    }

    fn named(&mut self, name: &str) -> Result<Value> {
        self.named = true;
        match self.all {
            Value::Dict(dict) => match dict.get_named(name) {
                Some(value) => Ok(value.clone()),
                None => fail!(Lookup, "'{name}'"),
            },
            _ => fail!(Type, "format requires a mapping"),
        }
    }

    /// Fails if a value is left over.
    fn done(&self) -> Result<()> {
        let left = match self.all {
            Value::Tuple(items) => self.next < items.items.len(),
            // A value with items by key may stay unused.
            Value::Dict(_)
            | Value::List(_)
            | Value::Range(_)
            | Value::Bytes(_)
            | Value::Undefined(_)
            | Value::Template => false,
            _ => self.next == 0,
        };
        if left && !self.named {
            fail!(Type, "not all arguments converted during string formatting");
        }
        Ok(())
    }
}

/// `text % values`.
pub(crate) fn format(cx: &Cx, text: &Text, values: &Value) -> Result<Value> {
    let mut buffer = Buffer::new(&cx.meter)?;
    let mut values = Values { cx, all: values, next: 0, named: false };
    let mut rest: &str = text;
    while let Some(start) = rest.find('%') {
        buffer.push(&rest[..start])?;
        rest = &rest[start + 1..];
        directive(&mut buffer, &mut rest, &mut values, text.markup)?;
    }
    buffer.push(rest)?;
    values.done()?;
    Ok(Value::Str(Text::of(buffer).marked(text.markup)))
}

/// Writes one directive, which is read from behind its `%`.
fn directive(buffer: &mut Buffer, rest: &mut &str, values: &mut Values<'_>, markup: bool) -> Result<()> {
    let cx = values.cx;
    if let Some(after) = rest.strip_prefix('%') {
        *rest = after;
        return buffer.push("%");
    }
    let mut value = None;
    if rest.starts_with('(') {
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, character)| {
            depth += i32::from(*character == '(') - i32::from(*character == ')');
            depth == 0
        });
        let Some((end, _)) = end else { fail!(Value, "incomplete format key") };
        value = Some(values.named(&rest[1..end])?);
        *rest = &rest[end + 1..];
    }
    let mut spec = Spec::default();
    let mut zero = false;
    while let Some(flag) = rest.chars().next().filter(|flag| "-+ #0".contains(*flag)) {
        match flag {
            '-' => spec.align = Some('<'),
            '+' => spec.sign = '+',
            ' ' if spec.sign != '+' => spec.sign = ' ',
            '#' => spec.alternate = true,
            '0' => zero = true,
            _ => {}
        }
        *rest = &rest[1..];
    }
    spec.width = match star_or_number(rest, values)? {
        Some(width) if width < 0 => {
            spec.align = Some('<');
            usize::try_from(-width).unwrap_or(usize::MAX)
        }
        Some(width) => usize::try_from(width).unwrap_or(usize::MAX),
        None => 0,
    };
    cx.meter.room(spec.width)?;
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        let precision = star_or_number(rest, values)?.unwrap_or(0).max(0);
        spec.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
        cx.meter.room(spec.precision.unwrap_or(0))?;
    }
    *rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
    let Some(kind) = rest.chars().next() else { fail!(Value, "incomplete format") };
    *rest = &rest[kind.len_utf8()..];
    let value = match value {
        Some(value) => value,
        None => values.next()?,
    };
    if "diuoxXeEfFgG".contains(kind) && zero && spec.align.is_none() {
        spec.fill = '0';
        spec.align = Some('=');
    }
    let text = formatted(cx, &spec, kind, &value, markup)?;
    buffer.push(&text)
}

fn star_or_number(rest: &mut &str, values: &mut Values<'_>) -> Result<Option<i128>> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        return match values.next()?.as_int() {
            Some(number) => Ok(Some(number)),
            None => fail!(Type, "* wants int"),
        };
    }
    Ok(take_number(rest)?.map(|number| number as i128))
}

fn formatted(cx: &Cx, spec: &Spec, kind: char, value: &Value, markup: bool) -> Result<String> {
    let as_text = |spec: &Spec, text: String| {
        let spec = Spec {
            sign: '-',
            alternate: false,
            fill: ' ',
            align: spec.align.filter(|align| *align == '<').or(Some('>')),
            kind: None,
            ..spec.clone()
        };
        let text = Value::text(cx, text)?;
        spec.apply(cx, &text)
    };
    match kind {
        's' | 'r' | 'a' => {
            let text = match kind {
                's' if markup => (*markup::escape(cx, value)?).to_owned(),
                _ if markup => markup::escape_text(&spec::converted(cx, value, kind)?),
                _ => spec::converted(cx, value, kind)?,
            };
            as_text(spec, text)
        }
        'c' => {
            let character = match value {
                Value::Str(text) if text.count() == 1 => (**text).to_owned(),
                _ => match value.as_int() {
                    Some(code) => match u32::try_from(code).ok().and_then(char::from_u32) {
                        Some(character) => character.to_string(),
                        None => fail!(Arithmetic, "%c arg not in range(0x110000)"),
                    },
                    None => fail!(Type, "%c requires int or char"),
                },
            };
            as_text(&Spec { precision: None, ..spec.clone() }, character)
        }
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let number = match value {
                Value::Undefined(why) => fail!(Undefined, "{why}"),
                Value::Float(number) if matches!(kind, 'd' | 'i' | 'u') => numbers::truncate(*number)?,
                _ => match value.as_int() {
                    Some(number) => number,
                    None if markup => match value {
                        Value::Str(text) => match numbers::parse_int(text, 10)? {
                            Some(number) => number,
                            None => fail!(Value, "invalid literal for int() with base 10"),
                        },
                        _ => fail!(Type, "%{kind} format: a real number is required, not {}", value.type_name()),
                    },
                    None => fail!(Type, "%{kind} format: a real number is required, not {}", value.type_name()),
                },
            };
            let kind = if matches!(kind, 'i' | 'u') { 'd' } else { kind };
            let spec = Spec { kind: Some(kind), ..spec.clone() };
            with_precision(cx, &spec, number)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = match value {
                Value::Undefined(why) => fail!(Undefined, "{why}"),
                Value::Str(text) if markup => numbers::parse_float(text),
                _ => value.to_float(),
            };
            let Some(number) = number else { fail!(Type, "must be real number, not {}", value.type_name()) };
            Spec { kind: Some(kind), ..spec.clone() }.apply(cx, &Value::Float(number))
        }
        other => fail!(Value, "unsupported format character '{other}'"),
    }
}

/// An integer with at least so many digits, as C's precision asks.
fn with_precision(cx: &Cx, spec: &Spec, number: i128) -> Result<String> {
    let Some(precision) = spec.precision else { return spec.apply(cx, &Value::Int(number)) };
    let plain = Spec { width: 0, precision: None, ..spec.clone() }.apply(cx, &Value::Int(number))?;
    let digits = plain.find(|c: char| c.is_ascii_hexdigit() && c != 'x').unwrap_or(0);
    let prefix = if spec.alternate && matches!(spec.kind, Some('x' | 'X' | 'o')) { digits + 2 } else { digits };
    let zeros = precision.saturating_sub(plain.len() - prefix);
    let text = format!("{}{}{}", &plain[..prefix], "0".repeat(zeros), &plain[prefix..]);
    let more = spec.width.saturating_sub(text.len());
    Ok(match spec.align {
        Some('<') => text + &" ".repeat(more),
        Some('=') => format!("{}{}{}", &text[..prefix], "0".repeat(more), &text[prefix..]),
        _ => " ".repeat(more) + &text,
    })
}
