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

/// How many rows a run may have if `left` bytes of a limit are left, and how many bytes its arena gets: at most a quarter of what is
/// left, unless even the fewest rows need more.
///
/// The stock operators keep a layer's intermediate results as tensors of their own, and attention keeps its scores, whose number
/// depends on the request. So there a run gets the whole quarter.
pub(crate) fn run_within(target: &Target, graph: &Graph, left: u64) -> (usize, u64) {
    let factor = if target.stock() { 4 } else { 1 };
    let mut rows = ROWS;
    while rows > FEWEST_ROWS && run_bytes(graph, rows) * factor > left / 4 {
        rows /= 2;
    }
    let least = run_bytes(graph, rows) * factor;
    (rows, if target.stock() { least.max(left / 4) } else { least })
}

/// How many rows a run may have, and how many bytes its arena gets, for what `budget` has left. Without a limit a run may have any
/// number of rows.
pub(crate) fn run_of(target: &Target, graph: &Graph, budget: &Budget) -> (usize, Option<u64>) {
    match budget.limit() {
        None => (usize::MAX, None),
        Some(limit) => {
            let (rows, arena) = run_within(target, graph, limit.saturating_sub(budget.used()));
            (rows, Some(arena))
        }
    }
}
