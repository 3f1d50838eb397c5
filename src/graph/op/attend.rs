//! Causal self-attention over this run's rows and what the layer has kept.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::{LAST, Name, SEQUENCES, TOTAL};
use crate::graph::onnx::{Attribute, MICROSOFT, Node, ValueInfo, dynamic, fixed};
use crate::graph::stock::{Content, Form, Writer, past, present};
use crate::graph::{Kept, Value, Weight};
use crate::kernels::{AttentionShape, Rotation, Window};

/// `out = softmax(q kᵀ * scale) v` for each head, with rotary positions and grouped key-value heads.
#[derive(Debug, Clone)]
pub(crate) struct Attend {
    /// Queries, keys and values; where keys are latents, these and what keys have behind them instead of keys and values.
    pub qkv: [Value; 3],
    pub attention: Attention,
    /// Which of what the shard keeps is its own: its place in [`Graph::kept`](crate::graph::Graph::kept).
    pub kept: usize,
    pub out: Value,
}

/// The attention of one layer.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// The layer, by its number in the whole model.
    pub layer: usize,
    /// Heads, rotation, scale, window, soft cap, and whether heads are normalised before or after they are rotated.
    pub shape: AttentionShape,
    /// Which of the model's rotations turns its heads.
    pub rope: usize,
    /// How many tokens a text may have before that rotation takes other frequencies, if it ever does.
    pub border: Option<usize>,
    /// Weight `[head_dim]` of the norm of each query head; `None`: ones.
    pub query_norm: Option<Weight>,
    /// Weight `[head_dim]` of the norm of each key head; `None`: ones.
    pub key_norm: Option<Weight>,
    /// A score `[heads]` for each head that joins its softmax without a value.
    pub sinks: Option<Weight>,
    /// What queries are multiplied by, if they are.
    pub temperature: Option<Temperature>,
}

/// A factor on queries that grows with the position `p`: `1 + beta * ln(1 + floor((p + shift) / period))` (Llama 4, Mistral 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Temperature {
    pub beta: f32,
    pub period: f32,
    pub shift: f32,
}

impl Temperature {
    /// The factor at `position`.
    pub(crate) fn at(self, position: usize) -> f32 {
        1.0 + self.beta * (1.0 + ((position as f32 + self.shift) / self.period).floor()).ln()
    }
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"Attend"), inputs: &[Type::F32, Type::F32, Type::F32, Type::I64], outputs: 1 };

impl Operation for Attend {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        self.qkv.into_iter().map(Read::Value).chain([Read::Batch]).collect()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        let a = &self.attention;
        a.query_norm.iter().chain(&a.key_norm).chain(&a.sinks).collect()
    }

    fn kept(&self) -> Option<Kept> {
        let AttentionShape { kv_heads, window, .. } = self.attention.shape;
        let [key_width, value_width] = self.attention.shape.kept_widths();
        Some(Kept::Rows { layer: self.attention.layer, heads: kv_heads, key_width, value_width, window })
    }

    /// `GroupQueryAttention`, which appends to the cache, rotates, and attends.
    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (a, s) = (&self.attention, &self.attention.shape);
        if s.latent.is_some() {
            bail!(Unsupported, "attention to latents is not written in stock operators");
        }
        if !s.head_dim.is_multiple_of(16) {
            bail!(
                Unsupported,
                "head_dim {} has no stock form: ONNX Runtime's GroupQueryAttention rotates heads in multiples of 16 only",
                s.head_dim
            );
        }
        let pairs = s.rotary_pairs;
        // GroupQueryAttention takes pairs in multiples of 8 only.
        if !pairs.is_multiple_of(8) {
            bail!(
                Unsupported,
                "a rotation of a part of each head in no multiple of 16 values is not written in stock operators"
            );
        }
        // The tables of angles are the model's, and requests of both kinds run in one session.
        if a.border.is_some() && pairs > 0 {
            bail!(
                Unsupported,
                "a rotation at other frequencies in long texts (longrope) is not written in stock operators"
            );
        }
        if a.sinks.is_some() || a.temperature.is_some() {
            let what = if a.sinks.is_some() { "sinks" } else { "a temperature" };
            bail!(Unsupported, "attention with {what} is not written in stock operators");
        }
        if let Some(Window::Chunked(_)) = s.window {
            bail!(Unsupported, "attention in chunks of a text is not written in stock operators");
        }
        if s.head_norm.is_some() && s.norm_after_rotation {
            bail!(Unsupported, "attention with norms after the rotation is not written in stock operators");
        }
        let ([mut q, mut k, mut v], out) = (self.qkv.map(|value| w.name(value)), w.name(self.out));
        // What is made of an input is called after the output: others may read the same input.
        let part = |name: &str| format!("{out}.{name}");
        if let Some(norm) = s.head_norm {
            let normed = [part("query"), part("key")];
            w.head_norm(q, norm, [a.query_norm.as_ref(), None], s.heads, s.head_dim, &normed[0]);
            w.head_norm(k, norm, [a.key_norm.as_ref(), None], s.kv_heads, s.head_dim, &normed[1]);
            [q, k] = normed;
        }
        let (past, present) = (|part: &str| past(a.layer, part), |part: &str| present(a.layer, part));
        let cache = |length: &str| [dynamic("batch"), fixed(s.kv_heads), dynamic(length), fixed(s.head_dim)];
        for part in ["key", "value"] {
            w.input(ValueInfo::tensor(&past(part), w.style.element, &cache("past_sequence")));
            w.output(ValueInfo::tensor(&present(part), w.style.element, &cache("total_sequence")));
        }
        let mut attended = out.clone();
        if w.style.form == Form::Session {
            [q, k, v] = [(q, "queries"), (k, "keys"), (v, "values")].map(|(x, name)| w.in_sequences(x, part(name)));
            attended = part("sequences");
        }
        let mut input = vec![q, k, v, past("key"), past("value"), LAST.into(), TOTAL.into()];
        if pairs > 0 {
            let table = [w.style.positions, pairs];
            input.push(w.external(&rotary("cos", a.rope), w.style.element, &table, Content::Cosines(a.rope)));
            input.push(w.external(&rotary("sin", a.rope), w.style.element, &table, Content::Sines(a.rope)));
        }
        let output = vec![attended.clone(), present("key"), present("value")];
        let mut node = Node::new(MICROSOFT, "GroupQueryAttention", input, output)
            .with(Attribute::int("num_heads", s.heads as i64))
            .with(Attribute::int("kv_num_heads", s.kv_heads as i64))
            .with(Attribute::float("scale", s.scale))
            .with(Attribute::int("do_rotary", (pairs > 0).into()));
        if s.rotation == Rotation::Interleaved {
            node = node.with(Attribute::int("rotary_interleaved", 1));
        }
        if let Some(window) = s.window {
            node = node.with(Attribute::int("local_window_size", window.size() as i64));
        }
        if let Some(cap) = s.soft_cap {
            node = node.with(Attribute::float("softcap", cap));
        }
        w.push(node);
        if w.style.form == Form::Session {
            let width = s.heads * s.head_dim;
            let rows = w.constant(&format!("rows.{width}"), &[-1, width as i64]);
            w.push(Node::new("", "Reshape", vec![attended, rows], vec![out]));
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// `[rows, width]` as the `[sequences, tokens, width]` that attention takes.
    fn in_sequences(&mut self, x: String, out: String) -> String {
        self.push(Node::new("", "Reshape", vec![x, SEQUENCES.into()], vec![out.clone()]));
        out
    }
}

/// The name of a rotation's table.
fn rotary(half: &str, rope: usize) -> String {
    if rope == 0 { format!("rotary.{half}") } else { format!("rotary.{rope}.{half}") }
}
