//! Filters for lists and dicts.

use std::cell::OnceCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use crate::chat::jinja::error::{Kind, Result, fail};
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::iterate::{self, Source, Stream};
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::methods;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::text::Text;
use crate::chat::jinja::python::value::{Value, View};
use crate::chat::jinja::run::arguments::{Args, flag, given, truth};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::lookup;
use crate::chat::jinja::string::str_methods;
use crate::chat::jinja::string::str_methods::string;

pub(crate) fn length(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("len")?;
    match value.length(cx)? {
        Some(length) => Ok(length.into()),
        None => fail!(Type, "object of type '{}' has no len()", value.type_name()),
    }
}

pub(crate) fn default(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [otherwise, boolean] = args.bind("default", ["default_value", "boolean"], 0)?;
    if value.is_undefined() || (truth(boolean, false) && !value.truth()) {
        return otherwise.map_or_else(|| Value::text(cx, ""), Ok);
    }
    Ok(value.clone())
}

pub(crate) fn list(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("list")?;
    Value::list(cx, iterate::collect(cx, value)?)
}

pub(crate) fn first(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("first")?;
    let first = iterate::source(cx, value)?.next(cx)?;
    Ok(first.unwrap_or_else(|| Value::undefined_because("No first item, sequence was empty.")))
}

pub(crate) fn last(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("last")?;
    let last = match value {
        Value::Iter(_) | Value::Loop(_) => fail!(Type, "'{}' object is not reversible", value.type_name()),
        Value::Str(text) if text.is_empty() => None,
        Value::Str(_) => Some(lookup::item(cx, value, &Value::Int(-1))?),
        Value::Template => fail!(Type, "'TemplateReference' object is not reversible"),
        _ => methods::nth(cx, value, -1)?,
    };
    Ok(last.unwrap_or_else(|| Value::undefined_because("No last item, sequence was empty.")))
}

pub(crate) fn random(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("random")?;
    let Some(length) = value.length(cx)? else {
        fail!(Type, "object of type '{}' has no len()", value.type_name());
    };
    if length == 0 {
        return Ok(Value::undefined_because("No random item, sequence was empty."));
    }
    let at = RandomState::new().build_hasher().finish() % length as u64;
    match value {
        Value::Dict(_) | Value::View(..) | Value::Loop(_) => {
            fail!(Lookup, "'{}' object has no items by number", value.type_name())
        }
        _ => lookup::item(cx, value, &Value::Int(i128::from(at))),
    }
}

pub(crate) fn reverse(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("reverse")?;
    match value {
        Value::Str(_) => lookup::slice(cx, value, &[Value::None, Value::None, Value::Int(-1)]),
        Value::List(items) | Value::Tuple(items) => {
            Stream::value(cx, Source::Reversed(Rc::clone(items), items.items.len()), value)
        }
        Value::Dict(_) | Value::View(..) | Value::Range(_) | Value::Undefined(_) | Value::Bytes(_) => {
            let Value::List(items) = Value::list(cx, iterate::collect(cx, value)?)? else { fail!(Type, "not a list") };
            let length = items.items.len();
            Stream::value(cx, Source::Reversed(items, length), value)
        }
        _ => match iterate::collect(cx, value) {
            Ok(mut items) => {
                items.reverse();
                Value::list(cx, items)
            }
            Err(error) if error.kind == Kind::Type => fail!(Runtime, "argument must be iterable"),
            Err(error) => Err(error),
        },
    }
}

pub(crate) fn items(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("items")?;
    match value {
        Value::Dict(dict) => {
            let mut source = Source::Entries(View::Items, Rc::clone(dict), 0);
            Stream::generate(cx, value, move |cx| source.next(cx))
        }
        Value::Undefined(_) => Stream::generate(cx, value, |_| Ok(None)),
        _ => Stream::generate(cx, value, |_| fail!(Type, "Can only get item pairs from a mapping.")),
    }
}

pub(crate) fn attr(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [name] = args.bind("attr", ["name"], 1)?;
    let name = name.unwrap_or(Value::None);
    let found = lookup::own_attribute(cx, value, string("attr", &name)?)?;
    Ok(found.unwrap_or_else(|| Value::missing(value, &name)))
}

pub(crate) fn join(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let mut items = iterate::collect(cx, value)?;
    if let Some(attribute) = given(attribute) {
        let path = super::select::Path::new(cx, &attribute)?;
        for item in &mut items {
            *item = path.find(cx, item)?;
        }
    }
    let separator = separator.map_or_else(|| Value::text(cx, ""), Ok)?;
    let escaped = |value: &Value| value.as_text().is_some_and(|text| text.markup);
    let mut joiner = repr::text(cx, &separator)?;
    if cx.autoescape.get() {
        if escaped(&separator) {
            joiner = joiner.marked(true);
        } else if items.iter().any(escaped) {
            joiner = markup::escape(cx, &separator)?;
        }
    }
    for item in &mut items {
        let keep = cx.autoescape.get() && escaped(item);
        *item = Value::Str(repr::text(cx, item)?.marked(keep));
    }
    str_methods::join(cx, &joiner, &Value::list(cx, items)?)
}

pub(crate) fn dictsort(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let by_value = match &by {
        None => false,
        Some(Value::Str(by)) if &**by == "key" => false,
        Some(Value::Str(by)) if &**by == "value" => true,
        Some(_) => fail!(Runtime, "You can only sort by either \"key\" or \"value\""),
    };
    let Value::Dict(dict) = value else {
        if let Value::Undefined(why) = value {
            fail!(Undefined, "{why}");
        }
        fail!(Type, "'{}' object has no attribute 'items'", value.type_name())
    };
    let case_sensitive = truth(case_sensitive, false);
    let mut pairs = Vec::new();
    for (key, value) in dict.entries() {
        let sorted_by = if by_value { value } else { key };
        let sorted_by = if case_sensitive { sorted_by.clone() } else { ignore_case(cx, sorted_by)? };
        pairs.push((sorted_by, Value::tuple(cx, vec![key.clone(), value.clone()])?));
    }
    Value::list(cx, compare::sort(cx, pairs, flag(reverse)?)?)
}

/// A text in lower case; any other value unchanged.
pub(crate) fn ignore_case(cx: &Cx, value: &Value) -> Result<Value> {
    match value {
        Value::Str(text) => Ok(Value::Str(Text::new(&cx.meter, text.to_lowercase())?.marked(text.markup))),
        other => Ok(other.clone()),
    }
}

pub(crate) fn batch(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let count = count.unwrap_or(Value::None).to_index()?;
    let fill = given(fill);
    let mut source = iterate::source(cx, value)?;
    let mut ahead = None;
    Stream::generate(cx, value, move |cx| {
        let mut items = Vec::new();
        if let Some(item) = ahead.take() {
            items.push(item);
        }
        while let Some(item) = source.next(cx)? {
            if items.len() as i128 == count {
                ahead = Some(item);
                return Value::list(cx, items).map(Some);
            }
            cx.meter.room((items.len() + 1) * 2 * size_of::<Value>())?;
            items.push(item);
        }
        if items.is_empty() {
            return Ok(None);
        }
        if let Some(fill) = &fill {
            let missing = usize::try_from(count).unwrap_or(0).saturating_sub(items.len());
            cx.meter.room(missing.saturating_mul(size_of::<Value>()))?;
            items.extend(std::iter::repeat_n(fill.clone(), missing));
        }
        Value::list(cx, items).map(Some)
    })
}

pub(crate) fn slice(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [slices, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let slices = slices.unwrap_or(Value::None);
    let fill = given(fill);
    let (from, items) = (value.clone(), OnceCell::new());
    let (mut number, mut offset) = (0, 0);
    Stream::generate(cx, value, move |cx| {
        let slices = slices.to_index()?;
        if items.get().is_none() {
            let _ = items.set(iterate::collect(cx, &from)?);
            if slices == 0 {
                fail!(Arithmetic, "integer division or modulo by zero");
            }
        }
        let Some(items) = items.get() else { return Ok(None) };
        if number >= slices {
            return Ok(None);
        }
        let length = items.len() as i128;
        let (each, with_extra) = (length / slices, length % slices);
        let start = offset + number * each;
        if number < with_extra {
            offset += 1;
        }
        let end = offset + (number + 1) * each;
        let mut part = items[start as usize..end as usize].to_vec();
        if number >= with_extra {
            part.extend(fill.clone());
        }
        number += 1;
        Value::list(cx, part).map(Some)
    })
}
