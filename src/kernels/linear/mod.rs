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
mod coding;
mod cut;
mod finish;
#[cfg(test)]
mod tests;
mod tile;

use super::activation::{ActivateRows, Activation};
use super::packed::activations::Activations;
use super::shared::{Output, Scratch};
use super::{Isa, Layout, Matrix, Packing, Parallel};
use block::Block;
use cut::{Cut, counted};
use finish::Finish;
use std::ops::Range;

/// One linear layer and where its result goes.
#[derive(Debug)]
pub struct Map<'a> {
    /// The weights, `[out, in]`.
    pub weights: Matrix<'a>,
    /// Added to every row of the result: `1 x out`.
    pub bias: Option<Matrix<'a>>,
    /// Added to the result: `[tokens, out]`.
    pub residual: Option<&'a [f32]>,
    /// The result: `[tokens, out]`.
    pub y: &'a mut [f32],
}

/// `y = x * weights^T (+ bias) (+ residual)` with `x` of `[tokens, in]`.
pub fn linear(
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
pub fn linear_many(isa: Isa, par: &dyn Parallel, x: &[f32], maps: &mut [Map]) {
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
            activation: None,
            y: Output::new(par, map.y),
        })
        .collect();
    run(isa, par, x, &jobs);
}

/// [`gated`] with [`Activation::Silu`] (`SwiGLU`, Shazeer 2020).
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub fn swiglu(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    gate: &Matrix,
    gate_bias: Option<&Matrix>,
    up: &Matrix,
    up_bias: Option<&Matrix>,
    y: &mut [f32],
) {
    gated(isa, par, x, gate, gate_bias, up, up_bias, Activation::Silu, y);
}

/// `y = activation(x * gate^T + gate_bias) * (x * up^T + up_bias)`: the gated half of a feed-forward layer (Shazeer 2020) in one
/// parallel section, without the two intermediate results. What [`Activation::ClampedSwiglu`] does to the second factor, it says.
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub fn gated(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    gate: &Matrix,
    gate_bias: Option<&Matrix>,
    up: &Matrix,
    up_bias: Option<&Matrix>,
    activation: Activation,
    y: &mut [f32],
) {
    let up_finish = match activation {
        Activation::ClampedSwiglu { limit, .. } => Finish::MultiplyClamped(limit),
        _ => Finish::Multiply,
    };
    let job = Job {
        layers: [
            Some(Layer { weights: *gate, bias: gate_bias.copied(), finish: Finish::Store }),
            Some(Layer { weights: *up, bias: up_bias.copied(), finish: up_finish }),
        ],
        activation: Some(activation),
        y: Output::new(par, y),
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
                } else {
                    y.incomplete();
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
    let layouts = || jobs.iter().flat_map(Job::layers).map(|layer| layer.weights.layout);
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
    /// Of the first layer's results, before the second layer.
    activation: Option<Activation>,
    y: Output<'a>,
}

impl<'a> Job<'a> {
    fn layers(&self) -> impl Iterator<Item = &Layer<'a>> {
        self.layers.iter().flatten()
    }

    fn rows(&self) -> usize {
        self.layers[0].as_ref().map_or(0, |layer| layer.weights.rows)
    }

    fn bytes(&self) -> usize {
        self.layers().map(|layer| layer.weights.data.len()).sum()
    }

    /// Writes these rows of the result for these tokens.
    fn run(&self, isa: Isa, x: &[f32], coded: &Coded, rows: &Range<usize>, tokens: &Range<usize>) {
        for (i, layer) in self.layers().enumerate() {
            layer.run(isa, x, coded, &self.y, rows.clone(), tokens.clone());
            if let (0, Some(activation)) = (i, self.activation) {
                let stride = self.rows();
                isa.run(ActivateRows { activation, y: &self.y, stride, rows: rows.clone(), tokens: tokens.clone() });
            }
        }
    }
}

/// Cuts the jobs into blocks of tokens and rows and runs them.
fn run(isa: Isa, par: &dyn Parallel, x: &[f32], jobs: &[Job]) {
    let cols = jobs.iter().flat_map(Job::layers).map(|layer| layer.weights.cols).max().unwrap_or(0);
    let Some(tokens) = x.len().checked_div(cols) else { return };
    let bytes = jobs.iter().map(Job::bytes).sum();
    let rows = jobs.iter().map(|job| counted(job.rows())).sum();
    let tiles = jobs.iter().flat_map(Job::layers).any(|layer| matches!(layer.weights.layout, Layout::Tiles(_)));
    let cut = Cut::new(par.threads(), tokens, rows, bytes, tiles);
    let mut scratch = None;
    let coded = coded(isa, par, x, cols, jobs, &mut scratch);
    par.run(cut.tasks(), &|task| {
        let (rows, tokens) = cut.task(task);
        let mut first = 0;
        for job in jobs {
            let end = first + counted(job.rows());
            let (from, to) = (rows.start.max(first) - first, rows.end.min(end).saturating_sub(first).min(job.rows()));
            if from < to {
                job.run(isa, x, &coded, &(from..to), &tokens);
            }
            first = end;
        }
    });
}
