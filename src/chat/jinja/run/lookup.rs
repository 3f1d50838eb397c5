//! `value.name`, `value[item]` and `value[start:stop:step]`, as the sandbox lets templates see them.

use super::cx::Cx;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::methods;
use crate::chat::jinja::python::text::Text;
use crate::chat::jinja::python::value::{Range, Value};

/// The attributes of a Python dict that begin with two underscores.
const HIDDEN: &[&str] = &[
    "__class__",
    "__class_getitem__",
    "__contains__",
    "__delattr__",
    "__delitem__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__getitem__",
    "__getstate__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__ior__",
    "__iter__",
    "__le__",
    "__len__",
    "__lt__",
    "__ne__",
    "__new__",
    "__or__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__reversed__",
    "__ror__",
    "__setattr__",
    "__setitem__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
];

/// `value.name`: an attribute, else an item.
pub(crate) fn attribute(cx: &Cx, value: &Value, name: &str) -> Result<Value> {
    if let Some(found) = own_attribute(cx, value, name)? {
        return Ok(found);
    }
    if let Value::Dict(dict) = value {
        // An attribute of Python's dict comes before an item of that name, and the sandbox hides the attribute.
        if !HIDDEN.contains(&name)
            && let Some(found) = dict.get_named(name)
        {
            return Ok(found.clone());
        }
    } else if let Value::Template = value {
        return Ok(block(cx, name));
    }
    Ok(Value::missing(value, &Value::text(cx, name)?))
}

/// `value[key]`: an item, else an attribute.
pub(crate) fn item(cx: &Cx, value: &Value, key: &Value) -> Result<Value> {
    if let Some(found) = subscript(cx, value, key)? {
        return Ok(found);
    }
    if let Value::Str(name) = key
        && let Some(found) = own_attribute(cx, value, name)?
    {
        return Ok(found);
    }
    Ok(Value::missing(value, key))
}

fn block(cx: &Cx, name: &str) -> Value {
    if cx.blocks.iter().any(|block| *block.name == *name) {
        return Value::Block(name.into());
    }
    Value::undefined_because(&format!("there is no block '{name}'"))
}

/// An attribute of the value's type. An attribute that the sandbox hides is undefined.
pub(crate) fn own_attribute(cx: &Cx, value: &Value, name: &str) -> Result<Option<Value>> {
    match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Namespace(space) => return Ok(space.attributes.borrow().get_named(name).cloned()),
        Value::Loop(state) => return state.attribute(cx, name),
        Value::Macro(object) => return object.attribute(cx, name),
        Value::Cycler(cycler) => return cycler.attribute(cx, value, name),
        Value::Joiner(joiner) => return Ok(joiner.attribute(name)),
        Value::Tuple(items) if items.group => match name {
            "grouper" => return Ok(Some(items.items[0].clone())),
            "list" => return Ok(Some(items.items[1].clone())),
            _ => {}
        },
        _ => {}
    }
    methods::attribute(cx, value, name)
}

/// The place of `index` in `length` items, counted from the end if it is negative.
pub(crate) fn position(index: i128, length: usize) -> Option<usize> {
    let index = if index < 0 { index + length as i128 } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// `value[key]` of Python; `None` where that is a `TypeError` or `LookupError`.
fn subscript(cx: &Cx, value: &Value, key: &Value) -> Result<Option<Value>> {
    Ok(match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Dict(dict) => match dict.get(key) {
            Ok(found) => found.cloned(),
            Err(error) if error.kind == crate::chat::jinja::error::Kind::Type => None,
            Err(error) => return Err(error),
        },
        Value::Template => match key {
            Value::Str(name) => Some(block(cx, name)),
            _ => None,
        },
        _ => {
            let Some(index) = key.as_int() else { return Ok(None) };
            match value {
                Value::Str(text) => match position(index, text.count()).and_then(|at| text.char(at)) {
                    Some(character) => {
                        Some(Value::Str(Text::new(&cx.meter, character.to_string())?.marked(text.markup)))
                    }
                    None => None,
                },
                Value::List(items) | Value::Tuple(items) => {
                    position(index, items.items.len()).map(|at| items.items[at].clone())
                }
                Value::Bytes(bytes) => {
                    position(index, bytes.octets.len()).map(|at| Value::Int(i128::from(bytes.octets[at])))
                }
                Value::Range(range) => {
                    position(index, range.count() as usize).map(|at| Value::Int(range.start + at as i128 * range.step))
                }
                _ => None,
            }
        }
    })
}

/// A slice of a sequence: the first index, the number of items, and the step.
struct Part {
    start: i128,
    stop: i128,
    count: usize,
    step: i128,
}

impl Part {
    /// Python's `slice(start, stop, step).indices(length)`.
    fn new([start, stop, step]: &[Value; 3], length: usize) -> Result<Self> {
        let number = |value: &Value| match value {
            Value::None => Ok(None),
            Value::Undefined(why) => fail!(Undefined, "{why}"),
            _ => match value.as_int() {
                Some(number) => Ok(Some(number)),
                None => fail!(Type, "slice indices must be integers or None or have an __index__ method"),
            },
        };
        let length = length as i128;
        let step = number(step)?.unwrap_or(1);
        if step == 0 {
            fail!(Value, "slice step cannot be zero");
        }
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let place = |index: Option<i128>, otherwise| match index {
            None => otherwise,
            Some(index) if index < 0 => (index + length).max(low),
            Some(index) => index.min(high),
        };
        let start = place(number(start)?, if step > 0 { low } else { high });
        let stop = place(number(stop)?, if step > 0 { high } else { low });
        let count = Range { start, stop, step }.count() as usize;
        Ok(Self { start, stop, count, step })
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        (0..self.count).map(|n| (self.start + n as i128 * self.step) as usize)
    }
}

/// `value[start:stop:step]`.
pub(crate) fn slice(cx: &Cx, value: &Value, parts: &[Value; 3]) -> Result<Value> {
    match value {
        Value::Undefined(why) => fail!(Undefined, "{why}"),
        Value::Str(text) => {
            let part = Part::new(parts, text.count())?;
            cx.meter.pass_over(text.len())?;
            let chosen = if part.step == 1 {
                text.part(part.start as usize..part.start as usize + part.count).to_owned()
            } else if part.step == -1 {
                let end = (part.start + 1) as usize;
                text.part(end - part.count..end).chars().rev().collect()
            } else {
                let characters: Vec<char> = text.chars().collect();
                part.indices().map(|index| characters[index]).collect()
            };
            Ok(Value::Str(Text::new(&cx.meter, chosen)?.marked(text.markup)))
        }
        Value::List(items) | Value::Tuple(items) => {
            let part = Part::new(parts, items.items.len())?;
            cx.meter.room(part.count * size_of::<Value>())?;
            let chosen = part.indices().map(|index| items.items[index].clone()).collect();
            if matches!(value, Value::List(_)) { Value::list(cx, chosen) } else { Value::tuple(cx, chosen) }
        }
        Value::Bytes(bytes) => {
            let part = Part::new(parts, bytes.octets.len())?;
            Value::bytes(cx, part.indices().map(|index| bytes.octets[index]).collect())
        }
        Value::Range(range) => {
            let part = Part::new(parts, range.count() as usize)?;
            let (start, step) = (range.start + part.start * range.step, range.step * part.step);
            Ok(Value::Range(Range { start, stop: range.start + part.stop * range.step, step }.into()))
        }
        Value::Dict(_) => fail!(Type, "unhashable type: 'slice'"),
        _ => fail!(Type, "'{}' object is not subscriptable", value.type_name()),
    }
}
