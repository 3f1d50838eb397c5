//! Python's operators.

use super::compare;
use super::markup;
use super::numbers::{self, Operator};
use super::text::{Buffer, Text};
use super::value::Value;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::string::percent;
use crate::chat::jinja::syntax::ast::Comparison;

pub(crate) fn compare(cx: &Cx, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
    use std::cmp::Ordering::{Greater, Less};
    Ok(match comparison {
        Comparison::Equal => compare::equal(cx, left, right)?,
        Comparison::NotEqual => !compare::equal(cx, left, right)?,
        Comparison::Less => compare::order(cx, "<", left, right)? == Some(Less),
        Comparison::LessEqual => compare::order(cx, "<=", left, right)?.is_some_and(|order| order != Greater),
        Comparison::Greater => compare::order(cx, ">", left, right)? == Some(Greater),
        Comparison::GreaterEqual => compare::order(cx, ">=", left, right)?.is_some_and(|order| order != Less),
        Comparison::In => compare::contains(cx, right, left)?,
        Comparison::NotIn => !compare::contains(cx, right, left)?,
    })
}

pub(crate) fn negative(value: &Value) -> Result<Value> {
    match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Float(number) => Ok(Value::Float(-number)),
        _ => match value.as_int() {
            Some(number) => Ok(Value::Int(-number)),
            None => fail!(Type, "bad operand type for unary -: '{}'", value.type_name()),
        },
    }
}

pub(crate) fn positive(value: &Value) -> Result<Value> {
    match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Float(_) => Ok(value.clone()),
        _ => match value.as_int() {
            Some(number) => Ok(Value::Int(number)),
            None => fail!(Type, "bad operand type for unary +: '{}'", value.type_name()),
        },
    }
}

pub(crate) fn binary(cx: &Cx, operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    if let Some(number) = numbers::arithmetic(operator, left, right)? {
        return Ok(number);
    }
    match (operator, left, right) {
        (Operator::Mod, Value::Str(format), _) => return percent::format(cx, format, right),
        (_, Value::Undefined(why), _) | (_, _, Value::Undefined(why)) => fail!(Undefined, "{why}"),
        (Operator::Add, Value::Str(a), Value::Str(b)) => return add_texts(cx, a, b),
        (Operator::Add, Value::Bytes(a), Value::Bytes(b)) => {
            return Value::bytes(cx, [a.octets.as_slice(), b.octets.as_slice()].concat());
        }
        (Operator::Add, Value::List(a), Value::List(b)) => {
            cx.meter.room((a.items.len() + b.items.len()) * size_of::<Value>())?;
            return Value::list(cx, [a.items.as_slice(), b.items.as_slice()].concat());
        }
        (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
            cx.meter.room((a.items.len() + b.items.len()) * size_of::<Value>())?;
            return Value::tuple(cx, [a.items.as_slice(), b.items.as_slice()].concat());
        }
        (Operator::Mul, sequence, times) | (Operator::Mul, times, sequence)
            if is_sequence(sequence) && times.as_int().is_some() =>
        {
            return repeat(cx, sequence, times.as_int().unwrap_or(0));
        }
        (Operator::Mul, sequence, other) | (Operator::Mul, other, sequence) if is_sequence(sequence) => {
            fail!(Type, "can't multiply sequence by non-int of type '{}'", other.type_name())
        }
        (_, Value::View(..), _) | (_, _, Value::View(..)) if operator == Operator::Sub => {
            fail!(Unsupported, "sets, as '-' between views of dicts gives one")
        }
        _ => {}
    }
    fail!(
        Type,
        "unsupported operand type(s) for {}: '{}' and '{}'",
        operator.sign(),
        left.type_name(),
        right.type_name()
    )
}

fn is_sequence(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::Bytes(_) | Value::List(_) | Value::Tuple(_))
}

fn add_texts(cx: &Cx, a: &Text, b: &Text) -> Result<Value> {
    let markup = a.markup || b.markup;
    let mut buffer = Buffer::new(&cx.meter)?;
    for text in [a, b] {
        if markup && !text.markup {
            buffer.push(&markup::escape_text(text))?;
        } else {
            buffer.push(text)?;
        }
    }
    Ok(Value::Str(Text::of(buffer).marked(markup)))
}

fn repeat(cx: &Cx, sequence: &Value, times: i128) -> Result<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match sequence {
        Value::Str(text) => {
            let mut buffer = Buffer::new(&cx.meter)?;
            if !text.is_empty() {
                buffer.repeat(text, times)?;
            }
            Ok(Value::Str(Text::of(buffer).marked(text.markup)))
        }
        Value::Bytes(bytes) => {
            cx.meter.room(bytes.octets.len().saturating_mul(times))?;
            Value::bytes(cx, if bytes.octets.is_empty() { Vec::new() } else { bytes.octets.repeat(times) })
        }
        Value::List(items) | Value::Tuple(items) => {
            let size = items.items.len().saturating_mul(times);
            cx.meter.room(size.saturating_mul(size_of::<Value>()))?;
            let mut repeated = Vec::with_capacity(size);
            for _ in 0..(if items.items.is_empty() { 0 } else { times }) {
                repeated.extend(items.items.iter().cloned());
            }
            if matches!(sequence, Value::List(_)) { Value::list(cx, repeated) } else { Value::tuple(cx, repeated) }
        }
        _ => fail!(Type, "can't multiply '{}'", sequence.type_name()),
    }
}
