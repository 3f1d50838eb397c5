//! Python's `pprint.pformat`.

use crate::chat::jinja::error::Result;
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::text::Buffer;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::string::strings;
use crate::chat::jinja::string::unicode;

const WIDTH: usize = 80;

struct Printer<'a> {
    cx: &'a Cx,
    buffer: Buffer,
}

/// `pformat(value)`.
pub(crate) fn format(cx: &Cx, value: &Value) -> Result<String> {
    let mut printer = Printer { cx, buffer: Buffer::new(&cx.meter)? };
    let value = sorted(cx, value, 0)?;
    printer.value(&value, 0, 0, 0)?;
    Ok(printer.buffer.text)
}

/// `value` with its dicts sorted by their keys.
fn sorted(cx: &Cx, value: &Value, depth: u32) -> Result<Value> {
    cx.meter.step(1)?;
    let depth = nest(depth)? + 1;
    let all = |items: &[Value]| items.iter().map(|item| sorted(cx, item, depth)).collect::<Result<Vec<_>>>();
    match value {
        Value::List(items) => Value::list(cx, all(&items.items)?),
        Value::Tuple(items) => Value::tuple(cx, all(&items.items)?),
        Value::Dict(dict) => {
            let mut keyed = Vec::new();
            for (key, item) in dict.entries() {
                keyed.push((key.clone(), Value::tuple(cx, vec![key.clone(), sorted(cx, item, depth)?])?));
            }
            let mut ordered = Dict::new(cx)?;
            for pair in compare::sort(cx, keyed, false)? {
                if let Value::Tuple(pair) = pair {
                    ordered.insert(pair.items[0].clone(), pair.items[1].clone())?;
                }
            }
            Ok(Value::dict(ordered))
        }
        other => Ok(other.clone()),
    }
}

impl Printer<'_> {
    /// Writes a value behind `indent` characters; `allowance` characters will follow it.
    fn value(&mut self, value: &Value, indent: usize, allowance: usize, level: u32) -> Result<()> {
        let text = repr::repr(self.cx, value)?;
        if text.chars().count() + indent + allowance <= WIDTH {
            return self.buffer.push(&text);
        }
        match value {
            Value::List(items) => self.items(&items.items, ("[", "]"), indent, allowance, level + 1),
            Value::Tuple(items) => {
                let end = if items.items.len() == 1 { ",)" } else { ")" };
                self.items(&items.items, ("(", end), indent, allowance, level + 1)
            }
            Value::Dict(dict) => self.entries(dict, indent, allowance, level + 1),
            Value::Str(text) if !text.markup => self.text(text, indent, allowance, level + 1),
            _ => self.buffer.push(&text),
        }
    }

    fn items(
        &mut self,
        items: &[Value],
        (start, end): (&str, &str),
        indent: usize,
        allowance: usize,
        level: u32,
    ) -> Result<()> {
        self.buffer.push(start)?;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.line(",", indent + 1)?;
            }
            let last = index + 1 == items.len();
            self.value(item, indent + 1, if last { allowance + end.len() } else { 1 }, level)?;
        }
        self.buffer.push(end)
    }

    fn entries(&mut self, dict: &Dict, indent: usize, allowance: usize, level: u32) -> Result<()> {
        self.buffer.push("{")?;
        for (index, (key, item)) in dict.entries().iter().enumerate() {
            if index > 0 {
                self.line(",", indent + 1)?;
            }
            let key = repr::repr(self.cx, key)? + ": ";
            self.buffer.push(&key)?;
            let last = index + 1 == dict.len();
            let behind = if last { allowance + 1 } else { 1 };
            self.value(item, indent + 1 + key.chars().count(), behind, level)?;
        }
        self.buffer.push("}")
    }

    fn line(&mut self, behind: &str, indent: usize) -> Result<()> {
        self.buffer.push(behind)?;
        self.buffer.push("\n")?;
        self.buffer.repeat(" ", indent)
    }

    /// Writes a long text, cut between words into several texts.
    fn text(&mut self, text: &str, mut indent: usize, mut allowance: usize, level: u32) -> Result<()> {
        if level == 1 {
            indent += 1;
            allowance += 1;
        }
        let width = WIDTH.saturating_sub(indent);
        let quoted = |text: &str| repr::repr(self.cx, &Value::text(self.cx, text)?);
        let lines = strings::lines(text, true);
        let mut chunks = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let last_line = number + 1 == lines.len();
            let whole = quoted(line)?;
            if whole.chars().count() <= if last_line { width.saturating_sub(allowance) } else { width } {
                chunks.push(whole);
                continue;
            }
            let parts = words_with_space(line);
            let mut current = String::new();
            for (index, part) in parts.iter().enumerate() {
                let last = last_line && index + 1 == parts.len();
                let room = if last { width.saturating_sub(allowance) } else { width };
                let candidate = format!("{current}{part}");
                if quoted(&candidate)?.chars().count() > room {
                    if !current.is_empty() {
                        chunks.push(quoted(&current)?);
                    }
                    current.clear();
                    current.push_str(part);
                } else {
                    current = candidate;
                }
            }
            if !current.is_empty() {
                chunks.push(quoted(&current)?);
            }
        }
        let several = level == 1 && chunks.len() > 1;
        self.buffer.push(if several { "(" } else { "" })?;
        for (number, chunk) in chunks.iter().enumerate() {
            if number > 0 {
                self.line("", indent)?;
            }
            self.buffer.push(chunk)?;
        }
        self.buffer.push(if several { ")" } else { "" })
    }
}

/// The words, each with the space behind it.
fn words_with_space(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let word = rest.find(unicode::is_space).unwrap_or(rest.len());
        let space = rest[word..].find(|c| !unicode::is_space(c)).map_or(rest.len(), |length| word + length);
        parts.push(&rest[..space]);
        rest = &rest[space..];
    }
    parts
}
