//! Many requests at once.

use super::{Request, Task, advance};
use crate::engine::io::{Input, Logits};
use crate::engine::session::Sink;
use crate::error::Result;

/// One request's part of [`infer_batch`].
#[derive(Debug)]
pub struct Step<'r, 'i> {
    /// The request, which the call moves on.
    pub request: &'r mut Request,
    /// Its next tokens.
    pub input: Input<'i>,
    /// Which logits are wanted.
    pub logits: Logits,
}

/// What [`Request::infer`] does, for many requests on one shard at once.
///
/// Each request gets the bits it would get alone. Rows of all requests are run together, at most about 512 at a time: so the
/// decode steps of many requests are one run, and a long prompt among them takes several. [`Request::output`] has each one's
/// result; it stays until the request's next call.
///
/// Requests do not fail together: one that is refused or cancelled leaves the others to go on, and its own position as it was.
/// Only what stops a run altogether, such as memory running out in it, fails all that were in the call.
///
/// Returns how each step ended, in their order. All requests must be on the same shard as the first.
pub fn infer_batch(steps: &mut [Step]) -> Vec<Result<()>> {
    let tasks = steps.iter_mut().map(|step| Task {
        request: step.request,
        rows: step.input.rows(),
        logits: step.logits,
        best: 0,
    });
    advance(tasks.collect(), Sink::host()).into_iter().map(|outcome| outcome.map(drop)).collect()
}
