//! `tojson` as `transformers` defines it: `json.dumps` of Python.

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::numbers;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::{Args, given, truth};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::marks::{END, START};

struct Writer<'a> {
    cx: &'a Cx,
    buffer: Buffer,
    ascii: bool,
    sort: bool,
    indent: Option<String>,
    between: String,
    colon: String,
}

pub(crate) fn dump(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sort] = args.bind("tojson", names, 0)?;
    let indent = match given(indent) {
        None => None,
        Some(Value::Str(indent)) => Some((*indent).to_owned()),
        Some(indent) => {
            let count = usize::try_from(indent.to_index()?.max(0)).unwrap_or(usize::MAX);
            cx.meter.room(count)?;
            Some(" ".repeat(count))
        }
    };
    let (between, colon) = match given(separators) {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(separators) => {
            let items = crate::chat::jinja::python::iterate::collect(cx, &separators)?;
            match items.as_slice() {
                [Value::Str(between), Value::Str(colon)] => ((**between).to_owned(), (**colon).to_owned()),
                _ => fail!(Type, "separators have to be two texts"),
            }
        }
    };
    let buffer = Buffer::new(&cx.meter)?;
    let mut writer =
        Writer { cx, buffer, ascii: truth(ascii, false), sort: truth(sort, false), indent, between, colon };
    writer.value(value, 0)?;
    Ok(Value::Str(Text::of(writer.buffer)))
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: u32) -> Result<()> {
        self.cx.meter.step(1)?;
        nest(depth)?;
        match value {
            Value::None => self.buffer.push("null"),
            Value::Bool(truth) => self.buffer.push(if *truth { "true" } else { "false" }),
            Value::Int(number) => self.buffer.push(&number.to_string()),
            Value::Float(number) => self.buffer.push(&float(*number)),
            Value::Str(text) => self.text(text),
            Value::List(items) | Value::Tuple(items) => {
                self.buffer.push("[")?;
                for (index, item) in items.items.iter().enumerate() {
                    self.before_item(index, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.end(items.items.is_empty(), depth, "]")
            }
            Value::Dict(dict) => {
                let mut entries = dict.entries().to_vec();
                if self.sort {
                    let items = (0..).zip(&entries).map(|(at, (key, _))| (key.clone(), Value::Int(at))).collect();
                    let order = compare::sort(self.cx, items, false)?;
                    let place = |at: &Value| entries[at.as_int().unwrap_or(0) as usize].clone();
                    entries = order.iter().map(place).collect();
                }
                self.buffer.push("{")?;
                for (index, (key, item)) in entries.iter().enumerate() {
                    self.before_item(index, depth + 1)?;
                    self.key(key)?;
                    let colon = std::mem::take(&mut self.colon);
                    self.buffer.push(&colon)?;
                    self.colon = colon;
                    self.value(item, depth + 1)?;
                }
                self.end(entries.is_empty(), depth, "}")
            }
            _ => fail!(Type, "Object of type {} is not JSON serializable", value.type_name()),
        }
    }

    fn key(&mut self, key: &Value) -> Result<()> {
        match key {
            Value::Str(text) => self.text(text),
            Value::None => self.buffer.push("\"null\""),
            Value::Bool(truth) => self.buffer.push(if *truth { "\"true\"" } else { "\"false\"" }),
            Value::Int(number) => self.buffer.push(&format!("\"{number}\"")),
            Value::Float(number) => self.buffer.push(&format!("\"{}\"", float(*number))),
            _ => fail!(Type, "keys must be str, int, float, bool or None, not {}", key.type_name()),
        }
    }

    fn before_item(&mut self, index: usize, depth: u32) -> Result<()> {
        if index > 0 {
            let between = std::mem::take(&mut self.between);
            self.buffer.push(&between)?;
            self.between = between;
        }
        self.line(depth)
    }

    fn end(&mut self, empty: bool, depth: u32, bracket: &str) -> Result<()> {
        if !empty {
            self.line(depth)?;
        }
        self.buffer.push(bracket)
    }

    fn line(&mut self, depth: u32) -> Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        self.buffer.push("\n")?;
        self.buffer.repeat(indent, depth as usize)
    }

    fn text(&mut self, text: &str) -> Result<()> {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for character in text.chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{C}' => quoted.push_str("\\f"),
                '\0'..='\u{1F}' => quoted += &format!("\\u{:04x}", u32::from(character)),
                // Marks are no part of the text, and must be found again.
                ' '..='~' | START | END => quoted.push(character),
                _ if self.ascii => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        quoted += &format!("\\u{unit:04x}");
                    }
                }
                _ => quoted.push(character),
            }
        }
        quoted.push('"');
        self.buffer.push(&quoted)
    }
}

/// A number as JavaScript spells it, also one that JSON cannot express.
fn float(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        numbers::repr(number)
    }
}
