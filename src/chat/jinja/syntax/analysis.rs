//! Gives every name of a template its slot, and refuses errors that can be seen before the template runs.

use std::rc::Rc;

use super::ast::{Block, Body, Callable, Expr, For, Kind, Name, Named, Scope, Statement, Suffix, Target, Template};
use super::scopes::{Branch, Scopes};
use super::walk::{self, Use, undeclared};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::Meter;

struct Analysis<'a> {
    scopes: Scopes<'a>,
}

/// What surrounds a statement.
#[derive(Clone, Copy)]
struct Place {
    scope: usize,
    /// Whether it is inside `if`: there, unknown filters and tests are refused only when they run.
    soft: bool,
    /// Whether it is inside a loop of the same function.
    in_loop: bool,
}

impl Place {
    fn at(scope: usize) -> Self {
        Self { scope, soft: false, in_loop: false }
    }

    fn inner(self, scope: usize) -> Self {
        Self { scope, soft: false, ..self }
    }
}

/// Gives every name of `template` its slot.
pub(crate) fn analyse(meter: &Rc<Meter>, template: &Template) -> Result<()> {
    let mut analysis = Analysis { scopes: Scopes::new(meter)? };
    let root = analysis.scopes.function(None);
    if undeclared(&template.block.body, ["self"])[0] {
        template.own_self.set(Some(analysis.scopes.parameter(root, &"self".into())));
    }
    analysis.see_all(root, &template.block.body)?;
    analysis.resolve_all(Place::at(root), &template.block.body)?;
    analysis.finish(root, &template.block.scope)?;
    template.slots.set(analysis.scopes.slots(root));
    template.blocks.iter().try_for_each(|block| analysis.named_block(block))
}

/// The first pass over a scope finds the names.
impl Analysis<'_> {
    fn see_all(&mut self, scope: usize, body: &Body) -> Result<()> {
        body.iter().try_for_each(|statement| self.see(scope, statement))
    }

    fn see_expr(&mut self, scope: usize, node: &Expr) -> Result<()> {
        let mut outcome = Ok(());
        walk::expr(node, &mut |name, _| {
            if outcome.is_ok() {
                outcome = self.scopes.load(scope, &name.name);
            }
        });
        outcome
    }

    fn see_target(&mut self, scope: usize, node: &Target, parameter: bool) -> Result<()> {
        let mut outcome = Ok(());
        walk::target(node, &mut |name, used| {
            if outcome.is_ok() {
                outcome = match used {
                    Use::Load => self.scopes.load(scope, &name.name),
                    Use::Store if parameter => {
                        self.scopes.parameter(scope, &name.name);
                        Ok(())
                    }
                    Use::Store => self.scopes.store(scope, &name.name),
                };
            }
        });
        outcome
    }

    fn see(&mut self, scope: usize, statement: &Statement) -> Result<()> {
        match &statement.kind {
            Kind::Output(node) => self.see_expr(scope, node),
            Kind::If(branches, otherwise) => self.see_if(scope, branches, otherwise),
            Kind::For(node) => self.see_expr(scope, &node.iterable),
            Kind::Set(target, value) => {
                self.see_expr(scope, value)?;
                self.see_target(scope, target, false)
            }
            Kind::SetBlock(target, ..) => self.see_target(scope, target, false),
            Kind::Macro(name, _) => self.scopes.store(scope, &name.name),
            Kind::Call(call, _) => self.see_expr(scope, call),
            Kind::Filter(filter, _) => self.see_expr(scope, filter),
            Kind::With(values, _) => values.iter().try_for_each(|(_, value)| self.see_expr(scope, value)),
            Kind::Data(_)
            | Kind::Break
            | Kind::Continue
            | Kind::Generation(_)
            | Kind::Autoescape(..)
            | Kind::Block(_)
            | Kind::Loads(_) => Ok(()),
        }
    }

    fn see_if(&mut self, scope: usize, branches: &[(Expr, Body)], otherwise: &Body) -> Result<()> {
        let Some(((test, body), elifs)) = branches.split_first() else { return Ok(()) };
        self.see_expr(scope, test)?;
        let before = self.scopes.branch(scope)?;
        let mut joined: Vec<Branch> = Vec::new();
        self.see_all(scope, body)?;
        joined.push(self.scopes.swap(scope, &before));
        for branch in elifs {
            self.see_if(scope, std::slice::from_ref(branch), &Vec::new())?;
        }
        joined.push(self.scopes.swap(scope, &before));
        self.see_all(scope, otherwise)?;
        joined.push(self.scopes.swap(scope, &before));
        self.scopes.join(scope, joined)
    }
}

/// The second pass over a scope gives each name its meaning, and visits the scopes inside.
impl Analysis<'_> {
    fn name(&mut self, scope: usize, name: &Name) -> Result<()> {
        self.scopes.load(scope, &name.name)?;
        let Some(variable) = self.scopes.find(scope, &name.name) else { fail!(Syntax, "'{}' has no place", name.name) };
        name.slot.set(self.scopes.slot(scope, variable)?);
        Ok(())
    }

    fn target(&mut self, scope: usize, node: &Target) -> Result<()> {
        let mut outcome = Ok(());
        walk::target(node, &mut |name, _| {
            if outcome.is_ok() {
                outcome = self.name(scope, name);
            }
        });
        outcome
    }

    fn expr(&mut self, place: Place, node: &Expr) -> Result<()> {
        let mut outcome = Ok(());
        walk::expr(node, &mut |name, _| {
            if outcome.is_ok() {
                outcome = self.name(place.scope, name);
            }
        });
        outcome?;
        if place.soft { Ok(()) } else { known(node) }
    }

    fn finish(&mut self, scope: usize, node: &Scope) -> Result<()> {
        let loads = self.scopes.loads(scope)?;
        node.loads.get_or_init(|| loads);
        Ok(())
    }

    /// Analyses a body with a scope of its own inside `place`.
    fn block(&mut self, place: Place, scope: usize, block: &Block) -> Result<()> {
        self.see_all(scope, &block.body)?;
        self.resolve_all(place.inner(scope), &block.body)?;
        self.finish(scope, &block.scope)
    }

    fn resolve_all(&mut self, place: Place, body: &Body) -> Result<()> {
        for statement in body {
            if let Err(mut error) = self.resolve(place, statement) {
                error.line = if error.line == 0 { statement.line } else { error.line };
                return Err(error);
            }
        }
        Ok(())
    }

    fn resolve(&mut self, place: Place, statement: &Statement) -> Result<()> {
        match &statement.kind {
            Kind::Data(_) | Kind::Loads(_) => Ok(()),
            Kind::Output(node) => self.expr(place, node),
            Kind::If(branches, otherwise) => {
                let soft = Place { soft: true, ..place };
                for (test, body) in branches {
                    self.expr(soft, test)?;
                    self.resolve_all(soft, body)?;
                }
                self.resolve_all(soft, otherwise)
            }
            Kind::For(node) => self.for_loop(place, node),
            Kind::Break | Kind::Continue if place.in_loop => Ok(()),
            Kind::Break | Kind::Continue => fail!(Syntax, "'break' or 'continue' outside loop"),
            Kind::Set(target, value) => {
                self.target(place.scope, target)?;
                self.expr(place, value)
            }
            Kind::SetBlock(target, filter, block) => {
                self.target(place.scope, target)?;
                let scope = self.scopes.inner(place.scope, false);
                self.see_all(scope, &block.body)?;
                filter.iter().try_for_each(|filter| self.expr(place.inner(scope), filter))?;
                self.resolve_all(place.inner(scope), &block.body)?;
                self.finish(scope, &block.scope)
            }
            Kind::Macro(name, callable) => {
                self.callable(place, callable)?;
                self.name(place.scope, name)
            }
            Kind::Call(call, callable) => {
                self.callable(place, callable)?;
                self.expr(place, call)
            }
            Kind::Generation(callable) => self.callable(place, callable),
            Kind::Filter(filter, block) => {
                let scope = self.scopes.inner(place.scope, false);
                self.see_all(scope, &block.body)?;
                self.see_expr(scope, filter)?;
                self.expr(place.inner(scope), filter)?;
                self.resolve_all(place.inner(scope), &block.body)?;
                self.finish(scope, &block.scope)
            }
            Kind::With(values, block) => {
                let scope = self.scopes.inner(place.scope, false);
                values.iter().try_for_each(|(target, _)| self.see_target(scope, target, true))?;
                for (target, value) in values {
                    self.target(scope, target)?;
                    self.expr(place, value)?;
                }
                self.block(place, scope, block)
            }
            Kind::Autoescape(on, block) => {
                let scope = self.scopes.inner(place.scope, false);
                self.see_expr(scope, on)?;
                self.expr(place.inner(scope), on)?;
                self.block(place, scope, block)
            }
            Kind::Block(block) => {
                if block.scoped {
                    let sees = self.scopes.stores(place.scope)?;
                    block.sees.get_or_init(|| sees);
                }
                Ok(())
            }
        }
    }

    fn for_loop(&mut self, place: Place, node: &For) -> Result<()> {
        self.expr(place, &node.iterable)?;
        let outer = place.scope;
        let scope = if node.recursive { self.scopes.function(Some(outer)) } else { self.scopes.inner(outer, false) };
        let has_scoped_block = contains_scoped_block(&node.body.body);
        if node.recursive || has_scoped_block || undeclared(&node.body.body, ["loop"])[0] {
            node.state.set(Some(self.scopes.parameter(scope, &"loop".into())));
        }
        if walk::assigns(node, "loop") {
            fail!(Syntax, "Can't assign to special loop variable in for-loop target");
        }
        self.see_target(scope, &node.target, true)?;
        self.target(scope, &node.target)?;
        if let Some((target, test)) = &node.test {
            let condition = self.scopes.beside(scope, true);
            self.see_target(condition, target, true)?;
            self.see_expr(condition, test)?;
            self.target(condition, target)?;
            self.expr(Place { in_loop: false, ..place.inner(condition) }, test)?;
            self.finish(condition, &node.test_scope)?;
        }
        self.block(Place { in_loop: true, ..place }, scope, &node.body)?;
        let otherwise = self.scopes.beside(scope, false);
        let in_loop = place.in_loop && !node.recursive;
        self.block(Place { in_loop, ..place }, otherwise, &node.otherwise)?;
        node.slots.set(self.scopes.slots(scope));
        Ok(())
    }

    fn callable(&mut self, place: Place, callable: &Callable) -> Result<()> {
        let scope = self.scopes.function(Some(place.scope));
        let body = &callable.block.body;
        let explicit = |name: &str| callable.parameters.iter().any(|parameter| &*parameter.name == name);
        let [caller, kwargs, varargs] = undeclared(body, ["caller", "kwargs", "varargs"]);
        for parameter in &callable.parameters {
            self.scopes.parameter(scope, &parameter.name);
        }
        if caller && explicit("caller") {
            let without_default = callable.parameters.len() - callable.defaults.len();
            if callable.parameters[..without_default].iter().any(|parameter| &*parameter.name == "caller") {
                fail!(Syntax, "the special \"caller\" argument must be omitted or be given a default");
            }
        } else if caller {
            callable.caller.set(Some(self.scopes.parameter(scope, &"caller".into())));
        }
        if kwargs && !explicit("kwargs") {
            callable.kwargs.set(Some(self.scopes.parameter(scope, &"kwargs".into())));
        }
        if varargs && !explicit("varargs") {
            callable.varargs.set(Some(self.scopes.parameter(scope, &"varargs".into())));
        }
        let inside = Place::at(scope);
        callable.defaults.iter().try_for_each(|default| self.see_expr(scope, default))?;
        self.see_all(scope, body)?;
        for parameter in &callable.parameters {
            self.name(scope, parameter)?;
        }
        callable.defaults.iter().try_for_each(|default| self.expr(inside, default))?;
        self.resolve_all(inside, body)?;
        self.finish(scope, &callable.block.scope)?;
        callable.slots.set(self.scopes.slots(scope));
        Ok(())
    }

    fn named_block(&mut self, block: &Named) -> Result<()> {
        let scope = self.scopes.function(None);
        let [own_self, parent] = undeclared(&block.block.body, ["self", "super"]);
        if own_self {
            block.own_self.set(Some(self.scopes.parameter(scope, &"self".into())));
        }
        if parent {
            block.parent.set(Some(self.scopes.parameter(scope, &"super".into())));
        }
        self.block(Place::at(scope), scope, &block.block)?;
        block.slots.set(self.scopes.slots(scope));
        Ok(())
    }
}

fn contains_scoped_block(body: &Body) -> bool {
    body.iter().any(|statement| match &statement.kind {
        Kind::Block(block) => block.scoped || contains_scoped_block(&block.block.body),
        Kind::If(branches, otherwise) => {
            branches.iter().any(|(_, body)| contains_scoped_block(body)) || contains_scoped_block(otherwise)
        }
        Kind::For(node) => contains_scoped_block(&node.body.body) || contains_scoped_block(&node.otherwise.body),
        Kind::SetBlock(_, _, block) | Kind::Filter(_, block) | Kind::With(_, block) | Kind::Autoescape(_, block) => {
            contains_scoped_block(&block.body)
        }
        Kind::Macro(_, callable) | Kind::Call(_, callable) | Kind::Generation(callable) => {
            contains_scoped_block(&callable.block.body)
        }
        _ => false,
    })
}

/// Refuses filters and tests that do not exist, unless they are behind a condition.
fn known(node: &Expr) -> Result<()> {
    match node {
        Expr::Const(_) | Expr::Written | Expr::Name(_) | Expr::If(_) => Ok(()),
        Expr::Tuple(items) | Expr::List(items) | Expr::And(items) | Expr::Or(items) | Expr::Concat(items) => {
            items.iter().try_for_each(known)
        }
        Expr::Dict(entries) => entries.iter().try_for_each(|(key, value)| known(key).and_then(|()| known(value))),
        Expr::Chain(first, rest) => {
            known(first)?;
            rest.iter().try_for_each(|(_, operand)| known(operand))
        }
        Expr::Compare(first, rest) => {
            known(first)?;
            rest.iter().try_for_each(|(_, operand)| known(operand))
        }
        Expr::Negative(operand) | Expr::Positive(operand) | Expr::Not(operand) => known(operand),
        Expr::Postfix(first, suffixes) => {
            known(first)?;
            suffixes.iter().try_for_each(known_suffix)
        }
    }
}

fn known_suffix(suffix: &Suffix) -> Result<()> {
    let arguments = match suffix {
        Suffix::Attribute(_) => return Ok(()),
        Suffix::Item(item) => return known(item),
        Suffix::Slice(parts) => return parts.iter().flatten().try_for_each(known),
        Suffix::Call(arguments) => arguments,
        Suffix::Filter(filtered) if filtered.filter.is_none() => {
            fail!(Syntax, "No filter named '{}'.", filtered.name)
        }
        Suffix::Test(tested) if tested.test.is_none() => fail!(Syntax, "No test named '{}'.", tested.name),
        Suffix::Filter(filtered) => &filtered.arguments,
        Suffix::Test(tested) => &tested.arguments,
    };
    arguments.positional.iter().try_for_each(known)?;
    arguments.named.iter().try_for_each(|(_, argument)| known(argument))?;
    arguments.more.iter().chain(&arguments.more_named).try_for_each(known)
}
