//! Python's iterators.

use std::cell::RefCell;
use std::rc::Rc;

use super::dict::Dict;
use super::text::Text;
use super::value::{Bytes, Items, Range, Value, View};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::{Charge, nest};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::looping::Loop;

/// A function that returns the next item.
pub(crate) type Generate = Box<dyn FnMut(&Cx) -> Result<Option<Value>>>;

/// A generator or iterator as a value: each item is given once, to whoever asks.
pub(crate) struct Stream {
    source: RefCell<Source>,
    pub(crate) depth: u32,
    _charge: Charge,
}

/// Bytes that a stream takes, with what its function holds.
const STREAM: usize = 512;

/// Where items come from.
pub(crate) enum Source {
    Empty,
    Items(Rc<Items>, usize),
    /// The last item first, with the number of items that are left.
    Reversed(Rc<Items>, usize),
    Characters(Text, usize),
    Bytes(Rc<Bytes>, usize),
    Entries(View, Rc<Dict>, usize),
    Range(Rc<Range>, i128),
    Shared(Rc<Stream>),
    Loop(Rc<Loop>),
    Generate(Generate),
}

impl Stream {
    /// An iterator over `source`, as a value. It holds `over`.
    pub(crate) fn value(cx: &Cx, source: Source, over: &Value) -> Result<Value> {
        let depth = nest(over.depth() + 1)?;
        let charge = cx.meter.hold(STREAM)?;
        Ok(Value::Iter(Rc::new(Self { source: RefCell::new(source), depth, _charge: charge })))
    }

    /// An iterator that takes its items from a function, as a value.
    pub(crate) fn generate(
        cx: &Cx,
        over: &Value,
        next: impl FnMut(&Cx) -> Result<Option<Value>> + 'static,
    ) -> Result<Value> {
        Self::value(cx, Source::Generate(Box::new(next)), over)
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.source.try_borrow().as_deref() {
            Ok(Source::Generate(_)) | Err(_) => "generator",
            Ok(Source::Reversed(..)) => "list_reverseiterator",
            Ok(_) => "iterator",
        }
    }

    fn next(&self, cx: &Cx) -> Result<Option<Value>> {
        let Ok(mut source) = self.source.try_borrow_mut() else { fail!(Value, "generator already executing") };
        cx.deeper(|| source.next(cx))
    }
}

impl Source {
    pub(crate) fn next(&mut self, cx: &Cx) -> Result<Option<Value>> {
        cx.meter.step(1)?;
        Ok(match self {
            Self::Empty => None,
            Self::Items(items, at) => {
                *at += 1;
                items.items.get(*at - 1).cloned()
            }
            Self::Reversed(items, left) => {
                let next = left.checked_sub(1);
                *left = next.unwrap_or(0);
                next.and_then(|index| items.items.get(index).cloned())
            }
            Self::Characters(text, at) => match text[*at..].chars().next() {
                None => None,
                Some(character) => {
                    *at += character.len_utf8();
                    Some(Value::Str(Text::new(&cx.meter, character.to_string())?.marked(false)))
                }
            },
            Self::Bytes(bytes, at) => {
                *at += 1;
                bytes.octets.get(*at - 1).map(|byte| Value::Int(i128::from(*byte)))
            }
            Self::Entries(view, dict, at) => {
                *at += 1;
                match (dict.entries().get(*at - 1), view) {
                    (None, _) => None,
                    (Some((key, _)), View::Keys) => Some(key.clone()),
                    (Some((_, value)), View::Values) => Some(value.clone()),
                    (Some((key, value)), View::Items) => Some(Value::tuple(cx, vec![key.clone(), value.clone()])?),
                }
            }
            Self::Range(range, at) => {
                let index = *at;
                *at += 1;
                (index < range.count()).then(|| Value::Int(range.start + index * range.step))
            }
            Self::Shared(stream) => stream.next(cx)?,
            Self::Loop(state) => match state.advance(cx)? {
                Some(item) => Some(Value::tuple(cx, vec![item, Value::Loop(Rc::clone(state))])?),
                None => None,
            },
            Self::Generate(next) => next(cx)?,
        })
    }
}

/// `iter(value)`.
pub(crate) fn source(_: &Cx, value: &Value) -> Result<Source> {
    Ok(match value {
        Value::Undefined(_) => Source::Empty,
        Value::Str(text) => Source::Characters(text.clone(), 0),
        Value::Bytes(bytes) => Source::Bytes(Rc::clone(bytes), 0),
        Value::List(items) | Value::Tuple(items) => Source::Items(Rc::clone(items), 0),
        Value::Dict(dict) => Source::Entries(View::Keys, Rc::clone(dict), 0),
        Value::View(view, dict) => Source::Entries(*view, Rc::clone(dict), 0),
        Value::Range(range) => Source::Range(Rc::clone(range), 0),
        Value::Iter(stream) => Source::Shared(Rc::clone(stream)),
        Value::Loop(state) => Source::Loop(Rc::clone(state)),
        // It has `__getitem__`, so Python tries index 0; but it takes names only.
        Value::Template => fail!(Lookup, "0"),
        _ => fail!(Type, "'{}' object is not iterable", value.type_name()),
    })
}

/// `list(value)`, as items.
pub(crate) fn collect(cx: &Cx, value: &Value) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut source = source(cx, value)?;
    while let Some(item) = source.next(cx)? {
        cx.meter.room((items.len() + 1) * 2 * size_of::<Value>())?;
        items.push(item);
    }
    Ok(items)
}
