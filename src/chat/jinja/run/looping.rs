//! Jinja2's `loop`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::arguments::Args;
use super::cx::Cx;
use super::frame::Frame;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::nest;
use crate::chat::jinja::python::compare;
use crate::chat::jinja::python::iterate::{self, Source};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::syntax::ast::For;

pub(crate) struct Loop {
    state: RefCell<State>,
    /// The number of items, if the iterable knows it or it has been counted.
    length: Cell<Option<usize>>,
    /// For a recursive loop: the loop and its frame, so that it can be called.
    pub(crate) recursive: Option<(Rc<For>, Rc<Frame>)>,
    pub(crate) depth0: usize,
    pub(crate) depth: u32,
}

struct State {
    source: Source,
    /// The number of the current item, from 0; -1 before the first.
    index0: i64,
    before: Option<Value>,
    current: Option<Value>,
    /// The item after the current one, if it has been taken already. `Some(None)`: there is none.
    after: Option<Option<Value>>,
    changed: Option<Value>,
}

impl Loop {
    /// A loop over a source whose items nest `depth` deep. `length` is the number of items, if it is known.
    pub(crate) fn new(
        source: Source,
        depth: u32,
        length: Option<usize>,
        recursive: Option<(Rc<For>, Rc<Frame>)>,
        depth0: usize,
    ) -> Result<Rc<Self>> {
        let depth = nest(depth + 1)?;
        let state = State { source, index0: -1, before: None, current: None, after: None, changed: None };
        Ok(Rc::new(Self { state: RefCell::new(state), length: Cell::new(length), recursive, depth0, depth }))
    }

    /// Moves to the next item and returns it.
    pub(crate) fn advance(&self, cx: &Cx) -> Result<Option<Value>> {
        let taken = self.borrow()?.after.take();
        let next = match taken {
            Some(next) => next,
            None => self.pull(cx)?,
        };
        let mut state = self.borrow()?;
        let Some(item) = next else {
            state.after = Some(None);
            return Ok(None);
        };
        state.index0 += 1;
        state.before = state.current.replace(item.clone());
        Ok(Some(item))
    }

    fn borrow(&self) -> Result<std::cell::RefMut<'_, State>> {
        match self.state.try_borrow_mut() {
            Ok(state) => Ok(state),
            Err(_) => fail!(Value, "generator already executing"),
        }
    }

    /// Takes the next item from the source. The source may be code that looks at this loop.
    fn pull(&self, cx: &Cx) -> Result<Option<Value>> {
        let mut source = std::mem::replace(&mut self.borrow()?.source, Source::Empty);
        let next = source.next(cx);
        self.borrow()?.source = source;
        next
    }

    fn peek(&self, cx: &Cx) -> Result<Option<Value>> {
        if let Some(next) = &self.borrow()?.after {
            return Ok(next.clone());
        }
        let next = self.pull(cx)?;
        self.borrow()?.after = Some(next.clone());
        Ok(next)
    }

    pub(crate) fn index(&self) -> i64 {
        self.state.try_borrow().map_or(0, |state| state.index0 + 1)
    }

    /// The length as far as it is known.
    pub(crate) fn known_length(&self) -> usize {
        self.length.get().unwrap_or(0)
    }

    pub(crate) fn length(&self, cx: &Cx) -> Result<usize> {
        if let Some(length) = self.length.get() {
            return Ok(length);
        }
        let mut rest = Vec::new();
        while let Some(item) = self.pull(cx)? {
            cx.meter.room((rest.len() + 1) * 2 * size_of::<Value>())?;
            rest.push(item);
        }
        let seen = self.index() as usize + usize::from(matches!(self.borrow()?.after, Some(Some(_))));
        let length = rest.len() + seen;
        let rest = Value::list(cx, rest)?;
        self.borrow()?.source = iterate::source(cx, &rest)?;
        self.length.set(Some(length));
        Ok(length)
    }

    /// An attribute of `loop`.
    pub(crate) fn attribute(self: &Rc<Self>, cx: &Cx, name: &str) -> Result<Option<Value>> {
        let index = i128::from(self.index());
        Ok(Some(match name {
            "index" => Value::Int(index),
            "index0" => Value::Int(index - 1),
            "depth" => (self.depth0 + 1).into(),
            "depth0" => self.depth0.into(),
            "length" => self.length(cx)?.into(),
            "revindex0" => Value::Int(self.length(cx)? as i128 - index),
            "revindex" => Value::Int(self.length(cx)? as i128 - index + 1),
            "first" => (index == 1).into(),
            "last" => self.peek(cx)?.is_none().into(),
            "previtem" if index == 1 => Value::undefined_because("there is no previous item"),
            "previtem" => self.borrow()?.before.clone().unwrap_or(Value::None),
            "nextitem" => self.peek(cx)?.unwrap_or_else(|| Value::undefined_because("there is no next item")),
            "cycle" => Value::method(cx, &Value::Loop(Rc::clone(self)), "cycle")?,
            "changed" => Value::method(cx, &Value::Loop(Rc::clone(self)), "changed")?,
            _ => return Ok(None),
        }))
    }

    pub(crate) fn call(&self, cx: &Cx, method: &str, args: Args) -> Result<Value> {
        let values = args.only_positional(method)?;
        if method == "cycle" {
            if values.is_empty() {
                fail!(Type, "no items for cycling given");
            }
            let index = (self.index() - 1).rem_euclid(values.len() as i64);
            return Ok(values[index as usize].clone());
        }
        let values = Value::tuple(cx, values)?;
        nest(values.depth() + 1)?;
        let before = self.borrow()?.changed.clone();
        if let Some(before) = before
            && compare::equal(cx, &before, &values)?
        {
            return Ok(Value::Bool(false));
        }
        self.borrow()?.changed = Some(values);
        Ok(Value::Bool(true))
    }
}
