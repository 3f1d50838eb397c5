//! One conversation with a shard: its KV cache and its position.

mod batch;
mod chain;
mod history;
mod state;

pub use batch::{Step, infer_batch};
pub use chain::{SampleStep, infer_chain, next_token, next_tokens};

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayView2;

use crate::engine::memory::KvRows;
use crate::engine::options::RequestOptions;
use crate::engine::session::Results;
use crate::engine::shard::{CacheSlot, Shard};
use crate::error::{Result, bail, err};
use crate::kernels::narrow_f16;
use crate::runtime::Cancel;
use history::History;

const DEFAULT_CAPACITY: usize = 4096;
pub(crate) const DEFAULT_CHUNK: usize = 512;

/// What a shard takes.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Token ids, for a shard that starts at layer 0.
    Ids(&'a [i64]),
    /// The previous shard's hidden states `[tokens, hidden_size]`, for any other.
    Hidden(ArrayView2<'a, f32>),
}

impl<'a> Input<'a> {
    /// The same for a shorter time.
    pub(crate) fn reborrow(&self) -> Input<'_> {
        match self {
            Self::Ids(ids) => Input::Ids(ids),
            Self::Hidden(hidden) => Input::Hidden(hidden.reborrow()),
        }
    }

    pub(crate) fn ids(self) -> Option<&'a [i64]> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Hidden(_) => None,
        }
    }

    /// The rows `tokens` of hidden states, once [`Request::check`] has found them contiguous.
    pub(crate) fn hidden(self, tokens: Range<usize>) -> Option<&'a [f32]> {
        match self {
            Self::Ids(_) => None,
            Self::Hidden(hidden) => {
                hidden.to_slice().map(|all| &all[tokens.start * hidden.ncols()..][..tokens.len() * hidden.ncols()])
            }
        }
    }
}

/// Which logits the last shard gives. Other shards give all hidden states whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logits {
    /// Those of the last token: `[1, vocab_size]`.
    #[default]
    Last,
    /// Those of every token: `[tokens, vocab_size]`.
    All,
    /// None: `[0, vocab_size]`. Fills the KV cache only.
    None,
}

/// What a shard gives, borrowed until the request's next call.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// Hidden states `[tokens, hidden_size]` for the next shard.
    Hidden(ArrayView2<'a, f32>),
    /// Logits `[rows, vocab_size]`.
    Logits(ArrayView2<'a, f32>),
}

impl<'a> Output<'a> {
    /// The values, whichever they are.
    pub fn values(self) -> ArrayView2<'a, f32> {
        match self {
            Self::Hidden(values) | Self::Logits(values) => values,
        }
    }

    /// The values as the bits of IEEE halves, rounded to nearest. The largest half stands for what is beyond it.
    pub(crate) fn round_to_halves(self, halves: &mut [u16]) {
        halves.iter_mut().zip(self.values()).for_each(|(half, value)| *half = narrow_f16(*value));
    }
}

/// A request: a KV cache of fixed capacity, or what replaces it, and the number of tokens in it. One call at a time;
/// many requests may run on one shard at once.
#[derive(Debug)]
pub struct Request {
    shard: Arc<Shard>,
    pub(crate) cache: Arc<CacheSlot>,
    capacity: usize,
    position: usize,
    chunk: usize,
    /// Instead of a KV cache, if the request was made without one.
    pub(crate) history: Option<History>,
    pub(crate) results: Option<Results>,
    pub(crate) cancel: Arc<Cancel>,
}

/// Cancels a request's call from another thread.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<Cancel>);

impl CancelHandle {
    /// Stops the request's call in progress between two operators, or, if none is, its next one. That call returns
    /// [`Cancelled`](crate::ErrorKind::Cancelled), leaves the position as it was and clears the flag.
    ///
    /// A cancellation is never lost: one that comes after the last of several calls stays for the next of them, unless
    /// [`clear`](Self::clear) takes it back.
    pub fn cancel(&self) -> Result<()> {
        self.0.cancel()
    }

    /// Takes a cancellation back that no call has returned yet. A call in progress may have been stopped by it.
    pub fn clear(&self) -> Result<()> {
        self.0.clear()
    }
}

impl Request {
    /// A request at position 0 on `shard`, which it keeps alive. Reserves the whole KV cache, or the room for its input
    /// if it is to have none.
    pub fn new(shard: &Arc<Shard>, options: RequestOptions) -> Result<Self> {
        let max = shard.config().max_positions;
        let capacity = match options.capacity as usize {
            0 => max.min(DEFAULT_CAPACITY),
            capacity if capacity > max => {
                bail!(OutOfRange, "capacity {capacity} is over the model's max_position_embeddings {max}")
            }
            capacity => capacity,
        };
        let chunk = match options.prefill_chunk as usize {
            0 => DEFAULT_CHUNK,
            chunk => chunk,
        };
        Self::with_capacity(shard, capacity, chunk, options.no_cache)
    }

    pub(crate) fn with_capacity(shard: &Arc<Shard>, capacity: usize, chunk: usize, no_cache: bool) -> Result<Self> {
        let memory = || {
            if no_cache {
                return Ok((Arc::default(), Some(History::new(shard, capacity)?)));
            }
            Ok((shard.new_cache(capacity, chunk)?, None))
        };
        let (cache, history) = memory().inspect_err(|error| shard.counters.note(error))?;
        let cancel = Arc::new(Cancel::new()?);
        Ok(Self { shard: Arc::clone(shard), cache, capacity, position: 0, chunk, history, results: None, cancel })
    }

    /// Calls `work` with the KV cache, unless the shard is retired or the request has none.
    pub(crate) fn with_cache<T>(&self, work: impl FnOnce(&mut KvRows) -> Result<T>) -> Result<T> {
        match self.cache.lock().as_mut() {
            Some(cache) => work(&mut cache.rows),
            None if self.history.is_some() => Err(err!(InvalidState, "the request was made without a KV cache")),
            None => Err(err!(StaleShard, "the request's shard was retired")),
        }
    }

    pub(crate) fn chunk(&self) -> usize {
        self.chunk
    }

    pub(crate) fn set_position(&mut self, position: usize) {
        self.position = position;
    }

    /// The shard it runs on.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Tokens in the KV cache; without one, tokens that were run.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets every token from `position` on.
    ///
    /// A layer that sees a window of tokens keeps that and at least 256 tokens behind it. A request can go back so far, and to 0.
    ///
    /// # Errors
    /// [`OutOfRange`](ErrorKind::OutOfRange) past the request's position, or where a window has moved on; nothing changes then.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        if position > self.position {
            bail!(OutOfRange, "position {position} is past the request's position {}", self.position);
        }
        if let Some(cache) = self.cache.lock().as_mut() {
            let earliest = cache.rows.earliest();
            if position == 0 {
                cache.rows.restart();
            } else if position < earliest {
                bail!(
                    OutOfRange,
                    "position {position} is further back than the layers with a window have kept; the earliest is {earliest}, or 0 \
                     to run the tokens again"
                );
            }
        }
        self.position = position;
        if let Some(history) = &mut self.history {
            history.truncate(position);
        }
        Ok(())
    }

    /// What another thread cancels this request with.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::clone(&self.cancel))
    }

    /// Runs `input` through the shard's layers, continuing at [`position`](Self::position).
    ///
    /// A long input is run in chunks. However it is cut, into chunks or into calls, the same tokens give the same
    /// bits. If the call fails, the position is as before it and the call can be repeated.
    pub fn infer(&mut self, input: Input, logits: Logits) -> Result<Output<'_>> {
        for outcome in infer_batch(&mut [Step { request: self, input, logits }]) {
            outcome?;
        }
        self.output().ok_or_else(|| err!(Internal, "a run without a result"))
    }

    /// What the last run gave, by whichever function; `None` before the first, after one that failed, and after a run
    /// whose results went elsewhere: on to the next shard of a chain, or to a sampler.
    pub fn output(&self) -> Option<Output<'_>> {
        let results = self.results.as_ref()?;
        let values = ArrayView2::from_shape((results.rows, results.width), results.values()).ok()?;
        Some(if self.shard.info().is_last { Output::Logits(values) } else { Output::Hidden(values) })
    }

    /// The `[rows, width]` of what [`infer`](Self::infer) gives for so many tokens.
    pub fn output_shape(&self, tokens: usize, logits: Logits) -> (usize, usize) {
        let info = self.shard.info();
        match (info.is_last, logits) {
            (false, _) => (tokens, info.hidden_size as usize),
            (true, Logits::Last) => (1, info.vocab_size as usize),
            (true, Logits::All) => (tokens, info.vocab_size as usize),
            (true, Logits::None) => (0, info.vocab_size as usize),
        }
    }

    /// The number of tokens in `input`, if the shard can take it.
    pub(crate) fn check(&self, input: &Input) -> Result<usize> {
        let info = self.shard.info();
        let tokens = match input {
            Input::Ids(ids) => {
                if !info.is_first {
                    bail!(
                        InvalidArgument,
                        "input: token ids given, but the shard starts at layer {} and takes hidden states",
                        info.first_layer
                    );
                }
                let vocabulary = i64::from(info.vocab_size);
                if let Some(index) = ids.iter().position(|id| !(0..vocabulary).contains(id)) {
                    bail!(
                        OutOfRange,
                        "input: token id {} at index {index} is outside the vocabulary of {vocabulary}",
                        ids[index]
                    );
                }
                ids.len()
            }
            Input::Hidden(hidden) => {
                if info.is_first {
                    bail!(
                        InvalidArgument,
                        "input: hidden states given, but the shard starts at layer 0 and takes token ids"
                    );
                }
                let (tokens, width) = hidden.dim();
                if width != info.hidden_size as usize {
                    bail!(
                        InvalidArgument,
                        "input: hidden states of width {width}, the model's hidden_size is {}",
                        info.hidden_size
                    );
                }
                if !hidden.is_standard_layout() {
                    bail!(InvalidArgument, "input: hidden states are not contiguous rows");
                }
                tokens
            }
        };
        if tokens == 0 {
            bail!(InvalidArgument, "input: no tokens");
        }
        self.check_room(tokens)
    }

    /// `tokens`, if there is room for so many.
    pub(crate) fn check_room(&self, tokens: usize) -> Result<usize> {
        let free = self.capacity - self.position;
        if tokens > free {
            bail!(
                ContextFull,
                "input: {tokens} tokens, but position {} leaves {free} of the request's capacity {}",
                self.position,
                self.capacity
            );
        }
        Ok(tokens)
    }
}
