//! Visits the names in a template, in Jinja2's order.

use std::rc::Rc;

use super::ast::{Arguments, Body, Callable, Expr, For, Kind, Name, Statement, Suffix, Target};

/// How a name is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Load,
    Store,
}

/// Which of `names` a body reads before it assigns them. Blocks are not looked into.
pub(crate) fn undeclared<const N: usize>(body: &Body, names: [&str; N]) -> [bool; N] {
    let (mut found, mut assigned) = ([false; N], [false; N]);
    let mut see = |name: &Name, used: Use| {
        for (index, wanted) in names.iter().enumerate() {
            if *name.name == **wanted && !assigned[index] {
                match used {
                    Use::Load => found[index] = true,
                    Use::Store => assigned[index] = true,
                }
            }
        }
    };
    statements(body, &mut see);
    found
}

/// Whether a loop assigns a name anywhere.
pub(crate) fn assigns(node: &For, name: &str) -> bool {
    let mut found = false;
    let mut see = |other: &Name, used: Use| found |= used == Use::Store && *other.name == *name;
    target(&node.target, &mut see);
    statements(&node.body.body, &mut see);
    statements(&node.otherwise.body, &mut see);
    found
}

fn statements(body: &Body, see: &mut dyn FnMut(&Name, Use)) {
    for statement in body {
        in_statement(statement, see);
    }
}

fn in_statement(statement: &Statement, see: &mut dyn FnMut(&Name, Use)) {
    match &statement.kind {
        Kind::Data(_) | Kind::Break | Kind::Continue | Kind::Block(_) | Kind::Loads(_) => {}
        Kind::Output(expression) => expr(expression, see),
        Kind::If(branches, otherwise) => {
            for (test, body) in branches {
                expr(test, see);
                statements(body, see);
            }
            statements(otherwise, see);
        }
        Kind::For(node) => {
            target(&node.target, see);
            expr(&node.iterable, see);
            statements(&node.body.body, see);
            statements(&node.otherwise.body, see);
            if let Some((_, test)) = &node.test {
                expr(test, see);
            }
        }
        Kind::Set(to, value) => {
            target(to, see);
            expr(value, see);
        }
        Kind::SetBlock(to, filter, block) => {
            target(to, see);
            if let Some(filter) = filter {
                expr(filter, see);
            }
            statements(&block.body, see);
        }
        Kind::Macro(_, callable) | Kind::Generation(callable) => in_callable(callable, see),
        Kind::Call(call, callable) => {
            expr(call, see);
            in_callable(callable, see);
        }
        Kind::Filter(filter, block) => {
            statements(&block.body, see);
            expr(filter, see);
        }
        Kind::With(values, block) => {
            for (to, _) in values {
                target(to, see);
            }
            for (_, value) in values {
                expr(value, see);
            }
            statements(&block.body, see);
        }
        Kind::Autoescape(on, block) => {
            expr(on, see);
            statements(&block.body, see);
        }
    }
}

fn in_callable(callable: &Rc<Callable>, see: &mut dyn FnMut(&Name, Use)) {
    for name in &callable.parameters {
        see(name, Use::Store);
    }
    for default in &callable.defaults {
        expr(default, see);
    }
    statements(&callable.block.body, see);
}

pub(crate) fn target(node: &Target, see: &mut dyn FnMut(&Name, Use)) {
    match node {
        Target::Name(name) => see(name, Use::Store),
        Target::Attribute(name, _) => see(name, Use::Load),
        Target::Tuple(targets) => {
            for node in targets {
                target(node, see);
            }
        }
    }
}

pub(crate) fn expr(node: &Expr, see: &mut dyn FnMut(&Name, Use)) {
    match node {
        Expr::Const(_) | Expr::Written => {}
        Expr::Name(name) => see(name, Use::Load),
        Expr::Tuple(items) | Expr::List(items) | Expr::And(items) | Expr::Or(items) | Expr::Concat(items) => {
            for item in items {
                expr(item, see);
            }
        }
        Expr::Dict(entries) => {
            for (key, value) in entries {
                expr(key, see);
                expr(value, see);
            }
        }
        Expr::Chain(first, rest) => {
            expr(first, see);
            for (_, operand) in rest {
                expr(operand, see);
            }
        }
        Expr::Compare(first, rest) => {
            expr(first, see);
            for (_, operand) in rest {
                expr(operand, see);
            }
        }
        Expr::Negative(operand) | Expr::Positive(operand) | Expr::Not(operand) => expr(operand, see),
        Expr::If(condition) => {
            expr(&condition.test, see);
            expr(&condition.then, see);
            if let Some(node) = &condition.otherwise {
                expr(node, see);
            }
        }
        Expr::Postfix(first, suffixes) => {
            expr(first, see);
            for node in suffixes {
                suffix(node, see);
            }
        }
    }
}

fn suffix(node: &Suffix, see: &mut dyn FnMut(&Name, Use)) {
    match node {
        Suffix::Attribute(_) => {}
        Suffix::Item(item) => expr(item, see),
        Suffix::Slice(parts) => parts.iter().flatten().for_each(|part| expr(part, see)),
        Suffix::Call(arguments) => in_arguments(arguments, see),
        Suffix::Filter(filtered) => in_arguments(&filtered.arguments, see),
        Suffix::Test(tested) => in_arguments(&tested.arguments, see),
    }
}

fn in_arguments(arguments: &Arguments, see: &mut dyn FnMut(&Name, Use)) {
    for argument in &arguments.positional {
        expr(argument, see);
    }
    for (_, argument) in &arguments.named {
        expr(argument, see);
    }
    arguments.more.iter().chain(&arguments.more_named).for_each(|argument| expr(argument, see));
}
