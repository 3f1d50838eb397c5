//! Sessions in the stock dialect: how rows and KV caches get into them and results out.
//!
//! There are two kinds of run. A [pass](DeviceSession::pass) takes the rows of one request, any number, and makes what it
//! needs. A [decode step](DecodeStep) takes one row of each of several requests whose caches lie side by side; all that it needs is made once
//! and stays at its place, so that on CUDA its launches can be captured as a graph and replayed.

mod bound;
mod choose;
mod rows;
mod step;

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use parking_lot::Mutex;

#[cfg(test)]
use crate::error::Site;
use crate::error::{ErrorKind, Result};
use crate::graph::names::{self, Name};
use crate::graph::{self, Graph, Kept, PerPart, Role, stock};
use crate::kernels::Dtype;
use crate::runtime::device::cache::DeviceCache;
use crate::runtime::device::memory::DeviceMemory;
use crate::runtime::run::cancel::Cancel;
use crate::runtime::run::rows::{PartRows, Rows};
use crate::runtime::run::session::{Session, c_string};
use crate::runtime::run::tensor::{Tensor, TensorMut};
use crate::runtime::run::values::Values;
pub(crate) use choose::Candidates;
pub(crate) use rows::DeviceRows;
pub(crate) use step::{DecodeStep, Reserved};

/// Where a pass leaves its rows.
#[derive(Debug)]
pub(crate) enum Take<'a> {
    /// In this process, as float32, each part.
    Host(Vec<&'a mut [f32]>),
    /// On the device, from this row on.
    Device(&'a DeviceRows, Range<usize>),
    /// They are computed and dropped.
    Nowhere,
}

/// What goes in and comes out.
#[derive(Debug)]
struct Wiring {
    /// The role and width of each part of a boundary that goes in; none: ids do.
    inputs: PerPart<(Role, usize)>,
    /// Whether logits come out.
    is_last: bool,
    /// The name and width of each tensor that comes out.
    outputs: PerPart<(Name, usize)>,
    /// What is computed in.
    dtype: Dtype,
    /// Input and output of each layer's keys, then values.
    caches: Vec<(CString, CString)>,
}

impl Wiring {
    fn new(graph: &Graph, dtype: Dtype) -> Result<Self> {
        let mut caches = Vec::new();
        for kept in graph.kept() {
            let Kept::Rows { layer, .. } = kept else { continue };
            for part in ["key", "value"] {
                let (past, present) = (stock::past(layer, part), stock::present(layer, part));
                caches.push((c_string(&past)?, c_string(&present)?));
            }
        }
        let is_last = matches!(graph.output, graph::Output::Logits(_));
        let (inputs, outputs) = (graph.input.widths(), graph.output.tensors());
        Ok(Self { inputs, is_last, outputs, dtype, caches })
    }

    /// Whether one tensor goes in and one comes out.
    fn is_simple(&self) -> bool {
        self.inputs.len() <= 1 && self.outputs.len() == 1
    }

    /// The name of the first tensor that goes in.
    fn input(&self) -> &'static CStr {
        self.inputs.first().map_or(names::INPUT_IDS, |(role, _)| role.input()).c()
    }

    /// The width of hidden states that go in; `None`: ids do.
    fn input_width(&self) -> Option<usize> {
        self.inputs.first().map(|(_, width)| *width)
    }

    /// The name of the first tensor that comes out.
    fn output(&self) -> &'static CStr {
        self.outputs.first().map_or(names::LOGITS, |(name, _)| *name).c()
    }

    /// The width of the first tensor that comes out.
    fn width(&self) -> usize {
        self.outputs.first().map_or(0, |(_, width)| *width)
    }

    /// What comes out is of this type.
    fn output_dtype(&self) -> Dtype {
        if self.is_last { Dtype::F32 } else { self.dtype }
    }
}

/// A session in the stock dialect.
#[derive(Debug)]
pub(crate) struct DeviceSession {
    session: Arc<Session>,
    memory: Arc<DeviceMemory>,
    wiring: Arc<Wiring>,
    /// Its arena, as ONNX Runtime calls it.
    arena: CString,
    /// The run options of passes, for as many as have run at once.
    controls: Mutex<Vec<Cancel>>,
    captures: Option<Captures>,
    /// So many of the next attempts at a run fail as if memory had run out.
    #[cfg(test)]
    pub failures: std::sync::atomic::AtomicUsize,
}

/// Where runs are captured.
#[derive(Debug)]
struct Captures {
    /// The next graph's number.
    next: AtomicI32,
    /// How often all graphs were given back.
    given_back: AtomicU64,
    /// Runs go one at a time: capturing does not stand others beside it.
    turn: Mutex<()>,
}

impl DeviceSession {
    /// `session`, whose graph is that of `graph` in `dtype`; its values lie in `memory`. With `captured` its steps are captured.
    pub(crate) fn new(
        session: Session,
        memory: Arc<DeviceMemory>,
        graph: &Graph,
        dtype: Dtype,
        captured: bool,
    ) -> Result<Self> {
        Ok(Self {
            session: Arc::new(session),
            arena: memory.arena().to_owned(),
            memory,
            wiring: Arc::new(Wiring::new(graph, dtype)?),
            controls: Mutex::default(),
            captures: captured.then(|| Captures {
                next: AtomicI32::new(1),
                given_back: AtomicU64::new(0),
                turn: Mutex::default(),
            }),
            #[cfg(test)]
            failures: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// Where its caches and results lie.
    pub(crate) fn memory(&self) -> &Arc<DeviceMemory> {
        &self.memory
    }

    /// Whether it gives logits.
    pub(crate) fn is_last(&self) -> bool {
        self.wiring.is_last
    }

    /// The width of the first tensor that it gives.
    pub(crate) fn width(&self) -> usize {
        self.wiring.width()
    }

    /// Whether one tensor goes in and one comes out: what steps, and rows that stay on the device, are for.
    pub(crate) fn is_simple(&self) -> bool {
        self.wiring.is_simple()
    }

    /// The type that the session computes in.
    pub(crate) fn dtype(&self) -> Dtype {
        self.wiring.dtype
    }

    /// Runs the tokens at `positions` of the request in `slot` of `cache`. `wanted` are the rows whose logits are taken, if it
    /// gives logits; else all rows are. `shrink` gives back what the arena has free afterwards.
    #[allow(clippy::too_many_arguments, reason = "one run, all of it")]
    pub(crate) fn pass(
        &self,
        input: Rows,
        cache: &DeviceCache,
        slot: usize,
        positions: Range<usize>,
        wanted: &[i64],
        take: Take,
        cancel: &Cancel,
        shrink: bool,
    ) -> Result<()> {
        let wiring = &*self.wiring;
        let (last, total) = ([positions.end as i32 - 1], [positions.end as i32]);
        let sequences = [1, positions.len() as i64, -1];
        // Where no logits are wanted, those of one row are computed and dropped: not every provider takes empty tensors.
        let rows = if wanted.is_empty() { &[0] } else { wanted };
        let (last, total) = (Tensor::new(&last, &[1])?, Tensor::new(&total, &[])?);
        let (sequences, rows) = (Tensor::new(&sequences, &[3])?, Tensor::new(rows, &[rows.len()])?);
        let mut caches = cache.tensors(slot..slot + 1)?;

        let mut values = Values::new(6 + caches.len(), 2 + caches.len());
        let (narrowed, stored): (Vec<_>, Vec<_>);
        let (fed, kept): (_, Vec<TensorMut>);
        match input {
            Rows::Ids(ids) => {
                fed = Tensor::new(ids, &[ids.len()])?;
                values.input(names::INPUT_IDS.c(), &fed);
            }
            Rows::Parts(parts) => {
                let narrow = |part: &PartRows| -> Result<_> {
                    let mut buffer = bound::HostBuffer::new(part.values.len() * wiring.dtype.size())?;
                    rows::narrow(part.values, wiring.dtype, &mut buffer);
                    Ok((buffer, part.role, part.width))
                };
                narrowed = parts.iter().map(narrow).collect::<Result<_>>()?;
                let tensors = narrowed
                    .iter()
                    .map(|(buffer, _, width)| buffer.tensor(0, wiring.dtype.into(), &[positions.len(), *width]));
                kept = tensors.collect::<Result<_>>()?;
                narrowed.iter().zip(&kept).for_each(|((_, role, _), part)| values.written(role.input().c(), part));
            }
            Rows::Device(rows, first, count) => {
                kept = vec![rows.tensor(first..first + count)?];
                for rows in &kept {
                    values.written(wiring.input(), rows);
                }
            }
        }
        values.input(names::LAST.c(), &last);
        values.input(names::TOTAL.c(), &total);
        values.input(names::SEQUENCES.c(), &sequences);
        if wiring.is_last {
            values.input(names::LOGIT_ROWS.c(), &rows);
        }
        for ((past, present), cache) in wiring.caches.iter().zip(&mut caches) {
            values.updated(past, present, cache);
        }
        let mut out: Vec<TensorMut>;
        let (names, widths) =
            (|| wiring.outputs.iter().map(|(name, _)| name.c()), || wiring.outputs.iter().map(|o| o.1));
        match take {
            Take::Nowhere => self.run(&mut values, cancel, shrink),
            Take::Device(rows, range) => {
                out = vec![rows.tensor(range)?];
                names().zip(&mut out).for_each(|(name, out)| values.output(name, out));
                self.run(&mut values, cancel, shrink)
            }
            Take::Host(to) if wiring.output_dtype() == Dtype::F32 => {
                let shaped = to.into_iter().zip(widths()).map(|(to, width)| (to.len() / width, width, to));
                out = shaped.map(|(rows, width, to)| TensorMut::new(to, &[rows, width])).collect::<Result<_>>()?;
                names().zip(&mut out).for_each(|(name, out)| values.output(name, out));
                self.run(&mut values, cancel, shrink)
            }
            Take::Host(to) => {
                let buffers = to.iter().map(|to| bound::HostBuffer::new(to.len() * wiring.dtype.size()));
                stored = buffers.collect::<Result<_>>()?;
                let shaped = stored
                    .iter()
                    .zip(&to)
                    .zip(widths())
                    .map(|((stored, to), width)| stored.tensor(0, wiring.dtype.into(), &[to.len() / width, width]));
                out = shaped.collect::<Result<_>>()?;
                names().zip(&mut out).for_each(|(name, out)| values.output(name, out));
                self.run(&mut values, cancel, shrink)?;
                drop(values);
                drop(out);
                stored.iter().zip(to).for_each(|(stored, to)| rows::widen(stored, wiring.dtype, 0, to));
                Ok(())
            }
        }
    }

    fn run(&self, values: &mut Values, cancel: &Cancel, shrink: bool) -> Result<()> {
        // What a captured graph works in is free in the arena's eyes.
        let shrink = shrink && self.captures.is_none();
        self.relieved(|relief| {
            self.uncaptured(cancel, |session, control| session.run(values, control, shrink || relief))
        })
    }

    /// Does `run` under options that capture nothing.
    fn uncaptured(&self, cancel: &Cancel, run: impl FnOnce(&Session, &Cancel) -> Result<()>) -> Result<()> {
        const NOT_CAPTURED: i32 = -1;
        let control = match self.controls.lock().pop() {
            Some(control) => control,
            None if self.captures.is_some() => Cancel::of_graph(&self.arena, NOT_CAPTURED)?,
            None => Cancel::on(&self.arena)?,
        };
        let done = cancel.through(&control, || run(&self.session, &control));
        self.controls.lock().push(control);
        done
    }

    /// Does `run`, which is told whether it is to give back what the arena has free. If memory runs out, that is tried.
    ///
    /// A run gives memory back when it is over, also if it failed. So the third one finds an arena with nothing in it.
    fn relieved(&self, mut run: impl FnMut(bool) -> Result<()>) -> Result<()> {
        let _turn = self.captures.as_ref().map(|captures| captures.turn.lock());
        let out_of_memory = |done: &Result<()>| done.as_ref().is_err_and(|e| e.kind() == ErrorKind::OutOfMemory);
        #[cfg(test)]
        let mut run = |relief| {
            let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let device = self.memory.device();
            if fails.is_ok() { Err(crate::error::Error::oom(Site::Run, device, 0, "a test")) } else { run(relief) }
        };
        let mut done = run(false);
        if out_of_memory(&done) {
            log::info!("memory ran out in a run on {}: trying again with what can be given back", self.memory.device());
            if let Some(captures) = &self.captures {
                (1..captures.next.load(Ordering::Relaxed)).for_each(|graph| self.session.release_graph(graph));
                captures.given_back.fetch_add(1, Ordering::Relaxed);
            }
            self.memory.give_back()?;
            for _ in 0..2 {
                if out_of_memory(&done) {
                    done = run(true);
                }
            }
        }
        done
    }

    /// The next captured graph's number, where steps are captured.
    fn next_graph(&self) -> Option<i32> {
        self.captures.as_ref().map(|captures| captures.next.fetch_add(1, Ordering::Relaxed))
    }

    /// How often captured graphs were given back: those from before are captured again.
    fn given_back(&self) -> u64 {
        self.captures.as_ref().map_or(0, |captures| captures.given_back.load(Ordering::Relaxed))
    }
}
