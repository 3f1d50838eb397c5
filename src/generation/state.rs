//! A generation as bytes, for another process or another time: it goes on there as if it had never stopped.
//!
//! ```text
//! 8 bytes       magic: "ORTSGEN" and a zero
//! 4 bytes       VERSION
//! 32 bytes      the tokenizer's fingerprint, zeros without a tokenizer
//! list          of the hashes of the options, 32 bytes each, in the order of [`settings`]
//! number, twice how the text stands (READY, ...), and the index of the stop string that has come
//! number        tokens generated after the prompt
//! list of ids   tokens that have not been run
//! flag, list    whether the tokens that have been run are kept, and those
//! 16 bytes      words of the random stream that have been drawn
//! number        tokens that count for `forced` and `min_new_tokens`
//! list, list    the text that the sampler looks back at: its ids, and of each 1 if the sampler chose it, else 0
//! text          what is held back: by the decoder (flag, number, list of bytes, list of ids), whether that has given all (flag),
//!               and by the stop strings (list of bytes)
//! flag, list    whether there is a constraint, and its state
//! ...           the state of what the generation runs on
//! 32 bytes      the SHA-256 of all that
//! ```
//!
//! The options themselves are not in it: the one that imports was made with the same ones.

use std::mem::swap;

use sha2::{Digest, Sha256};

use super::bytes::{Reader, Writer};
use super::options::settings;
use super::step::Finish;
use super::text::Text;
use super::{Generation, GenerationCancel, Turn};
use crate::error::{Result, bail, err};
use crate::sampler::{Constraint, Sampler, SamplerState};

const MAGIC: &[u8; 8] = b"ORTSGEN\0";
/// The version rises with every change of the format.
const VERSION: u32 = 1;
const HASH: usize = 32;

/// How a text stands.
const READY: usize = 0;
const GIVEN: usize = 1;
const EOS: usize = 2;
const STOP: usize = 3;
const LENGTH: usize = 4;
const CONTEXT_FULL: usize = 5;
const CANCELLED: usize = 6;

impl Generation {
    /// A generation that goes on from here on its own, with the same options, on forks of the requests: the same tokens as this one, unless
    /// another prompt is appended to it.
    ///
    /// # Errors
    /// `InvalidState` after a step that has failed half way, which is to be repeated first; `Unsupported` under a [`Constraint`] of the
    /// program's own that has no fork; those of [`Request::fork`].
    ///
    /// [`Constraint`]: crate::Constraint
    /// [`Request::fork`]: crate::Request::fork
    pub fn fork(&self) -> Result<Self> {
        let turn = self.settled()?;
        let chooser = self.chooser.fork()?;
        let backend = self.backend.fork()?;
        let mut fork = Self {
            cancel: GenerationCancel::new(backend.stopper()),
            backend,
            tokenizer: self.tokenizer.clone(),
            options: self.options.clone(),
            chooser,
            text: self.text.fork(),
            input: self.input.clone(),
            ran: self.ran.clone(),
            generated: self.generated,
            turn,
        };
        fork.make_room(0, fork.backend.position())?;
        Ok(fork)
    }

    /// Bytes that [`export_state`](Self::export_state) would give now.
    ///
    /// # Errors
    /// Those of [`export_state`](Self::export_state).
    pub fn state_size(&self) -> Result<usize> {
        Ok(self.state_without_requests()?.0.len() + self.backend.state_size()? + HASH)
    }

    /// The generation as bytes. One with the same options, [`import`](Self::import_state)ing them, goes on with the same tokens and the same
    /// text: later, in another process, or on another copy of the shards.
    ///
    /// What the last step gave is not in them.
    ///
    /// # Errors
    /// `InvalidState` after a step that has failed half way, which is to be repeated first; `Unsupported` under a [`Constraint`] of the
    /// program's own that has no state; those of [`Request::export_state`]; `OutOfMemory`.
    ///
    /// [`Constraint`]: crate::Constraint
    /// [`Request::export_state`]: crate::Request::export_state
    pub fn export_state(&self) -> Result<Vec<u8>> {
        let mut to = self.state_without_requests()?;
        to.reserve(self.backend.state_size()? + HASH)?;
        self.backend.export(&mut to.0)?;
        let hash = Sha256::digest(&to.0);
        to.raw(&hash)?;
        Ok(to.0)
    }

    fn state_without_requests(&self) -> Result<Writer> {
        let (state, stop) = match self.settled()? {
            Turn::Finished(_, finish) => code_of(finish),
            Turn::Ready => (READY, 0),
            _ => (GIVEN, 0),
        };
        let mut to = Writer(Vec::new());
        to.raw(MAGIC)?;
        to.raw(&VERSION.to_le_bytes())?;
        to.raw(&self.tokenizer_hash()?)?;
        let settings = settings(&self.options);
        to.number(settings.len())?;
        for (_, value) in settings {
            to.raw(&Sha256::digest(value))?;
        }
        to.number(state)?;
        to.number(stop)?;
        to.number(self.generated)?;
        to.ids(self.input.iter().map(|id| *id as u32))?;
        to.number(self.ran.is_some().into())?;
        to.ids(self.ran.as_deref().unwrap_or_default().iter().map(|id| *id as u32))?;
        let SamplerState { drawn, chosen, text } = self.chooser.sampler.state();
        to.raw(&drawn.to_le_bytes())?;
        to.number(chosen)?;
        to.ids(text.iter().map(|(id, _)| *id))?;
        to.number(text.len())?;
        text.iter().try_for_each(|(_, is_chosen)| to.raw(&[u8::from(*is_chosen)]))?;
        self.text.write(&mut to)?;
        let constraint = match &self.chooser.constraint {
            None => None,
            Some(constraint) => {
                let state = constraint.state()?;
                Some(state.ok_or_else(|| err!(Unsupported, "the generation's constraint has no state to export"))?)
            }
        };
        to.number(constraint.is_some().into())?;
        to.bytes(constraint.as_deref().unwrap_or_default())?;
        Ok(to)
    }

    /// Puts the generation where the one was that exported `state`. If it is refused, nothing changes.
    ///
    /// # Errors
    /// `Malformed` if the bytes are damaged; `Unsupported` for a version that this library does not know; `InvalidArgument` for a state of
    /// another model, tokenizer or grammar, or of other options, but for `logprobs` and `keep_logits` (the message names what is
    /// other); those of [`Request::import_state`](crate::Request::import_state).
    pub fn import_state(&mut self, state: &[u8]) -> Result<()> {
        let mut from = Reader(opened(state)?);
        if from.raw(HASH)? != self.tokenizer_hash()? {
            bail!(InvalidArgument, "state: it belongs to another tokenizer");
        }
        let settings = settings(&self.options);
        if from.number()? != settings.len() {
            bail!(Malformed, "state: it does not have {} options", settings.len());
        }
        for (name, value) in settings {
            if from.raw(HASH)? != Sha256::digest(value).as_slice() {
                bail!(InvalidArgument, "state: the generation that exported it had another {name}");
            }
        }
        let turn = turn_of(from.number()?, from.number()?, self.options.stop.len())?;
        let generated = from.number()?;
        let vocabulary = self.backend.vocabulary();
        let input = tokens(&mut from, vocabulary)?;
        let has_ran = from.flag()?;
        let ran = Some(tokens(&mut from, vocabulary)?).filter(|_| has_ran);
        let sampler = self.sampler_at(&mut from)?;
        let text = self.text.read(&mut from)?;
        let (has_constraint, constraint) = (from.flag()?, from.bytes()?);
        let constraint = self.chooser.constraint_at(Some(constraint).filter(|_| has_constraint))?;
        let mut other = Place { input, ran, generated, turn, sampler, text, constraint };
        other.swap(self);
        let moved = self.make_room(0, 0).and_then(|()| self.cancel.take_back());
        let moved = moved.and_then(|()| self.backend.import(from.0));
        if moved.is_err() {
            other.swap(self);
        } else {
            self.chooser.forget();
        }
        moved
    }

    fn sampler_at(&self, from: &mut Reader) -> Result<Sampler> {
        let drawn = u128::from_le_bytes(from.array()?);
        let chosen = from.number()?;
        let ids = tokens(from, self.backend.vocabulary())?;
        let flags = from.bytes()?;
        if flags.len() != ids.len() || flags.iter().any(|flag| *flag > 1) {
            bail!(Malformed, "state: {} flags for {} tokens of the text so far", flags.len(), ids.len());
        }
        let text = ids.iter().zip(flags).map(|(id, is_chosen)| (*id as u32, *is_chosen == 1)).collect();
        let state = SamplerState { drawn, chosen, text };
        self.chooser.sampler.at(&state, self.backend.vocabulary())
    }

    /// How the text stands, where no step has failed half way.
    fn settled(&self) -> Result<Turn> {
        match self.turn {
            Turn::Ready => Ok(Turn::Ready),
            Turn::Given(_) => Ok(Turn::Given(None)),
            Turn::Finished(_, finish) => Ok(Turn::Finished(None, finish)),
            Turn::Chosen(_) | Turn::Taken(_) => {
                Err(err!(InvalidState, "the last step has failed half way: repeat it first"))
            }
        }
    }

    fn tokenizer_hash(&self) -> Result<[u8; HASH]> {
        self.tokenizer.as_ref().map_or(Ok([0; HASH]), |tokenizer| tokenizer.fingerprint())
    }
}

/// Where a generation is.
struct Place {
    input: Vec<i64>,
    ran: Option<Vec<i64>>,
    generated: usize,
    turn: Turn,
    sampler: Sampler,
    text: Text,
    constraint: Option<Box<dyn Constraint>>,
}

impl Place {
    fn swap(&mut self, generation: &mut Generation) {
        swap(&mut self.input, &mut generation.input);
        swap(&mut self.ran, &mut generation.ran);
        swap(&mut self.generated, &mut generation.generated);
        swap(&mut self.turn, &mut generation.turn);
        swap(&mut self.sampler, &mut generation.chooser.sampler);
        swap(&mut self.text, &mut generation.text);
        swap(&mut self.constraint, &mut generation.chooser.constraint);
    }
}

/// What is in the bytes `state` between the version and the hash.
fn opened(state: &[u8]) -> Result<&[u8]> {
    let Some((content, hash)) = state.split_last_chunk::<HASH>() else {
        bail!(Malformed, "state: {} bytes are too few", state.len());
    };
    let mut from = Reader(content);
    if from.raw(MAGIC.len())? != MAGIC {
        bail!(Malformed, "state: this is no exported generation");
    }
    let version = u32::from_le_bytes(from.array()?);
    if version != VERSION {
        bail!(Unsupported, "state: version {version}, this library reads version {VERSION}");
    }
    if Sha256::digest(content).as_slice() != hash {
        bail!(Malformed, "state: the bytes are damaged, their hash does not match");
    }
    Ok(from.0)
}

/// A list of tokens.
fn tokens(from: &mut Reader, vocabulary: usize) -> Result<Vec<i64>> {
    let ids = from.ids()?;
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(err!(Malformed, "state: token {id} is outside the vocabulary of {vocabulary}")),
        None => Ok(ids.into_iter().map(i64::from).collect()),
    }
}

fn code_of(finish: Finish) -> (usize, usize) {
    match finish {
        Finish::Eos => (EOS, 0),
        Finish::Stop(index) => (STOP, index),
        Finish::Length => (LENGTH, 0),
        Finish::ContextFull => (CONTEXT_FULL, 0),
        Finish::Cancelled => (CANCELLED, 0),
    }
}

fn turn_of(code: usize, stop: usize, stops: usize) -> Result<Turn> {
    let finish = match code {
        READY => return Ok(Turn::Ready),
        GIVEN => return Ok(Turn::Given(None)),
        EOS => Finish::Eos,
        STOP if stop < stops => Finish::Stop(stop),
        LENGTH => Finish::Length,
        CONTEXT_FULL => Finish::ContextFull,
        CANCELLED => Finish::Cancelled,
        _ => bail!(Malformed, "state: no text stands as {code} and {stop} say"),
    };
    Ok(Turn::Finished(None, finish))
}
