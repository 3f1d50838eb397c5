//! Jobs that each have tokens of their own, in one parallel section.

use super::super::{Isa, Layout, Parallel};
use super::cut::{Size, pieces};
use super::job::{Coded, Job};

/// A job and its input.
pub(in super::super) struct Part<'a> {
    pub(in super::super) job: Job<'a>,
    /// `tokens` rows.
    pub(in super::super) x: &'a [f32],
    /// The input as quantised weights need it.
    pub(in super::super) coded: Coded<'a>,
    pub(in super::super) tokens: usize,
}

impl Part<'_> {
    fn size(&self) -> Size {
        let tiles = self.job.layers().any(|layer| matches!(layer.weights.layout, Layout::Tiles(_)));
        Size { tokens: self.tokens, rows: self.job.rows(), bytes: self.job.bytes(), tiles }
    }
}

/// Runs all of them.
pub(in super::super) fn run_parts(isa: Isa, par: &dyn Parallel, parts: &[Part]) {
    let sizes: Vec<Size> = parts.iter().map(Part::size).collect();
    let tasks = pieces(par.threads(), &sizes);
    par.run(tasks.len(), &|task| {
        for piece in &tasks[task] {
            let Part { job, x, coded, .. } = &parts[piece.job];
            job.run(isa, x, coded, &piece.rows, &piece.tokens);
        }
    });
}
