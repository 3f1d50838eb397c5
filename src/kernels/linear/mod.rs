//! Linear layers: `y = x W^T + b` with the weights in the checkpoint's own `[out, in]` rows.
//!
//! One token reads every weight once, so it is as fast as memory; many tokens share each weight, so they are as fast as the
//! multipliers. Both are the same dot products in the same order (see [`tile`]), only blocked differently:
//! each product of `x`'s row with `W`'s row is summed in one register from the first column of a panel to the last, the register's
//! lanes are folded, and the panels added up in order. Nothing else would let a row of a batch equal the row alone.

mod area;
mod coded;
#[cfg(test)]
mod coded_tests;
mod coding;
mod cut;
#[cfg(test)]
mod eights_tests;
mod finish;
mod fours;
#[cfg(test)]
mod fours_tests;
mod heads;
mod job;
mod parts;
mod source;
#[cfg(test)]
mod tests;
mod tile;

use super::activation::Activation;
use super::shared::{Output, Scratch};
use super::{Isa, Layout, Matrix, Parallel};
use cut::{Cut, counted};
use finish::Finish;
pub use heads::linear_heads;
use job::Layer;
pub(super) use job::{Coded, Job, coded, coded_bytes};
pub(super) use parts::{Part, run_parts};

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
            apart: None,
        })
        .collect();
    run(isa, par, x, &jobs);
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
    let layers = [(*gate, gate_bias.copied()), (*up, up_bias.copied())];
    let job = Job::gated(layers, activation, Output::new(par, y));
    run(isa, par, x, &[job]);
}

/// Cuts the jobs into areas of tokens and rows and runs them.
fn run(isa: Isa, par: &dyn Parallel, x: &[f32], jobs: &[Job]) {
    let cols = jobs.iter().flat_map(Job::layers).map(|layer| layer.weights.cols).max().unwrap_or(0);
    let Some(tokens) = x.len().checked_div(cols) else { return };
    let bytes = jobs.iter().map(Job::bytes).sum();
    let rows = jobs.iter().map(|job| counted(job.rows())).sum();
    let tiles = jobs.iter().flat_map(Job::layers).any(|layer| matches!(layer.weights.layout, Layout::Tiles(_)));
    let cut = Cut::new(par.threads(), tokens, rows, bytes, tiles);
    let layouts = jobs.iter().flat_map(Job::layers).map(|layer| layer.weights.layout);
    let bytes = coded_bytes(layouts, tokens, cols);
    let mut scratch = None;
    let coded = match bytes[0] + bytes[1] {
        0 => [None; 2],
        all => {
            let memory = scratch.insert(Scratch::take(all.div_ceil(size_of::<f32>()))).bytes();
            job::coded(isa, par, x, (cols, cols), bytes, memory)
        }
    };
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
