//! A generation whose tokens are run elsewhere: in other processes, on other machines, by whoever holds it.

use std::sync::Arc;

use super::backend::{Backend, Stop};
use super::{Generated, Generation, GenerationOptions, Turn};
use crate::engine::{CancelHandle, Request};
use crate::error::{Result, bail, err};
use crate::sampler::Choose;
use crate::tokenizer::Tokenizer;

/// A model that is run elsewhere, as a generation must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteModel {
    /// How many ids there are.
    pub vocab_size: usize,
    /// How many tokens there is room for.
    pub capacity: usize,
    /// How long a text may be before the model makes something else of all its tokens; 0: it makes no difference.
    pub short_context: usize,
}

/// What a run elsewhere has given, after its last token.
#[derive(Debug, Clone, Copy)]
pub enum Ran<'r> {
    /// One logit for each id.
    Logits(&'r [f32]),
    /// Ids with the largest logits, in falling order: as many as [`Generation::candidates`] says, and all that equal the last of those.
    Largest(&'r [(u32, f32)]),
}

/// Where a text is that is run elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    model: RemoteModel,
    position: usize,
    is_long: bool,
}

impl Generation {
    /// A generation that runs nothing itself: [`pending`](Self::pending) says what is to be run, and
    /// [`step_with`](Self::step_with) takes what that has given. Everything else is as on a model in this process, and so are
    /// tokens and text.
    ///
    /// # Errors
    /// `InvalidArgument` for a model without tokens or room; `OutOfRange` for more than 2^32 - 1 of either; those of [`Generation::new`]
    /// about options.
    pub fn remote(model: RemoteModel, tokenizer: Option<Arc<Tokenizer>>, options: GenerationOptions) -> Result<Self> {
        for (name, value) in [("vocab_size", model.vocab_size), ("capacity", model.capacity)] {
            if value == 0 {
                bail!(InvalidArgument, "{name} is 0");
            }
            if u32::try_from(value).is_err() {
                bail!(OutOfRange, "{name} is {value}, more than {}", u32::MAX);
            }
        }
        Self::on(Box::new(Remote { model, position: 0, is_long: false }), tokenizer, options)
    }

    /// The tokens that are to be run behind [`position`](Self::position) before the next step. None where it needs no run: its token is
    /// known, or the text has ended.
    ///
    /// Where a text has become a long one, position is 0 again, and these are all its tokens.
    ///
    /// # Errors
    /// `InvalidState` before there is a prompt, and for a generation that runs its tokens itself; `OutOfMemory`.
    pub fn pending(&mut self) -> Result<&[i64]> {
        self.must_be_remote()?;
        match self.turn {
            Turn::Ready | Turn::Given(_) if !self.cancel.is_asked() => {}
            _ => return Ok(&[]),
        }
        self.must_have_input()?;
        if self.chooser.given(self.backend.vocabulary()).is_some() {
            return Ok(&[]);
        }
        self.outgrow()?;
        Ok(&self.input)
    }

    /// How many of the largest logits decide the next token: [`Ran::Largest`] needs no more.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.chooser.candidates(self.backend.vocabulary())
    }

    /// [`step`](Self::step), with what the run of the [`pending`](Self::pending) tokens has given; where there were none, it is not
    /// looked at.
    ///
    /// # Errors
    /// `InvalidArgument` for logits that cannot be the model's, `OutOfRange` for an id that is not in the vocabulary; those of
    /// [`step`](Self::step). It may be repeated.
    pub fn step_with(&mut self, ran: Ran<'_>) -> Result<Generated<'_>> {
        self.must_be_remote()?;
        if self.begin()? {
            let chosen = self.choose_from(ran)?;
            let tokens = self.input.len();
            self.backend.ran(tokens);
            self.chosen(Ok(chosen))?;
        }
        self.end()?;
        Ok(self.generated())
    }

    fn must_be_remote(&self) -> Result<()> {
        if !self.backend.runs_elsewhere() {
            bail!(InvalidState, "the generation runs its tokens itself");
        }
        Ok(())
    }

    fn choose_from(&mut self, ran: Ran<'_>) -> Result<u32> {
        let vocabulary = self.backend.vocabulary();
        match ran {
            Ran::Logits(logits) if logits.len() == vocabulary => self.chooser.choose(logits),
            Ran::Logits(logits) => {
                Err(err!(InvalidArgument, "logits: there are {}, and the model has {vocabulary} tokens", logits.len()))
            }
            Ran::Largest(largest) => {
                let candidates = self.candidates();
                if candidates == vocabulary {
                    bail!(InvalidArgument, "the largest logits are given, but all {vocabulary} decide here");
                }
                if largest.len() < candidates {
                    bail!(
                        InvalidArgument,
                        "the {} largest logits are given, but {candidates} decide here",
                        largest.len()
                    );
                }
                if let Some((id, _)) = largest.iter().find(|(id, _)| *id as usize >= vocabulary) {
                    bail!(OutOfRange, "id {id} is outside the vocabulary of {vocabulary}");
                }
                let falls = largest.windows(2).all(|pair| pair[0].1 >= pair[1].1);
                if !falls || largest.iter().any(|(_, logit)| !logit.is_finite()) {
                    bail!(InvalidArgument, "the largest logits are not finite and in falling order");
                }
                self.chooser.choose_of_largest(&mut largest.to_vec())
            }
        }
    }
}

/// Nothing runs here that could be stopped.
const NOBODY: Vec<CancelHandle> = Vec::new();
/// Bytes of a state: the position, and whether the text is a long one.
const STATE: usize = 9;

impl Backend for Remote {
    fn vocabulary(&self) -> usize {
        self.model.vocab_size
    }

    fn capacity(&self) -> usize {
        self.model.capacity
    }

    fn position(&self) -> usize {
        self.position
    }

    fn short_context(&self) -> usize {
        self.model.short_context
    }

    fn outgrows(&self, tokens: usize) -> bool {
        let border = self.model.short_context;
        border > 0 && self.position > 0 && !self.is_long && self.position + tokens > border
    }

    fn restart(&mut self) -> Result<()> {
        self.position = 0;
        Ok(())
    }

    fn prefill(&mut self, _ids: &[i64]) -> Result<()> {
        Err(err!(InvalidState, "the generation's tokens are run elsewhere"))
    }

    fn next(&mut self, _ids: &[i64], _choose: &mut dyn Choose) -> Result<u32> {
        Err(err!(InvalidState, "the generation's tokens are run elsewhere: a step needs what that has given"))
    }

    fn stopper(&self) -> Arc<dyn Stop> {
        Arc::new(NOBODY)
    }

    fn fork(&self) -> Result<Box<dyn Backend>> {
        Ok(Box::new(self.clone()))
    }

    fn state_size(&self) -> Result<usize> {
        Ok(STATE)
    }

    fn export(&self, to: &mut Vec<u8>) -> Result<()> {
        to.extend_from_slice(&(self.position as u64).to_le_bytes());
        to.push(self.is_long.into());
        Ok(())
    }

    fn import(&mut self, state: &[u8]) -> Result<()> {
        let Ok([position @ .., is_long @ 0..=1]) = <[u8; STATE]>::try_from(state) else {
            bail!(Malformed, "state: it is not that of a generation whose tokens are run elsewhere");
        };
        let position = u64::from_le_bytes(position) as usize;
        if position > self.model.capacity {
            bail!(ContextFull, "state: it has {position} tokens, but there is room for {}", self.model.capacity);
        }
        (self.position, self.is_long) = (position, is_long == 1);
        Ok(())
    }

    fn alone(&mut self) -> Option<&mut Request> {
        None
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }

    fn ran(&mut self, tokens: usize) {
        if self.position == 0 {
            self.is_long = self.model.short_context > 0 && tokens > self.model.short_context;
        }
        self.position += tokens;
    }
}
