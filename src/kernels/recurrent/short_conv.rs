//! Causal convolutions over the last few tokens, each channel on its own.

use super::super::activation::Activation;
use super::super::elementwise::Function;
use super::super::shared::{Output, Scratch};
use super::super::simd::{Kernel, Simd};
use super::super::{Isa, Parallel};
use super::{Shared, StateSegment, shared};

/// Channels and tokens of a task: what goes into it stays in the first-level cache.
const CHANNELS: usize = 128;
const TOKENS: usize = 64;

/// A convolution over the columns of its input's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvShape {
    /// Values of an input row.
    pub row: usize,
    /// Channels: values of an output row.
    pub channels: usize,
    /// Tokens that an output depends on: its own, and those before it.
    pub taps: usize,
    /// The column of the first channel.
    pub x: usize,
    /// Of what multiplies each channel in front of the convolution, the first column.
    pub before: Option<usize>,
    /// Of what multiplies it behind.
    pub after: Option<usize>,
    /// What is applied to the sum.
    pub activation: Option<Activation>,
}

impl ConvShape {
    /// Values that it keeps between tokens: what went into the last sums but for the earliest token, `[taps - 1, channels]`.
    #[must_use]
    pub const fn state(&self) -> usize {
        self.taps.saturating_sub(1).saturating_mul(self.channels)
    }

    /// Whether all columns are inside the row.
    fn fits(&self) -> bool {
        let inside = |column: usize| column.checked_add(self.channels).is_some_and(|end| end <= self.row);
        self.taps > 0 && inside(self.x) && self.before.is_none_or(inside) && self.after.is_none_or(inside)
    }
}

/// `y[t] = after[t] * activation(bias + sum of weights[k] * before[t - k] * x[t - k])`, over the tokens `t - k` of one request.
///
/// `weights` are `[taps, channels]`, that of the earliest token first; `bias` has a value for each channel, or none.
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub fn short_conv(
    isa: Isa,
    par: &dyn Parallel,
    shape: &ConvShape,
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    segments: &mut [StateSegment],
    y: &mut [f32],
) {
    let ConvShape { row, channels, taps, .. } = *shape;
    let fits = shape.fits() && weights.len() == taps * channels && bias.is_none_or(|bias| bias.len() == channels);
    let rows = x.len().checked_div(row).unwrap_or(0);
    let Some(segments) = shared(par, segments, rows, shape.state()).filter(|_| fits) else {
        par.incomplete();
        return;
    };
    let y = Output::new(par, y);
    let blocks = channels.div_ceil(CHANNELS);
    let pieces: Vec<(usize, usize)> = segments
        .iter()
        .enumerate()
        .flat_map(|(segment, shared)| (0..shared.tokens).step_by(TOKENS).map(move |token| (segment, token)))
        .collect();
    // A few tokens of all channels are one task: a thread is not worth waking for less.
    let per_task =
        if pieces.len() * blocks > 4 * par.threads() { 1 } else { blocks.min(TOKENS / rows.clamp(1, TOKENS)) };
    let per_task = per_task.max(1);
    let groups = blocks.div_ceil(per_task);
    par.run(pieces.len() * groups, &|task| {
        let (segment, token) = pieces[task / groups];
        for block in task % groups * per_task..(task % groups * per_task + per_task).min(blocks) {
            let from = block * CHANNELS;
            let width = CHANNELS.min(channels - from);
            let tokens = TOKENS.min(segments[segment].tokens - token);
            isa.run(Block { shape, x, weights, bias, segment: &segments[segment], token, tokens, from, width, y: &y });
        }
    });
}

/// Some channels of some tokens of a segment.
struct Block<'a> {
    shape: &'a ConvShape,
    x: &'a [f32],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    segment: &'a Shared<'a>,
    /// The first token, counted in the segment.
    token: usize,
    tokens: usize,
    /// The first channel.
    from: usize,
    width: usize,
    y: &'a Output<'a>,
}

impl Block<'_> {
    /// Copies what goes into the sums: from `taps - 1` tokens before the block's first one on.
    #[inline(always)]
    fn gather<S: Simd>(&self, simd: S, inputs: &mut [f32]) {
        let Self { shape, segment, from, width, token, .. } = *self;
        let past = shape.taps - 1;
        for (at, to) in inputs.chunks_exact_mut(width).enumerate() {
            // The token's number in the segment is at + token - past.
            let Some(own) = (at + token).checked_sub(past) else {
                match segment.from {
                    Some(state) => to.copy_from_slice(&state[(at + token) * shape.channels + from..][..width]),
                    None => to.fill(0.0),
                }
                continue;
            };
            let row = &self.x[(segment.first + own) * shape.row..][..shape.row];
            let x = &row[shape.x + from..][..width];
            match shape.before {
                None => to.copy_from_slice(x),
                Some(before) => multiply(simd, x, &row[before + from..][..width], to),
            }
        }
    }
}

/// `y = a * b`.
#[inline(always)]
fn multiply<S: Simd>(simd: S, a: &[f32], b: &[f32], y: &mut [f32]) {
    let len = y.len().min(a.len()).min(b.len());
    for at in (0..len).step_by(S::LANES) {
        let count = S::LANES.min(len - at);
        // SAFETY: at + count <= len.
        unsafe {
            let v = simd.mul(simd.load_part(a.as_ptr().add(at), count), simd.load_part(b.as_ptr().add(at), count));
            simd.store_part(v, y.as_mut_ptr().add(at), count);
        }
    }
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, x, weights, bias, segment, token, tokens, from, width, y } = self;
        let past = shape.taps - 1;
        let mut scratch = Scratch::take((past + tokens) * width);
        let inputs = &mut scratch.values()[..(past + tokens) * width];
        self.gather(simd, inputs);
        for t in 0..tokens {
            let row = segment.first + token + t;
            // SAFETY: the task has these channels of these tokens, and no other does.
            let y = unsafe { y.slice(row * shape.channels + from, width) };
            let after = shape.after.map(|after| &x[row * shape.row + after + from..][..width]);
            for at in (0..y.len()).step_by(S::LANES) {
                let count = S::LANES.min(width - at);
                // SAFETY: inputs hold past + tokens rows of `width` values, weights `taps` rows of `channels`, and the others a row;
                // at + count <= width.
                unsafe {
                    let mut sum = match bias {
                        Some(bias) => simd.load_part(bias.as_ptr().add(from + at), count),
                        None => simd.splat(0.0),
                    };
                    for tap in 0..shape.taps {
                        let weight = simd.load_part(weights.as_ptr().add(tap * shape.channels + from + at), count);
                        let input = simd.load_part(inputs.as_ptr().add((t + tap) * width + at), count);
                        sum = simd.mul_add(weight, input, sum);
                    }
                    if let Some(activation) = shape.activation {
                        sum = activation.of(simd, sum);
                    }
                    if let Some(after) = after {
                        sum = simd.mul(sum, simd.load_part(after.as_ptr().add(at), count));
                    }
                    simd.store_part(sum, y.as_mut_ptr().add(at), count);
                }
            }
        }
        for (behind, to) in segment.to.iter().filter(|(behind, _)| (token + 1..=token + tokens).contains(behind)) {
            let last = &inputs[(behind - token) * width..][..past * width];
            for (at, inputs) in last.chunks_exact(width).enumerate() {
                // SAFETY: the task has these channels, and the token in front of the state is among its own.
                unsafe { to.slice(at * shape.channels + from, width) }.copy_from_slice(inputs);
            }
        }
    }
}
