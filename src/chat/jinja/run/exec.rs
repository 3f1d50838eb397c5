//! Runs a template: statements.

use std::rc::Rc;

use super::arguments::Args;
use super::cx::Cx;
use super::eval::Run;
use super::looping::Loop;
use super::macros::{self, Macro};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::iterate::{self, Source};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::syntax::ast::{Block, Body, Expr, For, Kind, Named, Statement, Target};

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

impl Run<'_> {
    /// Runs a body. With `top`, the whole template sees the variables that the body sets.
    pub(crate) fn body(&self, body: &Body, top: bool) -> Result<Flow> {
        for statement in body {
            self.cx.line.set(statement.line);
            self.cx.meter.step(1)?;
            let flow = match &statement.kind {
                Kind::Data(text) => {
                    self.cx.write_text(text.as_text().map_or("", |text| text))?;
                    Flow::Next
                }
                Kind::Output(node) => {
                    let value = self.eval(node)?;
                    self.cx.write(&value)?;
                    Flow::Next
                }
                _ => self.cx.deeper(|| self.statement(statement, top))?,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&self, statement: &Statement, top: bool) -> Result<Flow> {
        let cx = self.cx;
        match &statement.kind {
            Kind::Data(_) | Kind::Output(_) => {}
            Kind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.eval(test)?.truth() {
                        return self.body(body, top);
                    }
                }
                return self.body(otherwise, top);
            }
            Kind::For(node) => return self.for_loop(node),
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Set(target, value) => {
                self.check_namespaces(target)?;
                let value = self.eval(value)?;
                self.assign(target, value, top)?;
            }
            Kind::SetBlock(target, filter, block) => {
                self.frame.enter(cx, &block.scope);
                cx.open()?;
                let flow = self.body(&block.body, false)?;
                if flow != Flow::Next {
                    cx.close()?;
                    return Ok(flow);
                }
                let value = match filter {
                    Some(filter) => self.eval(filter)?,
                    None => Value::Str(cx.close()?),
                };
                self.check_namespaces(target)?;
                self.assign(target, value, top)?;
                self.frame.leave(&block.scope);
            }
            Kind::Macro(name, callable) => {
                let value = Macro::value(cx, callable, &self.frame);
                if top {
                    cx.set.borrow_mut().insert(Rc::clone(&name.name), value.clone());
                }
                self.frame.store(name, value)?;
            }
            Kind::Call(call, callable) => {
                let caller = Macro::value(cx, callable, &self.frame);
                self.write_piece(&self.call_with(call, caller)?)?;
            }
            Kind::Generation(callable) => {
                let caller = Macro::value(cx, callable, &self.frame);
                self.write_piece(&self.call(&caller, Args::default())?)?;
            }
            Kind::Filter(filter, block) => return self.filter_block(filter, block),
            Kind::With(values, block) => {
                let values: Vec<_> = values.iter().map(|(target, value)| (target, value)).collect();
                self.frame.enter(cx, &block.scope);
                for (target, value) in values {
                    let value = self.eval(value)?;
                    self.assign(target, value, false)?;
                }
                let flow = self.body(&block.body, false)?;
                self.frame.leave(&block.scope);
                return Ok(flow);
            }
            Kind::Autoescape(on, block) => {
                self.frame.enter(cx, &block.scope);
                let before = cx.autoescape.replace(self.eval(on)?.truth());
                let flow = self.body(&block.body, false);
                cx.autoescape.set(before);
                self.frame.leave(&block.scope);
                return flow;
            }
            Kind::Block(block) => self.named_block(block)?,
            Kind::Loads(tag) => fail!(Type, "no loader for this environment specified (tag '{tag}')"),
        }
        Ok(Flow::Next)
    }

    /// Writes the result of a call or filter, which must be a text.
    fn write_piece(&self, piece: &Value) -> Result<()> {
        match piece {
            Value::Str(text) => self.cx.write_text(text),
            _ => fail!(Type, "sequence item 0: expected str instance, {} found", piece.type_name()),
        }
    }

    fn filter_block(&self, filter: &Expr, block: &Block) -> Result<Flow> {
        self.frame.enter(self.cx, &block.scope);
        self.cx.open()?;
        let flow = self.body(&block.body, false)?;
        if flow != Flow::Next {
            self.cx.close()?;
            return Ok(flow);
        }
        let value = self.eval(filter)?;
        self.write_piece(&value)?;
        self.frame.leave(&block.scope);
        Ok(Flow::Next)
    }

    fn check_namespaces(&self, target: &Target) -> Result<()> {
        match target {
            Target::Name(_) => Ok(()),
            Target::Attribute(name, _) => match self.frame.get(name.slot.get()) {
                Some(Value::Namespace(_)) => Ok(()),
                _ => fail!(Runtime, "cannot assign attribute on non-namespace object"),
            },
            Target::Tuple(targets) => targets.iter().try_for_each(|target| self.check_namespaces(target)),
        }
    }

    fn assign(&self, target: &Target, value: Value, top: bool) -> Result<()> {
        match target {
            Target::Name(name) => {
                if top && !self.cx.blocks.is_empty() {
                    self.cx.set.borrow_mut().insert(Rc::clone(&name.name), value.clone());
                }
                self.frame.store(name, value)
            }
            Target::Attribute(name, attribute) => match self.frame.get(name.slot.get()) {
                Some(Value::Namespace(space)) => {
                    if attribute.starts_with('_') {
                        fail!(Security, "a namespace cannot hold '{attribute}': names with underscores are private");
                    }
                    let name = Value::text(self.cx, &**attribute)?;
                    space.attributes.borrow_mut().insert(name, value)
                }
                _ => fail!(Runtime, "cannot assign attribute on non-namespace object"),
            },
            Target::Tuple(targets) => {
                let items = unpack(self.cx, &value, targets.len())?;
                targets.iter().zip(items).try_for_each(|(target, item)| self.assign(target, item, top))
            }
        }
    }

    fn named_block(&self, block: &Named) -> Result<()> {
        let cx = self.cx;
        if block.required {
            fail!(Runtime, "Required block '{}' not found", block.name);
        }
        let Some(sees) = block.sees.get() else { return macros::run_block(cx, block) };
        let (given, set) = (cx.given.borrow().clone(), cx.set.borrow().clone());
        for (name, slot) in sees {
            if let Some(value) = self.frame.get(*slot) {
                cx.set.borrow_mut().insert(Rc::clone(name), value);
            }
        }
        let outcome = macros::run_block(cx, block);
        cx.given.replace(given);
        cx.set.replace(set);
        outcome
    }

    fn for_loop(&self, node: &Rc<For>) -> Result<Flow> {
        let iterable = self.eval(&node.iterable)?;
        if node.recursive {
            let text = macros::recurse(self.cx, node, &self.frame, &iterable, 0)?;
            self.write_piece(&text)?;
            return Ok(Flow::Next);
        }
        self.rounds(node, &iterable, false, 0)
    }

    /// Runs the rounds of a loop over `iterable`.
    pub(crate) fn rounds(&self, node: &Rc<For>, iterable: &Value, recursive: bool, depth0: usize) -> Result<Flow> {
        let cx = self.cx;
        let mut source = iterate::source(cx, iterable)?;
        let mut length = if matches!(iterable, Value::Loop(_)) { None } else { iterable.length(cx)? };
        if node.test.is_some() {
            self.frame.enter(cx, &node.test_scope);
            source = self.passing(node, source);
            length = None;
        }
        let state = match node.state.get() {
            Some(slot) => {
                let recursive = self.frame.outer().filter(|_| recursive).map(|outer| (Rc::clone(node), outer));
                let source = std::mem::replace(&mut source, Source::Empty);
                Some((slot, Loop::new(source, iterable.depth(), length, recursive, depth0)?))
            }
            None => None,
        };
        // As in Jinja2, `continue` and `break` leave a loop as if it had no rounds.
        let mut without_rounds = true;
        loop {
            let item = match &state {
                Some((slot, state)) => {
                    let item = state.advance(cx)?;
                    self.frame.set(*slot, Some(Value::Loop(Rc::clone(state))));
                    item
                }
                None => source.next(cx)?,
            };
            let Some(item) = item else { break };
            self.assign(&node.target, item, false)?;
            self.frame.enter(cx, &node.body.scope);
            match self.body(&node.body.body, false)? {
                Flow::Next => without_rounds = false,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        self.frame.leave(&node.body.scope);
        if !without_rounds || node.otherwise.body.is_empty() {
            return Ok(Flow::Next);
        }
        self.frame.enter(cx, &node.otherwise.scope);
        let flow = self.body(&node.otherwise.body, false)?;
        self.frame.leave(&node.otherwise.scope);
        Ok(flow)
    }

    /// The items of `source` that fulfil the condition of a loop.
    fn passing(&self, node: &Rc<For>, mut source: Source) -> Source {
        let (node, frame) = (Rc::clone(node), Rc::clone(&self.frame));
        self.cx.keep_frame(&frame);
        Source::Generate(Box::new(move |cx| {
            let run = Run { cx, frame: Rc::clone(&frame) };
            while let Some(item) = source.next(cx)? {
                let Some((target, test)) = &node.test else { return Ok(Some(item)) };
                run.assign(target, item.clone(), false)?;
                if run.eval(test)?.truth() {
                    return Ok(Some(item));
                }
            }
            Ok(None)
        }))
    }
}

/// The items of `value`, one for each of so many targets.
fn unpack(cx: &Cx, value: &Value, targets: usize) -> Result<Vec<Value>> {
    let Ok(mut source) = iterate::source(cx, value) else {
        fail!(Type, "cannot unpack non-iterable {} object", value.type_name());
    };
    let mut items = Vec::new();
    while let Some(item) = source.next(cx)? {
        if items.len() == targets {
            fail!(Value, "too many values to unpack (expected {targets})");
        }
        items.push(item);
    }
    if items.len() < targets {
        fail!(Value, "not enough values to unpack (expected {targets}, got {})", items.len());
    }
    Ok(items)
}
