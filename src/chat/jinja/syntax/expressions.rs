//! Jinja2's parser: expressions.

use std::rc::Rc;

use super::ast::{Arguments, Comparison, Conditional, Expr, Filtered, Name, Suffix, Target, Tested};
use super::lexer::Token;
use super::parser::Parser;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::filters;
use crate::chat::jinja::python::numbers::Operator;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::checks;

impl Parser<'_> {
    /// Parses the target of an assignment, up to one of the names in `ends`.
    pub(crate) fn target(&mut self, ends: &[&str], with_namespace: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if self.at_tuple_end(ends) {
                break;
            }
            targets.push(self.single_target(with_namespace)?);
            if !self.skip_sign(",") {
                break;
            }
            tuple = true;
        }
        match targets.pop() {
            Some(target) if !tuple => Ok(target),
            Some(target) => {
                targets.push(target);
                Ok(Target::Tuple(targets))
            }
            None => fail!(Syntax, "Expected an expression, got {}", self.describe()),
        }
    }

    fn single_target(&mut self, with_namespace: bool) -> Result<Target> {
        if with_namespace && let (Token::Name(name), Token::Sign(".")) = (self.token(), self.look()) {
            let name = Name::new(name);
            self.skip();
            self.skip();
            return Ok(Target::Attribute(name, self.expect_name()?.into()));
        }
        let expression = self.primary()?;
        as_target(expression)
    }

    fn at_tuple_end(&self, ends: &[&str]) -> bool {
        matches!(self.token(), Token::VariableEnd | Token::BlockEnd | Token::Sign(")"))
            || ends.iter().any(|end| self.is_name(end))
    }

    /// Parses an expression, or several as a tuple.
    pub(crate) fn tuple(&mut self, conditional: bool, ends: &[&str]) -> Result<Expr> {
        self.tuple_in(conditional, ends, false)
    }

    fn tuple_in(&mut self, conditional: bool, ends: &[&str], in_brackets: bool) -> Result<Expr> {
        let (mut items, mut tuple) = (Vec::new(), false);
        loop {
            if self.at_tuple_end(ends) {
                break;
            }
            items.push(self.expression(conditional)?);
            if !self.skip_sign(",") {
                break;
            }
            tuple = true;
        }
        if !tuple && let Some(item) = items.pop() {
            return Ok(item);
        }
        if items.is_empty() && !in_brackets {
            fail!(Syntax, "Expected an expression, got {}", self.describe());
        }
        Ok(Expr::Tuple(items))
    }

    pub(crate) fn expression(&mut self, conditional: bool) -> Result<Expr> {
        if conditional { self.nested(Self::condition) } else { self.nested(Self::or) }
    }

    fn condition(&mut self) -> Result<Expr> {
        let mut then = self.or()?;
        let mut rounds = 0;
        while self.skip_name("if") {
            rounds += 1;
            let test = self.or()?;
            let otherwise = if self.skip_name("else") { Some(self.nested(Self::condition)?) } else { None };
            then = Expr::If(Box::new(Conditional { test, then, otherwise }));
            if rounds > 50 {
                fail!(Bound, "an expression has more than 50 conditions without else");
            }
        }
        Ok(then)
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("or") {
            all.push(self.and()?);
        }
        Ok(Expr::Or(all))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("and") {
            all.push(self.not()?);
        }
        Ok(Expr::And(all))
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.compare()
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.token() {
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::NotEqual,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterEqual,
            Token::Name(name) if name == "in" => Comparison::In,
            Token::Name(name) if name == "not" => {
                if !matches!(self.look(), Token::Name(name) if name == "in") {
                    return None;
                }
                self.skip();
                Comparison::NotIn
            }
            _ => return None,
        };
        self.skip();
        Some(comparison)
    }

    fn compare(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(comparison) = self.comparison() {
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn chain(&mut self, operators: &[(&str, Operator)], operand: impl Fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.skip();
            rest.push((*operator, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_sign("~") {
            all.push(self.product()?);
        }
        Ok(Expr::Concat(all))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators = [("*", Operator::Mul), ("/", Operator::Div), ("//", Operator::FloorDiv), ("%", Operator::Mod)];
        self.chain(&operators, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.chain(&[("**", Operator::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        let node = if self.skip_sign("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_sign("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        self.suffixes(node, true, with_filter)
    }

    pub(crate) fn primary(&mut self) -> Result<Expr> {
        Ok(match self.next() {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Const(Value::Bool(true)),
                "false" | "False" => Expr::Const(Value::Bool(false)),
                "none" | "None" => Expr::Const(Value::None),
                _ => Expr::Name(Name::new(&name)),
            },
            Token::Str(mut text) => {
                while let Token::Str(more) = self.token() {
                    text.push_str(more);
                    self.skip();
                }
                Expr::Const(self.constant(text)?)
            }
            Token::Int(number) => Expr::Const(Value::Int(number)),
            Token::Float(number) => Expr::Const(Value::Float(number)),
            Token::Sign("(") => {
                let tuple = self.tuple_in(true, &[], true)?;
                self.expect_sign(")")?;
                tuple
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.is_sign("]") {
                    items.push(self.expression(true)?);
                    if !self.is_sign("]") {
                        self.expect_sign(",")?;
                    }
                }
                self.skip();
                Expr::List(items)
            }
            Token::Sign("{") => {
                let mut entries = Vec::new();
                while !self.is_sign("}") {
                    let key = self.expression(true)?;
                    self.expect_sign(":")?;
                    entries.push((key, self.expression(true)?));
                    if !self.is_sign("}") {
                        self.expect_sign(",")?;
                    }
                }
                self.skip();
                Expr::Dict(entries)
            }
            _ => {
                self.step_back();
                fail!(Syntax, "unexpected {}", self.describe())
            }
        })
    }

    /// Parses what follows `node`: subscripts and calls, then filters, tests and calls.
    fn suffixes(&mut self, node: Expr, subscripts: bool, filters: bool) -> Result<Expr> {
        let mut found = Vec::new();
        let mut subscripts = subscripts;
        loop {
            let suffix = match self.token() {
                Token::Sign("." | "[") if subscripts => self.subscript()?,
                Token::Sign("(") => Suffix::Call(self.arguments()?),
                Token::Sign("|") if filters => {
                    subscripts = false;
                    self.skip();
                    self.filter()?
                }
                Token::Name(name) if filters && name == "is" => {
                    subscripts = false;
                    self.skip();
                    self.test()?
                }
                _ => break,
            };
            found.push(suffix);
        }
        Ok(append(node, found))
    }

    fn subscript(&mut self) -> Result<Suffix> {
        if self.skip_sign(".") {
            return Ok(match self.next() {
                Token::Name(name) => Suffix::Attribute(name.into()),
                Token::Int(number) => Suffix::Item(Expr::Const(Value::Int(number))),
                _ => fail!(Syntax, "expected name or number"),
            });
        }
        self.skip();
        let mut items = Vec::new();
        let mut slice = None;
        while !self.is_sign("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_sign(",")?;
            }
            match self.subscribed()? {
                Suffix::Item(item) => items.push(item),
                other => slice = Some(other),
            }
            if slice.is_some() && (!items.is_empty() || !self.is_sign("]")) {
                fail!(Unsupported, "slices among several subscripts");
            }
        }
        self.skip();
        Ok(match (slice, items.len()) {
            (Some(slice), _) => slice,
            (None, 1) => Suffix::Item(items.remove(0)),
            (None, _) => Suffix::Item(Expr::Tuple(items)),
        })
    }

    fn subscribed(&mut self) -> Result<Suffix> {
        let ends = |parser: &Self| parser.is_sign(":") || parser.is_sign("]") || parser.is_sign(",");
        let start = if self.is_sign(":") { None } else { Some(self.expression(true)?) };
        if !self.skip_sign(":") {
            return match start {
                Some(item) => Ok(Suffix::Item(item)),
                None => fail!(Syntax, "expected subscript expression"),
            };
        }
        let stop = if ends(self) { None } else { Some(self.expression(true)?) };
        let step = if self.skip_sign(":") && !ends(self) { Some(self.expression(true)?) } else { None };
        Ok(Suffix::Slice(Box::new([start, stop, step])))
    }

    fn arguments(&mut self) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        self.expect_sign("(")?;
        let mut first = true;
        while !self.is_sign(")") {
            if !std::mem::take(&mut first) {
                self.expect_sign(",")?;
                if self.is_sign(")") {
                    break;
                }
            }
            let valid = if self.skip_sign("*") {
                let valid = arguments.more.is_none() && arguments.more_named.is_none();
                arguments.more = Some(self.expression(true)?);
                valid
            } else if self.skip_sign("**") {
                let valid = arguments.more_named.is_none();
                arguments.more_named = Some(self.expression(true)?);
                valid
            } else if let (Token::Name(name), Token::Sign("=")) = (self.token(), self.look()) {
                let name: Rc<str> = name.as_str().into();
                self.skip();
                self.skip();
                let valid = arguments.more_named.is_none() && arguments.named.iter().all(|(other, _)| *other != name);
                arguments.named.push((name, self.expression(true)?));
                valid
            } else {
                let valid = arguments.more.is_none() && arguments.more_named.is_none() && arguments.named.is_empty();
                arguments.positional.push(self.expression(true)?);
                valid
            };
            if !valid {
                fail!(Syntax, "invalid syntax for function call expression");
            }
        }
        self.skip();
        Ok(arguments)
    }

    /// Parses a name that may have dots.
    fn dotted_name(&mut self) -> Result<String> {
        let mut name = self.expect_name()?;
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name)
    }

    fn filter(&mut self) -> Result<Suffix> {
        let name = self.dotted_name()?;
        let arguments = if self.is_sign("(") { self.arguments()? } else { Arguments::default() };
        Ok(Suffix::Filter(Box::new(Filtered { filter: filters::find(&name), name, arguments })))
    }

    /// Parses one or more filters on `node`. With `first_inline`, the first has no `|` in front.
    pub(crate) fn filters(&mut self, node: Expr, first_inline: bool) -> Result<Expr> {
        let mut found = Vec::new();
        if first_inline {
            found.push(self.filter()?);
        }
        while self.skip_sign("|") {
            found.push(self.filter()?);
        }
        Ok(append(node, found))
    }

    fn test(&mut self) -> Result<Suffix> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        match self.token() {
            Token::Sign("(") => arguments = self.arguments()?,
            Token::Name(name) if name == "is" => fail!(Syntax, "You cannot chain multiple tests with is"),
            Token::Name(name) if matches!(name.as_str(), "else" | "or" | "and") => {}
            Token::Name(_) | Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Sign("[" | "{") => {
                let argument = self.nested(Self::primary)?;
                arguments.positional.push(self.suffixes(argument, true, false)?);
            }
            _ => {}
        }
        Ok(Suffix::Test(Box::new(Tested { test: checks::find(&name), name, negated, arguments })))
    }
}

/// `node` with the suffixes `found` behind it.
fn append(node: Expr, mut found: Vec<Suffix>) -> Expr {
    match node {
        node if found.is_empty() => node,
        Expr::Postfix(node, mut suffixes) => {
            suffixes.append(&mut found);
            Expr::Postfix(node, suffixes)
        }
        node => Expr::Postfix(Box::new(node), found),
    }
}

fn as_target(expression: Expr) -> Result<Target> {
    match expression {
        Expr::Name(name) => Ok(Target::Name(name)),
        Expr::Tuple(items) => Ok(Target::Tuple(items.into_iter().map(as_target).collect::<Result<_>>()?)),
        _ => fail!(Syntax, "can't assign to an expression"),
    }
}
