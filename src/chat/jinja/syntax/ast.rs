//! A parsed template.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use crate::chat::jinja::filters::Filter;
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::checks::Check;

/// A variable: its name and, once the template has been analysed, its slot.
pub(crate) struct Name {
    pub(crate) name: Rc<str>,
    pub(crate) slot: Cell<Slot>,
}

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), slot: Cell::default() }
    }
}

/// The place of a variable: which of the enclosing frames, and which slot of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    pub(crate) up: usize,
    pub(crate) index: usize,
}

/// What a scope does with a variable when it begins.
#[derive(Debug, Clone)]
pub(crate) enum Load {
    /// Keeps the value that the call has passed.
    Parameter,
    /// Looks the variable up by name among those that the template was given.
    Resolve(Rc<str>),
    /// Copies another variable.
    Copy(Slot),
    /// Leaves the variable undefined.
    Undefined,
}

/// The variables of a scope: slots of the frame it runs in.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) loads: OnceCell<Vec<(usize, Load)>>,
}

pub(crate) enum Expr {
    Const(Value),
    Name(Name),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// Operators from left to right.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Concat(Vec<Expr>),
    If(Box<Conditional>),
    /// Suffixes, applied from left to right.
    Postfix(Box<Expr>, Vec<Suffix>),
    /// The text that a block has written, for its filter.
    Written,
}

pub(crate) struct Conditional {
    pub(crate) test: Expr,
    pub(crate) then: Expr,
    pub(crate) otherwise: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

pub(crate) enum Suffix {
    Attribute(Rc<str>),
    Item(Expr),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Arguments),
    Filter(Box<Filtered>),
    Test(Box<Tested>),
}

pub(crate) struct Filtered {
    pub(crate) name: String,
    pub(crate) filter: Option<Filter>,
    pub(crate) arguments: Arguments,
}

pub(crate) struct Tested {
    pub(crate) name: String,
    pub(crate) test: Option<Check>,
    pub(crate) negated: bool,
    pub(crate) arguments: Arguments,
}

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Rc<str>, Expr)>,
    pub(crate) more: Option<Expr>,
    pub(crate) more_named: Option<Expr>,
}

pub(crate) enum Target {
    Name(Name),
    /// An attribute of a namespace.
    Attribute(Name, Rc<str>),
    Tuple(Vec<Target>),
}

pub(crate) type Body = Vec<Statement>;

pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Data(Value),
    Output(Expr),
    /// Branches with their conditions, and what runs if none holds.
    If(Vec<(Expr, Body)>, Body),
    For(Rc<For>),
    Break,
    Continue,
    Set(Target, Expr),
    /// `{% set x %}...{% endset %}`, with its filter if it has one.
    SetBlock(Target, Option<Expr>, Block),
    Macro(Name, Rc<Callable>),
    /// `{% call ... %}`: the call and its body.
    Call(Expr, Rc<Callable>),
    /// `{% generation %}`, which does nothing but open a scope.
    Generation(Rc<Callable>),
    /// `{% filter ... %}`.
    Filter(Expr, Block),
    /// `{% with ... %}`.
    With(Vec<(Target, Expr)>, Block),
    Autoescape(Expr, Block),
    Block(Rc<Named>),
    /// A tag that needs another template.
    Loads(&'static str),
}

/// A body with variables of its own.
pub(crate) struct Block {
    pub(crate) scope: Scope,
    pub(crate) body: Body,
}

pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) iterable: Expr,
    /// The condition for each item. The target is there once more, since the condition has a scope of its own.
    pub(crate) test: Option<(Target, Expr)>,
    pub(crate) test_scope: Scope,
    pub(crate) recursive: bool,
    pub(crate) body: Block,
    pub(crate) otherwise: Block,
    /// The slot of `loop`, if something uses it.
    pub(crate) state: Cell<Option<usize>>,
    /// Slots of the frame of a recursive loop.
    pub(crate) slots: Cell<usize>,
}

/// The body of a macro or of `{% call %}`.
pub(crate) struct Callable {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) parameters: Vec<Name>,
    /// The defaults of the last parameters.
    pub(crate) defaults: Vec<Expr>,
    pub(crate) block: Block,
    pub(crate) slots: Cell<usize>,
    /// The slots of `caller`, `kwargs` and `varargs`, if the body uses them.
    pub(crate) caller: Cell<Option<usize>>,
    pub(crate) kwargs: Cell<Option<usize>>,
    pub(crate) varargs: Cell<Option<usize>>,
}

/// A named block: run at its place in the template, and callable by its name.
pub(crate) struct Named {
    pub(crate) name: Rc<str>,
    pub(crate) scoped: bool,
    pub(crate) required: bool,
    pub(crate) block: Block,
    pub(crate) slots: Cell<usize>,
    pub(crate) own_self: Cell<Option<usize>>,
    pub(crate) parent: Cell<Option<usize>>,
    /// The variables around a scoped block, which it sees.
    pub(crate) sees: OnceCell<Vec<(Rc<str>, Slot)>>,
}

/// A whole template.
pub(crate) struct Template {
    pub(crate) block: Block,
    pub(crate) blocks: Vec<Rc<Named>>,
    pub(crate) slots: Cell<usize>,
    pub(crate) own_self: Cell<Option<usize>>,
}
