//! Python's `==`, `<`, `in` and `is`, and `sorted`.

use std::cmp::Ordering;
use std::rc::Rc;

use super::iterate;
use super::value::{Value, View};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::run::cx::Cx;

/// The address of a value that is equal only to itself.
pub(crate) fn address(value: &Value) -> Option<usize> {
    Some(match value {
        Value::Range(range) => Rc::as_ptr(range).addr(),
        Value::Iter(stream) => Rc::as_ptr(stream).addr(),
        Value::Macro(object) => Rc::as_ptr(object).addr(),
        Value::Namespace(object) => Rc::as_ptr(object).addr(),
        Value::Loop(object) => Rc::as_ptr(object).addr(),
        Value::Cycler(object) => Rc::as_ptr(object).addr(),
        Value::Joiner(object) => Rc::as_ptr(object).addr(),
        Value::View(View::Values, dict) => Rc::as_ptr(dict).addr(),
        Value::Function(function) => *function as usize,
        _ => return None,
    })
}

/// `left is right`.
pub(crate) fn is(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::None, Value::None) | (Value::Template, Value::Template) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        // CPython has one object for each small number.
        (Value::Int(a), Value::Int(b)) => a == b && (-5..=256).contains(a),
        (Value::Str(a), Value::Str(b)) => a.is(b) && a.markup == b.markup,
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b) || (a.items.is_empty() && b.items.is_empty()),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Undefined(a), Value::Undefined(b)) => Rc::ptr_eq(a, b),
        _ => address(left).is_some_and(|left| Some(left) == address(right)),
    }
}

/// `left == right`.
pub(crate) fn equal(cx: &Cx, left: &Value, right: &Value) -> Result<bool> {
    equal_at(cx, left, right, 0)
}

fn equal_at(cx: &Cx, left: &Value, right: &Value, depth: u32) -> Result<bool> {
    cx.meter.step(1)?;
    let depth = nest(depth)? + 1;
    Ok(match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) => true,
        (Value::Str(a), Value::Str(b)) => {
            cx.meter.pass_over(a.len())?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => a.octets == b.octets,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !is(a, b) && !equal_at(cx, a, b, depth)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.entries() {
                match b.get(key)? {
                    Some(other) if is(value, other) || equal_at(cx, value, other, depth)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Range(a), Value::Range(b)) => {
            let key = |range: &super::value::Range| match range.count() {
                0 => (0, None, None),
                1 => (1, Some(range.start), None),
                count => (count, Some(range.start), Some(range.step)),
            };
            key(a) == key(b)
        }
        (Value::View(View::Keys | View::Items, _), Value::View(View::Keys | View::Items, _)) => {
            if left.length(cx)? != right.length(cx)? {
                return Ok(false);
            }
            for item in iterate::collect(cx, left)? {
                if !contains(cx, right, &item)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Method(a), Value::Method(b)) => a.name == b.name && is(&a.receiver, &b.receiver),
        _ => match numeric(left, right) {
            Some(order) => order == Some(Ordering::Equal),
            None => is(left, right),
        },
    })
}

/// The order of two numbers. The inner `None` means that one is not a number in the sense of IEEE 754.
fn numeric(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Float(a), _) => right.as_int().map(|b| whole(b, *a).map(Ordering::reverse))?,
        (_, Value::Float(b)) => left.as_int().map(|a| whole(a, *b))?,
        _ => Some(left.as_int()?.cmp(&right.as_int()?)),
    })
}

/// An `int` beside a `float`, without rounding.
fn whole(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() || b.abs() >= 1.7e38 {
        return 0.0.partial_cmp(&b);
    }
    let floor = b.floor();
    Some(a.cmp(&(floor as i128)).then(if b > floor { Ordering::Less } else { Ordering::Equal }))
}

/// The order of two values, or Python's error. `None` means that the first is neither less than, equal to, nor
/// greater than the second.
pub(crate) fn order(cx: &Cx, sign: &str, left: &Value, right: &Value) -> Result<Option<Ordering>> {
    order_at(cx, sign, left, right, 0)
}

fn order_at(cx: &Cx, sign: &str, left: &Value, right: &Value, depth: u32) -> Result<Option<Ordering>> {
    cx.meter.step(1)?;
    let depth = nest(depth)? + 1;
    match (left, right) {
        (Value::Undefined(why), _) | (_, Value::Undefined(why)) => fail!(Undefined, "{why}"),
        (Value::Str(a), Value::Str(b)) => {
            cx.meter.pass_over(a.len().min(b.len()))?;
            // The order of UTF-8 is that of the code points.
            Ok(Some((**a).cmp(&**b)))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Some(a.octets.cmp(&b.octets))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.items.iter().zip(&b.items) {
                if !is(a, b) && !equal_at(cx, a, b, depth)? {
                    return order_at(cx, sign, a, b, depth);
                }
            }
            Ok(Some(a.items.len().cmp(&b.items.len())))
        }
        (Value::View(..), Value::View(..)) => fail!(Unsupported, "'{sign}' between views of dicts"),
        _ => match numeric(left, right) {
            Some(order) => Ok(order),
            None => fail!(
                Type,
                "'{sign}' not supported between instances of '{}' and '{}'",
                left.type_name(),
                right.type_name()
            ),
        },
    }
}

/// `item in container`.
pub(crate) fn contains(cx: &Cx, container: &Value, item: &Value) -> Result<bool> {
    container.pass_over(cx)?;
    match container {
        Value::Str(text) => match item {
            Value::Str(part) => Ok(text.contains(&**part)),
            _ => fail!(Type, "'in <string>' requires string as left operand, not {}", item.type_name()),
        },
        Value::Bytes(bytes) => match item {
            Value::Bytes(part) if part.octets.is_empty() => Ok(true),
            Value::Bytes(part) => Ok(bytes.octets.windows(part.octets.len()).any(|window| window == part.octets)),
            Value::Int(byte) => Ok(bytes.octets.iter().any(|other| i128::from(*other) == *byte)),
            _ => fail!(Type, "a bytes-like object is required, not '{}'", item.type_name()),
        },
        Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
        Value::Range(range) if item.as_int().is_some() => {
            let number = item.as_int().unwrap_or(0);
            let inside = if range.step > 0 {
                (range.start..range.stop).contains(&number)
            } else {
                number <= range.start && number > range.stop
            };
            Ok(inside && (number - range.start) % range.step == 0)
        }
        _ => {
            let mut source = match iterate::source(cx, container) {
                Ok(source) => source,
                Err(error) if error.kind == crate::chat::jinja::error::Kind::Type => {
                    fail!(Type, "argument of type '{}' is not iterable", container.type_name())
                }
                Err(error) => return Err(error),
            };
            while let Some(other) = source.next(cx)? {
                if is(&other, item) || equal(cx, &other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Sorts as `sorted` does: stable, by keys, with an error if two keys have no order.
pub(crate) fn sort(cx: &Cx, mut items: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<Value>> {
    // Equal items keep their order, also in reverse.
    if reverse {
        items.reverse();
    }
    let mut items = merge_sort(cx, items)?;
    if reverse {
        items.reverse();
    }
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// A sort whose comparisons may fail, and need not be consistent.
fn merge_sort(cx: &Cx, mut items: Vec<(Value, Value)>) -> Result<Vec<(Value, Value)>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = merge_sort(cx, items.split_off(items.len() / 2))?;
    let left = merge_sort(cx, items)?;
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
        let Some(order) = order(cx, "<", b, a)? else { fail!(Unsupported, "sorting a NaN") };
        merged.extend(if order == Ordering::Less { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}
