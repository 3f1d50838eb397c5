//! One conversation with a shard: its KV cache and its position.

use std::sync::Arc;

use ndarray::{ArrayView2, Axis};

use super::options::RequestOptions;
use super::shard::Shard;
use crate::error::{Error, ErrorKind, Result, Site, bail};
use crate::kv::KvCache;
use crate::runtime::{Batch, Cancel, Segment, Tensor, TensorMut};

const DEFAULT_CAPACITY: usize = 4096;
const DEFAULT_CHUNK: usize = 512;

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
    kv: KvCache,
    position: usize,
    chunk: usize,
    out: Vec<f32>,
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
        let kv = KvCache::new(shard.kv_shape(), capacity).inspect_err(|error| shard.counters.note(error))?;
        let cancel = Arc::new(Cancel::new()?);
        Ok(Self { shard: Arc::clone(shard), kv, position: 0, chunk, out: Vec::new(), cancel })
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
        self.kv.capacity()
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

    /// Checks, reserves, runs chunk by chunk, commits. Returns the output's shape.
    fn run(&mut self, input: Input, logits: Logits) -> Result<(usize, usize)> {
        let tokens = self.check(&input)?;
        let info = self.shard.info();
        let (rows, width) = match (info.is_last, logits) {
            (false, _) => (tokens, info.hidden_size as usize),
            (true, Logits::Last) => (1, info.vocab_size as usize),
            (true, Logits::All) => (tokens, info.vocab_size as usize),
            (true, Logits::None) => (0, info.vocab_size as usize),
        };
        self.reserve_output(rows * width)?;
        let mut done = 0;
        while done < tokens {
            let chunk = self.chunk.min(tokens - done);
            if self.cancel.is_set() {
                bail!(Cancelled, "the request was cancelled");
            }
            let wanted: Vec<i64> = match logits {
                Logits::All => (0..chunk as i64).collect(),
                Logits::Last if done + chunk == tokens => vec![chunk as i64 - 1],
                Logits::Last | Logits::None => Vec::new(),
            };
            let first_row = if logits == Logits::All { done } else { 0 };
            self.step(&input, done, chunk, (&wanted, first_row), width)?;
            done += chunk;
        }
        self.position += tokens;
        self.shard.counters.tokens(tokens);
        Ok((rows, width))
    }

    /// One run: rows `done..done + chunk` of the input. `wanted` are the rows of the chunk whose logits go into the
    /// output from row `first_row` on.
    fn step(
        &mut self,
        input: &Input,
        done: usize,
        chunk: usize,
        (wanted, first_row): (&[i64], usize),
        width: usize,
    ) -> Result<()> {
        let position = self.position + done;
        let rope = &self.shard.config().rope;
        let mut cos = Vec::with_capacity(chunk * rope.pairs());
        let mut sin = Vec::with_capacity(chunk * rope.pairs());
        for p in position..position + chunk {
            rope.rotation(p, &mut cos, &mut sin);
        }
        let capacity = self.kv.capacity();
        let batch = Batch { segments: vec![Segment::new(self.kv.rows(), capacity, position, chunk)], cos, sin };
        let address = [batch.address()];
        let batch_input = Tensor::new(&address, &[1])?;
        let rows = match input {
            Input::Ids(ids) => (c"input_ids", Tensor::new(&ids[done..done + chunk], &[chunk])?),
            Input::Hidden(hidden) => {
                let width = hidden.len_of(Axis(1));
                let values = hidden.to_slice().unwrap_or_default();
                (c"hidden_states_in", Tensor::new(&values[done * width..(done + chunk) * width], &[chunk, width])?)
            }
        };
        let wanted_input = Tensor::new(wanted, &[wanted.len()])?;
        let inputs = [(rows.0, &rows.1), (c"batch", &batch_input), (c"logit_rows", &wanted_input)];
        let session = self.shard.session();
        if self.shard.info().is_last {
            let begin = first_row * width;
            let out = &mut self.out[begin..begin + wanted.len() * width];
            let mut out = TensorMut::new(out, &[wanted.len(), width])?;
            session.run(&inputs, (c"logits", &mut out), &self.cancel)
        } else {
            let mut out = TensorMut::new(&mut self.out[done * width..(done + chunk) * width], &[chunk, width])?;
            session.run(&inputs[..2], (c"hidden_states", &mut out), &self.cancel)
        }
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
        let free = self.kv.capacity() - self.position;
        if tokens > free {
            bail!(
                ContextFull,
                "input: {tokens} tokens, but position {} leaves {free} of the request's capacity {}",
                self.position,
                self.kv.capacity()
            );
        }
        Ok(tokens)
    }

    fn reserve_output(&mut self, len: usize) -> Result<()> {
        if len > self.out.len() {
            self.out
                .try_reserve_exact(len - self.out.len())
                .map_err(|_| Error::oom(Site::Run, "cpu", (len * size_of::<f32>()) as u64, "the output"))?;
            self.out.resize(len, 0.0);
        }
        Ok(())
    }
}
