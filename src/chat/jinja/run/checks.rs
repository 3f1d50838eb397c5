//! Jinja2's tests, which stand behind `is`.

use super::arguments::Args;
use super::cx::Cx;
use crate::chat::jinja::error::{Kind, Result, fail};
use crate::chat::jinja::filters;
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::iterate;
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::operators;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::string::casing;
use crate::chat::jinja::syntax::ast::Comparison;

#[derive(Clone, Copy)]
enum Test {
    /// A test without arguments.
    One(fn(&Cx, &Value) -> Result<bool>),
    /// A test with one argument, of this name.
    Two(&'static str, fn(&Cx, &Value, &Value) -> Result<bool>),
}

/// A test that was found by its name.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    name: &'static str,
    test: Test,
}

impl Check {
    pub(crate) fn holds(self, cx: &Cx, value: &Value, args: Args) -> Result<bool> {
        value.pass_over(cx)?;
        match self.test {
            Test::One(test) => {
                args.none(self.name)?;
                test(cx, value)
            }
            Test::Two(parameter, test) => {
                let [argument] = args.bind(self.name, [parameter], 1)?;
                test(cx, value, &argument.unwrap_or(Value::None))
            }
        }
    }
}

pub(crate) fn find(name: &str) -> Option<Check> {
    TESTS.iter().find(|(other, _)| *other == name).map(|(name, test)| Check { name, test: *test })
}

const EQUAL: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::Equal, a, b));
const NOT_EQUAL: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::NotEqual, a, b));
const GREATER: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::Greater, a, b));
const GREATER_EQUAL: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::GreaterEqual, a, b));
const LESS: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::Less, a, b));
const LESS_EQUAL: Test = Test::Two("", |cx, a, b| operators::compare(cx, Comparison::LessEqual, a, b));

const TESTS: &[(&str, Test)] = &[
    ("odd", Test::One(|cx, value| remainder_is(cx, value, &Value::Int(2), 1))),
    ("even", Test::One(|cx, value| remainder_is(cx, value, &Value::Int(2), 0))),
    ("divisibleby", Test::Two("num", |cx, value, by| remainder_is(cx, value, by, 0))),
    ("defined", Test::One(|_, value| Ok(!value.is_undefined()))),
    ("undefined", Test::One(|_, value| Ok(value.is_undefined()))),
    ("filter", Test::One(|_, value| named(value, |name| filters::find(name).is_some()))),
    ("test", Test::One(|_, value| named(value, |name| find(name).is_some()))),
    ("none", Test::One(|_, value| Ok(matches!(value, Value::None)))),
    ("boolean", Test::One(|_, value| Ok(matches!(value, Value::Bool(_))))),
    ("false", Test::One(|_, value| Ok(matches!(value, Value::Bool(false))))),
    ("true", Test::One(|_, value| Ok(matches!(value, Value::Bool(true))))),
    ("integer", Test::One(|_, value| Ok(matches!(value, Value::Int(_))))),
    ("float", Test::One(|_, value| Ok(matches!(value, Value::Float(_))))),
    ("lower", Test::One(|cx, value| Ok(casing::is_lower(&repr::text(cx, value)?)))),
    ("upper", Test::One(|cx, value| Ok(casing::is_upper(&repr::text(cx, value)?)))),
    ("string", Test::One(|_, value| Ok(matches!(value, Value::Str(_))))),
    ("mapping", Test::One(|_, value| Ok(matches!(value, Value::Dict(_))))),
    ("number", Test::One(|_, value| Ok(matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_))))),
    ("sequence", Test::One(|_, value| Ok(is_sequence(value)))),
    ("iterable", Test::One(|cx, value| Ok(matches!(value, Value::Template) || iterate::source(cx, value).is_ok()))),
    ("callable", Test::One(|_, value| Ok(is_callable(value)))),
    ("sameas", Test::Two("other", same)),
    ("escaped", Test::One(|_, value| Ok(value.as_text().is_some_and(|text| text.markup)))),
    ("in", Test::Two("seq", |cx, value, container| compare::contains(cx, container, value))),
    ("==", EQUAL),
    ("eq", EQUAL),
    ("equalto", EQUAL),
    ("!=", NOT_EQUAL),
    ("ne", NOT_EQUAL),
    (">", GREATER),
    ("gt", GREATER),
    ("greaterthan", GREATER),
    (">=", GREATER_EQUAL),
    ("ge", GREATER_EQUAL),
    ("<", LESS),
    ("lt", LESS),
    ("lessthan", LESS),
    ("<=", LESS_EQUAL),
    ("le", LESS_EQUAL),
];

fn remainder_is(cx: &Cx, value: &Value, by: &Value, rest: i128) -> Result<bool> {
    let remainder = operators::binary(cx, Operator::Mod, value, by)?;
    compare::equal(cx, &remainder, &Value::Int(rest))
}

fn named(value: &Value, exists: impl Fn(&str) -> bool) -> Result<bool> {
    match value {
        Value::Str(name) => Ok(exists(name)),
        // A list or dict cannot be looked for.
        other => match crate::chat::jinja::python::dict::Key::new(other) {
            Err(error) if error.kind == Kind::Type => Err(error),
            _ => Ok(false),
        },
    }
}

/// `value is other`. Python may or may not keep one object for equal numbers and texts.
fn same(cx: &Cx, value: &Value, other: &Value) -> Result<bool> {
    let shared = matches!(value, Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Tuple(_) | Value::Bytes(_));
    let same = compare::is(value, other);
    if !same && shared && value.type_name() == other.type_name() && compare::equal(cx, value, other)? {
        fail!(Unsupported, "whether two equal values of type {} are one object ('is sameas')", value.type_name());
    }
    Ok(same)
}

fn is_sequence(value: &Value) -> bool {
    matches!(
        value,
        Value::Str(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Dict(_)
            | Value::Range(_)
            | Value::Undefined(_)
    )
}

fn is_callable(value: &Value) -> bool {
    matches!(
        value,
        Value::Function(_)
            | Value::Method(_)
            | Value::Macro(_)
            | Value::Joiner(_)
            | Value::Block(_)
            | Value::Loop(_)
            | Value::Undefined(_)
    )
}
