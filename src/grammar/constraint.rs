//! A grammar as a rule for the next token.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "grammar")]
use super::automaton::Automaton;
use super::kind::Grammar;
#[cfg(not(feature = "grammar"))]
use super::without::Automaton;
use crate::error::{Error, Result, Site, bail, err};
use crate::sampler::Constraint;
use crate::tokenizer::Tokenizer;

/// Bytes of a hash.
const HASH: usize = 32;

/// A [`Grammar`] as a [`Constraint`]: how far a text has come in it, and which tokens may follow.
///
/// The tokens that end a text may come exactly where the grammar may end; added tokens, special or not, never come as text,
/// only where a Lark grammar names them. A clone goes on independently from where it was made.
#[derive(Clone)]
pub struct GrammarConstraint {
    tokenizer: Arc<Tokenizer>,
    eos: Vec<u32>,
    /// Where a text begins.
    start: Automaton,
    now: Automaton,
    /// Whether a token has come that ends the text.
    ended: bool,
    /// What the grammar is: the SHA-256 of its kind and text.
    fingerprint: [u8; HASH],
    /// The tokens that it has taken since it was made, and how many of them come before the text.
    taken: Vec<u32>,
    before: usize,
    /// What went wrong where nothing could be returned: the text has left the grammar.
    failed: Option<Arc<Error>>,
}

impl GrammarConstraint {
    /// The constraint at the start of a text of `tokenizer`'s tokens, which one of `eos` ends; where that is empty, the ids
    /// that the tokenizer declares.
    ///
    /// The first constraint on a tokenizer sorts its vocabulary, once for all: half a second for 150,000 tokens.
    ///
    /// # Errors
    /// `InvalidArgument` for a grammar that is faulty, asks for something that is not supported, or exceeds a bound. The message
    /// names the place: a JSON pointer, an offset in bytes, or a line and a column. `InvalidArgument`, too, if nothing would end
    /// a text. `Unsupported` for a tokenizer that makes text of all tokens at once, and in a library without the feature
    /// `grammar`. `OutOfMemory`.
    pub fn new(tokenizer: &Arc<Tokenizer>, grammar: &Grammar, eos: &[u32]) -> Result<Self> {
        let start = Automaton::new(tokenizer, grammar)?;
        let tokenizer = Arc::clone(tokenizer);
        let mut constraint = Self {
            tokenizer,
            eos: Vec::new(),
            now: start.clone(),
            start,
            ended: false,
            fingerprint: grammar.fingerprint(),
            taken: Vec::new(),
            before: 0,
            failed: None,
        };
        constraint.set_eos(eos)?;
        Ok(constraint)
    }

    /// Has one of `eos` end the text.
    pub(crate) fn set_eos(&mut self, eos: &[u32]) -> Result<()> {
        let eos = if eos.is_empty() { self.tokenizer.eos() } else { eos };
        if eos.is_empty() {
            bail!(
                InvalidArgument,
                "eos is empty, and the tokenizer declares none: nothing would end a text of the grammar"
            );
        }
        eos.clone_into(&mut self.eos);
        Ok(())
    }

    /// From here on a text begins where this one is now.
    pub(crate) fn begin_here(&mut self) {
        self.start = self.now.clone();
        self.before = self.taken.len();
    }

    pub(crate) fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// `InvalidArgument` if the grammar does not allow it here, or if it takes too many steps; the constraint is as it was.
    pub fn accept(&mut self, id: u32) -> Result<()> {
        self.check()?;
        if self.ended {
            bail!(InvalidArgument, "token {id} comes behind the one that has ended the text of the grammar");
        }
        let bytes = self.taken.len() as u64 * 4;
        self.taken.try_reserve(1).map_err(|_| Error::oom(Site::Run, "cpu", bytes, "the text of a grammar"))?;
        if !self.eos.contains(&id) {
            self.now.accept(id)?;
        } else if self.now.may_end()? {
            self.ended = true;
        } else {
            bail!(InvalidArgument, "token {id} ends the text where the grammar does not");
        }
        self.taken.push(id);
        Ok(())
    }

    /// The tokens that must come next, whatever the logits: the grammar has only one way on, and this is how the tokenizer
    /// spells it. Often none.
    ///
    /// # Errors
    /// `InvalidArgument` if that takes too many steps.
    pub fn known(&mut self) -> Result<&[u32]> {
        self.check()?;
        if self.ended {
            return Ok(&[]);
        }
        if self.eos.len() == 1 && self.now.must_end()? {
            return Ok(&self.eos);
        }
        self.now.known()
    }

    /// Sets the logits of all tokens that may not come next to minus infinity.
    ///
    /// # Errors
    /// `InvalidArgument` if no token may come, or if finding that out takes too many steps. The logits are then as they were.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        self.rule_out(logits.len(), |id| logits[id] = f32::NEG_INFINITY)
    }

    /// Calls `rule_out` with each of `count` tokens that may not come next.
    pub(crate) fn rule_out(&mut self, count: usize, mut rule_out: impl FnMut(usize)) -> Result<()> {
        self.check()?;
        if self.ended {
            bail!(InvalidArgument, "no token may come: the text of the grammar has ended");
        }
        let may_end = self.now.may_end()?;
        let (eos, allowed) = (&self.eos, self.now.allowed()?);
        // The tokens from 32 * index on, a bit for each.
        let word = |index: usize| {
            let mut word = allowed.get(index).copied().unwrap_or(0);
            for id in eos.iter().filter(|id| **id as usize / 32 == index) {
                let bit = 1 << (id % 32);
                word = if may_end { word | bit } else { word & !bit };
            }
            let left = count - index * 32;
            if left < 32 { word & ((1 << left) - 1) } else { word }
        };
        if (0..count.div_ceil(32)).all(|index| word(index) == 0) {
            bail!(
                InvalidArgument,
                "no token may come: none of the {count} tokens goes on as the grammar wants, and it does not end here"
            );
        }
        for index in 0..count.div_ceil(32) {
            let (word, ids) = (word(index), index * 32..count.min(index * 32 + 32));
            if word != u32::MAX {
                ids.filter(|id| word >> (id % 32) & 1 == 0).for_each(&mut rule_out);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.copy()))
    }
}

impl Constraint for GrammarConstraint {
    fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        Self::mask(self, logits)
    }

    fn advance(&mut self, id: u32) {
        if self.failed.is_none()
            && let Err(error) = self.accept(id)
        {
            self.failed = Some(Arc::new(error));
        }
    }

    fn next_token(&mut self) -> Option<u32> {
        // An error comes again where the mask is asked for.
        self.known().ok()?.first().copied()
    }

    fn restart(&mut self) {
        self.now = self.start.clone();
        (self.ended, self.failed) = (false, None);
        self.taken.truncate(self.before);
    }

    fn fork(&self) -> Option<Box<dyn Constraint>> {
        Some(Box::new(self.clone()))
    }

    /// The grammar's hash; the tokens taken, and how many of them come before the text; 1 + the number of tokens that are known to come
    /// and have been spelled, and those; or 0. Numbers and ids are of 4 bytes, little-endian.
    fn state(&self) -> Result<Option<Vec<u8>>> {
        self.check()?;
        let known = self.now.spelled();
        let mut state = self.fingerprint.to_vec();
        let words = [self.before as u32, self.taken.len() as u32].into_iter().chain(self.taken.iter().copied());
        let words = words.chain([known.map_or(0, |known| 1 + known.len() as u32)]);
        words.chain(known.into_iter().flatten().copied()).for_each(|word| state.extend_from_slice(&word.to_le_bytes()));
        Ok(Some(state))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let short = || err!(Malformed, "state: that of a grammar ends too soon");
        let (fingerprint, rest) = state.split_first_chunk::<HASH>().ok_or_else(short)?;
        if *fingerprint != self.fingerprint {
            bail!(InvalidArgument, "state: it was exported under another grammar");
        }
        let words: Vec<u32> = rest.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let [before, count, rest @ ..] = &words[..] else { return Err(short()) };
        let (taken, rest) = rest.split_at_checked(*count as usize).ok_or_else(short)?;
        let Some((known_count, known)) = rest.split_first() else { return Err(short()) };
        let (begin, text) = taken.split_at_checked(*before as usize).ok_or_else(short)?;
        if *begin != self.taken[..self.before] {
            bail!(InvalidArgument, "state: its text begins elsewhere in the grammar");
        }
        self.restart();
        text.iter()
            .try_for_each(|id| self.accept(*id))
            .map_err(|why| why.within("state: its text is not the grammar's"))?;
        match known_count.checked_sub(1) {
            Some(count) if count as usize == known.len() => {
                // What follows must be what the grammar allows.
                let mut ahead = self.clone();
                known
                    .iter()
                    .try_for_each(|id| ahead.accept(*id))
                    .map_err(|why| why.within("state: what is to come"))?;
                self.now.set_spelled(known);
                Ok(())
            }
            None if known.is_empty() => Ok(()),
            _ => Err(short()),
        }
    }
}

impl fmt::Debug for GrammarConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarConstraint").field("eos", &self.eos).field("ended", &self.ended).finish_non_exhaustive()
    }
}
