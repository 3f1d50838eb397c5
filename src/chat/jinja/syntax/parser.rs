//! Jinja2's parser: statements. Expressions are in `expressions`.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::ast::{Block, Body, Callable, Expr, For, Kind, Name, Named, Scope, Statement, Suffix};
use super::lexer::Token;
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::meter::Meter;
use crate::chat::jinja::python::text::Text;
use crate::chat::jinja::python::value::Value;

/// How deep tags and brackets may nest. Python, which compiles templates for Jinja2, stops near 100 brackets.
const NESTING: usize = 150;

pub(crate) struct Parser<'a> {
    pub(crate) meter: &'a Rc<Meter>,
    tokens: Vec<(Token, u32)>,
    at: usize,
    depth: usize,
    pub(crate) blocks: Vec<Rc<Named>>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(meter: &'a Rc<Meter>, tokens: Vec<(Token, u32)>) -> Self {
        Self { meter, tokens, at: 0, depth: 0, blocks: Vec::new() }
    }

    pub(crate) fn token(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    pub(crate) fn look(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |(token, _)| token)
    }

    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    pub(crate) fn step_back(&mut self) {
        self.at -= 1;
    }

    /// Returns the current token and moves on.
    pub(crate) fn next(&mut self) -> Token {
        let token = self.token().clone();
        self.skip();
        token
    }

    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(other) if *other == sign)
    }

    pub(crate) fn is_name(&self, name: &str) -> bool {
        matches!(self.token(), Token::Name(other) if other == name)
    }

    pub(crate) fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_sign(&mut self, sign: &str) -> Result<()> {
        if self.skip_sign(sign) {
            return Ok(());
        }
        fail!(Syntax, "expected '{sign}', got {}", self.describe())
    }

    pub(crate) fn expect_name(&mut self) -> Result<String> {
        if let Token::Name(name) = self.next() {
            return Ok(name);
        }
        self.step_back();
        fail!(Syntax, "expected a name, got {}", self.describe())
    }

    pub(crate) fn describe(&self) -> String {
        match self.token() {
            Token::Data(_) => "text".to_owned(),
            Token::VariableBegin => "'{{'".to_owned(),
            Token::VariableEnd => "'}}'".to_owned(),
            Token::BlockBegin => "'{%'".to_owned(),
            Token::BlockEnd => "'%}'".to_owned(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(text) => format!("'{text}'"),
            Token::Int(number) => number.to_string(),
            Token::Float(number) => number.to_string(),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::End => "the end of the template".to_owned(),
        }
    }

    /// Runs `parse` one level deeper.
    pub(crate) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > NESTING {
            fail!(Bound, "its tags and brackets nest deeper than {NESTING}");
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    pub(crate) fn constant(&self, text: String) -> Result<Value> {
        Ok(Value::Str(Text::new(self.meter, text)?))
    }

    /// Parses the whole template.
    pub(crate) fn parse(&mut self) -> Result<Body> {
        let body = self.body(&[]);
        body.map_err(|mut error| {
            error.line = self.line();
            error
        })
    }

    /// Parses statements up to a tag with one of the names `ends`. The name is then the current token.
    fn body(&mut self, ends: &[&str]) -> Result<Body> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.token() {
                Token::Data(_) => {
                    let Token::Data(text) = self.next() else { continue };
                    body.push(Statement { line, kind: Kind::Data(self.constant(text)?) });
                }
                Token::VariableBegin => {
                    self.skip();
                    let kind = Kind::Output(self.tuple(true, &[])?);
                    if *self.token() != Token::VariableEnd {
                        fail!(Syntax, "expected '}}}}', got {}", self.describe());
                    }
                    self.skip();
                    body.push(Statement { line, kind });
                }
                Token::BlockBegin => {
                    self.skip();
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let line = self.line();
                    self.nested(|parser| parser.statement(line, &mut body))?;
                    self.expect_block_end()?;
                }
                Token::End if ends.is_empty() => return Ok(body),
                Token::End => fail!(Syntax, "the template ends before {{% {} %}}", ends.join(" or ")),
                _ => fail!(Syntax, "unexpected {}", self.describe()),
            }
        }
    }

    fn expect_block_end(&mut self) -> Result<()> {
        if *self.token() != Token::BlockEnd {
            fail!(Syntax, "expected '%}}', got {}", self.describe());
        }
        self.skip();
        Ok(())
    }

    /// Parses the body behind an opening tag.
    fn statements(&mut self, ends: &[&str]) -> Result<Body> {
        self.skip_sign(":");
        self.expect_block_end()?;
        self.body(ends)
    }

    /// Parses the body behind an opening tag, and the closing tag.
    fn block(&mut self, end: &str) -> Result<Block> {
        let body = self.statements(&[end])?;
        self.skip();
        Ok(Block { scope: Scope::default(), body })
    }

    fn statement(&mut self, line: u32, body: &mut Body) -> Result<()> {
        let Token::Name(tag) = self.next() else {
            self.at -= 1;
            fail!(Syntax, "tag name expected")
        };
        let kind = match tag.as_str() {
            "for" => self.for_loop()?,
            "if" => self.if_else()?,
            "set" => self.set()?,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "macro" => {
                let name = self.expect_target_name()?;
                let callable = self.callable(Some(&name), "endmacro")?;
                Kind::Macro(Name::new(&name), Rc::new(callable))
            }
            "call" => {
                let parameters = if self.is_sign("(") { self.signature()? } else { Default::default() };
                let call = self.expression(true)?;
                if !matches!(&call, Expr::Postfix(_, suffixes) if matches!(suffixes.last(), Some(Suffix::Call(_)))) {
                    fail!(Syntax, "expected call");
                }
                Kind::Call(call, Rc::new(self.callable_of(None, parameters, "endcall")?))
            }
            "generation" => Kind::Generation(Rc::new(self.callable_of(None, Default::default(), "endgeneration")?)),
            "filter" => {
                let filter = self.filters(Expr::Written, true)?;
                Kind::Filter(filter, self.block("endfilter")?)
            }
            "with" => self.with()?,
            "autoescape" => {
                let on = self.expression(true)?;
                Kind::Autoescape(on, self.block("endautoescape")?)
            }
            "block" => self.named_block()?,
            "print" => {
                while *self.token() != Token::BlockEnd {
                    body.push(Statement { line, kind: Kind::Output(self.expression(true)?) });
                    if *self.token() != Token::BlockEnd {
                        self.expect_sign(",")?;
                    }
                }
                return Ok(());
            }
            "include" | "import" | "from" | "extends" => self.other_template(&tag)?,
            _ => fail!(Syntax, "Encountered unknown tag '{tag}'"),
        };
        body.push(Statement { line, kind });
        Ok(())
    }

    fn set(&mut self) -> Result<Kind> {
        let target = self.target(&[], true)?;
        if self.skip_sign("=") {
            return Ok(Kind::Set(target, self.tuple(true, &[])?));
        }
        let filter = if self.is_sign("|") { Some(self.filters(Expr::Written, false)?) } else { None };
        Ok(Kind::SetBlock(target, filter, self.block("endset")?))
    }

    fn for_loop(&mut self) -> Result<Kind> {
        let from = self.at;
        let target = self.target(&["in"], false)?;
        let after = self.at;
        if !self.skip_name("in") {
            fail!(Syntax, "expected 'in', got {}", self.describe());
        }
        let iterable = self.tuple(false, &["recursive"])?;
        let test = if self.skip_name("if") {
            let test = self.expression(true)?;
            let here = std::mem::replace(&mut self.at, from);
            let again = self.target(&["in"], false)?;
            debug_assert!(self.at == after);
            self.at = here;
            Some((again, test))
        } else {
            None
        };
        let recursive = self.skip_name("recursive");
        let body = self.statements(&["endfor", "else"])?;
        let otherwise = if self.skip_name("else") { self.statements(&["endfor"])? } else { Vec::new() };
        self.skip();
        Ok(Kind::For(Rc::new(For {
            target,
            iterable,
            test,
            test_scope: Scope::default(),
            recursive,
            body: Block { scope: Scope::default(), body },
            otherwise: Block { scope: Scope::default(), body: otherwise },
            state: Cell::new(None),
            slots: Cell::new(0),
        })))
    }

    fn if_else(&mut self) -> Result<Kind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            let body = self.statements(&["elif", "else", "endif"])?;
            branches.push((test, body));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") { self.statements(&["endif"])? } else { Vec::new() };
            self.skip();
            return Ok(Kind::If(branches, otherwise));
        }
    }

    fn with(&mut self) -> Result<Kind> {
        let mut values = Vec::new();
        while *self.token() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_sign(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_sign("=")?;
            values.push((target, self.expression(true)?));
        }
        Ok(Kind::With(values, self.block("endwith")?))
    }

    fn named_block(&mut self) -> Result<Kind> {
        let name = self.expect_name()?;
        let (scoped, required) = (self.skip_name("scoped"), self.skip_name("required"));
        let block = self.block("endblock")?;
        self.skip_name(&name);
        if self.blocks.iter().any(|block| *block.name == *name) {
            fail!(Syntax, "block '{name}' defined twice");
        }
        let block = Rc::new(Named {
            name: name.into(),
            scoped,
            required,
            block,
            slots: Cell::new(0),
            own_self: Cell::new(None),
            parent: Cell::new(None),
            sees: OnceCell::default(),
        });
        self.blocks.push(Rc::clone(&block));
        Ok(Kind::Block(block))
    }

    /// Parses a tag that names another template. No other template exists, as in `transformers`.
    fn other_template(&mut self, tag: &str) -> Result<Kind> {
        self.expression(true)?;
        while *self.token() != Token::BlockEnd {
            if matches!(self.token(), Token::End | Token::Data(_)) {
                fail!(Syntax, "expected '%}}', got {}", self.describe());
            }
            self.skip();
        }
        Ok(Kind::Loads(match tag {
            "include" => "include",
            "extends" => "extends",
            _ => "import",
        }))
    }

    fn expect_target_name(&mut self) -> Result<String> {
        let name = self.expect_name()?;
        if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
            fail!(Syntax, "can't assign to '{name}'");
        }
        Ok(name)
    }

    /// Parses the parameters of a macro, and the defaults of the last ones.
    fn signature(&mut self) -> Result<(Vec<Name>, Vec<Expr>)> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_sign("(")?;
        while !self.is_sign(")") {
            if !parameters.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.expect_target_name()?;
            if parameters.iter().any(|other: &Name| *other.name == *name) {
                fail!(Syntax, "duplicate argument '{name}'");
            }
            parameters.push(Name::new(&name));
            if self.skip_sign("=") {
                defaults.push(self.expression(true)?);
            } else if !defaults.is_empty() {
                fail!(Syntax, "non-default argument follows default argument");
            }
        }
        self.skip();
        Ok((parameters, defaults))
    }

    fn callable(&mut self, name: Option<&str>, end: &str) -> Result<Callable> {
        let parameters = self.signature()?;
        self.callable_of(name, parameters, end)
    }

    fn callable_of(
        &mut self,
        name: Option<&str>,
        (parameters, defaults): (Vec<Name>, Vec<Expr>),
        end: &str,
    ) -> Result<Callable> {
        Ok(Callable {
            name: name.map(Rc::from),
            parameters,
            defaults,
            block: self.block(end)?,
            slots: Cell::new(0),
            caller: Cell::new(None),
            kwargs: Cell::new(None),
            varargs: Cell::new(None),
        })
    }
}
