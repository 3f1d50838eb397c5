//! How the next token of a generation is chosen, and what is kept of the choice.

use super::options::GenerationOptions;
use crate::error::{Error, Result, Site, bail, err};
use crate::sampler::{Choose, Constraint, Logprobs, Sampler};

/// A sampler, what it must keep to, and what is told of its choices.
#[derive(Debug)]
pub(super) struct Chooser {
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Box<dyn Constraint>>,
    logprobs: Logprobs,
    /// Of how many tokens logarithms of probabilities are told.
    count: usize,
    keep_logits: bool,
    /// Of the last choice.
    logits: Vec<f32>,
    logprob: Option<f32>,
}

impl Chooser {
    pub(super) fn new(options: &GenerationOptions) -> Result<Self> {
        Ok(Self {
            sampler: Sampler::new(options.sampling.clone())?,
            constraint: None,
            logprobs: Logprobs::default(),
            count: options.logprobs,
            keep_logits: options.keep_logits,
            logits: Vec::new(),
            logprob: None,
        })
    }

    /// What goes on from here on its own; nothing is told of the last choice.
    pub(super) fn fork(&self) -> Result<Self> {
        Ok(Self {
            sampler: self.sampler.clone(),
            constraint: self.constraint.as_deref().map(forked).transpose()?,
            logprobs: Logprobs::default(),
            count: self.count,
            keep_logits: self.keep_logits,
            logits: Vec::new(),
            logprob: None,
        })
    }

    /// The constraint where the one was that gave `state`.
    pub(super) fn constraint_at(&self, state: Option<&[u8]>) -> Result<Option<Box<dyn Constraint>>> {
        match (&self.constraint, state) {
            (None, None) => Ok(None),
            (Some(constraint), Some(state)) => {
                let mut moved = forked(&**constraint)?;
                moved.restore(state)?;
                Ok(Some(moved))
            }
            (None, Some(_)) => Err(err!(InvalidArgument, "state: it was exported under a grammar, and here is none")),
            (Some(_), None) => Err(err!(InvalidArgument, "state: it was exported without a grammar, and here is one")),
        }
    }

    /// The token that comes next without a run, if that is known, and nobody wants to know more than which it is.
    pub(super) fn given(&mut self, vocabulary: usize) -> Option<u32> {
        if self.count > 0 || self.keep_logits {
            return None;
        }
        self.known(vocabulary)
    }

    /// The token that comes next whatever the logits, which draws nothing from the random stream.
    fn known(&mut self, vocabulary: usize) -> Option<u32> {
        self.sampler.forced().or_else(|| {
            // One that the controls rule out, or that the model does not have, may be spelled by other tokens.
            let id = self.constraint.as_mut()?.next_token()?;
            ((id as usize) < vocabulary && self.sampler.allows(id)).then_some(id)
        })
    }

    /// Makes sure that `id`, which comes next, can be recorded.
    pub(super) fn check(&mut self, id: u32, vocabulary: usize) -> Result<()> {
        if id as usize >= vocabulary {
            bail!(OutOfRange, "forced gives token {id}, which is outside the vocabulary of {vocabulary}");
        }
        self.sampler.reserve(1, vocabulary)
    }

    /// Forgets what was told of the last choice.
    pub(super) fn forget(&mut self) {
        self.logits.clear();
        self.logprob = None;
    }

    /// The logarithm of the probability of the token that was chosen last, if that is told.
    pub(super) fn logprob(&self) -> Option<f32> {
        self.logprob
    }

    /// The most probable tokens of the last choice, with the logarithms of their probabilities.
    pub(super) fn best(&self) -> &[(u32, f32)] {
        if self.logprob.is_some() { self.logprobs.best() } else { &[] }
    }

    /// The logits of the last choice, if they are kept.
    pub(super) fn logits(&self) -> &[f32] {
        &self.logits
    }
}

fn forked(constraint: &(dyn Constraint + 'static)) -> Result<Box<dyn Constraint>> {
    constraint.fork().ok_or_else(|| err!(Unsupported, "the generation's constraint has no fork"))
}

impl Choose for Chooser {
    fn candidates(&self, vocabulary: usize) -> usize {
        let all = self.constraint.is_some() || self.count > 0 || self.keep_logits;
        if all { vocabulary } else { self.sampler.candidates(vocabulary) }
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        self.forget();
        if self.keep_logits {
            let bytes = size_of_val(logits) as u64;
            let refused = |_| Error::oom(Site::Run, "cpu", bytes, "the logits that are kept");
            self.logits.try_reserve_exact(logits.len()).map_err(refused)?;
        }
        if self.count > 0 {
            self.logprobs.look_at(logits, self.count)?;
        }
        let id = match (self.known(logits.len()), &mut self.constraint) {
            (Some(id), _) => {
                self.check(id, logits.len())?;
                self.sampler.record(id);
                id
            }
            (None, Some(constraint)) => self.sampler.sample_under(Some(&mut **constraint), logits)?,
            (None, None) => self.sampler.sample(logits)?,
        };
        if self.count > 0 {
            self.logprob = logits.get(id as usize).map(|logit| self.logprobs.of(*logit));
        }
        if self.keep_logits {
            self.logits.extend_from_slice(logits);
        }
        Ok(id)
    }

    fn choose_of_largest(&mut self, largest: &mut Vec<(u32, f32)>) -> Result<u32> {
        self.sampler.choose_of_largest(largest)
    }
}
