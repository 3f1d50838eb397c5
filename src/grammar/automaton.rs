//! How far a text has come in a grammar.

use std::collections::VecDeque;
use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::toktrie::{SimpleVob, TokTrie};

use super::bounds::{guarded, reason};
use super::compile;
use super::kind::Grammar;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result, err};
use crate::tokenizer::Tokenizer;

/// A parser, and what has been found out about its next token.
#[derive(Clone)]
pub(super) struct Automaton {
    vocabulary: Arc<Vocabulary>,
    parser: TokenParser,
    /// Whether the text has no byte yet.
    at_start: bool,
    /// The tokens that may come next, without those that end the text; empty if there are none.
    allowed: Option<SimpleVob>,
    /// The tokens that must come next.
    known: Option<VecDeque<u32>>,
}

impl Automaton {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>, grammar: &Grammar) -> Result<Self> {
        let vocabulary = Vocabulary::of(tokenizer)?;
        let parser = compile::parser(&vocabulary, grammar)?;
        Ok(Self { vocabulary, parser, at_start: true, allowed: None, known: None })
    }

    fn trie(&self) -> &TokTrie {
        self.vocabulary.factory.tok_env().tok_trie()
    }

    /// Takes a token that does not end the text. If the grammar does not allow it, everything is as before.
    pub(super) fn accept(&mut self, id: u32) -> Result<()> {
        let is_word = (id as usize) < self.trie().vocab_size() && !self.trie().token(id).is_empty();
        let fits = is_word && !(self.at_start && self.vocabulary.begins_otherwise(id));
        if !fits || !self.with(|parser| parser.validate_token(id))? {
            return Err(err!(InvalidArgument, "token {id} is not what the grammar allows here"));
        }
        self.with(|parser| parser.consume_token(id).map(drop))?;
        // Added tokens give no text, so that another may still begin it.
        self.at_start &= self.trie().is_special_token(id);
        self.allowed = None;
        // The spelling of what must come is decided once.
        match &mut self.known {
            Some(known) if known.len() > 1 && known.front() == Some(&id) => drop(known.pop_front()),
            _ => self.known = None,
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) fn may_end(&mut self) -> Result<bool> {
        self.with(|parser| Ok(parser.is_accepting()))
    }

    /// Whether nothing may come but the end.
    pub(super) fn must_end(&mut self) -> Result<bool> {
        Ok(self.may_end()? && self.allowed()?.iter().all(|word| *word == 0))
    }

    /// The tokens that spell what the grammar leaves no choice about.
    pub(super) fn known(&mut self) -> Result<&[u32]> {
        if self.known.is_none() {
            let env = Arc::clone(self.vocabulary.factory.tok_env());
            let known = self.with(|parser| {
                let bytes = parser.force_bytes();
                if bytes.is_empty() {
                    return Ok(Vec::new());
                }
                let (mut ids, fixed) = env.tokenize_bytes_marker(&bytes);
                let trie = env.tok_trie();
                if trie.decode_raw(&ids) != bytes {
                    return Ok(Vec::new());
                }
                // The last tokens could be others, together with what comes behind them.
                let chopped = parser.parser.with_recognizer(|text| trie.chop_tokens(text, &ids[fixed..])).0;
                ids.truncate(ids.len() - chopped);
                Ok(ids)
            })?;
            let fits = !self.at_start || known.first().is_none_or(|id| !self.vocabulary.begins_otherwise(*id));
            self.known = Some(if fits { known.into() } else { VecDeque::new() });
        }
        Ok(match &mut self.known {
            Some(known) => known.make_contiguous(),
            None => &[],
        })
    }

    /// The tokens that must come next, if their spelling has been decided.
    pub(super) fn spelled(&self) -> Option<&VecDeque<u32>> {
        self.known.as_ref()
    }

    /// Decides the spelling of what must come next.
    pub(super) fn set_spelled(&mut self, known: &[u32]) {
        self.known = Some(known.iter().copied().collect());
    }

    /// The tokens that may come next, a bit for each, without those that end the text.
    pub(super) fn allowed(&mut self) -> Result<&[u32]> {
        if self.allowed.is_none() {
            let mut allowed = self.compute()?;
            if self.at_start && !allowed.is_empty() {
                allowed.sub(&self.vocabulary.begins_otherwise);
            }
            self.allowed = Some(allowed);
        }
        Ok(self.allowed.as_ref().map_or(&[], SimpleVob::as_slice))
    }

    fn compute(&mut self) -> Result<SimpleVob> {
        // Asked for more than it takes, a parser is at an end.
        if !self.with(|parser| Ok(!parser.is_accepting() || parser.parser.can_advance()))? {
            return Ok(SimpleVob::new());
        }
        match guarded(|| Ok(self.parser.compute_mask())) {
            Ok(Ok(mask)) => Ok(mask),
            Ok(Err(_)) if self.parser.stop_reason() == StopReason::NoExtensionBias => Ok(SimpleVob::new()),
            Ok(Err(why)) => Err(too_much(&why.to_string())),
            Err(why) => Err(too_much(&why)),
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut TokenParser) -> anyhow::Result<T>) -> Result<T> {
        if let Some(error) = self.parser.error_message() {
            return Err(too_much(&error));
        }
        guarded(|| call(&mut self.parser)).map_err(|why| too_much(&why))
    }
}

/// The error of a text on which the parser gives up.
fn too_much(why: &str) -> Error {
    err!(InvalidArgument, "the grammar takes too many steps or states on this text: {}", reason(why))
}
