//! Finds the variable that a name means, by the rules of Jinja2's `idtracking`, so that scopes behave as in Jinja2 in
//! every corner.
//!
//! A function (the template, a macro, a recursive loop, a block) has a frame of slots. A scope (a function's body, a
//! loop, `with` and the like) says what each of its variables holds when the scope begins.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::ast::{Load, Slot};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::{Charge, Meter};

/// A variable: the number of its function, and of its slot there.
pub(crate) type Variable = (usize, usize);

/// What a scope does with a variable when it begins. Variables are absolute here; [`Load`] counts frames from the
/// scope.
#[derive(Debug, Clone)]
enum Start {
    Parameter,
    Resolve(Rc<str>),
    Copy(Variable),
    Undefined,
}

#[derive(Debug, Clone)]
struct Scope {
    parent: Option<usize>,
    level: usize,
    function: usize,
    /// Whether this is the condition of a loop, which has names of its own: Jinja2 makes a function of it.
    condition: bool,
    refs: HashMap<Rc<str>, Variable>,
    starts: HashMap<usize, Start>,
    stores: HashSet<Rc<str>>,
}

struct Function {
    depth: usize,
    slots: HashMap<(bool, usize, Rc<str>), usize>,
}

/// All scopes and functions of a template.
pub(crate) struct Scopes<'a> {
    meter: &'a Rc<Meter>,
    /// For the copies of scopes.
    charge: Charge,
    all: Vec<Scope>,
    functions: Vec<Function>,
}

/// Bytes that a name takes in a copy of a scope.
const NAME: usize = 128;

/// The names of a scope at one moment. Branches of an `if` do not see each other's.
pub(crate) struct Branch(Scope);

impl<'a> Scopes<'a> {
    pub(crate) fn new(meter: &'a Rc<Meter>) -> Result<Self> {
        Ok(Self { meter, charge: meter.hold(0)?, all: Vec::new(), functions: Vec::new() })
    }

    /// Adds a function inside the function of scope `parent`, and returns the new function's first scope.
    pub(crate) fn function(&mut self, parent: Option<usize>) -> usize {
        let outer = parent.map(|scope| self.all[scope].function);
        let depth = outer.map_or(0, |function| self.functions[function].depth + 1);
        self.functions.push(Function { depth, slots: HashMap::new() });
        self.push(parent, self.functions.len() - 1, false)
    }

    /// Adds a scope inside another.
    pub(crate) fn inner(&mut self, parent: usize, condition: bool) -> usize {
        self.push(Some(parent), self.all[parent].function, condition)
    }

    /// Adds a scope beside another, inside the same scope and of the same function.
    pub(crate) fn beside(&mut self, scope: usize, condition: bool) -> usize {
        self.push(self.all[scope].parent, self.all[scope].function, condition)
    }

    fn push(&mut self, parent: Option<usize>, function: usize, condition: bool) -> usize {
        let level = parent.map_or(0, |scope| self.all[scope].level + 1);
        let (refs, starts, stores) = Default::default();
        self.all.push(Scope { parent, level, function, condition, refs, starts, stores });
        self.all.len() - 1
    }

    pub(crate) fn find(&self, scope: usize, name: &str) -> Option<Variable> {
        let mut at = Some(scope);
        while let Some(scope) = at {
            if let Some(variable) = self.all[scope].refs.get(name) {
                return Some(*variable);
            }
            at = self.all[scope].parent;
        }
        None
    }

    fn define(&mut self, scope: usize, name: &Rc<str>, start: Start) -> usize {
        let this = &mut self.all[scope];
        let slots = &mut self.functions[this.function].slots;
        let next = slots.len();
        let slot = *slots.entry((this.condition, this.level, Rc::clone(name))).or_insert(next);
        this.refs.insert(Rc::clone(name), (this.function, slot));
        this.starts.insert(slot, start);
        slot
    }

    /// Notes a name whose value the call passes.
    pub(crate) fn parameter(&mut self, scope: usize, name: &Rc<str>) -> usize {
        self.all[scope].stores.insert(Rc::clone(name));
        self.define(scope, name, Start::Parameter)
    }

    /// Notes a name that is assigned.
    pub(crate) fn store(&mut self, scope: usize, name: &Rc<str>) -> Result<()> {
        self.meter.step(1)?;
        self.all[scope].stores.insert(Rc::clone(name));
        if self.all[scope].refs.contains_key(name) {
            return Ok(());
        }
        let outer = self.all[scope].parent.and_then(|parent| self.find(parent, name));
        self.define(scope, name, outer.map_or(Start::Undefined, Start::Copy));
        Ok(())
    }

    /// Notes a name that is read.
    pub(crate) fn load(&mut self, scope: usize, name: &Rc<str>) -> Result<()> {
        self.meter.step(1)?;
        if self.find(scope, name).is_none() {
            self.define(scope, name, Start::Resolve(Rc::clone(name)));
        }
        Ok(())
    }

    /// The names of a scope as they are now, to be restored.
    pub(crate) fn branch(&mut self, scope: usize) -> Result<Branch> {
        let scope = &self.all[scope];
        let names = scope.refs.len() + scope.starts.len() + scope.stores.len();
        self.meter.step(1 + names as u64)?;
        self.charge.grow(names * NAME)?;
        Ok(Branch(scope.clone()))
    }

    /// Restores `before`, and returns the names that it replaces.
    pub(crate) fn swap(&mut self, scope: usize, before: &Branch) -> Branch {
        Branch(std::mem::replace(&mut self.all[scope], before.0.clone()))
    }

    /// Joins the branches of an `if`. A variable that only some of them assign begins with the value that it has
    /// outside.
    pub(crate) fn join(&mut self, scope: usize, branches: Vec<Branch>) -> Result<()> {
        let mut stores = HashSet::new();
        for Branch(branch) in &branches {
            self.meter.step(1 + branch.refs.len() as u64)?;
            stores.extend(branch.stores.difference(&self.all[scope].stores).cloned());
        }
        for Branch(branch) in branches {
            let this = &mut self.all[scope];
            this.refs.extend(branch.refs);
            this.starts.extend(branch.starts);
            this.stores.extend(branch.stores);
        }
        for name in stores {
            let Some((_, slot)) = self.find(scope, &name) else { continue };
            let outer = self.all[scope].parent.and_then(|parent| self.find(parent, &name));
            self.all[scope].starts.insert(slot, outer.map_or(Start::Resolve(name), Start::Copy));
        }
        Ok(())
    }

    /// The slot of a variable, seen from a scope.
    pub(crate) fn slot(&self, scope: usize, (function, index): Variable) -> Result<Slot> {
        let here = self.all[scope].function;
        let up = self.functions[here].depth.checked_sub(self.functions[function].depth);
        let Some(up) = up else { fail!(Syntax, "a variable of an inner scope") };
        Ok(Slot { up, index })
    }

    /// What a scope does with its variables when it begins.
    pub(crate) fn loads(&self, scope: usize) -> Result<Vec<(usize, Load)>> {
        let mut loads = Vec::new();
        for (slot, start) in &self.all[scope].starts {
            let load = match start {
                Start::Parameter => Load::Parameter,
                Start::Resolve(name) => Load::Resolve(Rc::clone(name)),
                Start::Copy(variable) => Load::Copy(self.slot(scope, *variable)?),
                Start::Undefined => Load::Undefined,
            };
            loads.push((*slot, load));
        }
        Ok(loads)
    }

    /// How many slots the function of a scope has.
    pub(crate) fn slots(&self, scope: usize) -> usize {
        self.functions[self.all[scope].function].slots.len()
    }

    /// Every name that is assigned in a scope or around it, and its slot.
    pub(crate) fn stores(&self, scope: usize) -> Result<Vec<(Rc<str>, Slot)>> {
        let (mut names, mut at) = (HashMap::new(), Some(scope));
        while let Some(here) = at {
            for name in &self.all[here].stores {
                if let Some(variable) = self.find(scope, name) {
                    names.insert(Rc::clone(name), self.slot(scope, variable)?);
                }
            }
            at = self.all[here].parent;
        }
        Ok(names.into_iter().collect())
    }
}
