//! Causal grouped-query attention (Vaswani et al. 2017; Ainslie et al. 2023) over a cache of keys and values.
//!
//! One call does what lies between the projections: it normalises and rotates queries and keys, appends keys and values to each
//! segment's cache, and attends. `plan` cuts the work into tasks, `prepare` has one head's row, `rows` how the cache keeps it,
//! `attend` the online softmax over blocks of keys, and [`multiply`] the arithmetic of a block.
//!
//! Keys are taken in *chunks* and *blocks* that begin at fixed absolute positions, and what a query gets from each is combined
//! in their order. So a prompt in one piece, in several, or token by token gives the same bits, and the chunks of a long context
//! can be shared out to threads.

mod attend;
mod multiply;
mod plan;
mod prepare;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use super::elementwise::SoftCap;
use super::norm::Weighted;
use super::shared::{Output, Scratch};
use super::simd::{Kernel, Simd};
use super::{Isa, Matrix, Parallel};
use attend::{Queries, State, attend, merge};
use plan::{Plan, Unit, Written};
use prepare::{Preparation, prepare};
pub use rows::RowType;
use rows::Rows;
pub use shape::{AttentionShape, Rotation, Window};

/// The tensors of packed rows: those of the first segment, then those of the second, and so on, `n` in all.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionInputs<'a> {
    /// Queries, `[n, heads * head_dim]`.
    pub q: &'a [f32],
    /// Keys, `[n, kv_heads * head_dim]`; or latents, `[n, kv_heads * latent]`. None if the caches have those of the rows already, as
    /// where layers share them.
    pub k: &'a [f32],
    /// Values, laid out as the keys; or what the keys have behind latents, `[n, kv_heads * (head_dim - latent)]`.
    pub v: &'a [f32],
    /// The cosines of each row's position, `[n, rotary_pairs]`.
    pub cos: &'a [f32],
    /// The sines.
    pub sin: &'a [f32],
    /// Weights of the queries' norm, `1 x head_dim`; without, it has none. Only read with [`AttentionShape::head_norm`].
    pub q_norm: Option<Matrix<'a>>,
    /// Weights of the keys' norm, laid out as the queries'.
    pub k_norm: Option<Matrix<'a>>,
    /// A score for each head that joins the softmax without a value, `1 x heads` (GPT-OSS).
    pub sinks: Option<Matrix<'a>>,
    /// Multiplies each row's queries, `n` values (Mistral 3; Llama 4 where it does not rotate).
    pub temperature: Option<&'a [f32]>,
}

/// One segment's part of a packed batch.
#[derive(Debug)]
pub struct AttentionSegment<'a> {
    /// Cached keys, `[kv_heads, capacity]` rows of `head_dim` values, normalised and rotated. The first row of a head is the
    /// token at position `first`. Where keys are latents, rows of these.
    pub keys: &'a mut [u8],
    /// Cached values, laid out as the keys; where those are latents, rows of what the keys have behind them, rotated.
    pub values: &'a mut [u8],
    /// What the rows are kept as.
    pub kind: RowType,
    /// Tokens the cache has room for.
    pub capacity: usize,
    /// Position of the first cached token, not beyond that of this run's first: more than zero where a layer with a window has
    /// let go of tokens that no row sees any more. What else it has let go of, no row sees either.
    pub first: usize,
    /// The position of this run's first token: `position - first` tokens are cached already.
    pub position: usize,
    /// Tokens of this run.
    pub tokens: usize,
}

/// Attention of packed rows.
///
/// Every head is normalised if so wanted, then rotated. Keys and values, where there are some, are written to the caches at
/// `position..position + tokens`, then `out`, `[n, heads * head_dim]` or, of latents, `[n, heads * latent]`, is computed.
pub fn attention(
    isa: Isa,
    par: &dyn Parallel,
    shape: &AttentionShape,
    inputs: &AttentionInputs,
    segments: &mut [AttentionSegment],
    out: &mut [f32],
) {
    let dim = shape.head_dim;
    let sound = shape.kv_heads > 0
        && shape.heads >= shape.kv_heads
        && shape.latent.is_none_or(|latent| 0 < latent && latent < dim && shape.head_norm.is_none());
    if dim == 0 || !sound || segments.iter().any(|s| s.position < s.first) {
        par.incomplete();
        return;
    }
    // 2 x dim values, rarely more than 256.
    let mut norms = vec![0.0; 2 * dim];
    let (q_wide, k_wide) = norms.split_at_mut(dim);
    let [q_norm, k_norm] = [(inputs.q_norm, q_wide), (inputs.k_norm, k_wide)].map(|(weight, wide)| {
        let norm = shape.head_norm?;
        norm.widen(weight.as_ref(), wide);
        Some(Weighted { norm, weight: &*wide, bias: None })
    });
    let mut sinks = vec![0.0; if inputs.sinks.is_some() { shape.heads } else { 0 }];
    let sinks = inputs.sinks.map(|matrix| {
        matrix.widen(0, &mut sinks);
        &*sinks
    });
    let input = Input { shape, tensors: inputs, q_norm, k_norm, sinks };
    if !inputs.k.is_empty() {
        append(isa, par, &input, segments);
    }

    let out = Output::new(par, out);
    let mut row = 0;
    let written: Vec<Written> = segments
        .iter()
        .map(|s| {
            let segment = Written {
                keys: s.keys,
                values: s.values,
                kind: s.kind,
                capacity: s.capacity,
                first: s.first,
                position: s.position,
                tokens: s.tokens,
                row,
            };
            row += s.tokens;
            segment
        })
        .collect();
    let plan = Plan::new(shape, &written, par.threads());
    if plan.chunked {
        attend_chunked(isa, par, &input, &written, &plan, &out);
    } else {
        par.run(plan.tasks(&written), &|task| {
            if let Some(unit) = plan.unit(&written, task) {
                isa.run(Whole { input: &input, unit, out: &out });
            }
        });
    }
}

/// The tensors of a call.
struct Input<'a> {
    shape: &'a AttentionShape,
    tensors: &'a AttentionInputs<'a>,
    q_norm: Option<Weighted<'a>>,
    k_norm: Option<Weighted<'a>>,
    /// One for each head.
    sinks: Option<&'a [f32]>,
}

impl Input<'_> {
    /// What is done to a head of a packed row.
    #[inline(always)]
    fn preparation<'a>(&'a self, norm: Option<Weighted<'a>>, row: usize, scale: f32) -> Preparation<'a> {
        let (shape, pairs) = (self.shape, self.shape.rotary_pairs);
        let angles = |all: &'a [f32]| &all[row * pairs..][..pairs];
        Preparation {
            norm,
            norm_after_rotation: shape.norm_after_rotation,
            rotation: shape.rotation,
            passing: 0,
            cos: angles(self.tensors.cos),
            sin: angles(self.tensors.sin),
            scale,
        }
    }
}

/// Writes the new keys and values, a task for each head of each segment.
fn append(isa: Isa, par: &dyn Parallel, input: &Input, segments: &mut [AttentionSegment]) {
    let (dim, heads) = (input.shape.head_dim, input.shape.kv_heads);
    let mut row = 0;
    let mut most = 0;
    let caches: Vec<_> = segments
        .iter_mut()
        .map(|s| {
            let first = row;
            row += s.tokens;
            most = most.max(s.tokens);
            (
                Output::new(par, s.keys),
                Output::new(par, s.values),
                s.kind,
                s.capacity,
                s.position - s.first,
                s.tokens,
                first,
            )
        })
        .collect();
    let task = |task: usize| {
        let ((keys, values, kind, capacity, cached, tokens, row), head) = (&caches[task / heads], task % heads);
        let [keys, values] = [(keys, 0), (values, 1)].map(|(rows, which)| {
            let stride = kind.bytes(input.shape.kept_widths()[which]);
            // SAFETY: every task has its own head of its own segment's cache.
            unsafe { rows.slice((head * capacity + cached) * stride, tokens * stride) }
        });
        isa.run(Append { input, row: *row, head, keys, values, kind: *kind });
    };
    // A token or a few: faster here than the threads wake.
    if most * dim < 4096 { (0..caches.len() * heads).for_each(task) } else { par.run(caches.len() * heads, &task) }
}

/// One head's new keys and values.
struct Append<'a> {
    input: &'a Input<'a>,
    row: usize,
    head: usize,
    keys: &'a mut [u8],
    values: &'a mut [u8],
    kind: RowType,
}

impl Kernel for Append<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Input { shape, tensors: AttentionInputs { k, v, .. }, k_norm, .. } = self.input;
        let [key_width, value_width] = shape.kept_widths();
        let mut scratch = Scratch::take(shape.head_dim);
        let keys = self.keys.chunks_exact_mut(self.kind.bytes(key_width));
        for (i, (key, value)) in keys.zip(self.values.chunks_exact_mut(self.kind.bytes(value_width))).enumerate() {
            let row = self.row + i;
            let place = row * shape.kv_heads + self.head;
            let how = self.input.preparation(*k_norm, row, 1.0);
            let (k, v) = (&k[place * key_width..][..key_width], &v[place * value_width..][..value_width]);
            // Latents are not rotated, and what lies behind them is.
            let (turned, turned_row, other, other_row) =
                if shape.latent.is_some() { (v, value, k, key) } else { (k, key, v, value) };
            let prepared = &mut scratch.values()[..turned.len()];
            prepare(simd, turned, &how, prepared);
            self.kind.write(prepared, turned_row);
            self.kind.write(other, other_row);
        }
    }
}

/// A unit with all its chunks.
struct Whole<'a> {
    input: &'a Input<'a>,
    unit: Unit<'a>,
    out: &'a Output<'a>,
}

impl Kernel for Whole<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { input, unit, out } = self;
        let rows = unit.rows();
        let (dim, value_dim) = (input.shape.head_dim, input.shape.value_dim());
        let (query_len, state_len) = (rows * dim, State::len::<S>(rows, value_dim));
        let mut scratch = Scratch::take(query_len + 2 * state_len + attend::scratch_len(dim, value_dim));
        let (queries, scratch) = scratch.values().split_at_mut(query_len);
        let (total, scratch) = scratch.split_at_mut(state_len);
        let (part, scratch) = scratch.split_at_mut(state_len);
        let (mut total, mut part) = (State::new::<S>(total, rows, value_dim), State::new::<S>(part, rows, value_dim));
        simd.run_apart(Prepare { input, unit, queries });
        let queries = queries_of(input, &unit, queries);
        total.clear();
        for chunk in unit.first_chunk..unit.end_chunk {
            part.clear();
            attend(simd, &queries, chunk, &mut part, scratch);
            merge(simd, &mut total, &part);
        }
        write(simd, input, &unit, &total, out);
    }
}

/// Attends with a task for each chunk of each unit, whose states wait in scratch memory and are then merged in order.
fn attend_chunked(isa: Isa, par: &dyn Parallel, input: &Input, segments: &[Written], plan: &Plan, out: &Output) {
    let mut tasks = Vec::new();
    let mut states = 0;
    let lanes = 16;
    for i in 0..plan.tasks(segments) {
        let Some(unit) = plan.unit(segments, i) else { continue };
        // Whole pairs of cache lines: threads that write neighbouring states must not share any.
        let len = State::padded_len(unit.rows(), input.shape.value_dim(), lanes).next_multiple_of(32);
        for chunk in unit.first_chunk..unit.end_chunk {
            tasks.push((unit, chunk, states, len));
            states += len;
        }
    }
    let mut scratch = Scratch::take(states);
    let states = Output::new(par, scratch.values());
    par.run(tasks.len(), &|task| {
        let (unit, chunk, at, len) = tasks[task];
        // SAFETY: every task has its own state.
        let state = unsafe { states.slice(at, len) };
        isa.run(Part { input, unit, chunk, state });
    });
    let mut from = 0;
    while from < tasks.len() {
        let (unit, _, at, len) = tasks[from];
        let chunks = unit.end_chunk - unit.first_chunk;
        // SAFETY: the tasks are over.
        let states = unsafe { states.slice(at, len * chunks) };
        isa.run(Join { input, unit, states, out });
        from += chunks;
    }
}

/// One chunk of a unit.
struct Part<'a> {
    input: &'a Input<'a>,
    unit: Unit<'a>,
    chunk: usize,
    state: &'a mut [f32],
}

impl Kernel for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { input, unit, chunk, state } = self;
        let rows = unit.rows();
        let (dim, value_dim) = (input.shape.head_dim, input.shape.value_dim());
        let mut scratch = Scratch::take(rows * dim + attend::scratch_len(dim, value_dim));
        let (queries, scratch) = scratch.values().split_at_mut(rows * dim);
        simd.run_apart(Prepare { input, unit, queries });
        let mut part = State::new::<S>(state, rows, value_dim);
        part.clear();
        attend(simd, &queries_of(input, &unit, queries), chunk, &mut part, scratch);
    }
}

/// Joins the chunks of a unit.
struct Join<'a> {
    input: &'a Input<'a>,
    unit: Unit<'a>,
    /// The states of all of the unit's chunks.
    states: &'a mut [f32],
    out: &'a Output<'a>,
}

impl Kernel for Join<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { input, unit, states, out } = self;
        let (rows, dim) = (unit.rows(), input.shape.value_dim());
        let mut parts = states.chunks_exact_mut(states.len() / (unit.end_chunk - unit.first_chunk).max(1));
        let Some(total) = parts.next() else { return };
        let mut total = State::new::<S>(total, rows, dim);
        for part in parts {
            merge(simd, &mut total, &State::new::<S>(part, rows, dim));
        }
        write(simd, input, &unit, &total, out);
    }
}

/// Normalises, rotates and scales the queries of a unit: rows are tokens, and within a token the unit's heads.
struct Prepare<'a> {
    input: &'a Input<'a>,
    unit: Unit<'a>,
    queries: &'a mut [f32],
}

impl Kernel for Prepare<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { input, unit, queries } = self;
        let Input { shape, tensors: AttentionInputs { q, temperature, .. }, q_norm, .. } = input;
        let (dim, group) = (shape.head_dim, unit.heads);
        for (i, to) in queries.chunks_exact_mut(dim).enumerate() {
            let row = unit.segment.row + unit.from + i / group;
            let scale = temperature.map_or(shape.scale, |temperature| shape.scale * temperature[row]);
            let how = Preparation { passing: shape.latent.unwrap_or(0), ..input.preparation(*q_norm, row, scale) };
            let at = (row * shape.heads + unit.head + i % group) * dim;
            prepare(simd, &q[at..][..dim], &how, to);
        }
    }
}

/// The prepared queries of a unit and the keys and values they look at.
#[inline(always)]
fn queries_of<'a>(input: &Input, unit: &Unit<'a>, rows: &'a [f32]) -> Queries<'a> {
    let shape = input.shape;
    let dim = shape.head_dim;
    let Written { keys, values, kind, capacity, first, position, .. } = unit.segment;
    let [first_width, second_width] = shape.kept_widths();
    let rows_of = |of: &'a [u8], width: usize| {
        let len = capacity * kind.bytes(width);
        Rows::new(*kind, width, &of[unit.kv_head * len..][..len])
    };
    let (keys, second) = (rows_of(keys, first_width), rows_of(values, second_width));
    let (behind, values) = if shape.latent.is_some() { (Some(second), keys) } else { (None, second) };
    Queries {
        rows,
        dim,
        value_dim: shape.value_dim(),
        group: unit.heads,
        first: position + unit.from,
        window: shape.window,
        soft_cap: shape.soft_cap.map(SoftCap),
        start: *first,
        keys,
        behind,
        values,
    }
}

/// Divides a unit's sums by its weights and writes them.
#[inline(always)]
fn write<S: Simd>(simd: S, input: &Input, unit: &Unit, state: &State, out: &Output) {
    let (dim, group) = (input.shape.value_dim(), unit.heads);
    for i in 0..unit.rows() {
        let row = unit.segment.row + unit.from + i / group;
        let head = unit.head + i % group;
        // SAFETY: every unit has its own tokens and heads.
        let to = unsafe { out.slice((row * input.shape.heads + head) * dim, dim) };
        state.divide(simd, i, input.sinks.map(|sinks| sinks[head]), to);
    }
}
