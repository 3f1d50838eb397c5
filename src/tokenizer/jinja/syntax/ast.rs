//! A parsed template.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use crate::tokenizer::jinja::filters::Filter;
use crate::tokenizer::jinja::python::numbers::Operator;
use crate::tokenizer::jinja::python::value::Value;
use crate::tokenizer::jinja::run::checks::Check;

/// A variable, by name and, once the template is analysed, by place.
pub(crate) struct Name {
    pub(crate) name: Rc<str>,
    pub(crate) slot: Cell<Slot>,
}

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), slot: Cell::default() }
    }
}

/// Where a variable is: in which of the enclosing frames, and there in which slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    pub(crate) up: usize,
    pub(crate) index: usize,
}

/// What a scope does with a variable when it begins.
#[derive(Debug, Clone)]
pub(crate) enum Load {
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
    /// What is applied from left to right.
    Postfix(Box<Expr>, Vec<Suffix>),
    /// What a block has written, which its filter takes.
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
pub(crate) struct Block {
    pub(crate) scope: Scope,
    pub(crate) body: Body,
}

pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) iterable: Expr,
    /// The condition of each round, with the same target once more: it has a scope of its own.
    pub(crate) test: Option<(Target, Expr)>,
    pub(crate) test_scope: Scope,
    pub(crate) recursive: bool,
    pub(crate) body: Block,
    pub(crate) otherwise: Block,
    /// The slot of `loop`, if something asks for it.
    pub(crate) state: Cell<Option<usize>>,
    /// Slots of the frame of a recursive loop.
    pub(crate) slots: Cell<usize>,
}

/// The body of a macro or of `{% call %}`.
pub(crate) struct Callable {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) parameters: Vec<Name>,
    /// Of the last parameters.
    pub(crate) defaults: Vec<Expr>,
    pub(crate) block: Block,
    pub(crate) slots: Cell<usize>,
    /// The slots of `caller`, `kwargs` and `varargs`, where the body asks for them.
    pub(crate) caller: Cell<Option<usize>>,
    pub(crate) kwargs: Cell<Option<usize>>,
    pub(crate) varargs: Cell<Option<usize>>,
}

/// A named block, which is run where it stands and can be called.
pub(crate) struct Named {
    pub(crate) name: Rc<str>,
    pub(crate) scoped: bool,
    pub(crate) required: bool,
    pub(crate) block: Block,
    pub(crate) slots: Cell<usize>,
    pub(crate) own_self: Cell<Option<usize>>,
    pub(crate) parent: Cell<Option<usize>>,
    /// What a scoped block sees of the variables around it.
    pub(crate) sees: OnceCell<Vec<(Rc<str>, Slot)>>,
}

/// A whole template.
pub(crate) struct Template {
    pub(crate) block: Block,
    pub(crate) blocks: Vec<Rc<Named>>,
    pub(crate) slots: Cell<usize>,
    pub(crate) own_self: Cell<Option<usize>>,
}
