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

/// Does for many requests on one shard at once what [`Request::infer`] does for one.
///
/// Each request gets the bits it would get alone. The rows of all requests are run together, at most about 512 at a time: so the
/// decode steps of many requests are one run, and a long prompt among them takes several. [`Request::output`] gives the result of
/// each request until that request's next call, and [`Request::frame`] as a frame.
///
/// A request that is refused or cancelled keeps its position, and the others go on. Only an error that stops the whole run, such as
/// memory running out, fails all requests of the call.
///
/// Returns how each step ended, in the order of the steps. All requests must be on the shard of the first one.
pub fn infer_batch(steps: &mut [Step]) -> Vec<Result<()>> {
    let tasks = steps.iter_mut().map(|step| Task {
        rows: step.request.rows_of(step.input),
        request: step.request,
        logits: step.logits,
        best: 0,
    });
    advance(tasks.collect(), Sink::host()).into_iter().map(|outcome| outcome.map(drop)).collect()
}
