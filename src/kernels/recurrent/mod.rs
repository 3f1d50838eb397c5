//! Layers that keep a state of fixed size instead of every token: short convolutions, the gated delta rule, and the selective scan.
//!
//! Tokens go through a state one after another, in any cut of a text into runs by the same operations in the same order. So a prompt
//! gives the bits of its tokens run one by one. What runs side by side are the parts of a state that do not meet: channels of a
//! convolution, columns of a head's matrix.

mod delta;
mod scan;
mod short_conv;

pub use delta::{DeltaInputs, DeltaShape, gated_delta};
pub use scan::{ScanInputs, ScanShape, selective_scan};
pub use short_conv::{ConvShape, short_conv};

use super::Parallel;
use super::shared::Output;

/// One request's rows in a run, and its states.
#[derive(Debug)]
pub struct StateSegment<'a> {
    /// How many rows.
    pub tokens: usize,
    /// The state in front of the first one; `None`: zeros.
    pub from: Option<&'a [f32]>,
    /// Where the states go that are wanted: behind how many of the rows, 1 to all, and to which memory. In rising order; the last one
    /// is behind all rows.
    pub to: Vec<(usize, &'a mut [f32])>,
}

/// A segment as tasks write to it side by side.
struct Shared<'a> {
    /// Its first row in the run.
    first: usize,
    tokens: usize,
    from: Option<&'a [f32]>,
    to: Vec<(usize, Output<'a>)>,
}

/// The `segments` of a run of `rows` rows with states of `values` values, or none if they do not fit it.
fn shared<'a>(
    par: &'a dyn Parallel,
    segments: &'a mut [StateSegment],
    rows: usize,
    values: usize,
) -> Option<Vec<Shared<'a>>> {
    let mut first = 0;
    let mut shared = Vec::with_capacity(segments.len());
    for segment in segments {
        let StateSegment { tokens, from, to } = segment;
        let is_last = to.last().is_some_and(|(behind, _)| behind == tokens);
        let rising =
            to.windows(2).all(|pair| pair[0].0 < pair[1].0) && to.first().is_some_and(|(behind, _)| *behind > 0);
        let fits = from.is_none_or(|from| from.len() == values) && to.iter().all(|(_, to)| to.len() == values);
        if !(is_last && rising && fits) {
            return None;
        }
        let to = to.iter_mut().map(|(behind, to)| (*behind, Output::new(par, to))).collect();
        shared.push(Shared { first, tokens: *tokens, from: *from, to });
        first += *tokens;
    }
    (first == rows).then_some(shared)
}

/// `ln(1 + e^x)`.
fn softplus(x: f32) -> f32 {
    // Beyond 20 it is x to the last bits.
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

#[cfg(test)]
mod tests;
