//! Runs a template: expressions.

use std::rc::Rc;

use super::arguments::Args;
use super::cx::Cx;
use super::frame::Frame;
use super::globals;
use super::lookup;
use super::macros;
use crate::chat::jinja::error::{Kind, Result, fail};
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::iterate;
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::methods;
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::operators;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::syntax::ast::{Arguments, Comparison, Expr, Suffix};

/// A function that runs: evaluates expressions in its frame.
pub(crate) struct Run<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) frame: Rc<Frame>,
}

impl Run<'_> {
    pub(crate) fn eval(&self, node: &Expr) -> Result<Value> {
        self.cx.meter.step(1)?;
        match node {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Name(name) => Ok(self.frame.load(name)),
            _ => self.cx.deeper(|| self.eval_compound(node)),
        }
    }

    fn eval_all(&self, nodes: &[Expr]) -> Result<Vec<Value>> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    fn eval_compound(&self, node: &Expr) -> Result<Value> {
        let cx = self.cx;
        match node {
            Expr::Const(_) | Expr::Name(_) => self.eval(node),
            Expr::Tuple(items) => Value::tuple(cx, self.eval_all(items)?),
            Expr::List(items) => Value::list(cx, self.eval_all(items)?),
            Expr::Dict(entries) => {
                let mut dict = Dict::new(cx)?;
                for (key, value) in entries {
                    let key = self.eval(key)?;
                    dict.insert(key, self.eval(value)?)?;
                }
                Ok(Value::dict(dict))
            }
            Expr::Chain(first, rest) => {
                let mut value = self.eval(first)?;
                for (index, (operator, operand)) in rest.iter().enumerate() {
                    let right = self.eval(operand)?;
                    // Jinja2 turns a negative constant into Python code without brackets, where `**` binds closer
                    // than the sign.
                    let negated =
                        *operator == Operator::Pow && index == 0 && is_constant(first) && !is_constant(operand);
                    let negated = negated && value.to_float().is_some_and(|number| number < 0.0);
                    if negated {
                        let power = operators::binary(cx, *operator, &operators::negative(&value)?, &right)?;
                        value = operators::negative(&power)?;
                    } else {
                        value = operators::binary(cx, *operator, &value, &right)?;
                    }
                }
                Ok(value)
            }
            Expr::Negative(operand) => operators::negative(&self.eval(operand)?),
            Expr::Positive(operand) => operators::positive(&self.eval(operand)?),
            Expr::Not(operand) => Ok(Value::Bool(!self.eval(operand)?.truth())),
            Expr::And(operands) => self.decide(operands, false),
            Expr::Or(operands) => self.decide(operands, true),
            Expr::Compare(first, rest) => self.compare(first, rest),
            Expr::Concat(operands) => self.concat(operands),
            Expr::If(node) => {
                if self.eval(&node.test)?.truth() {
                    return self.eval(&node.then);
                }
                match &node.otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::undefined_because(
                        "the inline if-expression evaluated to false and no else section was defined.",
                    )),
                }
            }
            Expr::Postfix(first, suffixes) => {
                let mut value = self.eval(first)?;
                for (index, suffix) in suffixes.iter().enumerate() {
                    value = match self.suffix(&value, suffix) {
                        // Jinja2 computes constants beforehand. There a slice is a key like any other, so the result
                        // is undefined instead of an error.
                        Err(error) if index == 0 && error.kind == Kind::Type && is_constant_slice(first, suffix) => {
                            Value::undefined_because(&error.message)
                        }
                        outcome => outcome?,
                    };
                }
                Ok(value)
            }
            Expr::Written => Ok(Value::Str(cx.close()?)),
        }
    }

    /// `and` and `or`: the first operand that decides, else the last.
    fn decide(&self, operands: &[Expr], decisive: bool) -> Result<Value> {
        let mut value = Value::None;
        for operand in operands {
            value = self.eval(operand)?;
            if value.truth() == decisive {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&self, first: &Expr, rest: &[(Comparison, Expr)]) -> Result<Value> {
        let mut left = self.eval(first)?;
        for (comparison, operand) in rest {
            let right = self.eval(operand)?;
            if !operators::compare(self.cx, *comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn concat(&self, operands: &[Expr]) -> Result<Value> {
        let cx = self.cx;
        let values = self.eval_all(operands)?;
        let escapes = cx.autoescape.get() && values.iter().any(|value| value.as_text().is_some_and(|t| t.markup));
        let mut buffer = Buffer::new(&cx.meter)?;
        for value in &values {
            if escapes {
                buffer.push(&markup::escape(cx, value)?)?;
            } else {
                repr::write(&mut buffer, value)?;
            }
        }
        Ok(Value::Str(Text::of(buffer).marked(escapes)))
    }

    fn suffix(&self, value: &Value, suffix: &Suffix) -> Result<Value> {
        let cx = self.cx;
        cx.meter.step(1)?;
        match suffix {
            Suffix::Attribute(name) => lookup::attribute(cx, value, name),
            Suffix::Item(item) => lookup::item(cx, value, &self.eval(item)?),
            Suffix::Slice(parts) => {
                let [start, stop, step] = &**parts;
                let part = |node: &Option<Expr>| node.as_ref().map_or(Ok(Value::None), |node| self.eval(node));
                lookup::slice(cx, value, &[part(start)?, part(stop)?, part(step)?])
            }
            Suffix::Call(arguments) => self.call(value, self.arguments(arguments)?),
            Suffix::Filter(filtered) => {
                let Some(filter) = filtered.filter else {
                    fail!(Runtime, "No filter named '{}' found.", filtered.name)
                };
                let args = self.arguments(&filtered.arguments)?;
                filter.apply(cx, value, args)
            }
            Suffix::Test(tested) => {
                let Some(test) = tested.test else { fail!(Runtime, "No test named '{}' found.", tested.name) };
                let args = self.arguments(&tested.arguments)?;
                Ok(Value::Bool(test.holds(cx, value, args)? != tested.negated))
            }
        }
    }

    /// The call of `{% call %}`, with the body as `caller`.
    pub(crate) fn call_with(&self, node: &Expr, caller: Value) -> Result<Value> {
        let Expr::Postfix(first, suffixes) = node else { fail!(Syntax, "expected call") };
        let Some((Suffix::Call(arguments), before)) = suffixes.split_last() else { fail!(Syntax, "expected call") };
        let mut callee = self.eval(first)?;
        for suffix in before {
            callee = self.suffix(&callee, suffix)?;
        }
        let mut args = self.arguments(arguments)?;
        args.named.push(("caller".into(), caller));
        self.call(&callee, args)
    }

    pub(crate) fn arguments(&self, arguments: &Arguments) -> Result<Args> {
        let mut args = Args::of(self.eval_all(&arguments.positional)?);
        for (name, value) in &arguments.named {
            args.named.push((Rc::clone(name), self.eval(value)?));
        }
        if let Some(more) = &arguments.more {
            args.positional.extend(iterate::collect(self.cx, &self.eval(more)?)?);
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(more) = self.eval(more)? else { fail!(Type, "argument after ** must be a mapping") };
            for (name, value) in more.entries() {
                let Value::Str(name) = name else { fail!(Type, "keywords must be strings") };
                if args.named.iter().any(|(other, _)| **other == **name) {
                    fail!(Type, "got multiple values for keyword argument '{}'", &**name);
                }
                args.named.push(((&**name).into(), value.clone()));
            }
        }
        Ok(args)
    }

    /// Calls a value.
    pub(crate) fn call(&self, callee: &Value, args: Args) -> Result<Value> {
        let cx = self.cx;
        match callee {
            Value::Function(function) => globals::call(cx, *function, args),
            Value::Method(method) => methods::call(cx, &method.receiver, method.name, args),
            Value::Macro(object) => cx.deeper(|| object.call(cx, args)),
            Value::Loop(state) => {
                let [iterable] = args.bind("loop", ["iterable"], 1)?;
                let Some((node, outer)) = &state.recursive else {
                    fail!(Type, "The loop must have the 'recursive' marker to be called recursively.");
                };
                let iterable = iterable.unwrap_or(Value::None);
                cx.deeper(|| macros::recurse(cx, node, outer, &iterable, state.depth0 + 1))
            }
            Value::Joiner(joiner) => joiner.call(cx, args),
            Value::Block(name) => {
                args.none("BlockReference")?;
                let Some(block) = cx.blocks.iter().find(|block| block.name == *name) else {
                    fail!(Lookup, "there is no block '{name}'")
                };
                cx.open()?;
                cx.deeper(|| macros::run_block(cx, block))?;
                Ok(Value::Str(cx.close()?))
            }
            Value::Undefined(why) => fail!(Undefined, "{why}"),
            other => fail!(Type, "'{}' object is not callable", other.type_name()),
        }
    }
}

/// Whether a slice and the value that it cuts are both constants.
fn is_constant_slice(node: &Expr, suffix: &Suffix) -> bool {
    matches!(suffix, Suffix::Slice(parts) if parts.iter().flatten().all(is_constant)) && is_constant(node)
}

fn is_constant(node: &Expr) -> bool {
    match node {
        Expr::Const(_) => true,
        Expr::Tuple(items) | Expr::List(items) => items.iter().all(is_constant),
        Expr::Dict(entries) => entries.iter().all(|(key, value)| is_constant(key) && is_constant(value)),
        Expr::Negative(operand) | Expr::Positive(operand) => is_constant(operand),
        _ => false,
    }
}
