// What a handle on a generation stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Site};
use crate::ffi::basics::objects::ortshard_generation;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::handle::{self, Exclusive, Handle, Kind, borrow};
use crate::ffi::frame::status::ORTSHARD_ERROR_INVALID_STATE;
use crate::ffi::generation::generated::{code_of, ortshard_logprob, ortshard_step};
use crate::ffi::text::tokenizer::ORTSHARD_NO_ID;
use crate::{Generation, GenerationCancel, TextStream};

impl Handle for ortshard_generation {
    type Object = GenerationObject;
    const KIND: Kind = Kind::Generation;
}

/// What cancels it lies outside the lock.
pub(in crate::ffi) struct GenerationObject {
    pulled: Exclusive<Pulled>,
    pub(in crate::ffi) cancel: GenerationCancel,
}

pub(in crate::ffi) struct Pulled {
    pub(in crate::ffi) generation: Generation,
    /// Where the positions of its requests are shown.
    positions: Vec<Arc<AtomicU64>>,
    /// Whether the generation has made a step that could not be shown.
    unshown: bool,
    lent: Lent,
}

/// What the last step lent to the caller.
struct Lent {
    text: Vec<u8>,
    /// The texts of `best`.
    pieces: Vec<u8>,
    best: Vec<ortshard_logprob>,
    /// Makes text of one token alone, and the text.
    alone: Option<TextStream>,
    piece: String,
}

// SAFETY: the pointers in `best` are into `pieces`.
unsafe impl Send for Lent {}

/// A generation that a call has to itself.
pub(in crate::ffi) type Entered = handle::Entry<ortshard_generation, Pulled>;

/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn enter(
    generation: *const ortshard_generation,
    parameter: &str,
) -> Result<Entered, Failure> {
    // SAFETY: the caller's promise.
    unsafe { borrow(generation, parameter) }?.enter(|object| &object.pulled, parameter)
}

impl GenerationObject {
    /// `positions` are where those of its requests are shown.
    pub(in crate::ffi) fn new(generation: Generation, positions: Vec<Arc<AtomicU64>>) -> Self {
        let cancel = generation.cancel_handle();
        let alone = generation.tokenizer().map(|tokenizer| TextStream::new(Arc::clone(tokenizer), false));
        let lent = Lent { text: Vec::new(), pieces: Vec::new(), best: Vec::new(), alone, piece: String::new() };
        let pulled = Exclusive::new(Pulled { generation, positions, unshown: false, lent });
        Self { pulled, cancel }
    }
}

impl Pulled {
    /// Makes a step and shows it.
    pub(in crate::ffi) fn step(&mut self) -> Result<ortshard_step, Failure> {
        self.step_by(|generation| generation.step().map(drop))
    }

    /// Makes a step in a way of its own, unless the last one is still to be shown, and shows it.
    pub(in crate::ffi) fn step_by(
        &mut self,
        step: impl FnOnce(&mut Generation) -> crate::Result<()>,
    ) -> Result<ortshard_step, Failure> {
        if !self.unshown {
            let stepped = step(&mut self.generation);
            self.moved();
            stepped?;
        }
        self.show()
    }

    /// Adds to the prompt. Of a step that could not be shown there is nothing left then.
    pub(in crate::ffi) fn append(
        &mut self,
        append: impl FnOnce(&mut Generation) -> crate::Result<()>,
    ) -> Result<(), Failure> {
        append(&mut self.generation)?;
        self.unshown = false;
        Ok(())
    }

    /// The generation, of which every step has been shown.
    pub(in crate::ffi) fn settled(&self) -> Result<&Generation, Failure> {
        if self.unshown {
            let message = "the last step has failed half way: repeat it first";
            return Err(Failure::new(ORTSHARD_ERROR_INVALID_STATE, message));
        }
        Ok(&self.generation)
    }

    /// Goes where another was. Of a step that could not be shown there is nothing left then.
    pub(in crate::ffi) fn import(&mut self, state: &[u8]) -> Result<(), Failure> {
        let imported = self.generation.import_state(state);
        self.moved();
        imported?;
        self.unshown = false;
        Ok(())
    }

    /// Whether there is a step that has been made and not shown.
    pub(in crate::ffi) fn has_unshown(&self) -> bool {
        self.unshown
    }

    /// Shows the position that a call, also one that failed, has left the requests at.
    pub(in crate::ffi) fn moved(&self) {
        let position = self.generation.position() as u64;
        self.positions.iter().for_each(|shown| shown.store(position, Ordering::Release));
    }

    /// Shows the step that has been made.
    pub(in crate::ffi) fn show(&mut self) -> Result<ortshard_step, Failure> {
        self.unshown = true;
        let step = self.generation.generated();
        let Lent { text, pieces, best, alone, piece } = &mut self.lent;
        text.clear();
        append(text, step.text)?;
        pieces.clear();
        best.clear();
        best.try_reserve(step.best.len()).map_err(|_| refused(step.best.len()))?;
        for (id, logprob) in step.best {
            let begin = pieces.len();
            piece.clear();
            let decoded = alone.as_mut().map(|alone| alone.push_to(*id, piece).and_then(|()| alone.finish_to(piece)));
            match decoded {
                Some(Err(error)) if error.kind() == ErrorKind::OutOfMemory => return Err(error.into()),
                // A model may have more ids than its tokenizer: such an id has no text.
                Some(Err(_)) => piece.clear(),
                Some(Ok(())) | None => {}
            }
            append(pieces, piece)?;
            let text_length = pieces.len() - begin - 1;
            let text = std::ptr::without_provenance(begin);
            best.push(ortshard_logprob { id: i64::from(*id), logprob: f64::from(*logprob), text, text_length });
        }
        // Only now the pieces stay where they are.
        for told in best.iter_mut() {
            told.text = pieces[told.text.addr()..].as_ptr().cast();
        }
        let (finish, stop) = code_of(step.finish);
        let shown = ortshard_step {
            struct_size: size_of::<ortshard_step>(),
            id: step.id.map_or(i64::from(ORTSHARD_NO_ID), i64::from),
            text: text.as_ptr().cast(),
            text_length: text.len() - 1,
            finish,
            stop,
            logprob: f64::from(step.logprob.unwrap_or(0.0)),
            best: if best.is_empty() { std::ptr::null() } else { best.as_ptr() },
            best_count: best.len(),
        };
        self.unshown = false;
        Ok(shown)
    }
}

/// Adds a text and its terminator.
fn append(bytes: &mut Vec<u8>, text: &str) -> Result<(), Failure> {
    bytes.try_reserve(text.len() + 1).map_err(|_| refused(text.len() + 1))?;
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Ok(())
}

fn refused(bytes: usize) -> Failure {
    Error::oom(Site::Run, "cpu", bytes as u64, "the text of a step").into()
}
