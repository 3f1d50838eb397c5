//! Python's values, as far as a chat template can meet them.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::dict::Dict;
use super::iterate::Stream;
use super::numbers;
use super::text::Text;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::{BLOCK, Charge, nest};
use crate::chat::jinja::run::cx::Cx;
use crate::chat::jinja::run::globals::{Cycler, Global, Joiner};
use crate::chat::jinja::run::looping::Loop;
use crate::chat::jinja::run::macros::Macro;

/// A value. Lists and dicts never change: the sandbox of `transformers` forbids that.
#[derive(Clone)]
pub(crate) enum Value {
    /// Jinja2's `Undefined`, with the message of the error when something is done with it.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    Bytes(Rc<Bytes>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    /// What `dict.keys()`, `values()` and `items()` return.
    View(View, Rc<Dict>),
    Range(Rc<Range>),
    /// A generator or iterator: it gives its items once.
    Iter(Rc<Stream>),
    Function(Global),
    /// A method that was looked up and not yet called.
    Method(Rc<Method>),
    Macro(Rc<Macro>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
    /// The template's `self`, whose items are its blocks.
    Template,
    /// A block of the template, which can be called.
    Block(Rc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

pub(crate) struct Bytes {
    pub(crate) octets: Vec<u8>,
    _charge: Charge,
}

/// Bytes that an item counts for. What it may have of its own without a charge, such as the reason why it is undefined, is
/// small.
const SLOT: usize = size_of::<Value>() + 192;

/// Bytes of a name in such a reason.
const NAME: usize = 100;

/// The items of a list or tuple.
pub(crate) struct Items {
    pub(crate) items: Vec<Value>,
    depth: u32,
    /// Whether this is a pair that `groupby` made, whose two items have names.
    pub(crate) group: bool,
    _charge: Charge,
}

pub(crate) struct Range {
    pub(crate) start: i128,
    pub(crate) stop: i128,
    pub(crate) step: i128,
}

impl Range {
    pub(crate) fn count(&self) -> i128 {
        let (from, to, step) =
            if self.step > 0 { (self.start, self.stop, self.step) } else { (self.stop, self.start, -self.step) };
        if from >= to { 0 } else { (to - from - 1) / step + 1 }
    }
}

pub(crate) struct Method {
    pub(crate) receiver: Value,
    pub(crate) name: &'static str,
    _charge: Charge,
}

/// What `namespace()` returns: the only value that a template can change.
pub(crate) struct Namespace {
    pub(crate) attributes: RefCell<Dict>,
    _charge: Charge,
}

impl Value {
    pub(crate) fn text(cx: &Cx, text: impl Into<String>) -> Result<Self> {
        Ok(Self::Str(Text::new(&cx.meter, text.into())?))
    }

    pub(crate) fn bytes(cx: &Cx, bytes: Vec<u8>) -> Result<Self> {
        let charge = cx.meter.hold(bytes.capacity() + size_of::<Bytes>() + 2 * BLOCK)?;
        Ok(Self::Bytes(Rc::new(Bytes { octets: bytes, _charge: charge })))
    }

    pub(crate) fn list(cx: &Cx, items: Vec<Self>) -> Result<Self> {
        Ok(Self::List(Rc::new(Items::new(cx, items)?)))
    }

    pub(crate) fn tuple(cx: &Cx, items: Vec<Self>) -> Result<Self> {
        Ok(Self::Tuple(Rc::new(Items::new(cx, items)?)))
    }

    /// A pair that `groupby` makes.
    pub(crate) fn group(cx: &Cx, grouper: Self, list: Self) -> Result<Self> {
        Ok(Self::Tuple(Rc::new(Items { group: true, ..Items::new(cx, vec![grouper, list])? })))
    }

    pub(crate) fn dict(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }

    pub(crate) fn namespace(cx: &Cx, attributes: Dict) -> Result<Self> {
        let charge = cx.meter.hold(256)?;
        let space = Rc::new(Namespace { attributes: RefCell::new(attributes), _charge: charge });
        cx.keep_namespace(&space);
        Ok(Self::Namespace(space))
    }

    pub(crate) fn method(cx: &Cx, receiver: &Self, name: &'static str) -> Result<Self> {
        nest(receiver.depth() + 1)?;
        let charge = cx.meter.hold(size_of::<Method>() + BLOCK)?;
        Ok(Self::Method(Rc::new(Method { receiver: receiver.clone(), name, _charge: charge })))
    }

    /// The value of a name that nothing has set.
    pub(crate) fn undefined(name: &str) -> Self {
        Self::Undefined(format!("'{name}' is undefined").into())
    }

    pub(crate) fn undefined_because(why: &str) -> Self {
        Self::Undefined(why.into())
    }

    /// The value of a lookup that finds nothing.
    pub(crate) fn missing(of: &Self, attribute: &Self) -> Self {
        let owner = if matches!(of, Self::None) { "None".to_owned() } else { format!("{} object", of.type_name()) };
        Self::Undefined(
            match attribute {
                Self::Str(name) => {
                    format!("'{owner}' has no attribute '{}'", &name[..name.floor_char_boundary(NAME)])
                }
                Self::Int(index) => format!("{owner} has no element {index}"),
                _ => format!("{owner} has no such element"),
            }
            .into(),
        )
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The text, if the value is a `str`.
    pub(crate) fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if the value is an `int`, or a `bool`, which Python takes for an `int`.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(truth) => Some(i128::from(*truth)),
            _ => None,
        }
    }

    /// The name of the value's type in Python.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(text) if text.markup => "Markup",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Iter(stream) => stream.type_name(),
            Self::Function(_) => "function",
            Self::Method(_) => "builtin_function_or_method",
            Self::Macro(_) => "Macro",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Template => "TemplateReference",
            Self::Block(_) => "BlockReference",
        }
    }

    /// Python's `bool(value)`.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.octets.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => !dict.is_empty(),
            Self::Range(range) => range.count() > 0,
            _ => true,
        }
    }

    /// Python's `len(value)`; `None` if the value has no length.
    pub(crate) fn length(&self, cx: &Cx) -> Result<Option<usize>> {
        Ok(Some(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => text.count(),
            Self::Bytes(bytes) => bytes.octets.len(),
            Self::List(items) | Self::Tuple(items) => items.items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len(),
            Self::Range(range) => range.count() as usize,
            Self::Loop(state) => state.length(cx)?,
            _ => return Ok(None),
        }))
    }

    /// How deep lists, dicts and iterators nest in the value.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Dict(dict) | Self::View(_, dict) => dict.depth(),
            Self::Iter(stream) => stream.depth,
            Self::Method(method) => method.receiver.depth() + 1,
            Self::Loop(state) => state.depth,
            Self::Cycler(cycler) => cycler.depth,
            Self::Joiner(joiner) => joiner.depth,
            // Namespaces, and what macros hold, are freed one by one at the end, so they take no stack.
            _ => 0,
        }
    }

    /// Counts the steps of going over the value once, but not over what its items hold.
    pub(crate) fn pass_over(&self, cx: &Cx) -> Result<()> {
        match self {
            Self::Str(text) => cx.meter.pass_over(text.len()),
            Self::List(items) | Self::Tuple(items) => cx.meter.pass_over(items.items.len() * size_of::<Self>()),
            Self::Dict(dict) | Self::View(_, dict) => cx.meter.pass_over(dict.len() * size_of::<Self>()),
            _ => Ok(()),
        }
    }

    /// The value as an index or a count: an `int`, or Python's error.
    pub(crate) fn to_index(&self) -> Result<i128> {
        match self.as_int() {
            Some(number) => Ok(number),
            None => fail!(Type, "'{}' object cannot be interpreted as an integer", self.type_name()),
        }
    }

    /// The value as a `float`, if it is a number.
    pub(crate) fn to_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => self.as_int().map(numbers::float),
        }
    }
}

impl Items {
    fn new(cx: &Cx, items: Vec<Value>) -> Result<Self> {
        let depth = nest(items.iter().map(Value::depth).max().unwrap_or(0) + 1)?;
        let charge = cx.meter.hold(items.capacity() * SLOT + size_of::<Self>() + 2 * BLOCK)?;
        Ok(Self { items, depth, group: false, _charge: charge })
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(number as i128)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}
