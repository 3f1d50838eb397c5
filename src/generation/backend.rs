//! What a generation runs on.

use std::borrow::BorrowMut;
use std::sync::Arc;

use crate::engine::{CancelHandle, Input, Logits, Request, check_chain, infer_chain, next_choice};
use crate::error::{Result, bail, err};
use crate::sampler::Choose;

/// A whole model with one text in progress: a request, requests on consecutive shards, or whatever does the same elsewhere.
pub(crate) trait Backend: Send {
    /// How many ids there are.
    fn vocabulary(&self) -> usize;

    /// How many tokens there is room for.
    fn capacity(&self) -> usize;

    /// How many tokens have been run.
    fn position(&self) -> usize;

    /// How long a text may be before the model makes something else of all its tokens; 0: it makes no difference.
    fn short_context(&self) -> usize;

    /// Whether the text, which was run as a short one, becomes a long one with so many tokens more.
    fn outgrows(&self, tokens: usize) -> bool;

    /// Forgets every token.
    fn restart(&mut self) -> Result<()>;

    /// Runs `ids`, whose logits nobody wants. After an error the position is as before.
    fn prefill(&mut self, ids: &[i64]) -> Result<()>;

    /// Runs `ids`, and has the token that follows chosen from the last one's logits. After an error the position and what
    /// chooses are as before.
    fn next(&mut self, ids: &[i64], choose: &mut dyn Choose) -> Result<u32>;

    /// What stops a run from another thread.
    fn stopper(&self) -> Arc<dyn Stop>;

    /// Another that goes on from here on its own.
    fn fork(&self) -> Result<Box<dyn Backend>>;

    /// Bytes that [`export`](Self::export) appends.
    fn state_size(&self) -> Result<usize>;

    /// Appends all that another of the same model needs to go on from here.
    fn export(&self, to: &mut Vec<u8>) -> Result<()>;

    /// Goes where the one was that exported `state`. If it is refused, nothing changes.
    fn import(&mut self, state: &[u8]) -> Result<()>;

    /// The request, if it is only one: many of those on one shard run together.
    fn alone(&mut self) -> Option<&mut Request>;

    /// Whether whoever holds the generation runs its tokens, and tells [`ran`](Self::ran) of it.
    fn runs_elsewhere(&self) -> bool {
        false
    }

    /// So many tokens were run elsewhere.
    fn ran(&mut self, _tokens: usize) {}
}

/// Stops a run.
pub(crate) trait Stop: Send + Sync {
    /// Stops the run in progress or, if there is none, the next one, which fails as `Cancelled`.
    fn stop(&self) -> Result<()>;

    /// Takes that back, unless it has been reported.
    fn clear(&self) -> Result<()>;
}

impl Stop for Vec<CancelHandle> {
    fn stop(&self) -> Result<()> {
        self.iter().try_for_each(CancelHandle::cancel)
    }

    fn clear(&self) -> Result<()> {
        self.iter().try_for_each(CancelHandle::clear)
    }
}

/// Requests in this process that are a whole model together.
#[derive(Debug)]
pub(crate) struct Local<R>(Vec<R>);

impl<R: BorrowMut<Request> + Send> Local<R> {
    /// # Errors
    /// `InvalidArgument` if the requests' shards do not follow one another from the first layer to the last.
    pub(crate) fn new(requests: Vec<R>) -> Result<Self> {
        let (Some(first), Some(last)) = (requests.first(), requests.last()) else {
            bail!(InvalidArgument, "there are no requests to generate with");
        };
        let (first, last) = (first.borrow().shard().info(), last.borrow().shard().info());
        if !first.is_first {
            bail!(InvalidArgument, "requests[0] is on a shard that starts at layer {}, not at 0", first.first_layer);
        }
        if !last.is_last {
            bail!(
                InvalidArgument,
                "requests[{}] is on a shard that ends at layer {} of {} and gives no logits",
                requests.len() - 1,
                last.last_layer,
                last.layer_count
            );
        }
        check_chain(&requests, 0)?;
        Ok(Self(requests))
    }

    fn first(&self) -> &Request {
        self.0[0].borrow()
    }

    /// Does something with all requests. One alone needs no memory for a list.
    fn with_all<T>(&mut self, call: impl FnOnce(&mut [&mut Request]) -> T) -> T {
        match &mut self.0[..] {
            [only] => call(&mut [only.borrow_mut()]),
            all => call(&mut all.iter_mut().map(BorrowMut::borrow_mut).collect::<Vec<&mut Request>>()),
        }
    }
}

impl<R: BorrowMut<Request> + Send> Backend for Local<R> {
    fn vocabulary(&self) -> usize {
        self.first().shard().info().vocab_size as usize
    }

    fn capacity(&self) -> usize {
        self.0.iter().map(|request| request.borrow().capacity()).min().unwrap_or(0)
    }

    fn position(&self) -> usize {
        self.first().position()
    }

    fn short_context(&self) -> usize {
        self.first().shard().info().short_context as usize
    }

    fn outgrows(&self, tokens: usize) -> bool {
        self.0.iter().any(|request| request.borrow().outgrows(tokens))
    }

    fn restart(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(|request| request.borrow_mut().truncate(0))
    }

    fn prefill(&mut self, ids: &[i64]) -> Result<()> {
        self.with_all(|requests| infer_chain(requests, Input::Ids(ids), Logits::None).map(drop))
    }

    fn next(&mut self, ids: &[i64], choose: &mut dyn Choose) -> Result<u32> {
        self.with_all(|requests| next_choice(requests, Input::Ids(ids), choose))
    }

    fn stopper(&self) -> Arc<dyn Stop> {
        Arc::new(self.0.iter().map(|request| request.borrow().cancel_handle()).collect::<Vec<_>>())
    }

    fn fork(&self) -> Result<Box<dyn Backend>> {
        let forks = self.0.iter().map(|request| request.borrow().fork()).collect::<Result<_>>()?;
        Ok(Box::new(Local::<Request>(forks)))
    }

    fn state_size(&self) -> Result<usize> {
        self.0.iter().try_fold(0, |size, request| Ok(size + LENGTH + request.borrow().state_size(0)?))
    }

    fn export(&self, to: &mut Vec<u8>) -> Result<()> {
        self.0.iter().try_for_each(|request| {
            to.extend_from_slice(&(request.borrow().state_size(0)? as u64).to_le_bytes());
            request.borrow().append_state(0, to)
        })
    }

    fn import(&mut self, state: &[u8]) -> Result<()> {
        let states = cut(state, self.0.len())?;
        // If the state of a later request is refused, those before it go back.
        let is_one = self.0.len() == 1;
        let states_now = self.0.iter().filter(|_| !is_one).map(|request| request.borrow().export_state());
        let before = states_now.collect::<Result<Vec<_>>>()?;
        let take = |request: &mut R, state: &[u8]| request.borrow_mut().import_state(state);
        let mut moved = Ok(());
        for (index, (request, state)) in self.0.iter_mut().zip(states).enumerate() {
            moved = take(request, state).map_err(|why| why.within(format!("requests[{index}]")));
            if moved.is_err() {
                break;
            }
        }
        let position = self.position();
        if moved.is_ok() && self.0.iter().any(|request| request.borrow().position() != position) {
            moved = Err(err!(Malformed, "state: its requests are at different positions"));
        }
        if moved.is_err() {
            self.0.iter_mut().zip(&before).try_for_each(|(request, state)| take(request, state))?;
        }
        moved
    }

    fn alone(&mut self) -> Option<&mut Request> {
        match &mut self.0[..] {
            [only] => Some(only.borrow_mut()),
            _ => None,
        }
    }
}

/// Bytes of the number in front of each request's state, which says how many bytes that has.
const LENGTH: usize = 8;

/// The states of `count` requests.
fn cut(mut state: &[u8], count: usize) -> Result<Vec<&[u8]>> {
    let mut states = Vec::new();
    while let Some((length, rest)) = state.split_first_chunk::<LENGTH>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let cut = rest.split_at_checked(length);
        let (one, rest) =
            cut.ok_or_else(|| err!(Malformed, "state: that of requests[{}] ends too soon", states.len()))?;
        states.push(one);
        state = rest;
    }
    if !state.is_empty() {
        bail!(Malformed, "state: {} bytes behind the last request", state.len());
    }
    if states.len() != count {
        bail!(
            InvalidArgument,
            "state: it has the requests of {} shards, and here are {count}: the model must be cut alike",
            states.len()
        );
    }
    Ok(states)
}
