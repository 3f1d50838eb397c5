//! Filters for texts.

use super::pprint as pretty;
use super::wrap;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::iterate;
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::operators;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::{Args, given, index, truth};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::lookup;
use crate::chat::jinja::string::percent;
use crate::chat::jinja::string::str_methods::{self, string as as_string};
use crate::chat::jinja::string::unicode;

/// A method of `str` as a filter of any value.
fn method(cx: &Cx, value: &Value, name: &str, args: Args) -> Result<Value> {
    str_methods::call(cx, &repr::soft(cx, value)?, name, args)
}

pub(crate) fn upper(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    method(cx, value, "upper", args)
}

pub(crate) fn lower(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    method(cx, value, "lower", args)
}

pub(crate) fn capitalize(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    method(cx, value, "capitalize", args)
}

pub(crate) fn trim(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [characters] = args.bind("trim", ["chars"], 0)?;
    method(cx, value, "strip", Args::of(vec![characters.unwrap_or(Value::None)]))
}

pub(crate) fn center(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [width] = args.bind("center", ["width"], 0)?;
    method(cx, value, "center", Args::of(vec![width.unwrap_or(Value::Int(80))]))
}

pub(crate) fn string(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("string")?;
    Ok(Value::Str(repr::soft(cx, value)?))
}

pub(crate) fn safe(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("safe")?;
    Ok(Value::Str(repr::text(cx, value)?.marked(true)))
}

pub(crate) fn escape(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("escape")?;
    Ok(Value::Str(markup::escape(cx, value)?))
}

pub(crate) fn forceescape(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("forceescape")?;
    Ok(Value::Str(markup::escape(cx, &Value::Str(repr::text(cx, value)?))?))
}

pub(crate) fn striptags(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("striptags")?;
    Value::text(cx, markup::strip_tags(&repr::text(cx, value)?)?)
}

pub(crate) fn pprint(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("pprint")?;
    Value::text(cx, pretty::format(cx, value)?)
}

pub(crate) fn replace(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"], 2)?;
    let count = given(count).map_or(Ok(-1), |count| count.to_index())?;
    let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
    if !cx.autoescape.get() {
        let (old, new) = (repr::text(cx, &old)?, repr::text(cx, &new)?);
        return str_methods::replace(cx, &repr::text(cx, value)?, &old, &new, count);
    }
    let escaped = |value: &Value| value.as_text().is_some_and(|text| text.markup);
    let escapes = escaped(&old) || (escaped(&new) && !escaped(value));
    let text = if escapes { markup::escape(cx, value)? } else { repr::soft(cx, value)? };
    let (old, new) = (repr::soft(cx, &old)?, repr::soft(cx, &new)?);
    let new = if text.markup { markup::escape(cx, &Value::Str(new))? } else { new };
    str_methods::replace(cx, &text, &old, &new, count)
}

pub(crate) fn format(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let text = repr::soft(cx, value)?;
    if args.named.is_empty() {
        return percent::format(cx, &text, &Value::tuple(cx, args.positional)?);
    }
    if !args.positional.is_empty() {
        fail!(Runtime, "can't handle positional and keyword arguments at the same time");
    }
    let mut named = Dict::new(cx)?;
    for (name, value) in args.named {
        named.insert_named(cx, &name, value)?;
    }
    percent::format(cx, &text, &Value::dict(named))
}

pub(crate) fn title(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("title")?;
    let text = repr::soft(cx, value)?;
    let is_break = |c: char| unicode::is_space(c) || "-({[<".contains(c);
    let mut titled = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_break(c) != is_break(first)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        titled.extend(first.to_uppercase());
        titled.push_str(&word[first.len_utf8()..].to_lowercase());
        rest = behind;
    }
    Value::text(cx, titled)
}

pub(crate) fn wordcount(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("wordcount")?;
    let text = repr::soft(cx, value)?;
    Ok(text.split(|c| !unicode::is_regex_word(c)).filter(|word| !word.is_empty()).count().into())
}

pub(crate) fn indent(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let text = match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Str(text) => text,
        _ => fail!(Type, "indent takes a str, not {}", value.type_name()),
    };
    let indention = match &width {
        Some(Value::Str(width)) if text.markup => markup::escape_text(width),
        Some(Value::Str(width)) => (**width).to_owned(),
        _ => {
            let width = usize::try_from(index(width, 4)?.max(0)).unwrap_or(usize::MAX);
            cx.meter.room(width)?;
            " ".repeat(width)
        }
    };
    let (first, blank) = (truth(first, false), truth(blank, false));
    let with_end = format!("{}\n", &**text);
    let mut buffer = Buffer::new(&cx.meter)?;
    for (number, line) in str_methods::lines(cx, &with_end, false)?.into_iter().enumerate() {
        if number > 0 {
            buffer.push("\n")?;
        }
        if (number > 0 && (blank || !line.is_empty())) || (number == 0 && first) {
            buffer.push(&indention)?;
        }
        buffer.push(line)?;
    }
    Ok(Value::Str(Text::of(buffer).marked(text.markup)))
}

pub(crate) fn truncate(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [length, kill, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = index(length, 255)?;
    let end = end.map_or_else(|| Value::text(cx, "..."), Ok)?;
    let leeway = given(leeway).map_or(Ok(5), |leeway| leeway.to_index())?;
    let Some(end_length) = end.length(cx)? else { fail!(Type, "object of type '{}' has no len()", end.type_name()) };
    if length < end_length as i128 {
        fail!(Runtime, "expected length >= {end_length}, got {length}");
    }
    if leeway < 0 {
        fail!(Runtime, "expected leeway >= 0, got {leeway}");
    }
    let Some(count) = value.length(cx)? else { fail!(Type, "object of type '{}' has no len()", value.type_name()) };
    if count as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let stop = Value::Int(length - end_length as i128);
    let mut kept = lookup::slice(cx, value, &[Value::None, stop, Value::None])?;
    if !truth(kill, false)
        && let Value::Str(text) = &kept
    {
        let cut = text.rsplit_once(' ').map_or(&**text, |(before, _)| before);
        kept = Value::Str(Text::new(&cx.meter, cut.to_owned())?.marked(text.markup));
    }
    operators::binary(cx, Operator::Add, &kept, &end)
}

pub(crate) fn wordwrap(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, break_long, between, hyphens] = args.bind("wordwrap", names, 0)?;
    let text = match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        other => as_string("wordwrap", other)?,
    };
    let width = index(width, 79)?;
    let between = given(between).map_or_else(|| Value::text(cx, "\n"), Ok)?;
    let between = as_string("wordwrap", &between)?;
    let options = wrap::Options { width, break_long: truth(break_long, true), hyphens: truth(hyphens, true) };
    let mut paragraphs = Vec::new();
    for line in str_methods::lines(cx, text, false)? {
        let wrapped = wrap::wrap(line, &options)?;
        let lines = wrapped.into_iter().map(|line| Value::text(cx, line)).collect::<Result<_>>()?;
        paragraphs.push(str_methods::join(cx, between, &Value::list(cx, lines)?)?);
    }
    str_methods::join(cx, between, &Value::list(cx, paragraphs)?)
}

/// Python's `quote`.
fn quote(text: &[u8], in_query: bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => quoted.push(char::from(byte)),
            b'/' if !in_query => quoted.push('/'),
            b' ' if in_query => quoted.push('+'),
            _ => quoted += &format!("%{byte:02X}"),
        }
    }
    quoted
}

fn quoted(cx: &Cx, value: &Value, in_query: bool) -> Result<String> {
    match value {
        Value::Bytes(bytes) => Ok(quote(&bytes.octets, in_query)),
        _ => Ok(quote(repr::text(cx, value)?.as_bytes(), in_query)),
    }
}

pub(crate) fn urlencode(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("urlencode")?;
    let pairs = match value {
        Value::Str(_) => return Value::text(cx, quoted(cx, value, false)?),
        Value::Dict(dict) => {
            iterate::collect(cx, &Value::View(crate::chat::jinja::python::value::View::Items, dict.clone()))?
        }
        _ => match iterate::collect(cx, value) {
            Ok(pairs) => pairs,
            Err(error) if error.kind == crate::chat::jinja::error::Kind::Type => {
                return Value::text(cx, quoted(cx, value, false)?);
            }
            Err(error) => return Err(error),
        },
    };
    let mut buffer = Buffer::new(&cx.meter)?;
    for (number, pair) in pairs.iter().enumerate() {
        let pair = iterate::collect(cx, pair)?;
        let [key, value] = pair.as_slice() else { fail!(Value, "urlencode takes pairs") };
        buffer.push(if number > 0 { "&" } else { "" })?;
        buffer.push(&format!("{}={}", quoted(cx, key, true)?, quoted(cx, value, true)?))?;
    }
    Ok(Value::Str(Text::of(buffer)))
}

pub(crate) fn xmlattr(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"], 0)?;
    let dict = match value {
        Value::Dict(dict) => dict,
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        _ => fail!(Type, "'{}' object has no attribute 'items'", value.type_name()),
    };
    let mut buffer = Buffer::new(&cx.meter)?;
    let space = truth(space, true);
    for (key, value) in dict.entries() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let name = as_string("xmlattr", key)?;
        if name.contains(|c: char| c.is_ascii_whitespace() || "\u{B}/>=".contains(c)) {
            fail!(Value, "Invalid character in attribute name: '{}'", &**name);
        }
        if space || !buffer.text.is_empty() {
            buffer.push(" ")?;
        }
        let (key, value) = (markup::escape(cx, key)?, markup::escape(cx, value)?);
        buffer.push(&format!("{}=\"{}\"", &*key, &*value))?;
    }
    Ok(Value::Str(Text::of(buffer).marked(cx.autoescape.get())))
}
