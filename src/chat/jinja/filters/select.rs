//! Filters that look at each item: by an attribute, another filter or a test.

use std::collections::HashSet;

use super::items::ignore_case;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::filters;
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::dict::Key;
use crate::chat::jinja::python::iterate::{self, Source, Stream};
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::operators;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::{Args, flag, given, truth};
use crate::chat::jinja::run::checks::{self, Check};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::lookup;
use crate::chat::jinja::string::str_methods::string;

/// An attribute of an attribute, as in `attribute='a.b.0'`.
pub(crate) struct Path(Vec<Value>);

impl Path {
    pub(crate) fn new(cx: &Cx, attribute: &Value) -> Result<Self> {
        Ok(Self(match attribute {
            Value::None => Vec::new(),
            Value::Str(path) => Self::parts(cx, path)?,
            other => vec![other.clone()],
        }))
    }

    fn parts(cx: &Cx, path: &str) -> Result<Vec<Value>> {
        let part = |part: &str| match part.parse::<u32>() {
            Ok(index) if part.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Value::Int(i128::from(index))),
            _ => Value::text(cx, part),
        };
        path.split('.').map(part).collect()
    }

    pub(crate) fn find(&self, cx: &Cx, item: &Value) -> Result<Value> {
        self.find_or(cx, item, None)
    }

    fn find_or(&self, cx: &Cx, item: &Value, otherwise: Option<&Value>) -> Result<Value> {
        let mut found = item.clone();
        for part in &self.0 {
            found = lookup::item(cx, &found, part)?;
            if found.is_undefined()
                && let Some(otherwise) = otherwise
            {
                found = otherwise.clone();
            }
        }
        Ok(found)
    }
}

/// What is done with each item.
type Each = Box<dyn Fn(&Cx, &Value) -> Result<Value>>;

/// A generator over `value`. It begins when its first item is asked for: then `prepare` says what to do with each
/// item.
fn lazily(
    cx: &Cx,
    value: &Value,
    prepare: impl Fn(&Cx) -> Result<Each> + 'static,
    finish: impl Fn(Value, Value) -> Result<Option<Value>> + 'static,
) -> Result<Value> {
    let from = value.clone();
    let mut begun: Option<(Source, Each)> = None;
    Stream::generate(cx, value, move |cx| {
        if begun.is_none() {
            if !from.truth() {
                return Ok(None);
            }
            let each = prepare(cx)?;
            begun = Some((iterate::source(cx, &from)?, each));
        }
        let Some((source, each)) = &mut begun else { return Ok(None) };
        while let Some(item) = source.next(cx)? {
            let outcome = each(cx, &item)?;
            if let Some(given) = finish(item, outcome)? {
                return Ok(Some(given));
            }
        }
        Ok(None)
    })
}

pub(crate) fn map(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    lazily(
        cx,
        value,
        move |cx| {
            let Args { positional, mut named } = args.clone();
            let attribute = named.iter().position(|(name, _)| &**name == "attribute");
            if let (true, Some(place)) = (positional.is_empty(), attribute) {
                let (_, attribute) = named.remove(place);
                let default = named.iter().position(|(name, _)| &**name == "default");
                let default = given(default.map(|place| named.remove(place).1));
                if let Some((name, _)) = named.first() {
                    fail!(Runtime, "Unexpected keyword argument '{name}'");
                }
                let path = Path::new(cx, &attribute)?;
                return Ok(Box::new(move |cx, item| path.find_or(cx, item, default.as_ref())));
            }
            let Some((name, rest)) = positional.split_first() else { fail!(Runtime, "map requires a filter argument") };
            let name = string("map", name)?;
            let Some(filter) = filters::find(name) else { fail!(Runtime, "No filter named '{}' found.", &**name) };
            let args = Args { positional: rest.to_vec(), named };
            Ok(Box::new(move |cx, item| filter.apply(cx, item, args.clone())))
        },
        |_, outcome| Ok(Some(outcome)),
    )
}

fn test_of(args: &Args, from: usize) -> Result<Option<(Check, Args)>> {
    let Some(name) = args.positional.get(from) else { return Ok(None) };
    let name = string("select", name)?;
    let Some(test) = checks::find(name) else { fail!(Runtime, "No test named '{}' found.", &**name) };
    Ok(Some((test, Args { positional: args.positional[from + 1..].to_vec(), named: args.named.clone() })))
}

fn choose(cx: &Cx, value: &Value, args: Args, by_attribute: bool, wanted: bool) -> Result<Value> {
    lazily(
        cx,
        value,
        move |cx| {
            let path = match args.positional.first() {
                _ if !by_attribute => Path(Vec::new()),
                Some(attribute) => Path::new(cx, attribute)?,
                None => fail!(Runtime, "Missing parameter for attribute name"),
            };
            let test = test_of(&args, usize::from(by_attribute))?;
            Ok(Box::new(move |cx, item| {
                let item = path.find(cx, item)?;
                match &test {
                    Some((test, args)) => Ok(Value::Bool(test.holds(cx, &item, args.clone())?)),
                    None => Ok(Value::Bool(item.truth())),
                }
            }))
        },
        move |item, outcome| Ok((outcome.truth() == wanted).then_some(item)),
    )
}

pub(crate) fn select(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    choose(cx, value, args, false, true)
}

pub(crate) fn reject(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    choose(cx, value, args, false, false)
}

pub(crate) fn selectattr(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    choose(cx, value, args, true, true)
}

pub(crate) fn rejectattr(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    choose(cx, value, args, true, false)
}

pub(crate) fn sort(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [reverse, case_sensitive, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let case_sensitive = truth(case_sensitive, false);
    let paths = match attribute.unwrap_or(Value::None) {
        Value::Str(paths) => paths.split(',').map(|path| Path::parts(cx, path).map(Path)).collect::<Result<_>>()?,
        other => vec![Path::new(cx, &other)?],
    };
    let mut items = Vec::new();
    for item in iterate::collect(cx, value)? {
        let mut keys = Vec::new();
        for path in &paths {
            let key = path.find(cx, &item)?;
            keys.push(if case_sensitive { key } else { ignore_case(cx, &key)? });
        }
        items.push((Value::list(cx, keys)?, item));
    }
    Value::list(cx, compare::sort(cx, items, flag(reverse)?)?)
}

/// The items of `value`, each with its key.
fn keyed(cx: &Cx, value: &Value, path: &Path, default: Option<&Value>, exact: bool) -> Result<Vec<(Value, Value)>> {
    let mut items = Vec::new();
    for item in iterate::collect(cx, value)? {
        let key = path.find_or(cx, &item, default)?;
        items.push((if exact { key } else { ignore_case(cx, &key)? }, item));
    }
    Ok(items)
}

pub(crate) fn groupby(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [attribute, default, exact] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let (default, exact) = (given(default), truth(exact, false));
    let path = Path::new(cx, &attribute.unwrap_or(Value::None))?;
    let pairs = keyed(cx, value, &path, default.as_ref(), exact)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    let sorted = compare::sort(cx, pairs, false)?;
    for (key, item) in keyed(cx, &Value::list(cx, sorted)?, &path, default.as_ref(), exact)? {
        match groups.last_mut() {
            Some((last, items)) if compare::equal(cx, last, &key)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut named = Vec::new();
    for (key, items) in groups {
        let key = match items.first() {
            Some(first) if !exact => path.find_or(cx, first, default.as_ref())?,
            _ => key,
        };
        named.push(Value::group(cx, key, Value::list(cx, items)?)?);
    }
    Value::list(cx, named)
}

/// Bytes that a key takes in a set that grows.
const KEY: usize = 4 * size_of::<Key>() + 32;

pub(crate) fn unique(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [exact, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let exact = truth(exact, false);
    let from = value.clone();
    let (mut source, mut path, mut seen) = (None, Path(Vec::new()), HashSet::<Key>::new());
    let mut charge = cx.meter.hold(0)?;
    Stream::generate(cx, value, move |cx| {
        if source.is_none() {
            path = Path::new(cx, attribute.as_ref().unwrap_or(&Value::None))?;
            source = Some(iterate::source(cx, &from)?);
        }
        let Some(source) = &mut source else { return Ok(None) };
        while let Some(item) = source.next(cx)? {
            let key = path.find(cx, &item)?;
            let key = if exact { key } else { ignore_case(cx, &key)? };
            charge.grow(KEY + key.as_text().map_or(0, |text| text.len()))?;
            let key = Key::new(&key)?;
            if seen.insert(key) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    })
}

fn extreme(cx: &Cx, value: &Value, args: Args, name: &str, comparison: &str) -> Result<Value> {
    let [exact, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let path = Path::new(cx, &attribute.unwrap_or(Value::None))?;
    let wanted = if name == "min" { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed(cx, value, &path, None, truth(exact, false))? {
        let better = match &best {
            Some((other, _)) => compare::order(cx, comparison, &key, other)? == Some(wanted),
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined_because("No aggregated item, sequence was empty."), |(_, item)| item))
}

pub(crate) fn min(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    extreme(cx, value, args, "min", "<")
}

pub(crate) fn max(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    extreme(cx, value, args, "max", ">")
}

pub(crate) fn sum(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let path = Path::new(cx, &attribute.unwrap_or(Value::None))?;
    let mut sum = start.unwrap_or(Value::Int(0));
    if let Value::Str(_) | Value::Bytes(_) = sum {
        fail!(Type, "sum() can't sum strings [use ''.join(seq) instead]");
    }
    let mut source = iterate::source(cx, value)?;
    while let Some(item) = source.next(cx)? {
        sum = operators::binary(cx, Operator::Add, &sum, &path.find(cx, &item)?)?;
    }
    Ok(sum)
}
