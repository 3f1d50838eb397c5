//! Sessions in the stock operators: how they get their weights, and how the requests of a run get into them.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::sink::{Best, Largest, Sink};
use crate::engine::export;
use crate::engine::load::Packer;
use crate::engine::memory::{Budget, Reservation, SHRINK_FROM, Slot, Slots, run_of};
use crate::engine::options::Target;
use crate::error::{Error, ErrorKind, Result, Site, bail};
use crate::graph::stock::{self, Blocks, FileOffset, Form, Style};
use crate::graph::{self, Graph};
use crate::kept::KeptShape;
use crate::kernels::Dtype;
use crate::model::ModelConfig;
use crate::runtime::{
    self, Batch, CacheShape, Cancel, Contents, DecodeStep, DeviceMemory, DeviceRows, DeviceSession, Placement,
    Reserved, Rows, Take,
};
use crate::weights::{Files, WeightTable};

/// The name that the graph has for the file of its weights, which is a block of memory here.
const DATA: &str = "weights";
/// How many logits beyond the wanted ones are fetched: so many may equal the last wanted one.
const TIES: usize = 32;

impl Reserved for Reservation {}

/// A session in the stock dialect.
#[derive(Debug)]
pub(crate) struct StockSession {
    pub(crate) session: DeviceSession,
    budget: Arc<Budget>,
    /// The most rows, and the last position, of runs that there was memory for.
    fitted: (AtomicUsize, AtomicUsize),
    /// Whether memory has run out in a run that is no larger.
    broken: AtomicBool,
}

impl StockSession {
    /// Makes the session of `graph` on `target`. Returns it with the placement of its nodes, the rows that a run may have, and what it
    /// took from `budget`.
    ///
    /// Weights that the checkpoint has in the session's own type are read where they lie, others from a copy. While the session is
    /// made, there is this copy, the copy that ONNX Runtime keeps, and one more of the tensor that it is taking over, or of all
    /// tensors that it packs.
    pub(crate) fn new(
        target: &Target,
        packer: &Packer,
        graph: &Graph,
        config: &ModelConfig,
        weights: &WeightTable,
        budget: &Arc<Budget>,
    ) -> Result<(Self, Placement, usize, Vec<Reservation>)> {
        const KEPT: &str = "the weights of stock operators";
        const PASSING: &str = "passing the weights to ONNX Runtime";
        let (dtype, blocks) = (target.dtype(weights.dtype()), packer.blocks());
        let files = weights.files(dtype);
        let written = written(dtype, blocks, graph, config, Some(&files))?;
        let kept = budget.reserve(written.kept_bytes, Site::Load, KEPT)?;
        let _passing = budget.reserve(written.passing_bytes, Site::Load, PASSING)?;
        let bytes = written.data_bytes;
        let mut data: Box<[u8]> = bytemuck::allocation::try_zeroed_slice_box(bytes as usize)
            .map_err(|()| Error::oom(Site::Load, "cpu", bytes, PASSING))?;
        export::write_data(Cursor::new(&mut *data), &written, dtype, &config.ropes, config.max_positions, weights)?;

        let (rows, limit) = run_of(target, graph, |_| 0, budget);
        let memory = budget.reserve(limit.unwrap_or(0), Site::Load, "the memory of a run")?;
        // ONNX Runtime takes the copy that it keeps from the arena without looking at the limit, but counts it there.
        let limit = limit.map(|limit| limit + written.kept_bytes);
        let stored = files.contents().enumerate().map(|(index, content)| (stored_in(index), content));
        let contents = stored.chain([(DATA.to_owned(), &*data)]).collect();
        let contents = Contents { files: contents, quantised: blocks.is_some() };
        let create = |captures| {
            let provider = target.device.provider(budget.limit(), captures);
            let (session, placement) = runtime::Session::stock(&written.model, &contents, &provider, limit)?;
            let session =
                DeviceSession::new(session, DeviceMemory::new(&provider, None)?, graph, dtype, provider.captures())?;
            Ok((session, placement))
        };
        let (session, placement) = match create(target.captures) {
            // A graph that is not wholly on the device cannot be captured, and only an attempt shows that.
            Err(error) if target.captures && is_device_failure(&error) => {
                log::info!("steps on {} are not captured: {}", target.device, error.chain());
                create(false)?
            }
            created => created?,
        };
        let session =
            Self { session, budget: Arc::clone(budget), fitted: Default::default(), broken: AtomicBool::new(false) };
        Ok((session, placement, rows, vec![kept, memory]))
    }

    /// Whether the session has lost memory: what it needs is there, but in pieces, or held by what a failure has left behind.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Remembers how a run of `segments` has ended.
    fn remember(&self, segments: &[SlotSegment], done: &Result<()>) {
        let rows = segments.iter().map(|segment| segment.rows.len()).sum();
        let last = segments.iter().map(|segment| segment.positions.end).max().unwrap_or(0);
        let (most_rows, furthest) = &self.fitted;
        match done {
            Ok(()) => {
                most_rows.fetch_max(rows, Ordering::Relaxed);
                furthest.fetch_max(last, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                let fitted = rows <= most_rows.load(Ordering::Relaxed) && last <= furthest.load(Ordering::Relaxed);
                self.broken.fetch_or(fitted, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }

    /// Whether what it gives can stay on the device for the next session there.
    pub(crate) fn passes_on_device(&self) -> bool {
        self.session.is_simple()
    }

    /// The type that the session computes in.
    pub(crate) fn dtype(&self) -> Dtype {
        self.session.dtype()
    }

    /// A KV cache for `capacity` tokens.
    pub(crate) fn slot(&self, kept: &KeptShape, capacity: usize, slots: &Slots, budget: &Arc<Budget>) -> Result<Slot> {
        let layers = kept.layers.len();
        let Some(&graph::Kept::Rows { heads: kv_heads, key_width: head_dim, .. }) = kept.layers.first() else {
            bail!(Internal, "a shard without layers that keep rows")
        };
        // All others have its shape, or there was no stock form.
        let shape = CacheShape { dtype: self.dtype(), layers, slots: 1, kv_heads, capacity, head_dim };
        slots.take(self.session.memory(), shape, budget)
    }

    /// Runs the rows `input`. ONNX Runtime's attention takes the rows of one request, or one row of each of several requests whose slots
    /// lie side by side. Anything else becomes several runs of ONNX Runtime.
    pub(crate) fn run(
        &self,
        input: Rows,
        batch: &Batch,
        wanted: &[i64],
        sink: &mut Sink,
        cancel: &Cancel,
    ) -> Result<()> {
        let (width, is_last) = (self.session.width(), self.session.is_last());
        let segments = slot_segments(batch, is_last, wanted)?;
        if let Sink::Best(largest) = sink {
            largest.run.resize_with(wanted.len(), || Best::Candidates(Vec::new()));
        }
        // A step runs one row, unless the row is one of many that stay on the device.
        let steps = self.session.is_simple() && !matches!(sink, Sink::Device(kept) if kept.total > 1);
        for group in groups(&segments, steps) {
            let done = match group {
                [segment] if !(steps && segment.is_single()) => self.pass(width, segment, input, wanted, sink, cancel),
                together => self.step(width, together, input, sink, cancel),
            };
            self.remember(group, &done);
            done?;
        }
        Ok(())
    }

    fn pass(
        &self,
        width: usize,
        segment: &SlotSegment,
        input: Rows,
        wanted: &[i64],
        sink: &mut Sink,
        cancel: &Cancel,
    ) -> Result<()> {
        let rows = input.slice(segment.rows.clone());
        let mine: Vec<i64> = wanted[segment.wanted.clone()].iter().map(|row| row - segment.rows.start as i64).collect();
        let shrink = segment.rows.len() > SHRINK_FROM;
        let (cache, slot) = segment.slot;
        let run =
            |take: Take| self.session.pass(rows, cache, slot, segment.positions.clone(), &mine, take, cancel, shrink);
        match sink {
            _ if segment.out.is_empty() => run(Take::Nowhere),
            Sink::Host(host) => run(Take::Host(host.rows_mut(segment.out.clone())?)),
            Sink::Device(kept) => {
                if kept.rows.is_none() {
                    let bytes = (kept.total * width * self.dtype().size()) as u64;
                    kept.memory = Some(self.budget.reserve(bytes, Site::Run, "hidden states on the device")?);
                    kept.rows = Some(DeviceRows::new(self.session.memory(), self.dtype(), kept.total, width)?);
                }
                let Some(rows) = &kept.rows else { bail!(Internal, "no rows on the device") };
                run(Take::Device(rows, kept.done..kept.done + segment.rows.len()))
            }
            Sink::Best(largest) => {
                // This is a prompt's last token, and beside the prompt one row of logits costs nothing.
                for row in segment.out.clone() {
                    let mut whole = logits(width)?;
                    run(Take::Host(vec![&mut whole]))?;
                    largest.run[row] = Best::Whole(whole);
                }
                Ok(())
            }
        }
    }

    fn step(
        &self,
        width: usize,
        segments: &[SlotSegment],
        input: Rows,
        sink: &mut Sink,
        cancel: &Cancel,
    ) -> Result<()> {
        let (cache, first) = segments[0].slot;
        let source = match input {
            Rows::Device(rows, ..) => Some(rows),
            Rows::Ids(_) | Rows::Parts(_) => None,
        };
        let reserve = |bytes| -> Result<Box<dyn Reserved>> {
            Ok(Box::new(self.budget.reserve(bytes, Site::Run, "a decode step's input and output")?))
        };
        let mut step = DecodeStep::of(&self.session, cache, first..first + segments.len(), source, reserve)?;
        let positions: Vec<usize> = segments.iter().map(|segment| segment.positions.start).collect();
        let rows = || segments.iter().map(|segment| input.slice(segment.rows.clone()));
        match input {
            Rows::Ids(_) if segments.len() > 1 => {
                let ids: Vec<i64> = rows().filter_map(Rows::ids).flatten().copied().collect();
                step.run(&self.session, Rows::Ids(&ids), &positions, cancel)
            }
            Rows::Parts(parts) if segments.len() > 1 => {
                let parts_of = |rows: Rows<'_>| rows.parts().first().map(|part| part.values.to_vec());
                let hidden: Vec<f32> = rows().filter_map(parts_of).flatten().collect();
                let width = parts.first().map_or(0, |part| part.width);
                step.run(&self.session, Rows::hidden(&hidden, width), &positions, cancel)
            }
            _ => step.run(&self.session, input.slice(segments[0].rows.clone()), &positions, cancel),
        }?;
        take(&mut step, width, segments, sink)?;
        step.put_back(cache);
        Ok(())
    }
}

/// Takes a step's results.
fn take(step: &mut DecodeStep, width: usize, segments: &[SlotSegment], sink: &mut Sink) -> Result<()> {
    let taken = || segments.iter().enumerate().filter(|(_, segment)| !segment.out.is_empty());
    if taken().next().is_none() {
        return Ok(());
    }
    match sink {
        Sink::Host(host) => {
            step.fetch()?;
            for (row, segment) in taken() {
                host.rows_mut(segment.out.clone())?.into_iter().for_each(|to| step.row(row, to));
            }
        }
        Sink::Device(kept) => kept.rows = Some(step.out().clone()),
        Sink::Best(Largest { run: best, counts, .. }) => {
            let counts: Vec<usize> = taken().map(|(_, segment)| counts[segment.out.start]).collect();
            let some = counts.iter().filter(|count| **count < width);
            let most = some.max().map_or(0, |count| (count + TIES).min(width));
            if most > 0 {
                let found = step.candidates(most)?;
                for ((row, segment), count) in taken().zip(&counts) {
                    let values = &found.best[row * most..][..most];
                    // If all that were fetched equal the last wanted one, there may be more of them. If the sum is not finite,
                    // sampling looks at all logits one by one.
                    let decide = *count < width && (most == width || values[most - 1] < values[count - 1]);
                    if decide && found.sums[row].is_finite() {
                        let ids = found.ids[row * most..][..most].iter().map(|id| *id as u32);
                        best[segment.out.start] = Best::Candidates(ids.zip(values.iter().copied()).collect());
                    } else {
                        best[segment.out.start] = Best::Candidates(Vec::new());
                    }
                }
            }
            let mut fetched = false;
            for (row, segment) in taken() {
                if matches!(&best[segment.out.start], Best::Candidates(some) if some.is_empty()) {
                    if !std::mem::replace(&mut fetched, true) {
                        step.fetch()?;
                    }
                    let mut whole = logits(width)?;
                    step.row(row, &mut whole);
                    best[segment.out.start] = Best::Whole(whole);
                }
            }
        }
    }
    Ok(())
}

/// Room for one token's logits.
fn logits(width: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(width).map_err(|_| Error::oom(Site::Run, "cpu", 4 * width as u64, "a token's logits"))?;
    values.resize(width, 0.0);
    Ok(values)
}

/// A segment whose KV cache is a slot on the device.
struct SlotSegment<'a> {
    slot: (&'a runtime::DeviceCache, usize),
    positions: Range<usize>,
    /// The request's rows among the rows of the run.
    rows: Range<usize>,
    /// The request's rows among the wanted ones.
    wanted: Range<usize>,
    /// The request's rows among the results.
    out: Range<usize>,
}

impl SlotSegment<'_> {
    fn is_single(&self) -> bool {
        self.rows.len() == 1
    }

    fn place(&self) -> (usize, usize) {
        (std::ptr::from_ref(self.slot.0).addr(), self.slot.1)
    }
}

/// The segments of `batch`, sorted by slab and slot.
fn slot_segments<'a>(batch: &Batch<'a>, is_last: bool, wanted: &[i64]) -> Result<Vec<SlotSegment<'a>>> {
    let (mut first, mut passed) = (0, 0);
    let with_rows = |segment: &runtime::Segment<'a>| {
        let rows = first..first + segment.rows().len();
        let mine = wanted[passed..].iter().take_while(|row| (**row as usize) < rows.end).count();
        let wanted = passed..passed + mine;
        (first, passed) = (rows.end, wanted.end);
        let out = if is_last { wanted.clone() } else { rows.clone() };
        Ok(SlotSegment { slot: segment.slot()?, positions: segment.rows(), rows, wanted, out })
    };
    let mut segments = batch.segments.iter().map(with_rows).collect::<Result<Vec<_>>>()?;
    segments.sort_by_key(SlotSegment::place);
    Ok(segments)
}

/// Groups of segments that run together: single rows in slots side by side if `steps` is set, anything else by itself.
fn groups<'p, 'a>(segments: &'p [SlotSegment<'a>], steps: bool) -> impl Iterator<Item = &'p [SlotSegment<'a>]> {
    segments.chunk_by(move |a, b| {
        let ((slab, slot), (same, next)) = (a.place(), b.place());
        steps && a.is_single() && b.is_single() && slab == same && slot + 1 == next
    })
}

/// Whether `error` is about the device, so that another device may do: the device is missing, cannot run the graph, or has failed.
pub(crate) fn is_device_failure(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DeviceUnavailable | ErrorKind::Unsupported | ErrorKind::Runtime)
}

/// The name that the graph has for a file of the checkpoint.
fn stored_in(file: usize) -> String {
    format!("checkpoint.{file}")
}

/// The graph of a session in the stock dialect.
fn written(
    dtype: Dtype,
    blocks: Option<Blocks>,
    graph: &Graph,
    config: &ModelConfig,
    files: Option<&Files>,
) -> Result<stock::StockModel> {
    let place = |name: &str| {
        let (file, offset) = files?.place(name)?;
        Some(FileOffset { location: stored_in(file), offset })
    };
    let (element, positions) = (export::element(dtype), config.max_positions);
    let style = Style { form: Form::Session, element, blocks, location: DATA, place: &place, positions };
    stock::write(graph, style, &[])
}

/// Bytes of the copies that a session on `target` keeps besides the mapped weights, and of the copies that exist only while the session
/// is made. `None` if the session is native, also since `target` gives way to the processor.
///
/// # Errors
/// `Unsupported` if the graph cannot be written for a `target` that does not give way.
pub(crate) fn copied_bytes(
    target: &Target,
    dtype: Dtype,
    blocks: Option<Blocks>,
    graph: &Graph,
    config: &ModelConfig,
    weights: Option<&WeightTable>,
) -> Result<Option<(u64, u64)>> {
    if !target.stock() {
        return Ok(None);
    }
    let files = weights.map(|weights| weights.files(dtype));
    match written(dtype, blocks, graph, config, files.as_ref()) {
        Ok(written) => Ok(Some((written.kept_bytes, written.passing_bytes))),
        Err(error) if target.may_fall_back() && is_device_failure(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
