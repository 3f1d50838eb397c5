//! How a call is cut into tasks: areas of some tokens by some rows.
//!
//! The rows of all the call's layers are counted on from one to the next, each layer's filled up to whole steps, so that a task may
//! end one layer and begin another.

use super::super::Packing;
use super::area::DIRECT_TOKENS;
use std::ops::Range;

/// Edges of tasks are multiples of this many rows, so that only the last task has rows left over from a step, and quantised
/// weights are cut between their tiles.
const STEP: usize = Packing::TILE_ROWS;
/// Weights for each thread are at least this many bytes where memory is the limit: waking one takes about as long.
const THREAD_BYTES: usize = 96 << 10;
/// And those of a task this many: to begin takes a while too.
const TASK_BYTES: usize = 48 << 10;
/// Most rows of weights in one task of few tokens: their sums wait in scratch memory.
const STREAM_ROWS: usize = 4096;
/// Tasks per thread where arithmetic is the limit: enough that a slow core is helped by the others.
const TASKS_PER_THREAD: usize = 6;
/// Tokens of one task: their columns of one panel (under 1 MB) stay in a core's second-level cache where it is large enough.
const TASK_TOKENS: usize = 256;
/// Most rows of weights in one task of many tokens, whose sums wait in a core's second-level cache too.
const TASK_ROWS: usize = 256;

/// Rows that a layer takes in the count.
pub(super) fn counted(rows: usize) -> usize {
    rows.next_multiple_of(STEP)
}

/// The tasks of a call.
pub(super) struct Cut {
    /// Where one task's rows end and the next's begin, with both ends of all.
    edges: Vec<usize>,
    all_tokens: usize,
    /// Of a block.
    tokens: usize,
    token_blocks: usize,
}

impl Cut {
    /// For `tokens` tokens by `rows` counted rows of weights, which take `bytes`; `tiles` if they are quantised.
    pub(super) fn new(threads: usize, tokens: usize, rows: usize, bytes: usize, tiles: bool) -> Self {
        let direct = tokens <= DIRECT_TOKENS;
        let token_blocks = if direct { usize::from(tokens > 0) } else { tokens.div_ceil(TASK_TOKENS) };
        let edges = if direct { halves(threads, rows, bytes, tiles) } else { equal(threads, rows, token_blocks) };
        Self { edges, all_tokens: tokens, tokens: tokens.div_ceil(token_blocks.max(1)), token_blocks }
    }

    pub(super) fn tasks(&self) -> usize {
        (self.edges.len() - 1) * self.token_blocks
    }

    /// A task's counted rows and its tokens. All rows of a block of tokens come before the next block.
    pub(super) fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (tokens, rows) = (task / (self.edges.len() - 1) * self.tokens, task % (self.edges.len() - 1));
        (self.edges[rows]..self.edges[rows + 1], tokens..(tokens + self.tokens).min(self.all_tokens))
    }
}

/// Where memory is the limit: an equal share for each thread, of which a task takes half of what is left. So there are few tasks,
/// each long enough to be read at full speed, and yet threads end at about the same time: what a thread that is done can take over
/// from another is the small tasks at the end of that one's share.
///
/// Quantised weights, `tiles`, are read four tiles at a time, so tasks are whole fours of them. Plain rows are read four or eight at a
/// time, equally far apart: an odd number of steps keeps them from lying whole pages apart, where they would fight for the same
/// lines of the caches.
fn halves(threads: usize, rows: usize, bytes: usize, tiles: bool) -> Vec<usize> {
    let row_bytes = bytes.checked_div(rows).unwrap_or(0).max(1);
    let least = (TASK_BYTES / row_bytes).clamp(1, STREAM_ROWS / 2).next_multiple_of(2 * STEP);
    let threads = (bytes / THREAD_BYTES).min(rows / least).clamp(1, threads);
    let mut edges = vec![0];
    let mut at = 0;
    for thread in 1..=threads {
        let end = if thread == threads { rows } else { rows * thread / threads / STEP * STEP };
        while at < end {
            let left = end - at;
            let half =
                if tiles { (left / 2).next_multiple_of(4 * STEP) } else { (left / 2).next_multiple_of(STEP) | STEP };
            let half = half.clamp(least, STREAM_ROWS - least);
            at = if left < half + least { end } else { at + half };
            edges.push(at);
        }
    }
    edges
}

/// Where arithmetic is the limit: equal tasks, of as many rows as balance allows, since every block of rows reads the tokens again.
fn equal(threads: usize, rows: usize, token_blocks: usize) -> Vec<usize> {
    let tasks = (threads * TASKS_PER_THREAD).div_ceil(token_blocks);
    let each = task_rows(rows, tasks);
    (0..rows).step_by(each).chain([rows]).collect()
}

/// Rows of one of so many equal tasks: whole pairs of tiles, which quantised weights meet together.
fn task_rows(rows: usize, tasks: usize) -> usize {
    rows.div_ceil(tasks).clamp(1, TASK_ROWS).next_multiple_of(2 * STEP)
}

/// A job of a call whose jobs have tokens of their own.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) tokens: usize,
    pub(super) rows: usize,
    /// Of its weights.
    pub(super) bytes: usize,
    /// Its weights are quantised.
    pub(super) tiles: bool,
}

/// Some rows and tokens of one of those jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) job: usize,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

/// The tasks of such a call: some pieces each. Those where arithmetic is the limit come first, as they take longest; the others
/// are cut as if their weights were one matrix.
pub(super) fn pieces(threads: usize, jobs: &[Size]) -> Vec<Vec<Piece>> {
    let (many, few): (Vec<usize>, Vec<usize>) = (0..jobs.len()).partition(|job| jobs[*job].tokens > DIRECT_TOKENS);
    let blocks = |job: usize| jobs[job].tokens.div_ceil(TASK_TOKENS);
    let rows = many.iter().map(|job| counted(jobs[*job].rows) * blocks(*job)).sum();
    let each = task_rows(rows, threads * TASKS_PER_THREAD);
    let mut tasks = Vec::new();
    for job in many {
        let Size { tokens, rows, .. } = jobs[job];
        for tokens in steps(tokens, tokens.div_ceil(blocks(job))) {
            tasks.extend(steps(rows, each).map(|rows| vec![Piece { job, rows, tokens: tokens.clone() }]));
        }
    }
    let sum = |of: fn(&Size) -> usize| few.iter().map(|job| of(&jobs[*job])).sum();
    let tiles = few.iter().any(|job| jobs[*job].tiles);
    let edges = halves(threads, sum(|job| counted(job.rows)), sum(|job| job.bytes), tiles);
    let mut jobs = few.iter().map(|job| (*job, jobs[*job])).peekable();
    let mut first = 0;
    for edge in edges.windows(2) {
        let mut task = Vec::new();
        while let Some((job, Size { tokens, rows, .. })) = jobs.peek().copied() {
            let range = edge[0].max(first) - first..(edge[1] - first).min(rows);
            if !range.is_empty() && tokens > 0 {
                task.push(Piece { job, rows: range, tokens: 0..tokens });
            }
            if edge[1] < first + counted(rows) {
                break;
            }
            first += counted(rows);
            jobs.next();
        }
        tasks.push(task);
    }
    tasks
}

/// `0..all` in steps.
fn steps(all: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..all).step_by(step.max(1)).map(move |from| from..(from + step).min(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_rows_and_tokens_of_every_job_once() {
        for threads in [1, 2, 3, 8, 64] {
            for tokens in [vec![1; 8], vec![1], vec![3, 0, 200, 9, 10, 700, 1], vec![40, 300], vec![]] {
                for (rows, cols) in [(16, 8), (70, 64), (768, 2048), (5000, 2048), (0, 8)] {
                    let size = |tokens| Size { tokens, rows, bytes: rows * cols, tiles: cols == 64 };
                    let jobs: Vec<Size> = tokens.iter().map(|tokens| size(*tokens)).collect();
                    let mut covered = vec![0; jobs.len()];
                    let mut next: Vec<Vec<usize>> = tokens.iter().map(|tokens| vec![0; *tokens]).collect();
                    for Piece { job, rows, tokens } in pieces(threads, &jobs).into_iter().flatten() {
                        assert!(rows.start % STEP == 0 && !rows.is_empty() && !tokens.is_empty());
                        assert!(tokens.len() > DIRECT_TOKENS || rows.len() <= STREAM_ROWS);
                        for token in &mut next[job][tokens.clone()] {
                            assert_eq!(*token, rows.start);
                            *token = rows.end;
                        }
                        covered[job] += rows.len() * tokens.len();
                    }
                    assert_eq!(covered, tokens.iter().map(|tokens| tokens * rows).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn tasks_cover_all_rows_and_tokens_once() {
        for threads in [1, 2, 3, 8, 64] {
            for (rows, cols) in
                [(0, 8), (16, 8), (32, 896), (48, 64), (1152, 896), (9728, 896), (896, 4864), (151_936, 896)]
            {
                for tokens in [0, 1, 9, 10, 256, 257, 1000] {
                    let cut = Cut::new(threads, tokens, rows, rows * cols / 2, rows % 32 == 0);
                    let mut covered = 0;
                    let mut next = vec![0; tokens];
                    for task in 0..cut.tasks() {
                        let (rows, tokens) = cut.task(task);
                        assert!(rows.start % STEP == 0 && !rows.is_empty() && !tokens.is_empty());
                        for token in &mut next[tokens.clone()] {
                            assert_eq!(*token, rows.start);
                            *token = rows.end;
                        }
                        assert!(tokens.len() > DIRECT_TOKENS || rows.len() <= STREAM_ROWS);
                        covered += rows.len() * tokens.len();
                    }
                    assert_eq!(covered, rows * tokens);
                }
            }
        }
    }
}
