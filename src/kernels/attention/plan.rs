//! How a call is cut into tasks: by segment, key head and tokens, and, where that gives too few, by chunks of the context.

use super::attend::CHUNK;
use super::rows::RowType;
use super::shape::{AttentionShape, Window};

/// Heads of a group in one task, at most: a task of many more would leave its rows in no cache.
const TASK_HEADS: usize = 32;
/// And at least, where a group is shared out: fewer would take longer to lay out the keys than to use them.
const FEWEST_HEADS: usize = 4;
/// Multiplications that are worth a task of their own.
const TASK_PRODUCTS: usize = 1 << 20;
/// Query rows (tokens times heads of a group) of one task: enough to share each block of keys, few enough for the cache.
const TASK_ROWS: usize = 96;
/// Chunks of a context are separate tasks while there are fewer other tasks per thread than this.
const TASKS_PER_THREAD: usize = 4;

/// A segment after its new keys and values were written, and its first packed row.
pub(super) struct Written<'a> {
    pub(super) keys: &'a [u8],
    pub(super) values: &'a [u8],
    pub(super) kind: RowType,
    pub(super) capacity: usize,
    /// Position of the first cached token.
    pub(super) first: usize,
    pub(super) position: usize,
    pub(super) tokens: usize,
    pub(super) row: usize,
}

/// How a call is cut into tasks.
pub(super) struct Plan {
    kv_heads: usize,
    /// Query heads of a task: a group, or an equal part of one.
    pub(super) group: usize,
    /// Parts of a group.
    parts: usize,
    window: Option<Window>,
    /// Tokens of a task.
    pub(super) tokens: usize,
    /// The chunks of a context are separate tasks.
    pub(super) chunked: bool,
}

/// Some tokens of one segment, for the query heads of one key head.
#[derive(Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) segment: &'a Written<'a>,
    pub(super) kv_head: usize,
    /// Its first query head, of all.
    pub(super) head: usize,
    /// How many it has.
    pub(super) heads: usize,
    /// The first one, counted from the segment's first.
    pub(super) from: usize,
    pub(super) tokens: usize,
    /// The chunks of keys that any of the tokens sees.
    pub(super) first_chunk: usize,
    pub(super) end_chunk: usize,
}

impl Plan {
    pub(super) fn new(shape: &AttentionShape, segments: &[Written], threads: usize) -> Self {
        let whole = shape.heads / shape.kv_heads;
        let mut plan =
            Self { kv_heads: shape.kv_heads, group: 0, parts: 0, window: shape.window, tokens: 0, chunked: false };
        plan.share_out(
            whole,
            (1..=whole)
                .find(|parts| whole.is_multiple_of(*parts) && whole / parts <= TASK_HEADS)
                .filter(|parts| whole / parts >= FEWEST_HEADS),
        );
        let fits = |plan: &Self| segments.iter().all(|segment| segment.tokens <= plan.tokens);
        // A token or a few, and more threads than keys of theirs: some of the heads each.
        while threads > plan.tasks(segments) * plan.most_chunks(segments)
            && plan.group.is_multiple_of(2)
            && plan.group / 2 >= FEWEST_HEADS
            && plan.products(shape, segments) >= TASK_PRODUCTS
        {
            plan.share_out(whole, Some(plan.parts * 2));
        }
        plan.chunked = threads > 1 && fits(&plan) && plan.tasks(segments) < threads * TASKS_PER_THREAD;
        plan
    }

    /// Cuts a group of heads into parts.
    fn share_out(&mut self, group: usize, parts: Option<usize>) {
        self.parts = parts.unwrap_or(1);
        self.group = group / self.parts;
        self.tokens = (TASK_ROWS / self.group).max(1);
    }

    /// Chunks of the longest context.
    fn most_chunks(&self, segments: &[Written]) -> usize {
        segments.iter().map(|segment| self.keys(segment).div_ceil(CHUNK)).max().unwrap_or(0).max(1)
    }

    /// Keys that a segment's last token sees.
    fn keys(&self, segment: &Written) -> usize {
        (segment.position + segment.tokens - segment.first).min(self.window.map_or(usize::MAX, Window::size))
    }

    /// Multiplications of the largest task of one token.
    fn products(&self, shape: &AttentionShape, segments: &[Written]) -> usize {
        let keys = segments.iter().map(|segment| self.keys(segment)).max().unwrap_or(0).min(CHUNK);
        self.group * keys * (shape.head_dim + shape.value_dim())
    }

    /// Tasks of a block of tokens.
    fn each(&self) -> usize {
        self.kv_heads * self.parts
    }

    pub(super) fn tasks(&self, segments: &[Written]) -> usize {
        segments.iter().map(|segment| segment.tokens.div_ceil(self.tokens) * self.each()).sum()
    }

    /// The unit of a task's number. A segment's last tokens come first: they see the most keys, and what takes longest should
    /// not start last.
    pub(super) fn unit<'a>(&self, segments: &'a [Written<'a>], mut task: usize) -> Option<Unit<'a>> {
        for segment in segments {
            let blocks = segment.tokens.div_ceil(self.tokens);
            if task < blocks * self.each() {
                let from = (blocks - 1 - task / self.each()) * self.tokens;
                let tokens = self.tokens.min(segment.tokens - from);
                let first = segment.position + from;
                let first_key = self.window.map_or(0, |window| window.first(first)).max(segment.first);
                let part = task % self.each();
                return Some(Unit {
                    segment,
                    kv_head: part / self.parts,
                    head: part * self.group,
                    heads: self.group,
                    from,
                    tokens,
                    first_chunk: first_key / CHUNK,
                    end_chunk: (first + tokens).div_ceil(CHUNK),
                });
            }
            task -= blocks * self.each();
        }
        None
    }
}

impl Unit<'_> {
    pub(super) fn rows(&self) -> usize {
        self.tokens * self.heads
    }
}
