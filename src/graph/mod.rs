//! A shard as pure data: the operations of layers `start..=end` in order, each naming its weights by the
//! checkpoint's own tensor names.
//!
//! [`Graph`] says *what* is computed, in the vocabulary model files are written in. Two writers turn it into ONNX:
//! [`native`] into this library's own CPU operators, [`stock`] into operators that stock ONNX Runtime has on every
//! device. Neither this module nor its writers know ONNX Runtime or see a byte of weights.

mod memory;
pub(crate) mod names;
pub(crate) mod native;
pub(crate) mod onnx;
pub(crate) mod stock;

/// A tensor that flows between operations, float32 of shape `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    pub id: usize,
    pub width: usize,
}

/// A tensor of the checkpoint: its name and the shape the config implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
}

/// `y = x Wᵀ + b` with `W` stored `[out, in]`, as checkpoints do.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub weight: Weight,
    pub bias: Option<Weight>,
}

impl Linear {
    /// The layer `{module}.weight` `[out, input]` and, where the model has one, `{module}.bias` `[out]`.
    pub(crate) fn new(module: &str, input: usize, out: usize, bias: bool) -> Self {
        Self {
            weight: Weight { name: format!("{module}.weight"), shape: vec![out, input] },
            bias: bias.then(|| Weight { name: format!("{module}.bias"), shape: vec![out] }),
        }
    }

    /// Width of `y`.
    pub(crate) fn out(&self) -> usize {
        self.weight.shape[0]
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

/// Causal self-attention of one layer, with rotary positions and grouped key-value heads.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// The layer, by its number in the whole model.
    pub layer: usize,
    /// Index of its KV cache within the shard, from 0.
    pub cache: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Pairs of a head's values that are rotated, the first ones; the rest passes.
    pub rotary_pairs: usize,
    /// Factor on the scores before the softmax.
    pub scale: f32,
    /// A query at position `p` sees keys `p - window + 1 ..= p`; `None`: all.
    pub window: Option<usize>,
    /// RMS norm of each query and key head before the rotation (Qwen3), with its epsilon.
    pub head_norm: Option<HeadNorm>,
}

/// The per-head norms of [`Attention`].
#[derive(Debug, Clone)]
pub(crate) struct HeadNorm {
    pub query: Weight,
    pub key: Weight,
    pub eps: f32,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Row lookup: token ids to hidden states.
    Embed { table: Weight, out: Value },
    /// `x / rms(x) * weight`.
    RmsNorm { x: Value, weight: Weight, eps: f32, out: Value },
    /// A linear layer, plus `residual` when there is one.
    Linear { x: Value, linear: Linear, residual: Option<Value>, out: Value },
    /// The three projections in front of attention.
    Qkv { x: Value, linears: [Linear; 3], out: [Value; 3] },
    /// `silu(gate(x)) * up(x)`.
    SwiGlu { x: Value, gate: Linear, up: Linear, out: Value },
    /// Attention over this run's rows and the KV cache.
    Attention { qkv: [Value; 3], attention: Attention, out: Value },
    /// Keeps only the rows whose logits are wanted.
    Rows { x: Value, out: Value },
}

/// What goes into the shard's first operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Token ids.
    Ids,
    /// The previous shard's hidden states.
    Hidden(Value),
}

/// What comes out of its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Hidden states for the next shard.
    Hidden(Value),
    /// Logits of the rows asked for.
    Logits(Value),
}

/// The operations of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub input: Input,
    pub output: Output,
    pub ops: Vec<Op>,
}

impl Graph {
    /// Every tensor the shard reads, in order of use; a tied embedding table appears once.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let mut all: Vec<&Weight> = Vec::new();
        let mut add = |weight| {
            if !all.contains(&weight) {
                all.push(weight);
            }
        };
        for op in &self.ops {
            match op {
                Op::Embed { table: weight, .. } | Op::RmsNorm { weight, .. } => add(weight),
                Op::Linear { linear, .. } => linear.weights().for_each(&mut add),
                Op::Qkv { linears, .. } => linears.iter().flat_map(Linear::weights).for_each(&mut add),
                Op::SwiGlu { gate, up, .. } => gate.weights().chain(up.weights()).for_each(&mut add),
                Op::Attention { attention, .. } => {
                    attention.head_norm.iter().flat_map(|n| [&n.query, &n.key]).for_each(&mut add);
                }
                Op::Rows { .. } => {}
            }
        }
        all
    }

    /// The width of what goes into each linear layer.
    pub(crate) fn linear_inputs(&self) -> impl Iterator<Item = usize> {
        self.ops.iter().filter_map(|op| match op {
            Op::Linear { x, .. } | Op::Qkv { x, .. } | Op::SwiGlu { x, .. } => Some(x.width),
            Op::Embed { .. } | Op::RmsNorm { .. } | Op::Attention { .. } | Op::Rows { .. } => None,
        })
    }

    /// The attention of each layer, in order.
    pub(crate) fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.ops.iter().filter_map(|op| match op {
            Op::Attention { attention, .. } => Some(attention),
            _ => None,
        })
    }
}

/// Writes a [`Graph`] operation by operation: the language of the model files.
#[derive(Debug)]
pub(crate) struct Builder {
    ops: Vec<Op>,
    values: usize,
}

impl Builder {
    /// An empty graph.
    pub(crate) fn new() -> Self {
        Self { ops: Vec::new(), values: 0 }
    }

    /// A value that no operation has written: the shard's input.
    pub(crate) fn value(&mut self, width: usize) -> Value {
        self.values += 1;
        Value { id: self.values - 1, width }
    }

    /// Rows of `table` `[vocabulary, width]` at the input ids.
    pub(crate) fn embed(&mut self, table: Weight) -> Value {
        let out = self.value(table.shape[1]);
        self.ops.push(Op::Embed { table, out });
        out
    }

    /// Root mean square norm (Zhang and Sennrich, 2019) with the scale `name` `[width]`.
    pub(crate) fn rms_norm(&mut self, x: Value, name: &str, eps: f32) -> Value {
        let out = self.value(x.width);
        let weight = Weight { name: name.to_owned(), shape: vec![x.width] };
        self.ops.push(Op::RmsNorm { x, weight, eps, out });
        out
    }

    /// A linear layer.
    pub(crate) fn linear(&mut self, x: Value, linear: Linear) -> Value {
        let out = self.value(linear.out());
        self.ops.push(Op::Linear { x, linear, residual: None, out });
        out
    }

    /// A linear layer onto the residual stream: `residual + linear(x)`.
    pub(crate) fn linear_onto(&mut self, residual: Value, x: Value, linear: Linear) -> Value {
        let out = self.value(linear.out());
        self.ops.push(Op::Linear { x, linear, residual: Some(residual), out });
        out
    }

    /// Query, key and value projections.
    pub(crate) fn qkv(&mut self, x: Value, linears: [Linear; 3]) -> [Value; 3] {
        let out = [0, 1, 2].map(|i| self.value(linears[i].out()));
        self.ops.push(Op::Qkv { x, linears, out });
        out
    }

    /// Gated linear unit with `silu` (Shazeer, 2020).
    pub(crate) fn swiglu(&mut self, x: Value, gate: Linear, up: Linear) -> Value {
        let out = self.value(gate.out());
        self.ops.push(Op::SwiGlu { x, gate, up, out });
        out
    }

    /// Causal self-attention.
    pub(crate) fn attention(&mut self, qkv: [Value; 3], attention: Attention) -> Value {
        let out = self.value(qkv[0].width);
        self.ops.push(Op::Attention { qkv, attention, out });
        out
    }

    /// The rows whose logits are wanted.
    pub(crate) fn rows(&mut self, x: Value) -> Value {
        let out = self.value(x.width);
        self.ops.push(Op::Rows { x, out });
        out
    }

    /// The finished graph.
    pub(crate) fn finish(self, input: Input, output: Output) -> Graph {
        Graph { input, output, ops: self.ops }
    }
}
