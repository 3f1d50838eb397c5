//! `str.format` and `str.format_map`, as the sandbox runs them.

use super::spec::{self, Spec};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::Args;
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::lookup;

/// The arguments that the fields of a format refer to.
struct Fields<'a> {
    cx: &'a Cx,
    positional: &'a [Value],
    named: &'a dyn Fn(&str) -> Result<Option<Value>>,
    /// The number for the next field without one; `None` as soon as a field has had a number.
    automatic: Option<usize>,
    manual: bool,
    markup: bool,
}

pub(crate) fn format(cx: &Cx, text: &Text, args: &Args) -> Result<Value> {
    let named = |name: &str| Ok(args.named.iter().find(|(other, _)| &**other == name).map(|(_, value)| value.clone()));
    run(cx, text, &args.positional, &named)
}

pub(crate) fn format_map(cx: &Cx, text: &Text, mapping: &Value) -> Result<Value> {
    run(cx, text, &[], &|name| match mapping {
        Value::Dict(dict) => Ok(dict.get_named(name).cloned()),
        _ => fail!(Type, "'{}' object is not subscriptable", mapping.type_name()),
    })
}

fn run(cx: &Cx, text: &Text, positional: &[Value], named: &dyn Fn(&str) -> Result<Option<Value>>) -> Result<Value> {
    let markup = text.markup;
    let mut fields = Fields { cx, positional, named, automatic: Some(0), manual: false, markup };
    let mut buffer = Buffer::new(&cx.meter)?;
    fields.write(&mut buffer, text, 3)?;
    Ok(Value::Str(Text::of(buffer).marked(markup)))
}

impl Fields<'_> {
    fn write(&mut self, buffer: &mut Buffer, text: &str, depth: usize) -> Result<()> {
        if depth == 0 {
            fail!(Value, "Max string recursion exceeded");
        }
        let mut rest = text;
        while let Some(place) = rest.find(['{', '}']) {
            buffer.push(&rest[..place])?;
            let brace = &rest[place..=place];
            rest = &rest[place + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                buffer.push(brace)?;
                rest = after;
                continue;
            }
            if brace == "}" {
                fail!(Value, "Single '}}' encountered in format string");
            }
            let mut open = 1;
            let end = rest.char_indices().find(|(_, character)| {
                open += i32::from(*character == '{') - i32::from(*character == '}');
                open == 0
            });
            let Some((end, _)) = end else { fail!(Value, "expected '}}' before end of string") };
            self.field(buffer, &rest[..end], depth)?;
            rest = &rest[end + 1..];
        }
        buffer.push(rest)
    }

    fn field(&mut self, buffer: &mut Buffer, field: &str, depth: usize) -> Result<()> {
        let mut brackets = false;
        let end = field.char_indices().find(|(_, character)| {
            brackets = *character == '[' || (brackets && *character != ']');
            !brackets && matches!(character, '!' | ':')
        });
        let (name, mut rest) = end.map_or((field, ""), |(end, _)| field.split_at(end));
        let mut value = self.value(name)?;
        if let Some(conversion) = rest.strip_prefix('!') {
            let Some(letter) = conversion.chars().next() else {
                fail!(Value, "end of string while looking for conversion specifier")
            };
            rest = &conversion[letter.len_utf8()..];
            if !rest.is_empty() && !rest.starts_with(':') {
                fail!(Value, "expected ':' after conversion specifier");
            }
            value = Value::text(self.cx, spec::converted(self.cx, &value, letter)?)?;
        }
        let mut nested = Buffer::new(&self.cx.meter)?;
        self.write(&mut nested, rest.strip_prefix(':').unwrap_or(rest), depth - 1)?;
        let text = self.formatted(&value, &nested.text)?;
        buffer.push(&text)
    }

    fn formatted(&self, value: &Value, spec: &str) -> Result<String> {
        let cx = self.cx;
        match value {
            Value::Str(text) if self.markup && text.markup => {
                if !spec.is_empty() {
                    fail!(Value, "Unsupported format specification for Markup.");
                }
                Ok((**text).to_owned())
            }
            _ => {
                let text = if spec.is_empty() {
                    spec::converted(cx, value, 's')?
                } else {
                    Spec::parse(spec)?.apply(cx, value)?
                };
                Ok(if self.markup { markup::escape_text(&text) } else { text })
            }
        }
    }

    /// The value that a field names: an argument, or an attribute or item of it.
    fn value(&mut self, field: &str) -> Result<Value> {
        let cx = self.cx;
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (first, mut rest) = field.split_at(end);
        let mut value = self.argument(first)?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    fail!(Value, "Empty attribute in format string");
                }
                value = lookup::attribute(cx, &value, &after[..end])?;
                rest = &after[end..];
            } else {
                let after = &rest[1..];
                let Some(end) = after.find(']') else { fail!(Value, "Missing ']' in format string") };
                if end == 0 {
                    fail!(Value, "Empty attribute in format string");
                }
                let key = match after[..end].parse::<u32>() {
                    Ok(index) => Value::Int(i128::from(index)),
                    Err(_) => Value::text(cx, &after[..end])?,
                };
                value = lookup::item(cx, &value, &key)?;
                rest = &after[end + 1..];
                if !rest.is_empty() && !rest.starts_with(['.', '[']) {
                    fail!(Value, "Only '.' or '[' may follow ']' in format field specifier");
                }
            }
        }
        Ok(value)
    }

    fn argument(&mut self, name: &str) -> Result<Value> {
        let index = if name.is_empty() {
            if self.manual {
                fail!(Value, "cannot switch from manual field specification to automatic field numbering");
            }
            let index = self.automatic.unwrap_or(0);
            self.automatic = Some(index + 1);
            Some(index)
        } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
            if self.automatic.is_some_and(|index| index > 0) {
                fail!(Value, "cannot switch from automatic field numbering to manual field specification");
            }
            self.manual = true;
            name.parse().ok()
        } else {
            None
        };
        match index {
            Some(index) => match self.positional.get(index) {
                Some(value) => Ok(value.clone()),
                None => fail!(Lookup, "Replacement index {index} out of range for positional args tuple"),
            },
            None => match (self.named)(name)? {
                Some(value) => Ok(value),
                None => fail!(Lookup, "'{name}'"),
            },
        }
    }
}
