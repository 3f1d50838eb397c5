//! Jinja2, as `transformers` runs chat templates: its immutable sandbox with `trim_blocks` and `lstrip_blocks`, the tags
//! `break`, `continue` and `generation`, and Python's values behind it all.
//!
//! The code follows Jinja2's own source, part by part, so that a template gives the same text, to the character. A
//! template that needs something which is not done here as Jinja2 does it is refused by name ([`Kind::Unsupported`]);
//! nothing is done in another way. A template is a stranger's code: it sees nothing but its variables, and ends
//! within the bounds of [`meter`].

#![allow(clippy::float_cmp, reason = "Python compares floats as they are")]
#![allow(clippy::struct_field_names, reason = "Items holds items")]
#![allow(clippy::option_option, reason = "something unknown beside nothing")]
#![allow(clippy::format_push_string, reason = "a few characters at a time")]

mod error;
mod filters;
mod given;
mod meter;
mod python;
mod run;
mod string;
mod syntax;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use memmap2::MmapMut;

pub(super) use self::error::{Error, Kind};

use self::error::{Result, fail};
use self::meter::Meter;
use self::python::value::Value;
use self::run::cx::Cx;
use self::run::eval::Run;
use self::run::frame::Frame;
use self::string::strings;
use self::syntax::ast::{Block, Scope, Template};
use self::syntax::lexer::Token;
use self::syntax::parser::Parser;
use super::json::Json;

/// The most bytes of a template. Those of published models have some ten thousand at most.
const LONGEST: usize = 1 << 20;

/// Bytes that cutting a template into tokens takes, for each byte of it.
const CUTTING: usize = 128;

/// Bytes that a token takes once the template is parsed and its variables are found.
const TOKEN: usize = 512;

/// Bytes of stack for a rendering. It has one of its own, so that the caller's does not matter. A thread would have a
/// heap of its own, too, for which there may be no memory.
const STACK: usize = 8 << 20;

/// The text that `source` makes of `variables`, or the reason why it makes none. `None` means a bug of this library.
pub(super) fn render(source: &str, variables: &[(&str, &Json)]) -> Option<Result<String, Error>> {
    if let Err(error) = MmapMut::map_anon(STACK + STACK / 8) {
        return Some(Err(Error { kind: Kind::Memory(STACK), message: format!("its stack: {error}"), line: 0 }));
    }
    let run = || stacker::grow(STACK, || run(source, variables));
    let rendered = catch_unwind(AssertUnwindSafe(run)).ok()?;
    Some(rendered.map_err(|error| *error))
}

/// The texts that `source` writes itself: its data, and the texts in its expressions.
pub(super) fn literals(source: &str) -> Result<Vec<String>> {
    let mut literals: Vec<String> = Vec::new();
    let mut before = false;
    for (token, _) in syntax::lexer::tokenize(source)? {
        let text = matches!(token, Token::Str(_));
        match (token, literals.last_mut()) {
            // Texts side by side are one.
            (Token::Str(text), Some(last)) if before => last.push_str(&text),
            (Token::Data(text) | Token::Str(text), _) => literals.push(text),
            _ => {}
        }
        before = text;
    }
    Ok(literals)
}

/// `text.strip()` of Python.
pub(super) fn strip(text: &str) -> &str {
    strings::strip(text, None)
}

/// `text.rstrip()` of Python.
pub(super) fn rstrip(text: &str) -> &str {
    strings::rstrip(text, None)
}

fn run(source: &str, variables: &[(&str, &Json)]) -> Result<String> {
    if source.len() > LONGEST {
        fail!(Bound, "it is longer than {} MiB", LONGEST >> 20);
    }
    let input = variables.iter().map(|(_, variable)| given::size(variable)).sum();
    let meter = Meter::new(input);
    meter.ask(CUTTING * source.len())?;
    let tokens = syntax::lexer::tokenize(source)?;
    let _charge = meter.hold(TOKEN * tokens.len())?;
    let mut parser = Parser::new(&meter, tokens);
    let body = parser.parse()?;
    let template = Template {
        block: Block { scope: Scope::default(), body },
        blocks: parser.blocks,
        slots: Cell::new(0),
        own_self: Cell::new(None),
    };
    syntax::analysis::analyse(&meter, &template)?;

    let cx = Cx::new(meter, template.blocks.clone());
    for (name, variable) in variables {
        let value = given::value(variable, &cx)?;
        cx.given.borrow_mut().insert(Rc::from(*name), value);
    }
    top(&cx, &template).map_err(|mut error| {
        if error.line == 0 {
            error.line = cx.line.get();
        }
        error
    })
}

fn top(cx: &Cx, template: &Template) -> Result<String> {
    let frame = Frame::new(cx, template.slots.get(), None)?;
    cx.keep_frame(&frame);
    if let Some(slot) = template.own_self.get() {
        frame.set(slot, Some(Value::Template));
    }
    frame.enter(cx, &template.block.scope);
    cx.open()?;
    Run { cx, frame }.body(&template.block.body, true)?;
    let text = cx.close()?;
    cx.meter.ask(text.len())?;
    Ok((*text).to_owned())
}

#[cfg(test)]
mod tests;
