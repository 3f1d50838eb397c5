//! One token after another.

use super::{Generation, Turn};
use crate::error::{Error, ErrorKind, Result, Site, bail};

/// Why a text has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// A token came that ends a text.
    Eos,
    /// The stop string of this index came.
    Stop(usize),
    /// `max_new_tokens` have come.
    Length,
    /// There is no room for another token.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// What a step gives. It lives until the generation's next call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Generated<'g> {
    /// The token; none if the generation was cancelled, or had ended before.
    pub id: Option<u32>,
    /// Text that has become certain: whole characters, often none.
    pub text: &'g str,
    /// Why the text ends here, if it does.
    pub finish: Option<Finish>,
    /// The logarithm of the token's probability as the model gives it, before any control; none where it is not asked for.
    pub logprob: Option<f32>,
    /// The most probable tokens with the same, the most probable first.
    pub best: &'g [(u32, f32)],
}

impl Generation {
    /// The next token. Where the text has ended, it gives none, and says again why.
    ///
    /// # Errors
    /// `InvalidState` before there is a prompt; those of [`Request::infer`](crate::Request::infer) and [`Sampler::sample`](crate::Sampler::sample). The
    /// step may be repeated.
    pub fn step(&mut self) -> Result<Generated<'_>> {
        if self.begin()? {
            let chosen = self.backend.next(&self.input, &mut self.chooser);
            self.chosen(chosen)?;
        }
        self.end()?;
        Ok(self.generated())
    }

    /// What the last step gave.
    #[must_use]
    pub fn generated(&self) -> Generated<'_> {
        let (id, finish) = match self.turn {
            Turn::Given(id) => (id, None),
            Turn::Finished(id, finish) => (id, Some(finish)),
            Turn::Ready | Turn::Chosen(_) | Turn::Taken(_) => (None, None),
        };
        let told = id.is_some();
        Generated {
            id,
            text: self.text.given(),
            finish,
            logprob: self.chooser.logprob().filter(|_| told),
            best: if told { self.chooser.best() } else { &[] },
        }
    }

    /// Begins a step: whether the model has to run for it.
    pub(super) fn begin(&mut self) -> Result<bool> {
        match self.turn {
            // What failed before goes on.
            Turn::Chosen(_) | Turn::Taken(_) => return Ok(false),
            Turn::Finished(_, finish) => {
                self.text.taken();
                self.turn = Turn::Finished(None, finish);
                return Ok(false);
            }
            Turn::Ready | Turn::Given(_) => {}
        }
        self.text.taken();
        if self.cancel.is_asked() {
            return self.stop().map(|()| false);
        }
        self.must_have_input()?;
        self.chooser.forget();
        if let Some(id) = self.chooser.given(self.backend.vocabulary()) {
            self.chooser.check(id, self.backend.vocabulary())?;
            self.input.try_reserve(1).map_err(|_| Error::oom(Site::Run, "cpu", 8, "the next token"))?;
            self.chooser.sampler.record(id);
            self.take(id);
            return Ok(false);
        }
        self.outgrow()?;
        Ok(true)
    }

    pub(super) fn must_have_input(&self) -> Result<()> {
        if self.input.is_empty() {
            bail!(InvalidState, "the generation has no prompt: append one");
        }
        Ok(())
    }

    /// Takes what a run has given.
    pub(super) fn chosen(&mut self, chosen: Result<u32>) -> Result<()> {
        match chosen {
            Ok(id) => {
                self.have_run(self.input.len());
                self.take(id);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => self.stop(),
            Err(error) => Err(error),
        }
    }

    /// The next token is `id`.
    fn take(&mut self, id: u32) {
        if let Some(constraint) = &mut self.chooser.constraint {
            constraint.advance(id);
        }
        self.input.push(i64::from(id));
        self.generated += 1;
        self.turn = Turn::Chosen(id);
    }

    /// Makes text of the token, and finds out whether the text has ended.
    pub(super) fn end(&mut self) -> Result<()> {
        if let Turn::Chosen(id) = self.turn {
            self.text.push(id)?;
            self.turn = Turn::Taken(id);
        }
        let Turn::Taken(id) = self.turn else { return Ok(()) };
        let free = self.backend.capacity().saturating_sub(self.backend.position());
        let ends = if !self.options.ignore_eos && self.options.sampling.eos.contains(&id) {
            Some(Finish::Eos)
        } else if self.generated == self.options.max_new_tokens {
            Some(Finish::Length)
        } else if self.input.len() > free {
            Some(Finish::ContextFull)
        } else {
            None
        };
        if ends.is_some() || self.text.stopped().is_some() {
            self.text.finish()?;
        }
        self.turn = match self.text.stopped().map(Finish::Stop).or(ends) {
            Some(finish) => Turn::Finished(Some(id), finish),
            None => Turn::Given(Some(id)),
        };
        Ok(())
    }

    /// Ends the text without a token.
    fn stop(&mut self) -> Result<()> {
        // If this fails, the next step ends the text.
        self.cancel.note();
        self.text.finish()?;
        self.cancel.take_back()?;
        self.turn = Turn::Finished(None, Finish::Cancelled);
        Ok(())
    }
}
