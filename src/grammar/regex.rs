//! Regular expressions: read as the `regex` crate reads them, to say where one is faulty.

use regex_syntax::ast::{AssertionKind, Ast, Visitor, parse::Parser, visit};
use regex_syntax::{Error as SyntaxError, ParserBuilder};

use crate::error::{Result, bail, err};

/// The expression without `^` in front and `$` behind.
pub(super) fn read(text: &str) -> Result<&str> {
    let at = |offset: usize, what: &dyn std::fmt::Display| {
        err!(InvalidArgument, "the regular expression at offset {offset}: {what}")
    };
    // Meaning is checked, too: classes that exist, counts that fit.
    match ParserBuilder::new().nest_limit(100).build().parse(text) {
        Ok(_) => {}
        Err(SyntaxError::Parse(error)) => return Err(at(error.span().start.offset, error.kind())),
        Err(SyntaxError::Translate(error)) => return Err(at(error.span().start.offset, error.kind())),
        Err(error) => bail!(InvalidArgument, "the regular expression: {error}"),
    }
    let (shift, text) = inside(text);
    if text.is_empty() {
        bail!(InvalidArgument, "the regular expression is empty: only the empty text would match");
    }
    let parsed = Parser::new().parse(text).map_err(|error| at(shift + error.span().start.offset, error.kind()))?;
    visit(&parsed, Unsupported).map_err(|(offset, what)| at(shift + offset, &what))?;
    Ok(text)
}

/// What stands between the anchors, and where.
fn inside(text: &str) -> (usize, &str) {
    let parsed = Parser::new().parse(text);
    let Ok(Ast::Concat(parts)) = &parsed else { return (0, text) };
    let is =
        |ast: Option<&Ast>, kind: &AssertionKind| matches!(ast, Some(Ast::Assertion(found)) if found.kind == *kind);
    let mut range = 0..text.len();
    if is(parts.asts.first(), &AssertionKind::StartLine) {
        range.start = 1;
    }
    if is(parts.asts.last(), &AssertionKind::EndLine) {
        range.end -= 1;
    }
    (range.start, &text[range])
}

/// Finds what a grammar cannot look for.
struct Unsupported;

impl Visitor for Unsupported {
    type Output = ();
    type Err = (usize, &'static str);

    fn finish(self) -> std::result::Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> std::result::Result<(), Self::Err> {
        match ast {
            Ast::Assertion(assertion) => {
                Err((assertion.span.start.offset, "anchors and word boundaries within an expression are not supported"))
            }
            Ast::Repetition(repetition) if !repetition.greedy => Err((
                repetition.op.span.start.offset,
                "lazy repetition is not supported: all of the text must match anyway",
            )),
            _ => Ok(()),
        }
    }
}
