//! The variables of a running function.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::cx::Cx;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::Charge;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::syntax::ast::{Load, Name, Scope, Slot};

pub(crate) struct Frame {
    slots: RefCell<Vec<Option<Value>>>,
    outer: Option<Rc<Frame>>,
    /// Whether a macro or loop holds the frame. Then it has to be emptied at the end.
    pub(crate) kept: Cell<bool>,
    _charge: Charge,
}

impl Frame {
    pub(crate) fn new(cx: &Cx, slots: usize, outer: Option<Rc<Self>>) -> Result<Rc<Self>> {
        let charge = cx.meter.hold(size_of::<Self>() + slots * size_of::<Value>())?;
        let slots = RefCell::new(vec![None; slots]);
        Ok(Rc::new(Self { slots, outer, kept: Cell::new(false), _charge: charge }))
    }

    /// The frame of the enclosing function.
    pub(crate) fn outer(&self) -> Option<Rc<Self>> {
        self.outer.clone()
    }

    /// The value in a slot, if there is one.
    pub(crate) fn get(&self, slot: Slot) -> Option<Value> {
        let mut frame = self;
        for _ in 0..slot.up {
            frame = frame.outer.as_deref()?;
        }
        frame.slots.borrow().get(slot.index)?.clone()
    }

    pub(crate) fn set(&self, index: usize, value: Option<Value>) {
        let before = self.slots.borrow_mut().get_mut(index).map(|slot| std::mem::replace(slot, value));
        drop(before);
    }

    /// The value of a name.
    pub(crate) fn load(&self, name: &Name) -> Value {
        self.get(name.slot.get()).unwrap_or_else(|| Value::undefined(&name.name))
    }

    /// Assigns a name, which is always one of this frame's.
    pub(crate) fn store(&self, name: &Name, value: Value) -> Result<()> {
        let slot = name.slot.get();
        if slot.up != 0 {
            fail!(Runtime, "'{}' belongs to another function", name.name);
        }
        self.set(slot.index, Some(value));
        Ok(())
    }

    /// Begins a scope.
    pub(crate) fn enter(&self, cx: &Cx, scope: &Scope) {
        for (index, load) in scope.loads.get().into_iter().flatten() {
            match load {
                Load::Parameter => {}
                Load::Resolve(name) => self.set(*index, cx.resolve(name)),
                Load::Copy(slot) => self.set(*index, self.get(*slot)),
                Load::Undefined => self.set(*index, None),
            }
        }
    }

    /// Ends a scope.
    pub(crate) fn leave(&self, scope: &Scope) {
        for (index, _) in scope.loads.get().into_iter().flatten() {
            self.set(*index, None);
        }
    }

    pub(crate) fn clear(&self) {
        let slots = self.slots.take();
        drop(slots);
    }
}
