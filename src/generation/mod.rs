//! Text after a prompt, token by token: what runs the model, chooses, and makes text of it, as one object that is pulled.

mod backend;
mod batch;
mod bytes;
mod cancel;
mod chooser;
mod grammar;
mod options;
mod prompt;
mod remote;
mod state;
mod step;
mod stop_strings;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests;
mod text;

pub(crate) use backend::{Backend, Local};
pub use batch::step_batch;
pub use cancel::GenerationCancel;
pub use options::GenerationOptions;
pub use remote::{Ran, RemoteModel};
pub use step::{Finish, Generated};
pub use stop_strings::StopStrings;

use std::fmt;
use std::sync::Arc;

use crate::engine::{Engine, Request, RequestOptions, ShardSpec};
use crate::error::{ErrorKind, Result};
use crate::sampler::Constraint;
use crate::tokenizer::Tokenizer;
use chooser::Chooser;
use text::Text;

/// A text in progress on a whole model.
///
/// ```text
/// append a prompt -> step, step, ... until it says why the text has ended -> append the next prompt -> ...
/// ```
///
/// `Send`; one call at a time. The ids are those that [`next_token`](crate::next_token) gives with the same sampler: on one
/// shard or on a chain, alone or in a batch, whatever the prompt's pieces.
///
/// After an error everything is as it was before the call, and the call may be repeated: no token is lost, none comes twice.
pub struct Generation {
    backend: Box<dyn Backend>,
    tokenizer: Option<Arc<Tokenizer>>,
    options: GenerationOptions,
    chooser: Chooser,
    text: Text,
    /// Tokens that have not been run: of the prompt, and the last one that was chosen.
    input: Vec<i64>,
    /// The tokens that have been run, if the model makes something else of all of them once they are many.
    ran: Option<Vec<i64>>,
    /// How many tokens have been generated after the prompt.
    generated: usize,
    turn: Turn,
    cancel: GenerationCancel,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    /// Waits for a prompt, or for the step after the last one.
    Ready,
    /// A token has been chosen, and its text has not been taken in yet.
    Chosen(u32),
    /// The token's text has been taken in; whether the text ends here has not been found out yet.
    Taken(u32),
    /// What the last step gave; none where the step was that of the generation that this one goes on from.
    Given(Option<u32>),
    /// The text has ended, with this token if there was one.
    Finished(Option<u32>, Finish),
}

impl Generation {
    /// A generation on `requests`, whose shards follow one another and are a whole model. It goes on where they are: what they
    /// have run is not part of the text that penalties look at.
    ///
    /// Without a tokenizer prompts are ids, and there is no text.
    ///
    /// # Errors
    /// `InvalidArgument` for requests that are not a whole model, an option outside its range, or two options that contradict
    /// each other (the message names both); `OutOfRange` for a token that is not in the vocabulary.
    pub fn new(requests: Vec<Request>, tokenizer: Option<Arc<Tokenizer>>, options: GenerationOptions) -> Result<Self> {
        Self::on(Box::new(Local::new(requests)?), tokenizer, options)
    }

    /// A generation on a request of its own on all layers of the model of `spec`, with the model's tokenizer if it has one.
    /// Where `eos` is empty and there is no tokenizer, the ids end the text that the model's config declares.
    ///
    /// # Errors
    /// Those of [`Engine::model_info`], [`Engine::tokenizer`], [`Engine::ensure_shard`], [`Request::new`] and
    /// [`Generation::new`]. What contradicts itself is refused before weights are loaded.
    pub fn open(
        engine: &Engine,
        spec: &ShardSpec,
        request: RequestOptions,
        mut options: GenerationOptions,
    ) -> Result<Self> {
        let info = engine.model_info(spec, None)?;
        let tokenizer = match engine.tokenizer(spec, None) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Offline) => None,
            opened => Some(Arc::new(opened?)),
        };
        options.check(info.vocab_size as usize, tokenizer.is_some())?;
        if tokenizer.is_none() && !options.ignore_eos && options.sampling.eos.is_empty() {
            options.sampling.eos = info.eos_ids;
        }
        let constraint = options.constraint(tokenizer.as_ref())?;
        let shard = engine.ensure_shard(spec, None)?;
        let grammar = options.grammar.take();
        let mut generation = Self::new(vec![Request::new(&shard, request)?], tokenizer, options)?;
        constraint.map_or(Ok(()), |constraint| generation.set_grammar(constraint))?;
        generation.options.grammar = grammar;
        Ok(generation)
    }

    /// A generation on anything that runs a whole model.
    pub(crate) fn on(
        backend: Box<dyn Backend>,
        tokenizer: Option<Arc<Tokenizer>>,
        mut options: GenerationOptions,
    ) -> Result<Self> {
        options.check(backend.vocabulary(), tokenizer.is_some())?;
        if let Some(tokenizer) = tokenizer.as_ref().filter(|_| options.sampling.eos.is_empty() && !options.ignore_eos) {
            options.sampling.eos = tokenizer.eos().to_vec();
            options.sampling.check()?;
        }
        let stops = StopStrings::new(&options.stop, options.include_stop)?;
        let cancel = GenerationCancel::new(backend.stopper());
        let constraint = options.constraint(tokenizer.as_ref())?;
        let mut generation = Self {
            chooser: Chooser::new(&options)?,
            ran: (backend.short_context() > 0 && backend.position() == 0).then(Vec::new),
            text: Text::new(tokenizer.clone(), options.keep_special, stops),
            backend,
            tokenizer,
            options,
            input: Vec::new(),
            generated: 0,
            turn: Turn::Ready,
            cancel,
        };
        constraint.map_or(Ok(()), |constraint| generation.set_grammar(constraint))?;
        Ok(generation)
    }

    /// Makes tokens that come from here on keep to `constraint`, or to none.
    pub fn set_constraint(&mut self, constraint: Option<Box<dyn Constraint>>) {
        self.chooser.constraint = constraint;
    }

    /// The logits that the last token was chosen from, as the model gives them: one for each id. Empty unless they are kept.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        self.chooser.logits()
    }

    /// A handle with which another thread cancels the generation.
    #[must_use]
    pub fn cancel_handle(&self) -> GenerationCancel {
        self.cancel.clone()
    }

    /// The options in force; `eos` are the tokens that end the text.
    #[must_use]
    pub fn options(&self) -> &GenerationOptions {
        &self.options
    }

    /// The tokenizer, if there is one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// How many tokens have been run.
    #[must_use]
    pub fn position(&self) -> usize {
        self.backend.position()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The requests may go on without it.
        if self.cancel.is_asked()
            && let Err(error) = self.cancel.take_back()
        {
            log::warn!("a cancelled generation: {}", error.chain());
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("options", &self.options)
            .field("position", &self.position())
            .field("generated", &self.generated)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
