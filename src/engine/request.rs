//! One conversation with a shard: its KV cache and its position.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayView2;

use super::budget::Reservation;
use super::options::RequestOptions;
use super::shard::{CacheSlot, Loaded, Shard};
use crate::error::{Error, ErrorKind, Result, Site, bail, err};
use crate::kv::KvCache;
use crate::runtime::{Batch, Cancel, Segment, Tensor, TensorMut};

const DEFAULT_CAPACITY: usize = 4096;
const DEFAULT_CHUNK: usize = 512;
/// Runs of more tokens than this give their memory back.
const SHRINK_FROM: usize = 32;

/// What a shard takes.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Token ids, for a shard that starts at layer 0.
    Ids(&'a [i64]),
    /// The previous shard's hidden states `[tokens, hidden_size]`, for any other.
    Hidden(ArrayView2<'a, f32>),
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
}

/// A request: a KV cache of fixed capacity and the number of tokens in it. One call at a time; many requests may run
/// on one shard at once.
#[derive(Debug)]
pub struct Request {
    shard: Arc<Shard>,
    cache: Arc<CacheSlot>,
    capacity: usize,
    position: usize,
    chunk: usize,
    out: Vec<f32>,
    out_memory: Vec<Reservation>,
    cancel: Arc<Cancel>,
}

/// Cancels a request's call from another thread.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<Cancel>);

impl CancelHandle {
    /// Stops the request's call in progress between two operators, or, if none is, its next one. That call returns
    /// [`Cancelled`](ErrorKind::Cancelled), leaves the position as it was and clears the flag.
    pub fn cancel(&self) -> Result<()> {
        self.0.cancel()
    }
}

impl Request {
    /// A request at position 0 on `shard`, which it keeps alive. Reserves the whole KV cache.
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
        Self::with_capacity(shard, capacity, chunk)
    }

    pub(super) fn with_capacity(shard: &Arc<Shard>, capacity: usize, chunk: usize) -> Result<Self> {
        let cache = shard.new_cache(capacity).inspect_err(|error| shard.counters.note(error))?;
        let (out, out_memory, cancel) = (Vec::new(), Vec::new(), Arc::new(Cancel::new()?));
        Ok(Self { shard: Arc::clone(shard), cache, capacity, position: 0, chunk, out, out_memory, cancel })
    }

    /// Calls `work` with the KV cache, unless the shard is retired.
    pub(super) fn with_cache<T>(&self, work: impl FnOnce(&mut KvCache) -> Result<T>) -> Result<T> {
        match self.cache.lock().as_mut() {
            Some(cache) => work(&mut cache.rows),
            None => Err(err!(StaleShard, "the request's shard was retired")),
        }
    }

    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    pub(super) fn set_position(&mut self, position: usize) {
        self.position = position;
    }

    /// The shard it runs on.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Tokens in the KV cache.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Tokens the KV cache has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets every token from `position` on.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        if position > self.position {
            bail!(OutOfRange, "position {position} is past the request's position {}", self.position);
        }
        self.position = position;
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
        let result = self.run(input, logits);
        if let Err(error) = &result {
            self.shard.counters.note(error);
            if error.kind() == ErrorKind::Cancelled {
                self.cancel.clear()?;
            }
        }
        let (rows, width) = result?;
        let values = ArrayView2::from_shape((rows, width), &self.out[..rows * width])
            .map_err(|e| Error::new(ErrorKind::Internal, "the output has another size").with_source(e))?;
        Ok(if self.shard.info().is_last { Output::Logits(values) } else { Output::Hidden(values) })
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

    /// Checks, reserves, runs chunk by chunk, commits. Returns the output's shape.
    fn run(&mut self, input: Input, logits: Logits) -> Result<(usize, usize)> {
        let tokens = self.check(&input)?;
        let shard = Arc::clone(&self.shard);
        let info = shard.info();
        let (rows, width) = self.output_shape(tokens, logits);
        self.reserve_output(rows * width)?;
        let cache = Arc::clone(&self.cache);
        shard.with(|loaded| {
            let mut cache = cache.lock();
            let cache = cache.as_mut().ok_or_else(|| err!(StaleShard, "the request's shard was retired"))?;
            let mut done = 0;
            while done < tokens {
                let chunk = self.chunk.min(loaded.rows).min(tokens - done);
                if self.cancel.is_set() {
                    bail!(Cancelled, "the request was cancelled");
                }
                let wanted: Vec<i64> = match logits {
                    Logits::All => (0..chunk as i64).collect(),
                    Logits::Last if done + chunk == tokens => vec![chunk as i64 - 1],
                    Logits::Last | Logits::None => Vec::new(),
                };
                let first_row = if logits == Logits::All || !info.is_last { done } else { 0 };
                let out_rows = if info.is_last { wanted.len() } else { chunk };
                let out = &mut self.out[first_row * width..(first_row + out_rows) * width];
                let mut out = TensorMut::new(out, &[out_rows, width])?;
                let kv = cache.rows.rows();
                let batch = batch(&shard, Segment::new(kv, self.capacity, self.position + done, chunk));
                step(loaded, &input, done..done + chunk, &batch, &wanted, &mut out, &self.cancel)?;
                done += chunk;
            }
            Ok(())
        })?;
        self.position += tokens;
        self.shard.counters.tokens(tokens);
        Ok((rows, width))
    }

    /// The number of tokens in `input`, if the shard can take it.
    fn check(&self, input: &Input) -> Result<usize> {
        let info = self.shard.info();
        let tokens = match input {
            Input::Ids(ids) => {
                if !info.is_first {
                    bail!(
                        InvalidArgument,
                        "input: token ids given, but the shard starts at layer {} and takes hidden states",
                        info.start_layer
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

    /// Room for `len` values, taken from the budget. Grows only, so that decoding allocates nothing.
    fn reserve_output(&mut self, len: usize) -> Result<()> {
        if len > self.out.len() {
            let bytes = (len * size_of::<f32>()) as u64;
            let held = (self.out.len() * size_of::<f32>()) as u64;
            let more = self.shard.budget.reserve(bytes - held, Site::Run, "the output")?;
            self.out
                .try_reserve_exact(len - self.out.len())
                .map_err(|_| Error::oom(Site::Run, "cpu", bytes, "the output"))?;
            self.out.resize(len, 0.0);
            self.out_memory.push(more);
        }
        Ok(())
    }
}

/// The batch of one request: its segment and the rotation of each of its rows.
fn batch<'a>(shard: &Shard, segment: Segment<'a>) -> Batch<'a> {
    let rope = &shard.config().rope;
    let rows = segment.rows();
    let mut cos = Vec::with_capacity(rows.len() * rope.pairs());
    let mut sin = Vec::with_capacity(rows.len() * rope.pairs());
    for position in rows {
        rope.rotation(position, &mut cos, &mut sin);
    }
    Batch { segments: vec![segment], cos, sin }
}

/// One run: `rows` of the input through the shard's session into `out`.
fn step(
    loaded: &Loaded,
    input: &Input,
    rows: Range<usize>,
    batch: &Batch,
    wanted: &[i64],
    out: &mut TensorMut,
    cancel: &Cancel,
) -> Result<()> {
    let count = rows.len();
    let address = [batch.address()];
    let batch_input = Tensor::new(&address, &[1])?;
    let (name, rows) = match input {
        Input::Ids(ids) => (c"input_ids", Tensor::new(&ids[rows], &[count])?),
        Input::Hidden(hidden) => {
            let width = hidden.ncols();
            let values = hidden.to_slice().unwrap_or_default();
            (c"hidden_states_in", Tensor::new(&values[rows.start * width..rows.end * width], &[count, width])?)
        }
    };
    let wanted_input = Tensor::new(wanted, &[wanted.len()])?;
    let inputs = [(name, &rows), (c"batch", &batch_input), (c"logit_rows", &wanted_input)];
    // A prompt's run leaves an arena of megabytes, a token's one of kilobytes.
    let shrink = count > SHRINK_FROM;
    if loaded.is_last {
        loaded.session.run(&inputs, c"logits", out, cancel, shrink)
    } else {
        loaded.session.run(&inputs[..2], c"hidden_states", out, cancel, shrink)
    }
}
