//! A decode step: one token of each of several requests.
#![allow(unsafe_code, reason = "tensors are bound over memory that the step keeps")]

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::bound::{Bound, HostBuffer, Transfer};
use super::choose::Choice;
use super::rows::{DeviceRows, narrow, widen};
use super::{Candidates, DeviceSession, Wiring};
use crate::error::{Result, Site, err};
use crate::graph::names;
use crate::kernels::Dtype;
use crate::runtime::device::cache::DeviceCache;
use crate::runtime::device::memory::DeviceBlock;
use crate::runtime::run::cancel::Cancel;
use crate::runtime::run::rows::Rows;
use crate::runtime::run::session::Session;
use crate::runtime::run::tensor::Kind;

/// One row of each request in some slots that lie side by side, to be run again and again.
#[derive(Debug)]
pub(crate) struct DecodeStep {
    // What is bound goes before what it lies in.
    captured: Option<Captured>,
    run: Bound,
    choice: Option<Choice>,
    /// What goes in: ids or hidden states, unless these come from another shard's step; then the position of each token.
    input: Transfer,
    /// Where in it the positions begin.
    positions: usize,
    output: Transfer,
    lengths: HostBuffer,
    source: Option<DeviceRows>,
    out: DeviceRows,
    _rows: Arc<DeviceBlock>,
    control: Cancel,
    wiring: Arc<Wiring>,
    session: Weak<Session>,
    slots: Range<usize>,
    capacity: usize,
    /// Its share of a budget.
    _memory: Box<dyn Reserved>,
}

/// What is given back when it is dropped.
pub(crate) trait Reserved: std::fmt::Debug + Send + Sync {}

/// A graph that CUDA keeps.
#[derive(Debug)]
struct Captured {
    session: Weak<Session>,
    graph: i32,
    /// How often graphs had been given back when it was captured; `None`: it has not been yet.
    since: Option<u64>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.release_graph(self.graph);
        }
    }
}

impl DecodeStep {
    /// The step of `session` for `slots` of `cache`, whose rows come from this process or are `source`: the one that has been made,
    /// or a new one, for which `reserve` takes so many bytes. It is the caller's until [`put_back`](Self::put_back).
    pub(crate) fn of(
        session: &DeviceSession,
        cache: &DeviceCache,
        slots: Range<usize>,
        source: Option<&DeviceRows>,
        reserve: impl FnOnce(u64) -> Result<Box<dyn Reserved>>,
    ) -> Result<Self> {
        let mut steps = cache.steps();
        // Those of sessions that are gone will not run again.
        steps.retain(|step| step.session.strong_count() > 0);
        if let Some(index) = steps.iter().position(|step| step.is_for(session, &slots, source)) {
            return Ok(steps.remove(index));
        }
        drop(steps);
        let memory = reserve(Self::bytes(session, slots.len()))?;
        Self::new(session, cache, slots, source, memory)
    }

    /// Keeps it for the next run, and as many of those used last as have so many rows together that each slot alone and a few of
    /// all are among them.
    pub(crate) fn put_back(self, cache: &DeviceCache) {
        let most = 4 * cache.shape().slots + 8;
        let mut steps = cache.steps();
        steps.push(self);
        while steps.len() > 1 && steps.iter().map(|step| step.slots.len()).sum::<usize>() > most {
            steps.remove(0);
        }
    }

    fn new(
        session: &DeviceSession,
        cache: &DeviceCache,
        slots: Range<usize>,
        source: Option<&DeviceRows>,
        memory: Box<dyn Reserved>,
    ) -> Result<Self> {
        let (wiring, device, count) = (Arc::clone(&session.wiring), &session.memory, slots.len());
        let given = match (source, wiring.input_width()) {
            (Some(_), _) => 0,
            (None, None) => count * size_of::<i64>(),
            (None, Some(width)) => count * width * wiring.dtype.size(),
        };
        let positions = given.next_multiple_of(size_of::<u64>());
        let bytes = positions + count * size_of::<i32>();
        let input =
            Transfer::to_device(&Arc::new(DeviceBlock::new(device, bytes, Site::Run, "a step's input")?), bytes)?;
        let out = DeviceRows::new(device, wiring.output_dtype(), count, wiring.width())?;
        let output = Transfer::from_device(&out.block, count * wiring.width() * out.dtype.size())?;
        let rows = Arc::new(DeviceBlock::new(device, count * size_of::<i64>(), Site::Run, "a step's rows")?);
        let all: Vec<i64> = (0..count as i64).collect();
        rows.write(0, bytemuck::cast_slice(&all))?;
        let lengths = HostBuffer::new(LENGTHS)?;

        let mut run = Bound::new();
        // SAFETY: names are static or the wiring's; all memory is kept in this step, behind the values.
        unsafe {
            match (source, wiring.input_width()) {
                (Some(source), _) => run.input(wiring.input(), source.tensor(0..count)?),
                (None, None) => run.input(wiring.input(), input.block.tensor(0, Kind::of::<i64>(), &[count])?),
                (None, Some(width)) => {
                    run.input(wiring.input(), input.block.tensor(0, wiring.dtype.into(), &[count, width])?);
                }
            }
            run.input(names::LAST.c(), input.block.tensor(positions, Kind::of::<i32>(), &[count])?);
            run.input(names::TOTAL.c(), lengths.tensor(0, Kind::of::<i32>(), &[])?);
            run.input(names::SEQUENCES.c(), lengths.tensor(AFTER_TOTAL, Kind::of::<i64>(), &[3])?);
            if wiring.is_last {
                run.input(names::LOGIT_ROWS.c(), rows.tensor(0, Kind::of::<i64>(), &[count])?);
            }
            run.output(wiring.output(), out.tensor(0..count)?);
            for ((past, present), tensor) in wiring.caches.iter().zip(cache.tensors(slots.clone())?) {
                run.updated(past, present, tensor);
            }
        }
        let graph = session.next_graph();
        let captured = graph.map(|graph| Captured { session: Arc::downgrade(&session.session), graph, since: None });
        let control =
            graph.map_or_else(|| Cancel::on(&session.arena), |graph| Cancel::of_graph(&session.arena, graph))?;
        let mut step = Self {
            captured,
            run,
            choice: None,
            input,
            positions,
            output,
            lengths,
            source: source.cloned(),
            out,
            _rows: rows,
            control,
            wiring,
            session: Arc::downgrade(&session.session),
            slots,
            capacity: cache.shape().capacity,
            _memory: memory,
        };
        step.lengths.values_mut::<i64>(AFTER_TOTAL, 3).copy_from_slice(&[count as i64, 1, -1]);
        Ok(step)
    }

    /// Bytes that a step of `session` for `count` requests takes, in this process and on the device.
    fn bytes(session: &DeviceSession, count: usize) -> u64 {
        let wiring = &session.wiring;
        let row = wiring.input_width().map_or(size_of::<i64>(), |width| width * wiring.dtype.size()) + size_of::<i32>();
        (2 * count * (row + wiring.width() * wiring.output_dtype().size()) + count * size_of::<i64>()) as u64
    }

    fn is_for(&self, session: &DeviceSession, slots: &Range<usize>, source: Option<&DeviceRows>) -> bool {
        let same = match (&self.source, source) {
            (Some(own), Some(other)) => own.is(other),
            (None, None) => true,
            _ => false,
        };
        same && self.slots == *slots && std::ptr::eq(self.session.as_ptr(), Arc::as_ptr(&session.session))
    }

    /// Runs the next tokens, in the order of their slots, each at its position of `positions`.
    pub(crate) fn run(
        &mut self,
        session: &DeviceSession,
        input: Rows,
        positions: &[usize],
        cancel: &Cancel,
    ) -> Result<()> {
        match input {
            Rows::Ids(ids) => self.input.host.values_mut(0, ids.len()).copy_from_slice(ids),
            Rows::Parts(parts) => {
                parts.iter().take(1).for_each(|part| narrow(part.values, self.wiring.dtype, &mut self.input.host));
            }
            Rows::Device(..) => {}
        }
        let lasts = self.input.host.values_mut::<i32>(self.positions, positions.len());
        for (last, position) in lasts.iter_mut().zip(positions) {
            *last = *position as i32;
        }
        // A captured run is the same whatever the lengths: the device reads them, and this one stands for the most.
        let total = match self.captured {
            Some(_) => self.capacity,
            None => positions.iter().max().map_or(1, |last| last + 1),
        };
        self.lengths.values_mut::<i32>(0, 1)[0] = total as i32;
        self.input.run()?;
        let (run, control, captured) = (&mut self.run, &self.control, &mut self.captured);
        session.relieved(|relief| {
            if relief {
                return session.uncaptured(cancel, |session, control| run.run(session, control, true));
            }
            let now = session.given_back();
            match captured.as_mut().filter(|captured| captured.since != Some(now)) {
                None => cancel.through(control, || run.run(&session.session, control, false)),
                // To break off in the middle of a capture is nothing that CUDA stands.
                Some(_) if cancel.has_stopped() => Err(err!(Cancelled, "the run was cancelled")),
                Some(captured) => {
                    run.capture(&session.session, control)?;
                    captured.since = Some(now);
                    Ok(())
                }
            }
        })
    }

    /// What the run has left on the device.
    pub(crate) fn out(&self) -> &DeviceRows {
        &self.out
    }

    /// Brings it to this process, for [`row`](Self::row).
    pub(crate) fn fetch(&mut self) -> Result<()> {
        self.output.run()
    }

    /// A row of what was fetched, as float32.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        widen(&self.output.host, self.out.dtype, row * self.wiring.width(), to);
    }

    /// The `count` largest logits of each row.
    pub(crate) fn candidates(&mut self, count: usize) -> Result<Candidates<'_>> {
        if !self.wiring.is_last || self.out.dtype != Dtype::F32 {
            return Err(err!(Internal, "candidates of hidden states"));
        }
        let memory = Arc::clone(self.out.block.memory());
        let choice = match self.choice.take() {
            Some(choice) if choice.count() == count => choice,
            _ => Choice::new(&self.out, self.slots.len(), count)?,
        };
        let choice = self.choice.insert(choice);
        choice.run(&memory)
    }
}

/// Bytes of the lengths that stay in this process: the total, and behind it how rows fall into sequences.
const LENGTHS: usize = AFTER_TOTAL + 3 * size_of::<i64>();
const AFTER_TOTAL: usize = size_of::<i64>();
