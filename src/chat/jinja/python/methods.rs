//! The attributes and methods of Python's types that a template may use.

use super::compare;
use super::dict::Dict;
use super::iterate;
use super::numbers;
use super::text::Text;
use super::value::{Value, View};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::run::arguments::{Args, index};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::lookup::position;
use crate::chat::jinja::string::str_methods;

/// Methods of bytes that are known here, and those that Python has besides.
const BYTES: &[&str] = &["decode", "hex"];
const BYTES_UNSUPPORTED: &[&str] = &["fromhex"];
const SEQUENCE: &[&str] = &["count", "index"];
const LIST: &[&str] = &["copy", "count", "index"];
/// The methods that change a list or dict. The sandbox hides them.
const HIDDEN: &[&str] =
    &["append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"];
const DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const VIEW: &[&str] = &["isdisjoint"];
const INT: &[&str] = &["as_integer_ratio", "bit_count", "bit_length", "conjugate"];
const INT_UNSUPPORTED: &[&str] = &["from_bytes", "to_bytes"];
const FLOAT: &[&str] = &["as_integer_ratio", "conjugate", "is_integer"];
const FLOAT_UNSUPPORTED: &[&str] = &["fromhex", "hex"];

/// An attribute of the value's type, if it has one of that name.
pub(crate) fn attribute(cx: &Cx, value: &Value, name: &str) -> Result<Option<Value>> {
    // The sandbox hides private names.
    if name.starts_with('_') {
        return Ok(None);
    }
    let (methods, unsupported): (&[&'static str], &[&str]) = match value {
        Value::Str(_) => (str_methods::NAMES, &[]),
        Value::Bytes(_) => (BYTES, BYTES_UNSUPPORTED),
        Value::List(_) => (LIST, &[]),
        Value::Tuple(_) | Value::Range(_) => (SEQUENCE, &[]),
        Value::Dict(_) => (DICT, &[]),
        Value::View(View::Keys | View::Items, _) => (VIEW, &["mapping"]),
        Value::View(View::Values, _) => (&[], &["mapping"]),
        Value::Int(_) | Value::Bool(_) => (INT, INT_UNSUPPORTED),
        Value::Float(_) => (FLOAT, FLOAT_UNSUPPORTED),
        Value::Iter(_) => (&[], &["send", "throw", "close", "gi_running", "gi_yieldfrom", "gi_suspended"]),
        Value::Function(function) => return crate::chat::jinja::run::globals::attribute(cx, *function, name),
        _ => (&[], &[]),
    };
    if let Some(method) = methods.iter().find(|method| **method == name) {
        return Value::method(cx, value, method).map(Some);
    }
    let markup = value.as_text().is_some_and(|text| text.markup);
    if markup && let Some(method) = str_methods::MARKUP_NAMES.iter().find(|method| **method == name) {
        return Value::method(cx, value, method).map(Some);
    }
    let bytes = matches!(value, Value::Bytes(_)) && str_methods::NAMES.contains(&name);
    if unsupported.contains(&name) || (bytes && name != "encode") {
        fail!(Unsupported, "the attribute '{name}' of {}", value.type_name());
    }
    if matches!(value, Value::List(_) | Value::Dict(_)) && HIDDEN.contains(&name) && !only_other(value, name) {
        let why = format!("access to attribute '{name}' of '{}' object is unsafe.", value.type_name());
        return Ok(Some(Value::undefined_because(&why)));
    }
    Ok(match (value, name) {
        (Value::Int(_) | Value::Bool(_), "real" | "numerator") => value.as_int().map(Value::Int),
        (Value::Int(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
        (Value::Int(_) | Value::Bool(_), "denominator") => Some(Value::Int(1)),
        (Value::Float(_), "real") => Some(value.clone()),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        (Value::Range(range), "start") => Some(Value::Int(range.start)),
        (Value::Range(range), "stop") => Some(Value::Int(range.stop)),
        (Value::Range(range), "step") => Some(Value::Int(range.step)),
        _ => None,
    })
}

/// Whether only the other one of list and dict has a hidden method.
fn only_other(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => matches!(name, "popitem" | "setdefault" | "update"),
        _ => !matches!(name, "clear" | "pop" | "popitem" | "setdefault" | "update"),
    }
}

/// Calls a method.
pub(crate) fn call(cx: &Cx, receiver: &Value, name: &str, args: Args) -> Result<Value> {
    match receiver {
        Value::Str(text) => str_methods::call(cx, text, name, args),
        Value::Bytes(bytes) => {
            if name == "hex" {
                args.none(name)?;
                return Value::text(
                    cx,
                    bytes.octets.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
                );
            }
            let [encoding, errors] = args.bind(name, ["encoding", "errors"], 0)?;
            let encoding = encoding.as_ref().map(|name| str_methods::string("decode", name)).transpose()?;
            if encoding.is_some_and(|name| !matches!(&*name.to_lowercase(), "utf-8" | "utf8")) || errors.is_some() {
                fail!(Unsupported, "decode() with another encoding than UTF-8, or with errors=");
            }
            match String::from_utf8(bytes.octets.clone()) {
                Ok(text) => Ok(Value::Str(Text::new(&cx.meter, text)?)),
                Err(_) => fail!(Value, "'utf-8' codec can't decode"),
            }
        }
        Value::List(_) | Value::Tuple(_) | Value::Range(_) => sequence(cx, receiver, name, args),
        Value::Dict(dict) => of_dict(cx, dict, receiver, name, args),
        Value::View(..) => {
            let [other] = args.bind(name, [""], 1)?;
            for item in iterate::collect(cx, &other.unwrap_or(Value::None))? {
                if compare::contains(cx, receiver, &item)? {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        }
        Value::Int(_) | Value::Bool(_) => {
            args.none(name)?;
            of_int(cx, receiver.as_int().unwrap_or(0), name)
        }
        Value::Float(number) => {
            args.none(name)?;
            match name {
                "conjugate" => Ok(Value::Float(*number)),
                "is_integer" => Ok(Value::Bool(number.is_finite() && number.fract() == 0.0)),
                _ => ratio(cx, *number),
            }
        }
        Value::Loop(state) => state.call(cx, name, args),
        Value::Cycler(cycler) => cycler.call(name, args),
        Value::Function(_) => crate::chat::jinja::run::globals::from_keys(cx, args),
        _ => fail!(Unsupported, "the method '{name}' of {}", receiver.type_name()),
    }
}

fn sequence(cx: &Cx, receiver: &Value, name: &str, args: Args) -> Result<Value> {
    receiver.pass_over(cx)?;
    if name == "copy" {
        args.none(name)?;
        return Value::list(cx, iterate::collect(cx, receiver)?);
    }
    let [item, start, stop] = args.bind(name, ["", "", ""], 1)?;
    let item = item.unwrap_or(Value::None);
    if (name == "count" || matches!(receiver, Value::Range(_))) && start.is_some() {
        fail!(Type, "{name}() takes exactly one argument");
    }
    let items = iterate::collect(cx, receiver)?;
    let length = items.len() as i128;
    let place = |index: i128| if index < 0 { (index + length).max(0) } else { index.min(length) } as usize;
    let (start, stop) = (place(index(start, 0)?), place(index(stop, length)?));
    let mut count = 0;
    for (place, other) in items.iter().enumerate().take(stop).skip(start) {
        if compare::is(other, &item) || compare::equal(cx, other, &item)? {
            if name == "index" {
                return Ok(place.into());
            }
            count += 1;
        }
    }
    if name == "index" {
        fail!(Value, "the item is not in the {}", receiver.type_name());
    }
    Ok(Value::Int(count))
}

fn of_dict(cx: &Cx, dict: &std::rc::Rc<Dict>, receiver: &Value, name: &str, args: Args) -> Result<Value> {
    match name {
        "get" => {
            let [key, otherwise] = args.bind(name, ["", ""], 1)?;
            let found = dict.get(&key.unwrap_or(Value::None))?.cloned();
            return Ok(found.or(otherwise).unwrap_or(Value::None));
        }
        "fromkeys" => return crate::chat::jinja::run::globals::from_keys(cx, args),
        _ => args.none(name)?,
    }
    Ok(match name {
        "copy" => {
            receiver.pass_over(cx)?;
            Value::dict(dict.copy(cx)?)
        }
        "keys" => Value::View(View::Keys, dict.clone()),
        "values" => Value::View(View::Values, dict.clone()),
        _ => Value::View(View::Items, dict.clone()),
    })
}

fn of_int(cx: &Cx, number: i128, name: &str) -> Result<Value> {
    Ok(match name {
        "bit_length" => Value::Int(i128::from(128 - number.unsigned_abs().leading_zeros())),
        "bit_count" => Value::Int(i128::from(number.unsigned_abs().count_ones())),
        "conjugate" => Value::Int(number),
        _ => Value::tuple(cx, vec![Value::Int(number), Value::Int(1)])?,
    })
}

/// `number.as_integer_ratio()`.
fn ratio(cx: &Cx, number: f64) -> Result<Value> {
    if !number.is_finite() {
        fail!(Value, "cannot convert infinity or NaN to integer ratio");
    }
    let (mut numerator, mut denominator) = (number, 1i128);
    while numerator.fract() != 0.0 {
        numerator *= 2.0;
        denominator = match denominator.checked_mul(2) {
            Some(denominator) => denominator,
            None => fail!(Unsupported, "integers of more than 127 bits"),
        };
    }
    Value::tuple(cx, vec![Value::Int(numbers::truncate(numerator)?), Value::Int(denominator)])
}

/// `sequence[index]`, for filters that take one item.
pub(crate) fn nth(cx: &Cx, value: &Value, index: i128) -> Result<Option<Value>> {
    let items = iterate::collect(cx, value)?;
    Ok(position(index, items.len()).map(|at| items[at].clone()))
}
