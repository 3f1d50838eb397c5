//! Linear layers: `y = x W^T + b` with the weights in the checkpoint's own `[out, in]` rows.
//!
//! One token reads every weight once, so it is as fast as memory; many tokens share each weight, so they are as fast as the
//! multipliers. Both are the same dot products in the same order (see [`tile`]), only blocked differently:
//! each product of `x`'s row with `W`'s row is summed in one register from the first column of a panel to the last, the register's
//! lanes are folded, and the panels added up in order. Nothing else would let a row of a batch equal the row alone.

mod block;
mod coded;
#[cfg(test)]
mod coded_tests;
mod finish;
#[cfg(test)]
mod tests;
mod tile;

use super::packed::activations::Activations;
use super::shared::{Output, Scratch};
use super::{Isa, Layout, Matrix, Packing, Parallel};
use block::{Block, DIRECT_TOKENS};
use finish::Finish;
use std::ops::Range;

/// Work below this many bytes of weights is not split further: waking a thread takes about as long.
const TASK_BYTES: usize = 96 << 10;
/// Tasks per thread where memory is the limit: enough that a slow core is helped by the others.
const TASKS_PER_THREAD: usize = 6;
/// Tokens of one task: their columns of one panel (under 1 MB) stay in a core's second-level cache where it is large enough.
const TASK_TOKENS: usize = 256;
/// Most rows of weights in one task of few tokens: their sums wait in scratch memory.
const STREAM_ROWS: usize = 4096;
/// Most rows of weights in one task of many tokens, whose sums wait in a core's second-level cache too.
const TASK_ROWS: usize = 256;
/// Task edges are multiples of this many rows, so that only the last task has rows left over from a block, and quantised weights
/// are cut between their tiles.
const ROW_STEP: usize = Packing::TILE_ROWS;

/// One linear layer and where its result goes.
#[derive(Debug)]
pub(crate) struct Map<'a> {
    /// The weights, `[out, in]`.
    pub(crate) weights: Matrix<'a>,
    /// Added to every row of the result: `1 x out`.
    pub(crate) bias: Option<Matrix<'a>>,
    /// Added to the result: `[tokens, out]`.
    pub(crate) residual: Option<&'a [f32]>,
    /// The result: `[tokens, out]`.
    pub(crate) y: &'a mut [f32],
}

/// `y = x * weights^T (+ bias) (+ residual)` with `x` of `[tokens, in]`.
pub(crate) fn linear(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    weights: &Matrix,
    bias: Option<&Matrix>,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    let map = Map { weights: *weights, bias: bias.copied(), residual, y };
    linear_many(isa, par, x, &mut [map]);
}

/// Several linear layers of the same `x` in one parallel section (queries, keys and values): waking the threads once is
/// noticeable when one token's layers take tens of microseconds.
pub(crate) fn linear_many(isa: Isa, par: &dyn Parallel, x: &[f32], maps: &mut [Map]) {
    let jobs: Vec<Job> = maps
        .iter_mut()
        .map(|map| Job {
            layers: [
                Some(Layer {
                    weights: map.weights,
                    bias: map.bias,
                    finish: map.residual.map_or(Finish::Store, Finish::Add),
                }),
                None,
            ],
            y: Output::new(map.y),
        })
        .collect();
    run(isa, par, x, &jobs);
}

/// `y = silu(x * gate^T + gate_bias) * (x * up^T + up_bias)`: the gated half of a feed-forward layer (`SwiGLU`, Shazeer 2020) in
/// one parallel section, without the two intermediate results.
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub(crate) fn swiglu(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    gate: &Matrix,
    gate_bias: Option<&Matrix>,
    up: &Matrix,
    up_bias: Option<&Matrix>,
    y: &mut [f32],
) {
    let job = Job {
        layers: [
            Some(Layer { weights: *gate, bias: gate_bias.copied(), finish: Finish::Store }),
            Some(Layer { weights: *up, bias: up_bias.copied(), finish: Finish::Gate }),
        ],
        y: Output::new(y),
    };
    run(isa, par, x, &[job]);
}

/// One linear layer of a job.
struct Layer<'a> {
    weights: Matrix<'a>,
    bias: Option<Matrix<'a>>,
    finish: Finish<'a>,
}

impl Layer<'_> {
    /// Writes these rows of the result for these tokens.
    fn run(&self, isa: Isa, x: &[f32], coded: &Coded, y: &Output, rows: Range<usize>, tokens: Range<usize>) {
        let Self { weights, bias, finish } = self;
        let bias = bias.as_ref();
        match weights.layout {
            Layout::Rows(dtype) => isa.run(Block { dtype, x, weights, bias, finish, y, rows, tokens }),
            Layout::Tiles(packing) => {
                if let Some(x) = coded.iter().flatten().find(|coded| coded.block == packing.block()) {
                    isa.run_lines(coded::Block { x: *x, weights, packing, bias, finish, y, rows, tokens });
                }
            }
        }
    }
}

/// The activations as quantised weights of either width of block need them.
type Coded<'a> = [Option<Activations<'a>>; 2];

/// Codes the activations for the quantised layers among the jobs: once for a call, whatever its tasks.
fn coded<'a>(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    cols: usize,
    jobs: &[Job],
    scratch: &'a mut Option<Scratch>,
) -> Coded<'a> {
    let layouts = || jobs.iter().flat_map(|job| job.layers.iter().flatten()).map(|layer| layer.weights.layout);
    let used = |block| layouts().any(|layout| matches!(layout, Layout::Tiles(packing) if packing.block() == block));
    let blocks = [Packing::Int4.block(), Packing::Int4Fine.block()];
    let bytes = blocks.map(|block| if used(block) { Activations::bytes(block, x.len() / cols, cols) } else { 0 });
    if bytes == [0, 0] {
        return [None; 2];
    }
    let memory = scratch.insert(Scratch::take((bytes[0] + bytes[1]).div_ceil(size_of::<f32>()))).bytes();
    let (wide, rest) = memory.split_at_mut(bytes[0]);
    let [wide, fine] = [(blocks[0], wide), (blocks[1], &mut rest[..bytes[1]])]
        .map(|(block, memory)| (!memory.is_empty()).then(|| Activations::new(isa, par, block, x, cols, memory)));
    [wide, fine]
}

/// One output and the layers that write it, one after the other, block by block.
struct Job<'a> {
    layers: [Option<Layer<'a>>; 2],
    y: Output<'a>,
}

impl Job<'_> {
    fn rows(&self) -> usize {
        self.layers[0].as_ref().map_or(0, |layer| layer.weights.rows)
    }

    fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(|layer| layer.weights.data.len()).sum()
    }
}

/// Cuts the jobs into blocks of tokens and rows and runs them.
fn run(isa: Isa, par: &dyn Parallel, x: &[f32], jobs: &[Job]) {
    let cols =
        jobs.iter().flat_map(|job| job.layers.iter().flatten()).map(|layer| layer.weights.cols).max().unwrap_or(0);
    let Some(tokens) = x.len().checked_div(cols) else { return };
    let bytes: usize = jobs.iter().map(Job::bytes).sum();
    let grid = Grid::new(par.threads(), tokens, bytes, jobs.iter().map(Job::rows).sum());
    let mut scratch = None;
    let coded = coded(isa, par, x, cols, jobs, &mut scratch);
    let tasks: usize = jobs.iter().map(|job| grid.row_blocks(job.rows())).sum();
    par.run(tasks * grid.token_blocks, &|task| {
        let token_block = task / tasks;
        let mut row_block = task % tasks;
        for job in jobs {
            let blocks = grid.row_blocks(job.rows());
            if row_block >= blocks {
                row_block -= blocks;
                continue;
            }
            let from = row_block * grid.rows;
            let rows = from..(from + grid.rows).min(job.rows());
            let tokens = token_block * grid.tokens..((token_block + 1) * grid.tokens).min(tokens);
            for layer in job.layers.iter().flatten() {
                layer.run(isa, x, &coded, &job.y, rows.clone(), tokens.clone());
            }
            return;
        }
    });
}

/// How large the blocks are.
struct Grid {
    rows: usize,
    tokens: usize,
    token_blocks: usize,
}

impl Grid {
    fn new(threads: usize, tokens: usize, bytes: usize, all_rows: usize) -> Self {
        if tokens <= DIRECT_TOKENS {
            // Memory is the limit: large pieces, each read from end to end.
            let tasks = (bytes / TASK_BYTES).clamp(1, threads * TASKS_PER_THREAD);
            let rows = all_rows.div_ceil(tasks).min(STREAM_ROWS).next_multiple_of(ROW_STEP);
            return Self { rows: rows.max(ROW_STEP), tokens, token_blocks: usize::from(tokens > 0) };
        }
        // Rows as many as balance allows: every block of rows reads the tokens again.
        let each = tokens.div_ceil(tokens.div_ceil(TASK_TOKENS));
        let token_blocks = tokens.div_ceil(each);
        let tasks = (threads * TASKS_PER_THREAD).div_ceil(token_blocks);
        let rows = all_rows.div_ceil(tasks).min(TASK_ROWS).next_multiple_of(ROW_STEP);
        Self { rows: rows.max(ROW_STEP), tokens: each, token_blocks }
    }

    fn row_blocks(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows)
    }
}
