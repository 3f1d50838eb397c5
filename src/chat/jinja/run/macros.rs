//! Calls what a template defines: macros, `caller`, recursive loops and blocks.

use std::rc::Rc;

use super::arguments::Args;
use super::cx::Cx;
use super::eval::Run;
use super::frame::Frame;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::dict::Dict;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::syntax::ast::{Callable, For, Named};

pub(crate) struct Macro {
    callable: Rc<Callable>,
    outer: Rc<Frame>,
}

impl Macro {
    pub(crate) fn value(cx: &Cx, callable: &Rc<Callable>, outer: &Rc<Frame>) -> Value {
        cx.keep_frame(outer);
        Value::Macro(Rc::new(Self { callable: Rc::clone(callable), outer: Rc::clone(outer) }))
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.callable.name.as_deref()
    }

    /// An attribute of a macro that a template may see.
    pub(crate) fn attribute(&self, cx: &Cx, name: &str) -> Result<Option<Value>> {
        let callable = &self.callable;
        Ok(Some(match name {
            "name" => match self.name() {
                Some(name) => Value::text(cx, name)?,
                None => Value::None,
            },
            "arguments" => {
                let names = callable.parameters.iter().map(|parameter| Value::text(cx, &*parameter.name));
                Value::tuple(cx, names.collect::<Result<_>>()?)?
            }
            "catch_kwargs" => callable.kwargs.get().is_some().into(),
            "catch_varargs" => callable.varargs.get().is_some().into(),
            "caller" => callable.caller.get().is_some().into(),
            "explicit_caller" => callable.parameters.iter().any(|parameter| &*parameter.name == "caller").into(),
            _ => return Ok(None),
        }))
    }

    pub(crate) fn call(&self, cx: &Cx, args: Args) -> Result<Value> {
        let callable = &*self.callable;
        let name = self.name().unwrap_or("caller");
        let frame = Frame::new(cx, callable.slots.get(), Some(Rc::clone(&self.outer)))?;
        let count = callable.parameters.len();
        let Args { mut positional, mut named } = args;
        let more = if positional.len() > count { positional.split_off(count) } else { Vec::new() };
        let mut missing = Vec::new();
        let given = positional.len();
        for (parameter, value) in callable.parameters.iter().zip(positional) {
            frame.store(parameter, value)?;
        }
        for parameter in &callable.parameters[given..] {
            match named.iter().position(|(name, _)| *name == parameter.name) {
                Some(place) => frame.store(parameter, named.remove(place).1)?,
                None => missing.push(&*parameter.name),
            }
        }
        if let Some(slot) = callable.caller.get() {
            let caller = named.iter().position(|(name, _)| &**name == "caller").map(|place| named.remove(place).1);
            let caller = caller.filter(|caller| !matches!(caller, Value::None));
            frame.set(slot, Some(caller.unwrap_or_else(|| Value::undefined_because("No caller defined"))));
        }
        match callable.kwargs.get() {
            Some(slot) => {
                let mut kwargs = Dict::new(cx)?;
                for (name, value) in named {
                    kwargs.insert_named(cx, &name, value)?;
                }
                frame.set(slot, Some(Value::dict(kwargs)));
            }
            None => {
                if let Some((argument, _)) = named.first() {
                    fail!(Type, "macro '{name}' takes no keyword argument '{argument}'");
                }
            }
        }
        match callable.varargs.get() {
            Some(slot) => frame.set(slot, Some(Value::tuple(cx, more)?)),
            None if more.is_empty() => {}
            None => fail!(Type, "macro '{name}' takes not more than {count} argument(s)"),
        }
        let run = Run { cx, frame };
        run.frame.enter(cx, &callable.block.scope);
        let first_default = count - callable.defaults.len();
        for (index, parameter) in callable.parameters.iter().enumerate() {
            if !missing.contains(&&*parameter.name) {
                continue;
            }
            let value = match index.checked_sub(first_default).and_then(|index| callable.defaults.get(index)) {
                Some(default) => run.eval(default)?,
                None => Value::undefined_because(&format!("parameter '{}' was not provided", parameter.name)),
            };
            run.frame.store(parameter, value)?;
        }
        cx.open()?;
        run.body(&callable.block.body, false)?;
        Ok(Value::Str(cx.close()?))
    }
}

/// One level of a recursive loop, as a text.
pub(crate) fn recurse(cx: &Cx, node: &Rc<For>, outer: &Rc<Frame>, iterable: &Value, depth0: usize) -> Result<Value> {
    let frame = Frame::new(cx, node.slots.get(), Some(Rc::clone(outer)))?;
    cx.keep_frame(outer);
    cx.open()?;
    Run { cx, frame }.rounds(node, iterable, true, depth0)?;
    Ok(Value::Str(cx.close()?))
}

/// Runs a named block, which writes to the output.
pub(crate) fn run_block(cx: &Cx, block: &Named) -> Result<()> {
    let frame = Frame::new(cx, block.slots.get(), None)?;
    if let Some(slot) = block.own_self.get() {
        frame.set(slot, Some(Value::Template));
    }
    if let Some(slot) = block.parent.get() {
        let why = format!("there is no parent block called '{}'.", block.name);
        frame.set(slot, Some(Value::undefined_because(&why)));
    }
    frame.enter(cx, &block.block.scope);
    Run { cx, frame }.body(&block.block.body, false)?;
    Ok(())
}
