//! The functions that every template sees.

use std::cell::Cell;
use std::rc::Rc;

use super::arguments::Args;
use super::clock;
use super::cx::Cx;
use crate::chat::jinja::error::{Error, Kind, Result, fail};
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::iterate;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::value::{Range, Value};
use crate::chat::jinja::string::str_methods::string;

/// The most items of a range, by the sandbox's rule.
const LONGEST_RANGE: i128 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    Range,
    Dict,
    Lipsum,
    Cycler,
    Joiner,
    Namespace,
    RaiseException,
    StrftimeNow,
}

impl Global {
    pub(crate) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "range" => Self::Range,
            "dict" => Self::Dict,
            "lipsum" => Self::Lipsum,
            "cycler" => Self::Cycler,
            "joiner" => Self::Joiner,
            "namespace" => Self::Namespace,
            "raise_exception" => Self::RaiseException,
            "strftime_now" => Self::StrftimeNow,
            _ => return None,
        })
    }
}

pub(crate) fn call(cx: &Cx, function: Global, args: Args) -> Result<Value> {
    match function {
        Global::Range => range(args),
        Global::Dict => Ok(Value::dict(make_dict(cx, args)?)),
        Global::Lipsum => fail!(Unsupported, "lipsum(), which gives another text each time"),
        Global::Cycler => {
            let items = args.only_positional("cycler")?;
            if items.is_empty() {
                fail!(Runtime, "at least one item has to be provided");
            }
            let depth = nest(items.iter().map(Value::depth).max().unwrap_or(0) + 1)?;
            Ok(Value::Cycler(Rc::new(Cycler { items, at: Cell::new(0), depth })))
        }
        Global::Joiner => {
            let [separator] = args.bind("joiner", ["sep"], 0)?;
            let separator = separator.map_or_else(|| Value::text(cx, ", "), Ok)?;
            Ok(Value::Joiner(Rc::new(Joiner {
                depth: nest(separator.depth() + 1)?,
                separator,
                used: Cell::new(false),
            })))
        }
        Global::Namespace => {
            let attributes = make_dict(cx, args)?;
            for (name, _) in attributes.entries() {
                if name.as_text().is_some_and(|name| name.starts_with('_')) {
                    fail!(Security, "a namespace cannot hold names with underscores in front");
                }
            }
            Value::namespace(cx, attributes)
        }
        Global::RaiseException => {
            let [message] = args.bind("raise_exception", ["message"], 1)?;
            let message = repr::text(cx, &message.unwrap_or(Value::None))?;
            Err(Error::new(Kind::Raised, &*message))
        }
        Global::StrftimeNow => {
            let [format] = args.bind("strftime_now", ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            let format = string("strftime", &format)?;
            cx.meter.pass_over(format.len() * 64)?;
            Value::text(cx, clock::strftime(format, &jiff::Zoned::now())?)
        }
    }
}

/// The attributes of a function that a template may use: `dict.fromkeys`.
pub(crate) fn attribute(cx: &Cx, function: Global, name: &str) -> Result<Option<Value>> {
    match (function, name) {
        (Global::Dict, "fromkeys") => Value::method(cx, &Value::Function(function), "fromkeys").map(Some),
        _ => Ok(None),
    }
}

fn range(args: Args) -> Result<Value> {
    let [first, second, third] = args.bind("range", ["", "", ""], 1)?;
    let number = |value: Option<Value>, otherwise| match value {
        Some(Value::Undefined(why)) => fail!(Undefined, "{why}"),
        Some(value) => value.to_index(),
        None => Ok(otherwise),
    };
    let first = number(first, 0)?;
    let (start, stop) = match second {
        Some(second) => (first, second.to_index()?),
        None => (0, first),
    };
    let step = number(third, 1)?;
    if step == 0 {
        fail!(Value, "range() arg 3 must not be zero");
    }
    let far = 1 << 100;
    if [start, stop, step].iter().any(|number| number.abs() > far) {
        fail!(Arithmetic, "Range too big.");
    }
    let range = Range { start, stop, step };
    if range.count() > LONGEST_RANGE {
        fail!(Arithmetic, "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({LONGEST_RANGE}).");
    }
    Ok(Value::Range(Rc::new(range)))
}

/// `dict(...)` of a dict or of pairs, and of keywords.
fn make_dict(cx: &Cx, args: Args) -> Result<Dict> {
    let Args { positional, named } = args;
    if positional.len() > 1 {
        fail!(Type, "dict expected at most 1 argument, got {}", positional.len());
    }
    let mut dict = match positional.first() {
        Some(Value::Dict(dict)) => {
            cx.meter.step(dict.len() as u64)?;
            dict.copy(cx)?
        }
        _ => Dict::new(cx)?,
    };
    if let Some(pairs) = positional.first().filter(|value| !matches!(value, Value::Dict(_))) {
        for pair in iterate::collect(cx, pairs)? {
            match iterate::collect(cx, &pair)?.as_slice() {
                [key, value] => dict.insert(key.clone(), value.clone())?,
                other => fail!(Value, "dictionary update sequence element has length {}; 2 is required", other.len()),
            }
        }
    }
    for (name, value) in named {
        dict.insert_named(cx, &name, value)?;
    }
    Ok(dict)
}

/// `dict.fromkeys(keys, value)`.
pub(crate) fn from_keys(cx: &Cx, args: Args) -> Result<Value> {
    let [keys, value] = args.bind("fromkeys", ["", ""], 1)?;
    let mut dict = Dict::new(cx)?;
    for key in iterate::collect(cx, &keys.unwrap_or(Value::None))? {
        dict.insert(key, value.clone().unwrap_or(Value::None))?;
    }
    Ok(Value::dict(dict))
}

/// What `cycler()` returns: it gives its items one after another, again and again.
pub(crate) struct Cycler {
    items: Vec<Value>,
    at: Cell<usize>,
    pub(crate) depth: u32,
}

impl Cycler {
    pub(crate) fn attribute(&self, cx: &Cx, own: &Value, name: &str) -> Result<Option<Value>> {
        Ok(match name {
            "current" => Some(self.items[self.at.get()].clone()),
            "items" => Some(Value::tuple(cx, self.items.clone())?),
            "pos" => Some(self.at.get().into()),
            "next" => Some(Value::method(cx, own, "next")?),
            "reset" => Some(Value::method(cx, own, "reset")?),
            _ => None,
        })
    }

    pub(crate) fn call(&self, name: &str, args: Args) -> Result<Value> {
        args.none(name)?;
        if name == "reset" {
            self.at.set(0);
            return Ok(Value::None);
        }
        let at = self.at.get();
        self.at.set((at + 1) % self.items.len());
        Ok(self.items[at].clone())
    }
}

/// What `joiner()` returns: it gives nothing the first time, then its separator each time.
pub(crate) struct Joiner {
    separator: Value,
    used: Cell<bool>,
    pub(crate) depth: u32,
}

impl Joiner {
    pub(crate) fn call(&self, cx: &Cx, args: Args) -> Result<Value> {
        args.none("joiner")?;
        if self.used.replace(true) { Ok(self.separator.clone()) } else { Value::text(cx, "") }
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        match name {
            "sep" => Some(self.separator.clone()),
            "used" => Some(self.used.get().into()),
            _ => None,
        }
    }
}
