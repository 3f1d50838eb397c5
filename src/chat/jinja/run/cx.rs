//! The context of a rendering: its variables, its bounds, and its output.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::frame::Frame;
use super::globals::Global;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::Meter;
use crate::chat::jinja::python::markup;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::text::{Buffer, Text};
use crate::chat::jinja::python::value::{Namespace, Value};
use crate::chat::jinja::syntax::ast::Named;

/// How deep expressions, statements and calls of macros may nest while they run.
const RECURSION: u32 = 400;

pub(crate) struct Cx {
    pub(crate) meter: Rc<Meter>,
    /// The variables that the template was given.
    pub(crate) given: RefCell<HashMap<Rc<str>, Value>>,
    /// The variables that it has set outside of loops and other scopes.
    pub(crate) set: RefCell<HashMap<Rc<str>, Value>>,
    pub(crate) autoescape: Cell<bool>,
    /// The line of the template that runs.
    pub(crate) line: Cell<u32>,
    pub(crate) blocks: Vec<Rc<Named>>,
    depth: Cell<u32>,
    written: RefCell<Vec<Buffer>>,
    /// All namespaces. They and frames may hold each other, so both are emptied at the end.
    namespaces: RefCell<Vec<Rc<Namespace>>>,
    frames: RefCell<Vec<Rc<Frame>>>,
}

impl Cx {
    pub(crate) fn new(meter: Rc<Meter>, blocks: Vec<Rc<Named>>) -> Self {
        Self {
            meter,
            given: RefCell::default(),
            set: RefCell::default(),
            autoescape: Cell::new(false),
            line: Cell::new(0),
            blocks,
            depth: Cell::new(0),
            written: RefCell::default(),
            namespaces: RefCell::default(),
            frames: RefCell::default(),
        }
    }

    /// The variable that the template has set at its top, or was given, by the name `name`.
    pub(crate) fn resolve(&self, name: &str) -> Option<Value> {
        let set = self.set.borrow().get(name).cloned();
        set.or_else(|| self.given.borrow().get(name).cloned()).or_else(|| Global::find(name).map(Value::Function))
    }

    /// Runs something one level deeper.
    pub(crate) fn deeper<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let depth = self.depth.get();
        if depth >= RECURSION {
            fail!(Bound, "its expressions, tags and macros nest deeper than {RECURSION}");
        }
        self.depth.set(depth + 1);
        let outcome = run();
        self.depth.set(depth);
        outcome
    }

    /// Begins a text that is written apart from the output.
    pub(crate) fn open(&self) -> Result<()> {
        self.written.borrow_mut().push(Buffer::new(&self.meter)?);
        Ok(())
    }

    /// Ends that text and returns it: a `Markup` where texts are escaped.
    pub(crate) fn close(&self) -> Result<Text> {
        match self.written.borrow_mut().pop() {
            Some(buffer) => Ok(Text::of(buffer).marked(self.autoescape.get())),
            None => fail!(Runtime, "nothing was opened"),
        }
    }

    /// Writes a text as it is.
    pub(crate) fn write_text(&self, text: &str) -> Result<()> {
        match self.written.borrow_mut().last_mut() {
            Some(buffer) => buffer.push(text),
            None => fail!(Runtime, "nothing was opened"),
        }
    }

    /// Writes a value as `{{ value }}` does.
    pub(crate) fn write(&self, value: &Value) -> Result<()> {
        if self.autoescape.get() {
            return self.write_text(&markup::escape(self, value)?);
        }
        if let Value::Loop(state) = value {
            state.length(self)?;
        }
        match self.written.borrow_mut().last_mut() {
            Some(buffer) => repr::write(buffer, value),
            None => fail!(Runtime, "nothing was opened"),
        }
    }

    pub(crate) fn keep_namespace(&self, namespace: &Rc<Namespace>) {
        self.namespaces.borrow_mut().push(Rc::clone(namespace));
    }

    pub(crate) fn keep_frame(&self, frame: &Rc<Frame>) {
        if !frame.kept.replace(true) {
            self.frames.borrow_mut().push(Rc::clone(frame));
        }
    }
}

impl Drop for Cx {
    fn drop(&mut self) {
        for namespace in self.namespaces.take() {
            namespace.attributes.borrow_mut().clear();
        }
        for frame in self.frames.take() {
            frame.clear();
        }
    }
}
