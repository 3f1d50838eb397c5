//! How many tokens go into one run, and how much memory the run needs.

use super::Budget;
use crate::engine::options::Target;
use crate::graph::Graph;

/// Tokens of a run, unless a memory limit leads to fewer.
pub(crate) const ROWS: usize = 512;
/// The fewest tokens of a run that a memory limit leads to.
const FEWEST_ROWS: usize = 16;
/// Runs of more tokens than this give their memory back.
pub(crate) const SHRINK_FROM: usize = 32;

/// Bytes that the arena of a run of `rows` tokens needs in the native dialect.
pub(crate) fn run_bytes(graph: &Graph, rows: usize) -> u64 {
    graph.arena_bytes(rows, rows)
}

/// How many rows a run may have where `left` bytes of a limit are left, and the bytes of its arena: with the `scratch` memory of its
/// operations a quarter of what is left, if enough rows fit into that. So a larger limit never has room for less.
///
/// In the stock dialect a layer's intermediate results are tensors of their own and attention keeps its scores, whose
/// number is the request's matter. There a run gets the whole quarter.
pub(crate) fn run_within(target: &Target, graph: &Graph, scratch: impl Fn(usize) -> u64, left: u64) -> (usize, u64) {
    let factor = if target.stock() { 4 } else { 1 };
    let mut rows = ROWS;
    while rows > FEWEST_ROWS && (run_bytes(graph, rows) * factor).saturating_add(scratch(rows)) > left / 4 {
        rows /= 2;
    }
    let least = run_bytes(graph, rows) * factor;
    (rows, if target.stock() { least.max(left / 4) } else { least })
}

/// As [`run_within`], for what `budget` has left; all rows and no limit where it has none.
pub(crate) fn run_of(
    target: &Target,
    graph: &Graph,
    scratch: impl Fn(usize) -> u64,
    budget: &Budget,
) -> (usize, Option<u64>) {
    match budget.limit() {
        None => (usize::MAX, None),
        Some(limit) => {
            let (rows, arena) = run_within(target, graph, scratch, limit.saturating_sub(budget.used()));
            (rows, Some(arena))
        }
    }
}
