//! The tokens that go into the model: a prompt, and what has been chosen.

use super::{Generation, Turn};
use crate::error::{Error, ErrorKind, Result, Site, bail};

impl Generation {
    /// Adds tokens to the prompt: before the first step, or after the text has ended, which then goes on behind them. The
    /// counts of `max_new_tokens`, `min_new_tokens` and `forced` begin again.
    ///
    /// # Errors
    /// `OutOfRange`, naming the index, for an id that is not in the vocabulary; `ContextFull` if there is no room for so many;
    /// `InvalidState` within a text; `OutOfMemory`.
    pub fn append_ids(&mut self, ids: &[u32]) -> Result<()> {
        if !matches!(self.turn, Turn::Ready | Turn::Finished(..)) {
            bail!(
                InvalidState,
                "the text has not ended: step until it has, or cancel it, before more of a prompt comes"
            );
        }
        let (vocabulary, capacity) = (self.backend.vocabulary(), self.backend.capacity());
        if let Some(index) = ids.iter().position(|id| *id as usize >= vocabulary) {
            bail!(OutOfRange, "id {} at index {index} is outside the vocabulary of {vocabulary}", ids[index]);
        }
        let free = capacity.saturating_sub(self.backend.position() + self.input.len());
        if ids.len() > free {
            bail!(ContextFull, "the prompt has {} more tokens, but there is room for {free} of {capacity}", ids.len());
        }
        self.make_room(ids.len(), self.backend.position())?;
        if matches!(self.turn, Turn::Finished(..)) {
            // What came after the end of the text before was not meant for this one.
            self.cancel.take_back()?;
            self.text.reset();
        }
        self.chooser.sampler.accept(ids)?;
        self.input.extend(ids.iter().map(|id| i64::from(*id)));
        self.generated = 0;
        self.chooser.forget();
        if let Some(constraint) = &mut self.chooser.constraint {
            constraint.restart();
        }
        self.turn = Turn::Ready;
        Ok(())
    }

    /// Reserves what comes behind `more` tokens of a prompt and `position` that have been run, so that steps need no memory for it.
    pub(super) fn make_room(&mut self, more: usize, position: usize) -> Result<()> {
        let bytes = (self.input.len() + more) as u64 * 8;
        let refused = |_| Error::oom(Site::Run, "cpu", bytes, "the prompt");
        self.input.try_reserve(more + self.options.sampling.forced.len() + 1).map_err(refused)?;
        let free = self.backend.capacity().saturating_sub(position + self.input.len());
        let coming = if self.options.max_new_tokens == 0 { free } else { self.options.max_new_tokens.min(free) };
        self.chooser.sampler.reserve(more + coming + 1, self.backend.vocabulary())?;
        if let Some(ran) = &mut self.ran {
            ran.try_reserve(self.input.len() + more + coming + 1).map_err(refused)?;
        }
        Ok(())
    }

    /// Adds text to the prompt; `add_special` is that of [`Tokenizer::encode`](crate::Tokenizer::encode).
    ///
    /// # Errors
    /// `InvalidState` without a tokenizer; those of [`Tokenizer::encode`](crate::Tokenizer::encode) and of
    /// [`append_ids`](Self::append_ids).
    pub fn append_text(&mut self, text: &str, add_special: bool) -> Result<()> {
        let Some(tokenizer) = &self.tokenizer else {
            bail!(InvalidState, "the generation has no tokenizer: append ids, or make it with one");
        };
        let ids = tokenizer.encode(text, add_special)?;
        self.append_ids(&ids)
    }

    /// Runs the next `most` tokens of the prompt, but for its last one, which the first step runs. Returns how many are left
    /// to run, that one included.
    ///
    /// Not needed: a step runs whatever is left. It cuts a long prompt into calls, between which a program can do other things.
    /// If it is cancelled, the next step says so.
    pub fn prefill(&mut self, most: usize) -> Result<usize> {
        if self.turn != Turn::Ready || self.cancel.is_asked() {
            return Ok(self.input.len());
        }
        self.outgrow()?;
        let (all, is_first) = (self.input.len().saturating_sub(1), self.backend.position() == 0);
        // A long text is one from its first call on.
        let is_long = is_first && self.ran.is_some() && self.input.len() > self.backend.short_context();
        let count = if is_long && most > 0 { all } else { most.min(all) };
        if count > 0 {
            match self.backend.prefill(&self.input[..count]) {
                Ok(()) => self.have_run(count),
                Err(error) if error.kind() == ErrorKind::Cancelled => self.cancel.note(),
                Err(error) => return Err(error),
            }
        }
        Ok(self.input.len())
    }

    /// The first `count` tokens of the input have been run.
    pub(super) fn have_run(&mut self, count: usize) {
        let run = self.input.drain(..count);
        if let Some(ran) = &mut self.ran {
            ran.extend(run);
        }
    }

    /// If the text becomes a long one, of which the model makes something else, all of it is to be run again, as transformers
    /// does it.
    pub(super) fn outgrow(&mut self) -> Result<()> {
        if let Some(ran) = &mut self.ran
            && self.backend.outgrows(self.input.len())
        {
            let bytes = (self.input.len() + ran.len()) as u64 * 8;
            let refused = |_| Error::oom(Site::Run, "cpu", bytes, "the text so far");
            self.input.try_reserve(ran.len() + 1).map_err(refused)?;
            self.backend.restart()?;
            self.input.splice(..0, ran.drain(..));
        }
        Ok(())
    }
}
