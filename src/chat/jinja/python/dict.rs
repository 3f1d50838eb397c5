//! Python's `dict`: in the order of insertion, with keys that are equal across types as Python's are.

use std::collections::HashMap;
use std::rc::Rc;

use super::compare;
use super::value::{Value, View};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::{BLOCK, Charge, nest};
use crate::chat::jinja::run::cx::Cx;

/// Up to so many entries, a key is searched for one by one.
const FEW: usize = 8;

pub(crate) struct Dict {
    entries: Vec<(Value, Value)>,
    /// Where each key is, once there are more than [`FEW`].
    places: HashMap<Key, usize>,
    depth: u32,
    charge: Charge,
}

/// A key in a form in which equal keys are the same: `1`, `1.0` and `True` are one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    None,
    Undefined,
    Int(i128),
    Float(u64),
    Str(Rc<str>),
    Bytes(Vec<u8>),
    Tuple(Vec<Key>),
    /// A value that is equal only to itself, by its address.
    Object(usize),
}

impl Key {
    /// `value` as a key, if it can be one.
    pub(crate) fn new(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::None => Self::None,
            Value::Undefined(_) => Self::Undefined,
            Value::Bool(truth) => Self::Int(i128::from(*truth)),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e30 => Self::Int(*number as i128),
            Value::Float(number) => Self::Float(number.to_bits()),
            Value::Str(text) => Self::Str((**text).into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.octets.clone()),
            Value::Tuple(items) => Self::Tuple(items.items.iter().map(Self::new).collect::<Result<_>>()?),
            Value::List(_) | Value::Dict(_) | Value::View(View::Keys | View::Items, _) => {
                fail!(Type, "unhashable type: '{}'", value.type_name())
            }
            other => match compare::address(other) {
                Some(address) => Self::Object(address),
                None => fail!(Unsupported, "a {} as a key of a dict", value.type_name()),
            },
        })
    }
}

impl Dict {
    pub(crate) fn new(cx: &Cx) -> Result<Self> {
        let charge = cx.meter.hold(size_of::<Self>() + BLOCK)?;
        Ok(Self { entries: Vec::new(), places: HashMap::new(), depth: 1, charge })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    pub(crate) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    fn place(&self, key: &Value) -> Result<Option<usize>> {
        if self.places.is_empty()
            && let Value::Str(text) = key
        {
            return Ok(self.place_of(text));
        }
        let key = Key::new(key)?;
        if self.places.is_empty() {
            for (place, (other, _)) in self.entries.iter().enumerate() {
                if Key::new(other)? == key {
                    return Ok(Some(place));
                }
            }
            return Ok(None);
        }
        Ok(self.places.get(&key).copied())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.entries.iter().position(|(key, _)| key.as_text().is_some_and(|text| **text == *name));
        }
        self.places.get(&Key::Str(name.into())).copied()
    }

    /// The value at `key`; an error if `key` cannot be a key.
    pub(crate) fn get(&self, key: &Value) -> Result<Option<&Value>> {
        Ok(self.place(key)?.map(|place| &self.entries[place].1))
    }

    pub(crate) fn get_named(&self, name: &str) -> Option<&Value> {
        self.place_of(name).map(|place| &self.entries[place].1)
    }

    /// Sets `key` to `value`. A key that exists keeps its place.
    pub(crate) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        self.depth = self.depth.max(nest(key.depth().max(value.depth()) + 1)?);
        if let Some(place) = self.place(&key)? {
            self.entries[place].1 = value;
            return Ok(());
        }
        self.make_room(&key)?;
        if !self.places.is_empty() {
            self.places.insert(Key::new(&key)?, self.entries.len());
        }
        self.entries.push((key, value));
        if self.places.is_empty() && self.entries.len() > FEW {
            for (place, (key, _)) in self.entries.iter().enumerate() {
                self.places.insert(Key::new(key)?, place);
            }
        }
        Ok(())
    }

    /// Makes room for one more entry.
    fn make_room(&mut self, key: &Value) -> Result<()> {
        let room = self.entries.capacity();
        if self.entries.len() == room {
            let more = room.max(4);
            self.charge.grow(more * size_of::<(Value, Value)>() + BLOCK)?;
            // While they are copied, the old entries are there, too.
            self.charge.ask(2 * more * size_of::<(Value, Value)>())?;
            self.entries.reserve_exact(more);
        }
        if self.entries.len() >= FEW {
            // The table has twice the places that it needs, and beside it the one that it replaces.
            let own = key.as_text().map_or(0, |text| text.len()) + BLOCK;
            let before = if self.places.is_empty() { self.entries.len() } else { 0 };
            self.charge.grow((1 + before) * (own + 4 * size_of::<(Key, usize)>()))?;
        }
        Ok(())
    }

    pub(crate) fn insert_named(&mut self, cx: &Cx, name: &str, value: Value) -> Result<()> {
        self.insert(Value::text(cx, name)?, value)
    }

    /// Another dict with the same entries.
    pub(crate) fn copy(&self, cx: &Cx) -> Result<Self> {
        let mut copy = Self::new(cx)?;
        for (key, value) in &self.entries {
            copy.insert(key.clone(), value.clone())?;
        }
        Ok(copy)
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
    }
}
