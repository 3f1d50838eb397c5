//! A shard's session: its graph in one of two dialects, behind one way to run it.
//!
//! On the processor the graph is written in this library's own operators, which read the mapped weights. For any other
//! device it is written in ONNX Runtime's, which get the weights in one type, or, quantised, as codes and scales. Both take and
//! give the same float32 rows, so requests do not see which it is.

use std::ffi::{CStr, CString};
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use super::budget::{Budget, Reservation};
use super::cache::KvRows;
use super::device::{Device, Target};
use super::export;
use super::precision::Packer;
use crate::error::{Error, ErrorKind, Result, Site, err};
use crate::graph::standard::{self, Blocks, Form, Place, Style};
use crate::graph::{self, Graph};
use crate::kernels::Dtype;
use crate::kv::{KvCache, KvShape};
use crate::model::ModelConfig;
use crate::runtime::{
    self, Batch, Cancel, Contents, DeviceCache, DeviceMemory, Placement, Segment, Tensor, TensorMut, Values,
};
use crate::weights::{Files, WeightTable};

/// Tokens of a run where memory does not force fewer.
pub(super) const ROWS: usize = 512;
/// The fewest tokens of a run that a memory limit leads to.
const FEWEST_ROWS: usize = 16;
/// Runs of more tokens than this give their memory back.
const SHRINK_FROM: usize = 32;
/// What the graph calls the file of its weights, which is a block of memory here.
const DATA: &str = "weights";

/// A shard's graph, ready to run.
#[derive(Debug)]
pub(super) struct Session {
    dialect: Dialect,
    /// Rows one run may have.
    pub rows: usize,
    /// Whether its output is logits.
    pub is_last: bool,
    width: usize,
    /// Where it runs.
    pub device: Device,
    /// What a session in the standard dialect keeps its values in.
    dtype: Dtype,
    pub placement: Placement,
    memory: Vec<Reservation>,
}

#[derive(Debug)]
enum Dialect {
    Native(runtime::Session),
    Standard(Standard),
}

/// The rows of a run's input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    Ids(&'a [i64]),
    /// `[rows, width]`.
    Hidden(&'a [f32], usize),
}

impl Rows<'_> {
    fn of(&self, rows: Range<usize>) -> Self {
        match *self {
            Self::Ids(ids) => Self::Ids(&ids[rows]),
            Self::Hidden(values, width) => Self::Hidden(&values[rows.start * width..rows.end * width], width),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Hidden(values, width) => values.len() / width,
        }
    }

    fn tensor(&self) -> Result<(&'static CStr, Tensor<'_>)> {
        Ok(match self {
            Self::Ids(ids) => (c"input_ids", Tensor::new(ids, &[ids.len()])?),
            Self::Hidden(values, width) => (c"hidden_states_in", Tensor::new(values, &[values.len() / width, *width])?),
        })
    }
}

impl Session {
    /// The session of `graph` where `target` says, or on the processor if that fails and need not be.
    pub(super) fn new(
        target: &Target,
        packer: &Packer,
        graph: &Graph,
        config: &ModelConfig,
        weights: &Arc<WeightTable>,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        if !target.standard() {
            return Self::native(packer, graph, weights, budget);
        }
        let dtype = target.dtype(weights.dtype());
        match Self::standard(target, dtype, packer.blocks(), graph, config, weights, budget) {
            Err(error) if target.may_fall_back() && no_matter_of_memory(&error) => {
                log::warn!("the shard cannot run on {}: {}; using cpu", target.device, error.chain());
                Self::native(packer, graph, weights, budget)
            }
            other => other,
        }
    }

    fn native(packer: &Packer, graph: &Graph, weights: &Arc<WeightTable>, budget: &Arc<Budget>) -> Result<Self> {
        let (rows, limit) = run_of(&Target::PROCESSOR, graph, budget);
        let run = limit.map_or(0, |limit| limit + packer.scratch_bytes(graph, rows));
        let memory = budget.reserve(run, Site::Load, "the memory of a run")?;
        Self::native_within(limit, graph, weights, rows, vec![memory])
    }

    /// A session in the native dialect whose arena takes at most `limit` bytes.
    pub(super) fn native_within(
        limit: Option<u64>,
        graph: &Graph,
        weights: &Arc<WeightTable>,
        rows: usize,
        memory: Vec<Reservation>,
    ) -> Result<Self> {
        let session = runtime::Session::native(&graph::native::write(graph), Arc::clone(weights), limit)?;
        let placement = Placement { nodes: graph.ops.len(), cpu_nodes: graph.ops.len() };
        Ok(Self::of(Dialect::Native(session), graph, rows, Device::Cpu, Dtype::F32, placement, memory))
    }

    /// Bytes it has taken from the budget.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.iter().map(Reservation::bytes).sum()
    }

    /// Weights that the checkpoint has in the session's own type are read where they lie, others from a copy of ours. While the
    /// session is made there is that and the copy that ONNX Runtime keeps, and one more of the tensor that it is taking over, or
    /// of all that it packs.
    fn standard(
        target: &Target,
        dtype: Dtype,
        blocks: Option<Blocks>,
        graph: &Graph,
        config: &ModelConfig,
        weights: &WeightTable,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        const KEPT: &str = "the weights of ONNX Runtime's own operators";
        const PASSING: &str = "passing the weights to ONNX Runtime";
        let files = weights.files(dtype);
        let written = written(dtype, blocks, graph, config, Some(&files))?;
        let kept = budget.reserve(written.kept_bytes, Site::Load, KEPT)?;
        let passing = budget.reserve(written.passing_bytes, Site::Load, PASSING)?;
        let bytes = written.data_bytes;
        let mut data: Box<[u8]> = bytemuck::allocation::try_zeroed_slice_box(bytes as usize)
            .map_err(|()| Error::oom(Site::Load, "cpu", bytes, PASSING))?;
        export::write_data(Cursor::new(&mut *data), &written, dtype, &config.rope, config.max_positions, weights)?;

        let (rows, limit) = run_of(target, graph, budget);
        let memory = budget.reserve(limit.unwrap_or(0), Site::Load, "the memory of a run")?;
        let provider = target.device.provider(budget.limit());
        // ONNX Runtime takes the copy it keeps from the arena without looking at the limit, but counts it.
        let limit = limit.map(|limit| limit + written.kept_bytes);
        let stored = files.contents().enumerate().map(|(index, content)| (stored_in(index), content));
        let contents = stored.chain([(DATA.to_owned(), &*data)]).collect();
        let contents = Contents { files: contents, quantised: blocks.is_some() };
        let (session, placement) = runtime::Session::standard(&written.model, &contents, &provider, limit)?;
        drop(contents);
        drop((data, passing));
        let memory_on_device = DeviceMemory::new(&provider, None)?;
        let session = Dialect::Standard(Standard::new(session, memory_on_device, graph)?);
        Ok(Self::of(session, graph, rows, target.device, dtype, placement, vec![kept, memory]))
    }

    fn of(
        dialect: Dialect,
        graph: &Graph,
        rows: usize,
        device: Device,
        dtype: Dtype,
        placement: Placement,
        memory: Vec<Reservation>,
    ) -> Self {
        let (is_last, width) = match graph.output {
            graph::Output::Hidden(value) => (false, value.width),
            graph::Output::Logits(value) => (true, value.width),
        };
        Self { dialect, rows, is_last, width, device, dtype, placement, memory }
    }

    /// One run: the rows of `batch` through the graph into `out`, hidden states of every row or logits of the `wanted`.
    pub(super) fn run(
        &self,
        input: Rows,
        batch: &mut Batch,
        wanted: &[i64],
        out: &mut [f32],
        cancel: &Cancel,
    ) -> Result<()> {
        match &self.dialect {
            Dialect::Native(session) => self.run_native(session, input, batch, wanted, out, cancel),
            Dialect::Standard(session) => {
                let (mut first, mut out) = (0, out);
                for segment in &mut batch.segments {
                    let rows = first..first + segment.rows().len();
                    first = rows.end;
                    let inside = |row: &&i64| rows.contains(&(**row as usize));
                    let wanted: Vec<i64> = wanted.iter().filter(inside).map(|row| row - rows.start as i64).collect();
                    let values = self.width * if self.is_last { wanted.len() } else { rows.len() };
                    let (mine, rest) = out.split_at_mut(values);
                    out = rest;
                    session.run(self, input.of(rows), segment, &wanted, mine, cancel)?;
                }
                Ok(())
            }
        }
    }

    fn run_native(
        &self,
        session: &runtime::Session,
        input: Rows,
        batch: &Batch,
        wanted: &[i64],
        out: &mut [f32],
        cancel: &Cancel,
    ) -> Result<()> {
        let address = [batch.address()];
        let (name, rows) = input.tensor()?;
        let address = Tensor::new(&address, &[1])?;
        let wanted = Tensor::new(wanted, &[wanted.len()])?;
        let out_rows = out.len() / self.width;
        let mut out = TensorMut::new(out, &[out_rows, self.width])?;
        let mut values = Values::new(3, 1);
        values.input(name, &rows);
        values.input(c"batch", &address);
        if self.is_last {
            values.input(c"logit_rows", &wanted);
        }
        values.output(self.output(), &mut out);
        session.run(&mut values, cancel, input.len() > SHRINK_FROM)
    }

    /// Bytes that a token of `kv` takes in such a cache.
    pub(super) fn kv_bytes_per_token(&self, kv: KvShape) -> u64 {
        match self.dialect {
            Dialect::Native(_) => kv.bytes_per_token(),
            Dialect::Standard(_) => kv.values_per_token() * self.dtype.size() as u64,
        }
    }

    /// The name of what it is kept in.
    pub(super) fn kv_type(&self, kv: KvShape) -> String {
        match self.dialect {
            Dialect::Native(_) => kv.rows.to_string(),
            Dialect::Standard(_) => format!("{:?}", self.dtype).to_lowercase(),
        }
    }

    /// A KV cache for `capacity` tokens, where the session reads it.
    pub(super) fn new_rows(&self, kv: KvShape, capacity: usize) -> Result<KvRows> {
        match &self.dialect {
            Dialect::Native(_) => KvCache::new(kv, capacity).map(KvRows::Mapped),
            Dialect::Standard(Standard { memory, .. }) => {
                let KvShape { layers, kv_heads, head_dim, .. } = kv;
                DeviceCache::new(memory, self.dtype, layers, kv_heads, capacity, head_dim).map(KvRows::Device)
            }
        }
    }

    fn output(&self) -> &'static CStr {
        if self.is_last { c"logits" } else { c"hidden_states" }
    }
}

/// A session in the standard dialect. It runs one request at a time: ONNX Runtime's attention takes several at once only
/// for single tokens.
#[derive(Debug)]
struct Standard {
    session: runtime::Session,
    /// Where the KV caches of requests on it lie.
    memory: Arc<DeviceMemory>,
    /// Input and output of each layer's keys, then values.
    caches: Vec<(CString, CString)>,
}

impl Standard {
    fn new(session: runtime::Session, memory: Arc<DeviceMemory>, graph: &Graph) -> Result<Self> {
        let mut caches = Vec::new();
        let name = |name: String| CString::new(name).map_err(|_| err!(Internal, "a name with a NUL"));
        for attention in graph.attentions() {
            for part in ["key", "value"] {
                let (past, present) = (standard::past(attention.layer, part), standard::present(attention.layer, part));
                caches.push((name(past)?, name(present)?));
            }
        }
        Ok(Self { session, memory, caches })
    }

    fn run(
        &self,
        shard: &Session,
        input: Rows,
        segment: &mut Segment,
        wanted: &[i64],
        out: &mut [f32],
        cancel: &Cancel,
    ) -> Result<()> {
        let end = segment.rows().end;
        let (last, total) = ([end as i32 - 1], [end as i32]);
        // Where no logits are wanted, those of one row are computed and dropped: not every provider takes empty tensors.
        let rows = if wanted.is_empty() { &[0] } else { wanted };
        let (name, tokens) = input.tensor()?;
        let (last, total) = (Tensor::new(&last, &[1])?, Tensor::new(&total, &[])?);
        let rows = Tensor::new(rows, &[rows.len()])?;
        let out_rows = out.len() / shard.width;
        let mut out = TensorMut::new(out, &[out_rows, shard.width])?;
        let caches = segment.tensors()?;

        let mut values = Values::new(4 + caches.len(), 1 + caches.len());
        values.input(name, &tokens);
        values.input(c"seqlens_k", &last);
        values.input(c"total_sequence_length", &total);
        if shard.is_last {
            values.input(c"logit_rows", &rows);
        }
        if out_rows > 0 {
            values.output(shard.output(), &mut out);
        }
        for ((past, present), cache) in self.caches.iter().zip(caches) {
            values.updated(past, present, cache);
        }
        self.session.run(&mut values, cancel, input.len() > SHRINK_FROM)
    }
}

/// Whether another device could do better: one that is not there, a graph it cannot run, a failure of its own.
fn no_matter_of_memory(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DeviceUnavailable | ErrorKind::Unsupported | ErrorKind::Runtime)
}

/// What the graph calls a file of the checkpoint.
fn stored_in(file: usize) -> String {
    format!("checkpoint.{file}")
}

/// The graph of a session in the standard dialect.
fn written(
    dtype: Dtype,
    blocks: Option<Blocks>,
    graph: &Graph,
    config: &ModelConfig,
    files: Option<&Files>,
) -> Result<standard::Standard> {
    export::check(config)?;
    let place = |name: &str| {
        let (file, offset) = files?.place(name)?;
        Some(Place { location: stored_in(file), offset })
    };
    let (element, positions) = (export::element(dtype), config.max_positions);
    let style = Style { form: Form::Session, element, blocks, location: DATA, place: &place, positions };
    Ok(standard::write(graph, style, &[]))
}

/// Bytes of the copies that a session on `target` keeps besides the mapped weights, and of those that are there only while it
/// is made.
pub(super) fn copied_bytes(
    target: &Target,
    dtype: Dtype,
    blocks: Option<Blocks>,
    graph: &Graph,
    config: &ModelConfig,
    weights: Option<&WeightTable>,
) -> (u64, u64) {
    if !target.standard() {
        return (0, 0);
    }
    let files = weights.map(|weights| weights.files(dtype));
    written(dtype, blocks, graph, config, files.as_ref())
        .map_or((0, 0), |written| (written.kept_bytes, written.passing_bytes))
}

/// Bytes that the arena of a run of `rows` tokens needs in the native dialect.
pub(super) fn run_bytes(graph: &Graph, rows: usize) -> u64 {
    graph.arena_bytes(rows, rows)
}

/// How many rows a run may have where `left` bytes of a limit are left, and the bytes of its arena: a quarter of what is
/// left, if enough rows fit into that.
///
/// In the standard dialect a layer's intermediate results are tensors of their own and attention keeps its scores, whose
/// number is the request's matter. There a run gets the whole quarter.
pub(super) fn run_within(target: &Target, graph: &Graph, left: u64) -> (usize, u64) {
    let factor = if target.standard() { 4 } else { 1 };
    let mut rows = ROWS;
    while rows > FEWEST_ROWS && run_bytes(graph, rows) * factor > left / 4 {
        rows /= 2;
    }
    let least = run_bytes(graph, rows) * factor;
    (rows, if target.standard() { least.max(left / 4) } else { least })
}

/// The same for what `budget` has left; all rows and no limit where it has none.
fn run_of(target: &Target, graph: &Graph, budget: &Budget) -> (usize, Option<u64>) {
    match budget.limit() {
        None => (usize::MAX, None),
        Some(limit) => {
            let (rows, arena) = run_within(target, graph, limit.saturating_sub(budget.used()));
            (rows, Some(arena))
        }
    }
}
