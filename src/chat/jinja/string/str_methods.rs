//! The methods of `str` and `Markup`.

use super::casing;
use super::format;
use super::strings;
use super::unicode;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::iterate;
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::{Args, given, index, truth};
use crate::chat::jinja::run::cx::Cx;

pub(crate) const NAMES: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// Bytes that a part of a text takes in a list of parts that grows.
const PART: usize = 64;

/// The methods that only a `Markup` has.
pub(crate) const MARKUP_NAMES: &[&str] = &["escape", "striptags", "unescape"];

pub(crate) fn call(cx: &Cx, text: &Text, name: &str, args: Args) -> Result<Value> {
    cx.meter.pass_over(text.len())?;
    if let Some(truth) = casing::predicate(name, text) {
        args.none(name)?;
        return Ok(Value::Bool(truth));
    }
    let same_kind = |new: String| Ok(Value::Str(Text::new(&cx.meter, new)?.marked(text.markup)));
    match name {
        "lower" | "upper" | "capitalize" | "title" | "swapcase" | "casefold" => {
            args.none(name)?;
            same_kind(match name {
                "lower" => text.to_lowercase(),
                "upper" => text.to_uppercase(),
                "capitalize" => casing::capitalize(text),
                "title" => casing::title(text),
                "swapcase" => casing::swapcase(text),
                _ => casing::casefold(text),
            })
        }
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = args.bind(name, [""], 0)?;
            let characters = given(characters);
            let characters = characters.as_ref().map(|characters| string(name, characters)).transpose()?;
            let cut = match name {
                "strip" => strings::strip,
                "lstrip" => strings::lstrip,
                _ => strings::rstrip,
            };
            same_kind(cut(text, characters.map(|text| &**text)).to_owned())
        }
        "split" | "rsplit" | "splitlines" | "partition" | "rpartition" => cut(cx, text, name, args),
        "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" => search(cx, text, name, args),
        "replace" => {
            let [old, new, count] = args.bind(name, ["", "", ""], 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            let old = string(name, &old)?;
            let new = if text.markup { markup::escape(cx, &new)? } else { string(name, &new)?.clone() };
            replace(cx, text, old, &new, index(count, -1)?)
        }
        "removeprefix" | "removesuffix" => {
            let [part] = args.bind(name, [if text.markup && name == "removesuffix" { "suffix" } else { "" }], 1)?;
            let part = part.unwrap_or(Value::None);
            let part = string(name, &part)?;
            let rest = if name == "removeprefix" { text.strip_prefix(&**part) } else { text.strip_suffix(&**part) };
            same_kind(rest.unwrap_or(text).to_owned())
        }
        "center" | "ljust" | "rjust" | "zfill" | "expandtabs" => pad(cx, text, name, args),
        "join" => {
            let [items] = args.bind(name, [""], 1)?;
            join(cx, text, &items.unwrap_or(Value::None))
        }
        "format" => format::format(cx, text, &args),
        "format_map" => {
            let [mapping] = args.bind(name, [""], 1)?;
            format::format_map(cx, text, &mapping.unwrap_or(Value::None))
        }
        "encode" => encode(cx, text, args),
        "translate" => {
            let [table] = args.bind(name, [""], 1)?;
            translate(cx, text, &table.unwrap_or(Value::None))
        }
        "maketrans" => make_table(cx, args),
        "escape" => {
            let [value] = args.bind(name, ["s"], 1)?;
            Ok(Value::Str(markup::escape(cx, &value.unwrap_or(Value::None))?))
        }
        "striptags" => {
            args.none(name)?;
            Value::text(cx, markup::strip_tags(text)?)
        }
        "unescape" => {
            args.none(name)?;
            Value::text(cx, markup::unescape(text)?)
        }
        _ => fail!(Unsupported, "the method '{name}' of str"),
    }
}

/// An argument that must be a `str`.
pub(crate) fn string<'a>(function: &str, value: &'a Value) -> Result<&'a Text> {
    match value {
        Value::Str(text) => Ok(text),
        _ => fail!(Type, "{function}() takes a str, not {}", value.type_name()),
    }
}

/// The texts as a list. They are `Markup`s if `text` is one.
fn list(cx: &Cx, text: &Text, parts: &[&str]) -> Result<Value> {
    cx.meter.room(parts.len() * 2 * size_of::<Value>())?;
    let part = |part: &&str| Ok(Value::Str(Text::new(&cx.meter, (*part).to_owned())?.marked(text.markup)));
    Value::list(cx, parts.iter().map(part).collect::<Result<_>>()?)
}

/// [`strings::lines`].
pub(crate) fn lines<'a>(cx: &Cx, text: &'a str, keep_ends: bool) -> Result<Vec<&'a str>> {
    cx.meter.ask(strings::count(text, "\n") * PART)?;
    Ok(strings::lines(text, keep_ends))
}

fn cut(cx: &Cx, text: &Text, name: &str, args: Args) -> Result<Value> {
    match name {
        "splitlines" => {
            let [keep_ends] = args.bind(name, ["keepends"], 0)?;
            list(cx, text, &lines(cx, text, truth(keep_ends, false))?)
        }
        "split" | "rsplit" => {
            let [separator, most] = args.bind(name, ["sep", "maxsplit"], 0)?;
            let most = usize::try_from(index(most, -1)?).unwrap_or(usize::MAX);
            let Some(separator) = given(separator) else {
                cx.meter.ask(text.chars().filter(|c| unicode::is_space(*c)).count() * PART)?;
                let parts =
                    if name == "split" { strings::split_space(text, most) } else { strings::rsplit_space(text, most) };
                return list(cx, text, &parts);
            };
            let separator = string(name, &separator)?.clone();
            if separator.is_empty() {
                fail!(Value, "empty separator");
            }
            cx.meter.ask(strings::count(text, &separator) * PART)?;
            let parts = if name == "split" {
                strings::split(text, &separator, most)
            } else {
                strings::rsplit(text, &separator, most)
            };
            list(cx, text, &parts)
        }
        _ => {
            let [separator] = args.bind(name, [""], 1)?;
            let separator = separator.unwrap_or(Value::None);
            let separator = string(name, &separator)?;
            if separator.is_empty() {
                fail!(Value, "empty separator");
            }
            let found =
                if name == "partition" { text.split_once(&**separator) } else { text.rsplit_once(&**separator) };
            let parts = match found {
                Some((before, after)) => [before, &**separator, after],
                None if name == "partition" => [&**text, "", ""],
                None => ["", "", &**text],
            };
            let part = |part: &str| Ok(Value::Str(Text::new(&cx.meter, part.to_owned())?.marked(text.markup)));
            Value::tuple(cx, parts.into_iter().map(part).collect::<Result<_>>()?)
        }
    }
}

fn search(cx: &Cx, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["", "", ""], 1)?;
    let part = part.unwrap_or(Value::None);
    let length = text.count() as i128;
    let place = |index: Option<Value>, otherwise: i128| -> Result<i128> {
        let index = given(index).map_or(Ok(otherwise), |index| index.to_index())?;
        Ok(if index < 0 { (index + length).max(0) } else { index })
    };
    let (start, end) = (place(start, 0)?, place(end, length)?.min(length));
    // If the start is behind the end, Python finds nothing, not even an empty text.
    let within = (start <= end).then(|| text.part(start as usize..end as usize));
    if let "startswith" | "endswith" = name {
        let is = |part: &Value| -> Result<bool> {
            let part = string(name, part)?;
            let is =
                |text: &str| if name == "startswith" { text.starts_with(&**part) } else { text.ends_with(&**part) };
            Ok(within.is_some_and(is))
        };
        if let Value::Tuple(parts) = &part {
            for part in &parts.items {
                if is(part)? {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        return Ok(Value::Bool(is(&part)?));
    }
    let part = string(name, &part)?;
    if name == "count" {
        return Ok(within.map_or(0, |within| strings::count(within, part)).into());
    }
    let found =
        within.and_then(|within| if name.starts_with('r') { within.rfind(&**part) } else { within.find(&**part) });
    cx.meter.pass_over(text.len())?;
    match found {
        Some(found) => {
            let before = text.part(0..start as usize).len();
            Ok(text.index_of(before + found).into())
        }
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => fail!(Value, "substring not found"),
    }
}

/// `text.replace(old, new, most)`, without limit below 0.
pub(crate) fn replace(cx: &Cx, text: &Text, old: &str, new: &str, most: i128) -> Result<Value> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    cx.meter.pass_over(text.len())?;
    let count = strings::count(text, old).min(most);
    if count == 0 {
        return Ok(Value::Str(text.clone()));
    }
    cx.meter.room((text.len() + count * new.len()).saturating_sub(count * old.len()))?;
    cx.meter.pass_over(count.saturating_mul(new.len()))?;
    Ok(Value::Str(Text::new(&cx.meter, text.replacen(old, new, most))?.marked(text.markup)))
}

/// `text.join(items)`.
pub(crate) fn join(cx: &Cx, text: &Text, items: &Value) -> Result<Value> {
    let mut buffer = Buffer::new(&cx.meter)?;
    let mut source = iterate::source(cx, items).map_err(|error| {
        if error.kind == crate::chat::jinja::error::Kind::Type {
            return crate::chat::jinja::error::fault!(Type, "can only join an iterable");
        }
        error
    })?;
    let mut number = 0;
    while let Some(item) = source.next(cx)? {
        if number > 0 {
            buffer.push(text)?;
        }
        match &item {
            _ if text.markup => buffer.push(&markup::escape(cx, &item)?)?,
            Value::Str(item) => buffer.push(item)?,
            _ => fail!(Type, "sequence item {number}: expected str instance, {} found", item.type_name()),
        }
        number += 1;
    }
    Ok(Value::Str(Text::of(buffer).marked(text.markup)))
}

fn pad(cx: &Cx, text: &Text, name: &str, args: Args) -> Result<Value> {
    if name == "expandtabs" {
        let [size] = args.bind(name, ["tabsize"], 0)?;
        let size = usize::try_from(index(size, 8)?).unwrap_or(0);
        cx.meter.room(text.matches('\t').count().saturating_mul(size))?;
        return Ok(Value::Str(Text::new(&cx.meter, strings::expand_tabs(text, size))?.marked(text.markup)));
    }
    let (width, fill) = if name == "zfill" {
        let [width] = args.bind(name, [""], 1)?;
        (width, None)
    } else {
        let [width, fill] = args.bind(name, ["", ""], 1)?;
        (width, fill)
    };
    let width = usize::try_from(index(width, 0)?).unwrap_or(0);
    let fill = match fill {
        None if name == "zfill" => "0".to_owned(),
        None => " ".to_owned(),
        Some(fill) if text.markup => markup::escape_text(string(name, &fill)?),
        Some(fill) => (**string(name, &fill)?).to_owned(),
    };
    if fill.chars().count() != 1 {
        fail!(Type, "The fill character must be exactly one character long");
    }
    let more = width.saturating_sub(text.count());
    let before = match name {
        "ljust" => 0,
        "rjust" | "zfill" => more,
        _ => more / 2 + (more & width & 1),
    };
    let mut buffer = Buffer::new(&cx.meter)?;
    let sign = usize::from(name == "zfill" && text.starts_with(['+', '-']));
    buffer.push(&text[..sign])?;
    buffer.repeat(&fill, before)?;
    buffer.push(&text[sign..])?;
    buffer.repeat(&fill, more - before)?;
    Ok(Value::Str(Text::of(buffer).marked(text.markup)))
}

fn encode(cx: &Cx, text: &Text, args: Args) -> Result<Value> {
    let [encoding, errors] = args.bind("encode", ["encoding", "errors"], 0)?;
    let encoding = encoding.map_or(Ok("utf-8".to_owned()), |name| string("encode", &name).map(|n| n.to_lowercase()))?;
    let errors = errors.map_or(Ok("strict".to_owned()), |name| string("encode", &name).map(|n| (**n).to_owned()))?;
    let limit = match encoding.replace('_', "-").as_str() {
        "utf-8" | "utf8" => return Value::bytes(cx, text.as_bytes().to_vec()),
        "ascii" | "us-ascii" => 0x80,
        "latin-1" | "latin1" | "iso-8859-1" => 0x100,
        _ => fail!(Unsupported, "the encoding '{encoding}'"),
    };
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match (u8::try_from(u32::from(character)), errors.as_str()) {
            (Ok(byte), _) if u32::from(byte) < limit => bytes.push(byte),
            (_, "ignore") => {}
            (_, "replace") => bytes.push(b'?'),
            (_, "strict") => fail!(Value, "'{encoding}' codec can't encode character"),
            _ => fail!(Unsupported, "errors='{errors}' of encode()"),
        }
    }
    Value::bytes(cx, bytes)
}

fn translate(cx: &Cx, text: &Text, table: &Value) -> Result<Value> {
    let mut buffer = Buffer::new(&cx.meter)?;
    for character in text.chars() {
        let code = Value::Int(i128::from(u32::from(character)));
        let new = match table {
            Value::Dict(dict) => dict.get(&code)?.cloned(),
            _ => match crate::chat::jinja::run::lookup::item(cx, table, &code)? {
                Value::Undefined(_) => None,
                other => Some(other),
            },
        };
        match new {
            None => buffer.push(character.encode_utf8(&mut [0; 4]))?,
            Some(Value::None) => {}
            Some(Value::Str(new)) => buffer.push(&new)?,
            Some(new) => match new.as_int().and_then(|code| char::from_u32(u32::try_from(code).ok()?)) {
                Some(new) => buffer.push(new.encode_utf8(&mut [0; 4]))?,
                None => fail!(Type, "character mapping must return integer, None or str"),
            },
        }
    }
    Ok(Value::Str(Text::of(buffer).marked(text.markup)))
}

fn make_table(cx: &Cx, args: Args) -> Result<Value> {
    let [from, to, without] = args.bind("maketrans", ["", "", ""], 1)?;
    let from = from.unwrap_or(Value::None);
    let code = |character: char| Value::Int(i128::from(u32::from(character)));
    let mut table = Dict::new(cx)?;
    let Some(to) = to else {
        let Value::Dict(from) = &from else { fail!(Type, "if you give only one argument it must be a dict") };
        for (key, value) in from.entries() {
            let key = match key {
                Value::Str(text) => match text.chars().next() {
                    Some(character) if text.count() == 1 => code(character),
                    _ => fail!(Value, "string keys in translate table must be of length 1"),
                },
                Value::Int(_) | Value::Bool(_) => key.clone(),
                _ => fail!(Type, "keys in translate table must be strings or integers"),
            };
            table.insert(key, value.clone())?;
        }
        return Ok(Value::dict(table));
    };
    let (from, to) = (string("maketrans", &from)?, string("maketrans", &to)?);
    if from.count() != to.count() {
        fail!(Value, "the first two maketrans arguments must have equal length");
    }
    for (old, new) in from.chars().zip(to.chars()) {
        table.insert(code(old), code(new))?;
    }
    if let Some(without) = without {
        for character in string("maketrans", &without)?.chars() {
            table.insert(code(character), Value::None)?;
        }
    }
    Ok(Value::dict(table))
}
