//! Mixtures of experts (Shazeer et al. 2017): of many feed-forward layers each token passes some.
//!
//! `route` chooses them; [`experts`] reads the weights of those that were chosen and of no other. The tokens of an expert are
//! gathered, so that its weights are read once for all of them, and what a token gets from its experts is added up in ascending
//! order of their numbers: so its bits depend neither on the other tokens nor on how they were grouped.

mod group;
mod route;
#[cfg(test)]
mod tests;

pub use route::{Groups, Routes, Routing, Score, route};

use super::linear::{Coded, Job, Part, coded, coded_bytes, run_parts};
use super::packed::activations::Activations;
use super::shared::{Output, Scratch};
use super::simd::{Kernel, Simd};
use super::{Activation, Isa, Layout, Matrix, OutOfMemory, Parallel};
use group::{Grouping, Wave};

/// Values of one task that copies or adds: below that a thread is not worth waking.
const TASK_VALUES: usize = 1 << 15;
/// Most rows (a token at one of its experts) that are worked on at once: enough for many threads, few enough for their memory.
const WAVE_ROWS: usize = 1024;

/// A linear layer of an expert.
#[derive(Debug, Clone, Copy)]
pub struct Projection<'a> {
    /// The weights, `[out, in]`.
    pub weights: Matrix<'a>,
    /// Added to the result: `1 x out`.
    pub bias: Option<Matrix<'a>>,
}

/// A feed-forward layer: `down(activation(gate(x)) * up(x))` as [`gated`](super::gated) has it, or `down(activation(up(x)))`
/// without a gate.
#[derive(Debug, Clone, Copy)]
pub struct Expert<'a> {
    /// `[inner, hidden]`.
    pub gate: Option<Projection<'a>>,
    /// `[inner, hidden]`.
    pub up: Projection<'a>,
    /// `[hidden, inner]`.
    pub down: Projection<'a>,
}

/// Bytes of scratch memory that [`experts`] takes for so many tokens, at most, as good as endless (`usize::MAX`) if they are
/// more than can be counted. The calling thread keeps them for the next layer.
pub const fn experts_scratch(tokens: usize, top_k: usize, inner: usize, hidden: usize) -> usize {
    let all = tokens.saturating_mul(top_k);
    let rows = if all < WAVE_ROWS { all } else { WAVE_ROWS };
    // Four bytes of a value, less than three of its codes in both widths of block, and what fills up the last blocks.
    let row = hidden.saturating_add(inner).saturating_mul(7).saturating_add(1024);
    rows.saturating_mul(row).saturating_add(Grouping::bytes(tokens, top_k)).saturating_add(4096)
}

/// `out = (residual +) sum of weight * expert(x)` over each token's experts, or of `expert(weight * x)`; `x`, `residual` and `out`
/// are `[tokens, hidden]`.
/// All experts have the same widths, but their weights may be stored or quantised in different ways.
///
/// # Errors
/// There is not enough memory ([`experts_scratch`]). `out` then holds anything.
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub fn experts(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    routes: &Routes,
    experts: &[Expert],
    activation: Activation,
    residual: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), OutOfMemory> {
    let Some(first) = experts.first().filter(|_| !routes.ids.is_empty()) else { return Ok(()) };
    let (hidden, inner) = (first.up.weights.cols, first.up.weights.rows);
    let tokens = routes.ids.len().checked_div(routes.top_k).unwrap_or(0);
    let whole = tokens * routes.top_k == routes.ids.len() && routes.weights.len() == routes.ids.len();
    if !whole || x.len() != tokens * hidden || routes.ids.iter().any(|id| *id as usize >= experts.len()) {
        par.incomplete();
        return Ok(());
    }
    let grouping = Grouping::new(routes, experts.len(), WAVE_ROWS)?;
    let most = grouping.waves().map(|wave| wave.rows.len()).max().unwrap_or(0);
    let single = tokens == 1 && !routes.on_input && grouping.groups().iter().all(|group| group.count == 1);
    let layer = Layer { isa, par, x, experts, activation, hidden, inner, single };

    let layouts = |of: fn(&Expert<'_>) -> [Option<Layout>; 2]| {
        grouping.groups().iter().flat_map(move |group| of(&experts[group.expert])).flatten()
    };
    let x_layouts = layouts(|expert| [expert.gate.map(|gate| gate.weights.layout), Some(expert.up.weights.layout)]);
    let x_coded = coded_bytes(x_layouts, if layer.single { 1 } else { most }, hidden);
    let inner_coded = coded_bytes(layouts(|expert| [Some(expert.down.weights.layout), None]), most, inner);
    let coded_len = (x_coded[0] + x_coded[1]).max(inner_coded[0] + inner_coded[1]).div_ceil(size_of::<f32>());
    let [rows_len, inner_len] = [most * hidden, most * inner].map(|len| len.next_multiple_of(16));
    let mut scratch = Scratch::try_take(rows_len + inner_len + coded_len)?;
    let (rows, rest) = scratch.values().split_at_mut(rows_len);
    let (inners, codes) = rest.split_at_mut(inner_len);
    let codes = bytemuck::cast_slice_mut(codes);

    let out = Output::new(par, out);
    for wave in grouping.waves() {
        let count = wave.rows.len();
        let (rows, inners) = (&mut rows[..count * hidden], &mut inners[..count * inner]);
        layer.first_half(routes, &grouping, &wave, rows, inners, (x_coded, &mut *codes));
        layer.second_half(&wave, inners, rows, (inner_coded, &mut *codes));
        layer.add_up(routes, &grouping, &wave, rows, residual, &out);
    }
    Ok(())
}

/// What all waves share.
struct Layer<'a> {
    isa: Isa,
    par: &'a dyn Parallel,
    x: &'a [f32],
    experts: &'a [Expert<'a>],
    activation: Activation,
    hidden: usize,
    inner: usize,
    /// There is one token, and all its experts read the same row.
    single: bool,
}

impl Layer<'_> {
    /// From the tokens to what the last projection reads. `rows` is memory for the tokens' rows.
    fn first_half(
        &self,
        routes: &Routes,
        grouping: &Grouping,
        wave: &Wave,
        rows: &mut [f32],
        inners: &mut [f32],
        (bytes, codes): ([usize; 2], &mut [u8]),
    ) {
        let Self { isa, par, x, hidden, inner, .. } = *self;
        let x = if self.single {
            x
        } else {
            self.gather(routes, grouping, wave, rows);
            &*rows
        };
        let codes = self.code(x, hidden, bytes, codes);
        let y = Output::new(par, inners);
        let parts: Vec<Part> = wave
            .groups
            .iter()
            .map(|group| {
                let Expert { gate, up, .. } = &self.experts[group.expert];
                let at = group.from - wave.rows.start;
                let y = y.part(at * inner, group.count * inner);
                let job = match gate {
                    Some(gate) => Job::gated([gate, up].map(|half| (half.weights, half.bias)), self.activation, y),
                    None => Job::one(up.weights, up.bias, Some(self.activation), y),
                };
                part(job, x, &codes, if self.single { 0 } else { at }, group.count, hidden)
            })
            .collect();
        run_parts(isa, par, &parts);
    }

    /// From there to every expert's results, `rows`.
    fn second_half(&self, wave: &Wave, inners: &[f32], rows: &mut [f32], (bytes, codes): ([usize; 2], &mut [u8])) {
        let Self { isa, par, hidden, inner, .. } = *self;
        let codes = self.code(inners, inner, bytes, codes);
        let y = Output::new(par, rows);
        let parts: Vec<Part> = wave
            .groups
            .iter()
            .map(|group| {
                let down = &self.experts[group.expert].down;
                let at = group.from - wave.rows.start;
                let job = Job::one(down.weights, down.bias, None, y.part(at * hidden, group.count * hidden));
                part(job, inners, &codes, at, group.count, inner)
            })
            .collect();
        run_parts(isa, par, &parts);
    }

    /// Copies each row's token, times its weight if that counts on the input.
    fn gather(&self, routes: &Routes, grouping: &Grouping, wave: &Wave, to: &mut [f32]) {
        let hidden = self.hidden;
        let per_task = (TASK_VALUES / hidden.max(1)).max(1);
        let (count, to) = (wave.rows.len(), Output::new(self.par, to));
        self.par.run(count.div_ceil(per_task), &|task| {
            for row in task * per_task..count.min((task + 1) * per_task) {
                let token = grouping.token(wave.rows.start + row);
                // SAFETY: every task has its own rows.
                let to = unsafe { to.slice(row * hidden, hidden) };
                to.copy_from_slice(&self.x[token * hidden..][..to.len()]);
                if routes.on_input {
                    let weight = routes.weights[grouping.place(wave.rows.start + row)];
                    for value in to {
                        *value *= weight;
                    }
                }
            }
        });
    }

    /// Codes rows of `cols` values for the quantised layers that read them.
    fn code<'a>(&self, x: &[f32], cols: usize, bytes: [usize; 2], memory: &'a mut [u8]) -> Coded<'a> {
        if bytes == [0, 0] { [None; 2] } else { coded(self.isa, self.par, x, (cols, cols), bytes, memory) }
    }

    /// Adds what the experts of this wave gave to their tokens.
    fn add_up(
        &self,
        routes: &Routes,
        grouping: &Grouping,
        wave: &Wave,
        rows: &[f32],
        residual: Option<&[f32]>,
        out: &Output,
    ) {
        let (hidden, top_k) = (self.hidden, routes.top_k);
        let tokens = routes.ids.len() / top_k;
        let per_task = (TASK_VALUES / (hidden * top_k).max(1)).max(1);
        self.par.run(tokens.div_ceil(per_task), &|task| {
            for token in task * per_task..tokens.min((task + 1) * per_task) {
                for (number, row) in grouping.rows(token).enumerate().filter(|(_, row)| wave.rows.contains(row)) {
                    let at = token * hidden;
                    // SAFETY: every task has its own tokens.
                    let y = unsafe { out.slice(at, hidden) };
                    let x = &rows[(row - wave.rows.start) * hidden..][..hidden];
                    let weight = if routes.on_input { 1.0 } else { routes.weights[grouping.place(row)] };
                    let residual = residual.filter(|_| number + 1 == top_k).map(|residual| &residual[at..][..hidden]);
                    self.isa.run(AddWeighted { x, weight, first: number == 0, residual, y });
                }
            }
        });
    }
}

/// A job for `count` rows of `x` from row `at` on.
fn part<'a>(job: Job<'a>, x: &'a [f32], codes: &Coded<'a>, at: usize, count: usize, cols: usize) -> Part<'a> {
    let coded = codes.map(|codes| codes.map(|codes: Activations| codes.part(at, count)));
    Part { job, x: &x[at * cols..][..count * cols], coded, tokens: count }
}

/// Adds one expert's result to a token: the first overwrites, and the last adds the residual.
struct AddWeighted<'a> {
    x: &'a [f32],
    weight: f32,
    first: bool,
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for AddWeighted<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, weight, first, residual, y } = self;
        let len = x.len().min(y.len()).min(residual.map_or(usize::MAX, <[f32]>::len));
        let weight = simd.splat(weight);
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let (x, y) = (simd.load_part(x.as_ptr().add(at), count), y.as_mut_ptr().add(at));
                let sum = if first { simd.mul(x, weight) } else { simd.mul_add(x, weight, simd.load_part(y, count)) };
                let sum = match residual {
                    None => sum,
                    Some(residual) => simd.add(sum, simd.load_part(residual.as_ptr().add(at), count)),
                };
                simd.store_part(sum, y, count);
            }
        }
    }
}
