//! Runs of many requests at once.
//!
//! A run reads every weight once, however many rows it has: sixteen requests that each want one token take little
//! longer together than one alone. Rows of different requests do not meet, so each gets the bits it gets alone.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Input, Logits, Request};
use crate::engine::memory::{ROWS, Reservation};
use crate::engine::session::{Given, Kept, Results, Rows, Sink, Want};
use crate::engine::shard::{Cache, Loaded, Shard};
use crate::error::{Error, ErrorKind, Result, Site, bail, err};
use crate::runtime::{Angles, Batch, Cancel, DeviceRows, Segment};

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
    let mut tasks: Vec<Task> = steps.iter_mut().map(Task::of).collect();
    run_reported(&mut tasks, &Want::Rows).into_iter().map(|outcome| outcome.map(drop)).collect()
}

/// A [`Step`] whose input may also lie on the shard's device.
pub(crate) struct Task<'r, 'i> {
    pub request: &'r mut Request,
    pub source: Source<'i>,
    pub logits: Logits,
}

/// Where rows come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'i> {
    Given(Input<'i>),
    /// Hidden states that another shard has left on the device.
    Kept(&'i Kept),
}

impl<'r, 'i> Task<'r, 'i> {
    fn of<'s: 'r>(step: &'r mut Step<'s, 'i>) -> Self {
        Self { request: step.request, source: Source::Given(step.input), logits: step.logits }
    }
}

impl<'i> Source<'i> {
    fn given(self) -> Option<Input<'i>> {
        match self {
            Self::Given(input) => Some(input),
            Self::Kept(_) => None,
        }
    }
}

/// Runs `tasks` and does what a caller sees of failures afterwards.
pub(crate) fn run_reported(tasks: &mut [Task], want: &Want) -> Vec<Result<Given>> {
    let mut outcomes = run_together(tasks, want);
    for (task, outcome) in tasks.iter().zip(&mut outcomes) {
        let Err(error) = outcome else { continue };
        task.request.shard().counters.note(error);
        if error.kind() == ErrorKind::Cancelled
            && let Err(failed) = task.request.cancel.clear()
        {
            *error = failed;
        }
    }
    outcomes
}

/// Runs `tasks`, which are all on one shard.
pub(crate) fn run_together(tasks: &mut [Task], want: &Want) -> Vec<Result<Given>> {
    let Some(first) = tasks.first() else { return Vec::new() };
    let shard = Arc::clone(first.request.shard());
    let mut parts: Vec<Part> = tasks.iter().map(|task| Part::new(&shard, task)).collect();
    for (task, part) in tasks.iter_mut().zip(&mut parts) {
        if part.outcome.is_ok() {
            part.outcome = task.request.lend_cache(part.tokens);
        }
        // A call that fails leaves no output, and memory of another engine's is not for this one's results.
        if part.outcome.is_err() {
            task.request.results = None;
        }
    }
    if let Err(error) = run(&shard, tasks, &mut parts, want) {
        for part in parts.iter_mut().filter(|part| part.outcome.is_ok()) {
            part.outcome = Err(error.copy());
        }
    }
    tasks.iter_mut().zip(parts).map(|(task, part)| commit(&shard, task, part)).collect()
}

/// How far a request is in the call.
struct Part {
    tokens: usize,
    done: usize,
    /// Its first row among the results.
    first: usize,
    given: Given,
    outcome: Result<()>,
}

impl Part {
    fn new(shard: &Arc<Shard>, task: &Task) -> Self {
        let tokens = if Arc::ptr_eq(shard, task.request.shard()) {
            match task.source {
                Source::Given(input) => task.request.check(&input),
                Source::Kept(kept) => task.request.check_room(kept.total),
            }
        } else {
            Err(err!(InvalidArgument, "the request is on another shard than the first one of the batch"))
        };
        let (tokens, outcome) = match tokens {
            Ok(tokens) => (tokens, Ok(())),
            Err(error) => (0, Err(error)),
        };
        Self { tokens, done: 0, first: 0, given: Given::Nothing, outcome }
    }

    fn left(&self) -> usize {
        if self.outcome.is_ok() { self.tokens - self.done } else { 0 }
    }
}

/// Commits what a task has run, or says why it has not.
fn commit(shard: &Shard, task: &mut Task, part: Part) -> Result<Given> {
    let request = &mut *task.request;
    request.return_cache(part.outcome.is_ok().then(|| task.source.given()).flatten().as_ref());
    part.outcome?;
    let given = match part.given {
        Given::Rows(results) => {
            request.results = Some(results);
            Given::Nothing
        }
        other => other,
    };
    request.set_position(request.position() + part.tokens);
    shard.counters.tokens(part.tokens);
    Ok(given)
}

/// Reserves the output, then runs all rows, as many at a time as a run may have.
fn run(shard: &Shard, tasks: &mut [Task], parts: &mut [Part], want: &Want) -> Result<()> {
    let shapes = tasks.iter().zip(&*parts).filter(|(_, part)| part.outcome.is_ok());
    let (rows, width) = shapes.fold((0, 0), |(sum, _), (task, part)| {
        let (rows, width) = task.request.output_shape(part.tokens, task.logits);
        (sum + rows, width)
    });
    let before: Vec<Results> = tasks.iter_mut().filter_map(|task| task.request.results.take()).collect();
    let mut out = Sink::new(want, before.into_iter(), rows, width, &shard.budget)?;
    let mut attempt = || {
        shard.run(|loaded| {
            let slots: Vec<_> = tasks.iter().map(|task| Arc::clone(&task.request.cache)).collect();
            let mut caches: Vec<_> = slots.iter().map(|slot| slot.lock()).collect();
            for (part, cache) in parts.iter_mut().zip(&caches) {
                if cache.is_none() && part.outcome.is_ok() {
                    part.outcome = Err(err!(StaleShard, "the request's shard was retired"));
                }
            }
            let longest = tasks.iter().map(|task| task.request.chunk()).max().unwrap_or(0);
            let most = loaded.session.rows.min(longest.max(ROWS));
            loop {
                drop_cancelled(tasks, parts);
                let plan = plan(tasks, parts, most);
                if plan.is_empty() {
                    return Ok(());
                }
                one_run(shard, loaded, tasks, parts, &plan, &mut caches, &mut out)?;
            }
        })
    };
    match attempt() {
        // What was run before stays run.
        Err(error) if error.kind() == ErrorKind::OutOfMemory && shard.is_broken() => {
            shard.rebuild().map_err(|again| again.within("the shard ran out of memory and was to be loaded again"))?;
            attempt()
        }
        done => done,
    }?;
    let mut given = out.finish();
    for (task, part) in tasks.iter().zip(parts) {
        let (rows, width) = task.request.output_shape(part.tokens, task.logits);
        if part.outcome.is_ok() {
            part.given = given.of(part.first, rows, width);
        }
    }
    Ok(())
}

fn drop_cancelled(tasks: &[Task], parts: &mut [Part]) {
    for (task, part) in tasks.iter().zip(parts) {
        if part.left() > 0 && task.request.cancel.is_set() {
            part.outcome = Err(err!(Cancelled, "the request was cancelled"));
        }
    }
}

/// Steps of a run, by their place in the call, and which of their tokens.
type Plan = Vec<(usize, Range<usize>)>;

/// The next run: `room` tokens at most, and no more of one step than its request's chunk.
fn plan(tasks: &[Task], parts: &[Part], mut room: usize) -> Plan {
    let mut plan = Plan::new();
    for (index, (task, part)) in tasks.iter().zip(parts).enumerate() {
        let take = part.left().min(task.request.chunk()).min(room);
        if take > 0 {
            plan.push((index, part.done..part.done + take));
            room -= take;
        }
        // The next run begins with the rest of this one, so that its rows stay together.
        if take < part.left() {
            break;
        }
    }
    plan
}

/// Runs the rows of `plan` together.
fn one_run(
    shard: &Shard,
    loaded: &Loaded,
    tasks: &[Task],
    parts: &mut [Part],
    plan: &Plan,
    caches: &mut [MutexGuard<Option<Cache>>],
    out: &mut Sink,
) -> Result<()> {
    let mut segments = Vec::with_capacity(plan.len());
    let (mut wanted, mut counts): (Vec<i64>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut row, mut planned) = (0, plan.iter().peekable());
    for (index, cache) in caches.iter_mut().enumerate() {
        let Some((_, tokens)) = planned.next_if(|(wanted, _)| *wanted == index) else { continue };
        let Some(cache) = cache.as_mut() else { bail!(Internal, "a run of a retired request") };
        let (request, part) = (&tasks[index].request, &mut parts[index]);
        if tokens.start == 0 {
            part.first = out.written() + if loaded.session.is_last { wanted.len() } else { row };
        }
        segments.push(cache.rows.segment(request.position() + tokens.start, tokens.len())?);
        match tasks[index].logits {
            Logits::All => wanted.extend(row as i64..(row + tokens.len()) as i64),
            Logits::Last if tokens.end == part.tokens => {
                wanted.push((row + tokens.len()) as i64 - 1);
                counts.extend(out.count(index));
            }
            Logits::Last | Logits::None => {}
        }
        row += tokens.len();
    }
    let mut batch = rotated(shard, segments);
    let input = gather(shard, tasks, plan)?;
    let rows = if loaded.session.is_last { wanted.len() } else { row };
    let joined = Joined::new(plan.iter().map(|(index, _)| &*tasks[*index].request.cancel));
    let input = input.rows(shard.info().hidden_size as usize);
    match loaded.session.run(input, &mut batch, &wanted, out.next(rows, &counts), joined.leader()) {
        Ok(()) => {}
        // Without the requests whose flag it was, the same rows are run again.
        Err(error) if error.kind() == ErrorKind::Cancelled && joined.any_was_set() => {
            for (index, _) in plan.iter().filter(|(index, _)| tasks[*index].request.cancel.was_set()) {
                parts[*index].outcome = Err(err!(Cancelled, "the request was cancelled"));
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    out.commit(rows);
    for (index, tokens) in plan {
        parts[*index].done = tokens.end;
    }
    Ok(())
}

/// The flags of a run, any of which stops it; it is under the first one's.
pub(crate) struct Joined<'a>(Vec<&'a Cancel>);

impl<'a> Joined<'a> {
    /// At least one flag.
    pub(crate) fn new(flags: impl Iterator<Item = &'a Cancel>) -> Self {
        let all = Self(flags.collect());
        all.0.iter().for_each(|flag| flag.begin());
        for follower in &all.0[1..] {
            follower.join(all.leader());
        }
        all
    }

    fn leader(&self) -> &'a Cancel {
        self.0[0]
    }

    fn any_was_set(&self) -> bool {
        self.0.iter().any(|cancel| cancel.was_set())
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        for follower in &self.0[1..] {
            follower.leave();
        }
        if self.0.len() > 1 {
            self.leader().resume();
        }
    }
}

/// The segments, and how far each of the model's rotations turns each of their rows.
fn rotated<'a>(shard: &Shard, segments: Vec<Segment<'a>>) -> Batch<'a> {
    let rows: usize = segments.iter().map(|segment| segment.rows().len()).sum();
    let angles = shard.config().ropes.iter().map(|rope| {
        let count = rows * rope.pairs();
        let mut angles = Angles { cos: Vec::with_capacity(count), sin: Vec::with_capacity(count) };
        for position in segments.iter().flat_map(Segment::rows) {
            rope.rotation(position, &mut angles.cos, &mut angles.sin);
        }
        angles
    });
    Batch { angles: angles.collect(), segments }
}

/// A run's input: that of its only step, or a copy of all its steps' rows.
struct Gathered<'a> {
    values: Values<'a>,
    _memory: Option<Reservation>,
}

enum Values<'a> {
    Ids(Cow<'a, [i64]>),
    Hidden(Cow<'a, [f32]>),
    Kept(&'a DeviceRows, Range<usize>),
}

impl Gathered<'_> {
    fn rows(&self, hidden_size: usize) -> Rows<'_> {
        match &self.values {
            Values::Ids(ids) => Rows::Ids(ids),
            Values::Hidden(values) => Rows::Hidden(values, hidden_size),
            Values::Kept(rows, range) => Rows::Kept(rows, range.start, range.len()),
        }
    }
}

fn gather<'a>(shard: &Shard, tasks: &'a [Task], plan: &Plan) -> Result<Gathered<'a>> {
    if let [(index, tokens)] = &plan[..]
        && let Source::Kept(kept) = tasks[*index].source
    {
        let rows = kept.rows.as_ref().ok_or_else(|| err!(Internal, "no rows on the device"))?;
        return Ok(Gathered { values: Values::Kept(rows, tokens.clone()), _memory: None });
    }
    let parts = || plan.iter().filter_map(|(index, tokens)| Some((tasks[*index].source.given()?, tokens.clone())));
    let ids = || parts().filter_map(|(input, tokens)| input.ids().map(|ids| &ids[tokens]));
    let hidden = || parts().filter_map(|(input, tokens)| input.hidden(tokens));
    let values = match (shard.info().is_first, plan.len()) {
        (true, 1) => Values::Ids(Cow::Borrowed(ids().next().unwrap_or_default())),
        (true, _) => Values::Ids(Cow::Owned(ids().flatten().copied().collect())),
        (false, 1) => Values::Hidden(Cow::Borrowed(hidden().next().unwrap_or_default())),
        (false, _) => {
            const WHAT: &str = "the batch's input";
            let len: usize = hidden().map(<[f32]>::len).sum();
            let bytes = (len * size_of::<f32>()) as u64;
            let memory = shard.budget.reserve(bytes, Site::Run, WHAT)?;
            let mut rows = Vec::new();
            rows.try_reserve_exact(len).map_err(|_| Error::oom(Site::Run, "cpu", bytes, WHAT))?;
            hidden().for_each(|values| rows.extend_from_slice(values));
            return Ok(Gathered { values: Values::Hidden(Cow::Owned(rows)), _memory: Some(memory) });
        }
    };
    Ok(Gathered { values, _memory: None })
}
