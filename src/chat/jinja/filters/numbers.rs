//! Filters for numbers.

use crate::chat::jinja::error::{Kind, Result, fail};
use crate::chat::jinja::python::numbers::{self, Operator};
use crate::chat::jinja::python::operators;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::{Args, index, truth};
use crate::chat::jinja::run::cx::Cx;

pub(crate) fn abs(_: &Cx, value: &Value, args: Args) -> Result<Value> {
    args.none("abs")?;
    match value {
        Value::Float(number) => Ok(Value::Float(number.abs())),
        _ => match value.as_int() {
            Some(number) => Ok(Value::Int(number.abs())),
            None => fail!(Type, "bad operand type for abs(): '{}'", value.type_name()),
        },
    }
}

/// `float(value)`; `None` if Python says `TypeError` or `ValueError`.
fn to_float(value: &Value) -> Result<Option<f64>> {
    match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Str(text) => Ok(numbers::parse_float(text)),
        Value::Bytes(_) => fail!(Unsupported, "bytes as a number"),
        _ => Ok(value.to_float()),
    }
}

pub(crate) fn float(_: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [otherwise] = args.bind("float", ["default"], 0)?;
    let number = to_float(value)?;
    Ok(number.map_or_else(|| otherwise.unwrap_or(Value::Float(0.0)), Value::Float))
}

pub(crate) fn int(_: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [otherwise, base] = args.bind("int", ["default", "base"], 0)?;
    let otherwise = otherwise.unwrap_or(Value::Int(0));
    match value {
        Value::Str(text) => {
            let base = match base {
                None => 10,
                Some(base) => match base.as_int() {
                    Some(base) => base,
                    None => return from_float(numbers::parse_float(text), otherwise),
                },
            };
            match numbers::parse_int(text, base) {
                Ok(Some(number)) => return Ok(Value::Int(number)),
                Err(error) if error.kind != Kind::Value => return Err(error),
                Ok(None) | Err(_) => {}
            }
            from_float(numbers::parse_float(text), otherwise)
        }
        Value::Float(number) if number.is_infinite() => fail!(Arithmetic, "cannot convert float infinity to integer"),
        Value::Float(number) if number.is_nan() => Ok(otherwise),
        Value::Float(number) => Ok(Value::Int(numbers::truncate(*number)?)),
        _ => match value.as_int() {
            Some(number) => Ok(Value::Int(number)),
            None => from_float(to_float(value)?, otherwise),
        },
    }
}

fn from_float(number: Option<f64>, otherwise: Value) -> Result<Value> {
    match number {
        Some(number) if number.is_finite() => Ok(Value::Int(numbers::truncate(number)?)),
        _ => Ok(otherwise),
    }
}

pub(crate) fn round(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let method = match &method {
        None => "common",
        Some(Value::Str(method)) => &**method,
        Some(_) => "",
    };
    if !matches!(method, "common" | "ceil" | "floor") {
        fail!(Runtime, "method must be common, ceil or floor");
    }
    let to_int = matches!(precision, Some(Value::None)) && method == "common";
    let precision = if to_int { 0 } else { index(precision, 0)? };
    if method == "common" {
        return match value {
            Value::Undefined(_) => fail!(Type, "type Undefined doesn't define __round__ method"),
            Value::Float(number) if to_int => numbers::truncate(numbers::round(*number, 0)).map(Value::Int),
            Value::Float(number) => Ok(Value::Float(numbers::round(*number, precision))),
            _ => match value.as_int() {
                Some(number) => round_int(number, precision).map(Value::Int),
                None => fail!(Type, "type {} doesn't define __round__ method", value.type_name()),
            },
        };
    }
    let scale = operators::binary(cx, Operator::Pow, &Value::Int(10), &Value::Int(precision))?;
    let scaled = operators::binary(cx, Operator::Mul, value, &scale)?;
    let whole = match scaled {
        Value::Float(number) => {
            Value::Int(numbers::truncate(if method == "ceil" { number.ceil() } else { number.floor() })?)
        }
        _ if scaled.as_int().is_some() => scaled,
        _ => fail!(Type, "must be real number, not {}", scaled.type_name()),
    };
    operators::binary(cx, Operator::Div, &whole, &scale)
}

fn round_int(number: i128, precision: i128) -> Result<i128> {
    if precision >= 0 {
        return Ok(number);
    }
    let Some(scale) = u32::try_from(-precision).ok().and_then(|digits| 10i128.checked_pow(digits)) else {
        return Ok(0);
    };
    let (floor, rest) = (number.div_euclid(scale), number.rem_euclid(scale));
    let up = rest * 2 > scale || (rest * 2 == scale && floor % 2 != 0);
    match (floor + i128::from(up)).checked_mul(scale) {
        Some(rounded) => Ok(rounded),
        None => fail!(Unsupported, "integers of more than 127 bits"),
    }
}

pub(crate) fn filesizeformat(cx: &Cx, value: &Value, args: Args) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let binary = truth(binary, false);
    let bytes = match (to_float(value)?, value) {
        (Some(bytes), _) => bytes,
        (None, Value::Str(_)) => fail!(Value, "could not convert string to float"),
        (None, _) => fail!(Type, "float() argument must be a string or a real number"),
    };
    let (base, ending) = if binary { (1024.0, "iB") } else { (1000.0, "B") };
    if bytes == 1.0 {
        return Value::text(cx, "1 Byte");
    }
    if bytes < base {
        return Value::text(cx, format!("{} Bytes", numbers::truncate(bytes)?));
    }
    let prefixes = if binary { "KMGTPEZY" } else { "kMGTPEZY" };
    let mut unit: f64 = base;
    let mut shown = String::new();
    for prefix in prefixes.chars() {
        unit *= base;
        shown = format!("{:.1} {prefix}{ending}", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Value::text(cx, shown)
}
