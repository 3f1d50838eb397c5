//! From a grammar's text to a parser.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::api::TopLevelGrammar;

use super::bounds::{LONGEST, guarded, reason};
use super::kind::Grammar;
use super::vocabulary::Vocabulary;
use super::{lark, regex, schema};
use crate::error::{self, Error, Result, Site, bail, err};

/// Of the stack on which a grammar is compiled: the compilers of schemas and of Lark call themselves. It is touched only as
/// far as it is needed.
const STACK: usize = 256 << 20;

/// Bytes for the parser, and for each byte of the grammar while it is compiled.
const PARSER: usize = 32 << 20;
const COMPILING: usize = 200;

/// A parser of `grammar` at the start of a text.
pub(super) fn parser(vocabulary: &Arc<Vocabulary>, grammar: &Grammar) -> Result<TokenParser> {
    let (Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) = grammar;
    if text.len() > LONGEST {
        bail!(InvalidArgument, "the grammar has {} bytes, more than {LONGEST}", text.len());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("ortshard grammar".to_owned()).stack_size(STACK);
        let refused = |_| Error::oom(Site::Run, "cpu", STACK as u64, "compiling a grammar");
        let compile = || {
            // The thread has a heap of its own.
            error::probe(Site::Run, PARSER + COMPILING * text.len(), "compiling a grammar")?;
            compile(vocabulary, grammar)
        };
        let compiling = thread.spawn_scoped(scope, compile).map_err(refused)?;
        compiling.join().unwrap_or_else(|_| Err(err!(InvalidArgument, "the grammar cannot be compiled")))
    })
}

fn compile(vocabulary: &Vocabulary, grammar: &Grammar) -> Result<TokenParser> {
    match grammar {
        Grammar::JsonSchema(text) => {
            let schema = schema::read(text)?;
            let made = parser_of(vocabulary, TopLevelGrammar::from_json_schema(schema::with_bounded_spaces(&schema)));
            made.map_err(|why| schema::refusal(vocabulary, &schema, &why))
        }
        Grammar::Regex(text) => {
            let made = parser_of(vocabulary, TopLevelGrammar::from_regex(regex::read(text)?));
            made.map_err(|why| err!(InvalidArgument, "the regular expression is not supported: {}", reason(&why)))
        }
        Grammar::Lark(text) => {
            lark::check(text)?;
            parser_of(vocabulary, TopLevelGrammar::from_lark(text.clone())).map_err(|why| lark::refusal(&why))
        }
    }
}

fn parser_of(vocabulary: &Vocabulary, grammar: TopLevelGrammar) -> Result<TokenParser, String> {
    let mut parser = guarded(|| vocabulary.factory.create_parser(grammar))?;
    guarded(|| {
        parser.start_without_prompt();
        Ok(())
    })?;
    parser.grammar_warnings().iter().for_each(|warning| log::warn!("a grammar: {warning}"));
    Ok(parser)
}
