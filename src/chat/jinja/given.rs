//! The variables that a template is given.

use super::error::Result;
use super::python::dict::Dict;
use super::python::value::Value;
use super::run::cx::Cx;
use crate::chat::json::Json;

/// Bytes that a value counts for, beside those of its text.
const VALUE: u64 = 256;

/// The bytes by which `json` makes the bounds grow.
pub(super) fn size(json: &Json) -> u64 {
    VALUE
        + match json {
            Json::Text(text) => text.len() as u64,
            Json::List(items) => items.iter().map(size).sum(),
            Json::Object(entries) => entries.iter().map(|(key, value)| key.len() as u64 + size(value)).sum(),
            _ => 0,
        }
}

/// `json` as Python's `json` module gives it to a template.
pub(super) fn value(json: &Json, cx: &Cx) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Int(number) => Value::Int(*number),
        Json::Float(number) => Value::Float(*number),
        Json::Text(text) => {
            cx.meter.ask(text.len())?;
            Value::text(cx, text.as_str())?
        }
        Json::List(items) => {
            let mut list = Vec::new();
            cx.meter.ask(items.len() * size_of::<Value>())?;
            list.reserve_exact(items.len());
            for item in items {
                list.push(value(item, cx)?);
            }
            Value::list(cx, list)?
        }
        Json::Object(entries) => {
            let mut dict = Dict::new(cx)?;
            for (key, json) in entries {
                dict.insert_named(cx, key, value(json, cx)?)?;
            }
            Value::dict(dict)
        }
    })
}
