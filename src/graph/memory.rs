//! How much memory the values of a graph take while it runs.

use super::{Graph, Op, Output, Value};

impl Op {
    /// The values an operation reads.
    fn inputs(&self) -> Vec<Value> {
        match self {
            Self::Embed { .. } => Vec::new(),
            Self::RmsNorm { x, .. } | Self::Qkv { x, .. } | Self::SwiGlu { x, .. } | Self::Rows { x, .. } => vec![*x],
            Self::Linear { x, residual, .. } => std::iter::once(*x).chain(*residual).collect(),
            Self::Attention { qkv, .. } => qkv.to_vec(),
        }
    }

    /// The values it writes.
    fn outputs(&self) -> Vec<Value> {
        match self {
            Self::Embed { out, .. }
            | Self::RmsNorm { out, .. }
            | Self::SwiGlu { out, .. }
            | Self::Rows { out, .. }
            | Self::Linear { out, .. }
            | Self::Attention { out, .. } => vec![*out],
            Self::Qkv { out, .. } => out.to_vec(),
        }
    }
}

impl Graph {
    /// The most float32 values alive at once in a run of `rows` tokens of which `logit_rows` give logits, the run's
    /// input and output left out: those are the caller's.
    pub(crate) fn peak_values(&self, rows: usize, logit_rows: usize) -> usize {
        let last_use = |value: Value| self.ops.iter().rposition(|op| op.inputs().contains(&value));
        let (Output::Hidden(result) | Output::Logits(result)) = self.output;
        let mut thinned = false;
        let mut alive: Vec<(Value, usize)> = Vec::new();
        let mut peak = 0;
        for (index, op) in self.ops.iter().enumerate() {
            thinned |= matches!(op, Op::Rows { .. });
            let count = if thinned { logit_rows } else { rows };
            let written = op.outputs().into_iter().filter(|value| *value != result);
            alive.extend(written.map(|value| (value, count * value.width)));
            peak = peak.max(alive.iter().map(|(_, size)| size).sum());
            alive.retain(|(value, _)| last_use(*value).is_some_and(|last| last > index));
        }
        peak
    }
}
