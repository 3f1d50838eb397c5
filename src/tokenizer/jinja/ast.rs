//! A parsed template.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::checks::Check;
use super::filters::Filter;
use super::numbers::Operator;
use super::value::Value;

/// A variable, by name and, once the template is analysed, by place.
pub(super) struct Name {
    pub(super) name: Rc<str>,
    pub(super) slot: Cell<Slot>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), slot: Cell::default() }
    }
}

/// Where a variable is: in which of the enclosing frames, and there in which slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    pub(super) up: usize,
    pub(super) index: usize,
}

/// What a scope does with a variable when it begins.
#[derive(Debug, Clone)]
pub(super) enum Load {
    /// It is given from outside.
    Parameter,
    /// It is looked up by name among the variables that the template was given.
    Resolve(Rc<str>),
    /// It starts as a copy of another.
    Copy(Slot),
    /// It starts as nothing.
    Undefined,
}

/// The variables of a scope: slots of the frame it runs in.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) loads: OnceCell<Vec<(usize, Load)>>,
}

pub(super) enum Expr {
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
    /// What is applied from left to right.
    Postfix(Box<Expr>, Vec<Suffix>),
    /// What a block has written, which its filter takes.
    Written,
}

pub(super) struct Conditional {
    pub(super) test: Expr,
    pub(super) then: Expr,
    pub(super) otherwise: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

pub(super) enum Suffix {
    Attribute(Rc<str>),
    Item(Expr),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Arguments),
    Filter(Box<Filtered>),
    Test(Box<Tested>),
}

pub(super) struct Filtered {
    pub(super) name: String,
    pub(super) filter: Option<Filter>,
    pub(super) arguments: Arguments,
}

pub(super) struct Tested {
    pub(super) name: String,
    pub(super) test: Option<Check>,
    pub(super) negated: bool,
    pub(super) arguments: Arguments,
}

#[derive(Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Rc<str>, Expr)>,
    pub(super) more: Option<Expr>,
    pub(super) more_named: Option<Expr>,
}

pub(super) enum Target {
    Name(Name),
    /// An attribute of a namespace.
    Attribute(Name, Rc<str>),
    Tuple(Vec<Target>),
}

pub(super) type Body = Vec<Statement>;

pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Data(Value),
    Output(Expr),
    /// Branches with their conditions, and what runs if none holds.
    If(Vec<(Expr, Body)>, Body),
    For(Rc<For>),
    Break,
    Continue,
    Set(Target, Expr),
    /// `{% set x %}...{% endset %}`, with the filter it may have.
    SetBlock(Target, Option<Expr>, Block),
    Macro(Name, Rc<Callable>),
    /// `{% call ... %}`: the call and its body.
    Call(Expr, Rc<Callable>),
    /// `{% generation %}`: only a scope of its own.
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
pub(super) struct Block {
    pub(super) scope: Scope,
    pub(super) body: Body,
}

pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    /// The condition of each round, with the same target once more: it has a scope of its own.
    pub(super) test: Option<(Target, Expr)>,
    pub(super) test_scope: Scope,
    pub(super) recursive: bool,
    pub(super) body: Block,
    pub(super) otherwise: Block,
    /// The slot of `loop`, if something asks for it.
    pub(super) state: Cell<Option<usize>>,
    /// Slots of the frame of a recursive loop.
    pub(super) slots: Cell<usize>,
}

/// The body of a macro or of `{% call %}`.
pub(super) struct Callable {
    pub(super) name: Option<Rc<str>>,
    pub(super) parameters: Vec<Name>,
    /// Of the last parameters.
    pub(super) defaults: Vec<Expr>,
    pub(super) block: Block,
    pub(super) slots: Cell<usize>,
    /// The slots of `caller`, `kwargs` and `varargs`, where the body asks for them.
    pub(super) caller: Cell<Option<usize>>,
    pub(super) kwargs: Cell<Option<usize>>,
    pub(super) varargs: Cell<Option<usize>>,
}

/// A named block, which is run where it stands and can be called.
pub(super) struct Named {
    pub(super) name: Rc<str>,
    pub(super) scoped: bool,
    pub(super) required: bool,
    pub(super) block: Block,
    pub(super) slots: Cell<usize>,
    pub(super) own_self: Cell<Option<usize>>,
    pub(super) parent: Cell<Option<usize>>,
    /// What a scoped block sees of the variables around it.
    pub(super) sees: OnceCell<Vec<(Rc<str>, Slot)>>,
}

/// A whole template.
pub(super) struct Template {
    pub(super) block: Block,
    pub(super) blocks: Vec<Rc<Named>>,
    pub(super) slots: Cell<usize>,
    pub(super) own_self: Cell<Option<usize>>,
}
