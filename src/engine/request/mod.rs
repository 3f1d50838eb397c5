//! One conversation with a shard: its KV cache and its position.

mod batch;
mod chain;
mod frames;
mod history;
mod long_text;
mod next_token;
mod state;

pub use batch::{Step, infer_batch};
pub use chain::infer_chain;
pub(crate) use chain::{chain, check_chain};
pub(crate) use next_token::{ChoiceStep, next_choice, next_choices};
pub use next_token::{SampleStep, next_token, next_tokens};

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayView2;

use super::io::{Input, Logits, Output};
use super::memory::{KeptCell, KeptStore, input_bytes};
use super::options::{DEFAULT_CAPACITY, DEFAULT_CHUNK, RequestOptions};
use super::run::{Call, CallProgress, run_calls};
use super::session::{Given, Results, Sink};
use super::shard::Shard;
use crate::error::{ErrorKind, Result, bail, err};
use crate::kept::{Density, Room};
use crate::runtime::{Cancel, Rows};
use history::{History, Replay};
use state::State;

/// A request: a KV cache of fixed capacity, or what replaces it, and the number of tokens in it. One call at a time;
/// many requests may run on one shard at once.
#[derive(Debug)]
pub struct Request {
    shard: Arc<Shard>,
    cache: Arc<KeptCell>,
    capacity: usize,
    position: usize,
    chunk: usize,
    /// Whether it is to be a long text from its first token on.
    long_context: bool,
    /// Whether the tokens behind it were rotated as those of a long text.
    is_long: bool,
    /// Whether each call gets a cache of its own, and fills that first.
    no_cache: bool,
    /// Its input, if that may have to be run again: if the request has no KV cache, or layers keep states of fixed size.
    history: Option<History>,
    /// How densely such states are put aside.
    snapshots: Density,
    results: Option<Results>,
    /// The position that the results begin at, and whether positions were rotated as in a long text.
    given_at: (usize, bool),
    cancel: Arc<Cancel>,
}

/// Cancels a request's call from another thread.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<Cancel>);

impl CancelHandle {
    /// Stops the request's call in progress between two operators or, if there is none, the next call. The call returns
    /// [`Cancelled`](crate::ErrorKind::Cancelled), leaves the position as it was and clears the flag.
    ///
    /// A cancellation is never lost: if it comes after a call, it stays for the next one, unless [`clear`](Self::clear) takes it
    /// back.
    pub fn cancel(&self) -> Result<()> {
        self.0.cancel()
    }

    /// Takes a cancellation back that no call has reported yet. It may have stopped a call in progress already.
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
        let snapshots = Density { interval: options.snapshot_interval as usize, bytes: options.snapshot_bytes };
        Self::with_room(shard, Room { capacity, chunk, snapshots }, options.no_cache, options.long_context)
    }

    fn with_room(shard: &Arc<Shard>, room: Room, no_cache: bool, long_context: bool) -> Result<Self> {
        let Room { capacity, chunk, snapshots } = room;
        let memory = || {
            let has_history = no_cache || shard.kept().has_states();
            let history = has_history.then(|| History::new(shard, capacity)).transpose()?;
            Ok((if no_cache { Arc::default() } else { shard.new_cache(room)? }, history))
        };
        let (cache, history) = memory().inspect_err(|error| shard.counters.record(error))?;
        let cancel = Arc::new(Cancel::new()?);
        Ok(Self {
            shard: Arc::clone(shard),
            cache,
            capacity,
            position: 0,
            chunk,
            long_context,
            is_long: false,
            no_cache,
            history,
            snapshots,
            results: None,
            given_at: (0, false),
            cancel,
        })
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
    /// That takes no time, but the next call may. Of most layers nothing has to be computed again. A layer with a state of fixed size, such
    /// as a convolution or a linear attention, cannot go back: the request has put states aside, where its last call began and at
    /// intervals ([`RequestOptions::snapshot_interval`]), and the next call first runs the tokens again that lie between the nearest of
    /// these and `position`. The bits are those of a request that never went further.
    ///
    /// A layer that sees a window of tokens keeps that and at least 256 tokens behind it. A request can go back so far from the
    /// furthest position that it has reached, and to 0. A fork has reached what its original had, and a request that imported a
    /// state what the one that exported it had.
    ///
    /// # Errors
    /// [`OutOfRange`](ErrorKind::OutOfRange) past the request's position, or where a window has moved on and no layer has a state of
    /// fixed size; nothing changes then.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        if position > self.position {
            bail!(OutOfRange, "position {position} is past the request's position {}", self.position);
        }
        if let Some(cache) = self.cache.lock().as_mut() {
            cache.go_back(position)?;
        }
        self.position = position;
        if let Some(history) = &mut self.history {
            history.truncate(position);
        }
        Ok(())
    }

    /// A handle with which another thread cancels this request's calls.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::clone(&self.cancel))
    }

    /// Runs `input` through the shard's layers, continuing at [`position`](Self::position).
    ///
    /// A long input is run in chunks. The same tokens give the same bits, however they are cut into chunks or calls. If the call
    /// fails, the position is as it was before and the call can be repeated.
    ///
    /// # Errors
    /// [`OutOfRange`](ErrorKind::OutOfRange) if a text that began as a short one becomes a long one, in a model that makes a
    /// difference: see [`RequestOptions::long_context`]. [`InvalidArgument`](ErrorKind::InvalidArgument) if several parts pass the boundary
    /// behind the shard: [`infer_frame`](Self::infer_frame) gives them. For frames that are not the request's next one see [`Frame`].
    ///
    /// [`Frame`]: crate::Frame
    pub fn infer(&mut self, input: Input, logits: Logits) -> Result<Output<'_>> {
        self.must_give_one_part()?;
        self.run(input, logits)?;
        self.output().ok_or_else(|| err!(Internal, "a run without a result"))
    }

    /// Does what [`infer`](Self::infer) does, whatever parts come out.
    pub(crate) fn run(&mut self, input: Input, logits: Logits) -> Result<()> {
        let task = Task { rows: self.rows_of(input), request: self, logits, best: 0 };
        advance(vec![task], Sink::host()).into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    /// What the last call gave, whichever function it was. `None` before the first call, after one that failed, and after one whose
    /// results went elsewhere: to the next shard of a chain, or to a sampler. Where several parts pass the boundary behind the shard it is
    /// the hidden states alone, and [`frame`](Self::frame) gives all.
    pub fn output(&self) -> Option<Output<'_>> {
        let results = self.results.as_ref()?;
        let (values, width) = results.parts().next()?;
        let values = ArrayView2::from_shape((results.rows, width), values).ok()?;
        Some(if self.shard.info().is_last { Output::Logits(values) } else { Output::Hidden(values) })
    }

    /// The `[rows, width]` of what [`infer`](Self::infer) gives for so many tokens.
    pub fn output_shape(&self, tokens: usize, logits: Logits) -> (usize, usize) {
        self.shard.info().output_shape(tokens, logits)
    }

    /// Makes another request with the same tokens behind it. That costs a copy of the KV cache, or of the input if there is no cache.
    /// Both requests go their own way from here.
    pub fn fork(&self) -> Result<Self> {
        let room = Room { capacity: self.capacity, chunk: self.chunk, snapshots: self.snapshots };
        let mut fork = Self::with_room(&self.shard, room, self.no_cache, self.long_context)?;
        if let (Some(from), Some(to)) = (&self.history, &mut fork.history) {
            to.push(from.rows(0..self.position));
        }
        if !self.no_cache {
            self.with_cache(|from| fork.with_cache(|to| to.copy(from, self.position)))?;
        }
        (fork.position, fork.is_long) = (self.position, self.is_long);
        Ok(fork)
    }

    /// Bytes that [`export_state_since`](Self::export_state_since) would give now.
    ///
    /// # Errors
    /// Those of [`export_state_since`](Self::export_state_since).
    pub fn state_size(&self, since: usize) -> Result<usize> {
        let tokens = self.tokens_since(since)?;
        self.with_cache(|cache| state::size(tokens.clone(), cache, self.input_bytes(tokens.len())))
    }

    /// The request's state as bytes. [`import_state`](Self::import_state) continues it bit for bit: later, in another process, or on
    /// another copy of the shard.
    ///
    /// # Errors
    /// [`InvalidState`](crate::ErrorKind::InvalidState) for a request without a KV cache, here and in
    /// [`import_state`](Self::import_state): its state is its input, to be run again.
    pub fn export_state(&self) -> Result<Vec<u8>> {
        self.export_state_since(0)
    }

    /// What the request's state has gained since it was at position `since`: the rows of the tokens from there on; layers' states of fixed
    /// size are whole. [`import_state`](Self::import_state) adds it to a request that is at `since`, with the same tokens behind it.
    ///
    /// # Errors
    /// Those of [`export_state`](Self::export_state); [`OutOfRange`](crate::ErrorKind::OutOfRange) if `since` lies behind the position,
    /// or if layers have states and, after the request has gone back, the last one that is kept lies before it.
    pub fn export_state_since(&self, since: usize) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        self.append_state(since, &mut state)?;
        Ok(state)
    }

    /// Appends what [`export_state_since`](Self::export_state_since) gives.
    pub(crate) fn append_state(&self, since: usize, to: &mut Vec<u8>) -> Result<()> {
        let (fingerprint, tokens) = (self.shard.fingerprint()?, self.tokens_since(since)?);
        let input = self.history.as_ref().map(|history| (history, self.input_bytes(tokens.len())));
        self.with_cache(|cache| state::write(fingerprint, tokens, self.is_long, cache, input, to))
    }

    fn tokens_since(&self, since: usize) -> Result<Range<usize>> {
        if since > self.position {
            bail!(OutOfRange, "since is {since}, and the request is at position {}", self.position);
        }
        Ok(since..self.position)
    }

    /// Bytes that the input of so many tokens takes in an exported state.
    fn input_bytes(&self, tokens: usize) -> usize {
        let has_input = self.history.is_some() && !self.no_cache;
        if has_input { input_bytes(&self.shard.input_parts(), tokens) as usize } else { 0 }
    }

    /// Puts the request where the one that exported `state` was. If `state` is refused, nothing changes.
    ///
    /// A state since a position is taken by a request at that position.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) if the bytes are damaged;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a version this library does not know;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a state of another model, range, dtype or KV type, or one since another
    /// position than the request's;
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) for one since the request's position if layers have states and that of the position is
    /// not there, after the request has gone back;
    /// [`ContextFull`](crate::ErrorKind::ContextFull) if it holds more tokens than this request has room for.
    pub fn import_state(&mut self, state: &[u8]) -> Result<()> {
        let State { fingerprint, tokens, is_long, kept } = state::read(state)?;
        let Range { start, end: position } = tokens;
        if fingerprint != self.shard.fingerprint()? {
            bail!(
                InvalidArgument,
                "state: it belongs to another model, other weights, another layer range, precision or kv_type"
            );
        }
        if position > self.capacity {
            bail!(ContextFull, "state: it holds {position} tokens, the request's capacity is {}", self.capacity);
        }
        if start > 0 && start != self.position {
            bail!(
                InvalidArgument,
                "state: it is since position {start}, and the request is at position {}",
                self.position
            );
        }
        if start > 0 && is_long != self.is_long {
            bail!(
                InvalidArgument,
                "state: its text is rotated as {}, and the request's is not",
                if is_long { "a long one" } else { "a short one" }
            );
        }
        self.check_length(position, is_long)?;
        let input = self.input_bytes(tokens.len());
        let Some((kept, input)) = kept.len().checked_sub(input).map(|middle| kept.split_at(middle)) else {
            bail!(Malformed, "state: it has no room for the input of {} tokens", tokens.len());
        };
        self.check_input(input)?;
        self.with_cache(|cache| cache.write(tokens.clone(), kept))?;
        if let Some(history) = &mut self.history {
            history.read(tokens, input);
        }
        (self.position, self.is_long) = (position, is_long);
        Ok(())
    }

    /// Finds out whether the shard can take the input of an exported state.
    fn check_input(&self, input: &[u8]) -> Result<()> {
        let vocabulary = i64::from(self.shard.info().vocab_size);
        let mut ids = input.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
        if self.shard.info().is_first
            && let Some(id) = ids.find(|id| !(0..vocabulary).contains(id))
        {
            bail!(Malformed, "state: token id {id} in its input is outside the vocabulary of {vocabulary}");
        }
        Ok(())
    }

    /// Calls `work` with the KV cache, unless the shard is retired or the request has none.
    pub(super) fn with_cache<T>(&self, work: impl FnOnce(&mut KeptStore) -> Result<T>) -> Result<T> {
        match self.cache.lock().as_mut() {
            Some(cache) => work(cache),
            None if self.no_cache => Err(err!(InvalidState, "the request was made without a KV cache")),
            None => Err(err!(StaleShard, "the request's shard was retired")),
        }
    }

    /// Makes the request ready to run `rows` on `shard`.
    fn prepare(&mut self, shard: &Arc<Shard>, rows: Rows) -> Result<()> {
        if !Arc::ptr_eq(shard, &self.shard) {
            bail!(InvalidArgument, "the request is on another shard than the first one of the batch");
        }
        self.check(rows)?;
        self.is_long = self.is_long_with(rows.len())?;
        if self.no_cache {
            return self.lend_cache(rows.len());
        }
        if let Some(history) = &mut self.history {
            history.push(rows);
        }
        Ok(())
    }

    /// Finds out whether the shard can take `rows` and the request has room for them.
    fn check(&self, rows: Rows) -> Result<()> {
        let info = self.shard.info();
        match rows {
            Rows::Ids(_) if !info.is_first => bail!(
                InvalidArgument,
                "input: token ids given, but the shard starts at layer {} and takes hidden states",
                info.first_layer
            ),
            Rows::Ids(ids) => {
                let vocabulary = i64::from(info.vocab_size);
                if let Some(index) = ids.iter().position(|id| !(0..vocabulary).contains(id)) {
                    bail!(
                        OutOfRange,
                        "input: token id {} at index {index} is outside the vocabulary of {vocabulary}",
                        ids[index]
                    );
                }
            }
            Rows::Parts(parts) => self.check_parts(&parts)?,
            Rows::Device(..) => {}
        }
        let (tokens, free) = (rows.len(), self.capacity - self.position);
        if tokens == 0 {
            bail!(InvalidArgument, "input: no tokens");
        }
        if tokens > free {
            bail!(
                ContextFull,
                "input: {tokens} tokens, but position {} leaves {free} of the request's capacity {}",
                self.position,
                self.capacity
            );
        }
        Ok(())
    }

    /// Gives a request without a KV cache one for a call of `tokens` tokens, and fills the cache by running all earlier tokens again.
    fn lend_cache(&mut self, tokens: usize) -> Result<()> {
        let Some(history) = &self.history else { return Ok(()) };
        let room = Room { capacity: self.position + tokens, chunk: self.chunk, snapshots: Density::NONE };
        self.cache = self.shard.new_cache(room)?;
        let call = Replay { cache: &self.cache, is_long: self.is_long, chunk: self.chunk, cancel: &self.cancel };
        history::replay(&self.shard, history.rows(0..self.position), &call, &mut self.results)
    }
}

/// One request's part of a call.
struct Task<'r, 'i> {
    request: &'r mut Request,
    /// The request's next tokens, or why they cannot be run.
    rows: Result<Rows<'i>>,
    logits: Logits,
    /// How many of the largest logits are wanted, if the sink takes only those.
    best: usize,
}

/// Runs the rows of all `tasks` on the shard of the first one, and moves their requests on.
///
/// Returns what each request has been given, or why it has failed. A request that has failed keeps its position, but has no output.
fn advance(mut tasks: Vec<Task>, mut sink: Sink) -> Vec<Result<Given>> {
    let Some(first) = tasks.first() else { return Vec::new() };
    let shard = Arc::clone(&first.request.shard);
    for task in &mut tasks {
        task.prepare(&shard, &mut sink);
    }
    let mut calls: Vec<Call> = tasks.iter().filter_map(Task::call).collect();
    let stopped = if calls.is_empty() { None } else { run_calls(&shard, &mut calls, &mut sink).err() };
    let ended: Vec<_> = calls.into_iter().map(|call| call.end(&shard, &mut sink, stopped.as_ref())).collect();
    let mut ended = ended.into_iter();
    tasks.into_iter().map(|task| task.finish(&mut ended)).collect()
}

impl Task<'_, '_> {
    /// Checks the rows and gives a request without a KV cache one for this call. The memory of the request's results goes to `sink`.
    fn prepare(&mut self, shard: &Arc<Shard>, sink: &mut Sink) {
        if let Ok(rows) = self.rows
            && let Err(error) = self.request.prepare(shard, rows)
        {
            self.rows = Err(error);
        }
        // A call that fails leaves no output, and memory that another engine has reserved is not for this one's results.
        if let Some(before) = self.request.results.take().filter(|_| self.rows.is_ok()) {
            sink.reuse(before);
        }
    }

    /// The call of the request, if nothing has failed so far.
    fn call(&self) -> Option<Call<'_>> {
        let (request, rows) = (&*self.request, *self.rows.as_ref().ok()?);
        let end = request.position + rows.len();
        let (rows, position) = match &request.history {
            // Rows that lead to the states of its position may be in front of the call's own.
            Some(history) if !request.no_cache => {
                let resumes_at = request.cache.lock().as_ref().map_or(0, |cache| cache.resumes_at(request.position));
                (history.rows(resumes_at..end), resumes_at)
            }
            _ => (rows, request.position),
        };
        Some(Call {
            rows,
            silent: request.position - position,
            logits: self.logits,
            best: self.best,
            cache: &request.cache,
            position,
            is_long: request.is_long,
            chunk: request.chunk,
            cancel: &request.cancel,
            progress: CallProgress::default(),
        })
    }

    /// Moves the request on if it has a part in `ended`, which are the outcomes of all calls in the order of the tasks.
    fn finish(self, ended: &mut impl Iterator<Item = Result<Given>>) -> Result<Given> {
        let Self { request, rows, .. } = self;
        let outcome = rows.and_then(|rows| {
            let given = ended.next().unwrap_or_else(|| Err(err!(Internal, "a call without an end")))?;
            Ok((rows, given))
        });
        if let Some(history) = &mut request.history {
            match &outcome {
                Ok((rows, _)) if request.no_cache => history.push(*rows),
                Ok(_) => {}
                Err(_) => history.truncate(request.position),
            }
            if request.no_cache {
                // The cache was for this call only.
                request.cache = Arc::default();
            }
        }
        match outcome {
            Ok((rows, given)) => {
                request.given_at = (request.position, request.is_long);
                request.position += rows.len();
                request.shard.counters.tokens(rows.len());
                match given {
                    Given::Rows(results) => {
                        request.results = Some(results);
                        Ok(Given::Nothing)
                    }
                    other => Ok(other),
                }
            }
            Err(error) => {
                request.shard.counters.record(&error);
                if let Some(cache) = request.cache.lock().as_mut() {
                    cache.go_back(request.position)?;
                }
                if error.kind() == ErrorKind::Cancelled {
                    request.cancel.clear()?;
                }
                Err(error)
            }
        }
    }
}
