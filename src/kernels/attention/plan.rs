//! How a call is cut into tasks: by segment, key head and tokens, and, where that gives too few, by chunks of the context.

use super::attend::CHUNK;
use super::rows::RowType;
use super::shape::{AttentionShape, Window};

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
    pub(super) group: usize,
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
    /// The first one, counted from the segment's first.
    pub(super) from: usize,
    pub(super) tokens: usize,
    /// The chunks of keys that any of the tokens sees.
    pub(super) first_chunk: usize,
    pub(super) end_chunk: usize,
}

impl Plan {
    pub(super) fn new(shape: &AttentionShape, segments: &[Written], threads: usize) -> Self {
        let group = shape.heads / shape.kv_heads;
        let tokens = (TASK_ROWS / group).max(1);
        let mut plan = Self { kv_heads: shape.kv_heads, group, window: shape.window, tokens, chunked: false };
        let short = segments.iter().all(|segment| segment.tokens <= tokens);
        plan.chunked = threads > 1 && short && plan.tasks(segments) < threads * TASKS_PER_THREAD;
        plan
    }

    pub(super) fn tasks(&self, segments: &[Written]) -> usize {
        segments.iter().map(|segment| segment.tokens.div_ceil(self.tokens) * self.kv_heads).sum()
    }

    /// The unit of a task's number. A segment's last tokens come first: they see the most keys, and what takes longest should
    /// not start last.
    pub(super) fn unit<'a>(&self, segments: &'a [Written<'a>], mut task: usize) -> Option<Unit<'a>> {
        for segment in segments {
            let blocks = segment.tokens.div_ceil(self.tokens);
            if task < blocks * self.kv_heads {
                let from = (blocks - 1 - task / self.kv_heads) * self.tokens;
                let tokens = self.tokens.min(segment.tokens - from);
                let first = segment.position + from;
                let first_key = self.window.map_or(0, |window| window.first(first)).max(segment.first);
                return Some(Unit {
                    segment,
                    kv_head: task % self.kv_heads,
                    from,
                    tokens,
                    first_chunk: first_key / CHUNK,
                    end_chunk: (first + tokens).div_ceil(CHUNK),
                });
            }
            task -= blocks * self.kv_heads;
        }
        None
    }
}

impl Unit<'_> {
    pub(super) fn rows(&self, group: usize) -> usize {
        self.tokens * group
    }
}
