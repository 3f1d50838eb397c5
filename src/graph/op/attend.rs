//! Causal self-attention over this run's rows and what the layer has kept.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::{LAST, Name, SEQUENCES, TOTAL};
use crate::graph::onnx::{Attribute, MICROSOFT, Node, ValueInfo, dynamic, fixed};
use crate::graph::stock::{Content, Form, Writer, past, present};
use crate::graph::{Value, Weight};

/// `out = softmax(q kᵀ * scale) v` for each head, with rotary positions and grouped key-value heads.
#[derive(Debug, Clone)]
pub(crate) struct Attend {
    pub qkv: [Value; 3],
    pub attention: Attention,
    pub out: Value,
}

/// The attention of one layer.
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

/// What a layer keeps between tokens: a key and a value of `head_dim` values for each of its heads and each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The layer, by its number in the whole model.
    pub layer: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
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
        self.attention.head_norm.iter().flat_map(|norm| [&norm.query, &norm.key]).collect()
    }

    fn kept(&self) -> Option<Kept> {
        let Attention { layer, kv_heads, head_dim, .. } = self.attention;
        Some(Kept { layer, kv_heads, head_dim })
    }

    /// `GroupQueryAttention`, which appends to the cache, rotates, and attends.
    fn stock(&self, w: &mut Writer) -> Result<()> {
        let a = &self.attention;
        if !a.head_dim.is_multiple_of(16) {
            bail!(
                Unsupported,
                "head_dim {} has no stock form: ONNX Runtime's GroupQueryAttention rotates heads in multiples of 16 only",
                a.head_dim
            );
        }
        let (pairs, all) = (a.rotary_pairs, a.head_dim / 2);
        if pairs != all {
            bail!(
                Unsupported,
                "a rotation of {pairs} of a head's {all} pairs is not written in ONNX Runtime's own operators"
            );
        }
        let [mut q, mut k, mut v] = self.qkv.map(|value| w.name(value));
        if let Some(norm) = &a.head_norm {
            q = w.head_norm(&q, &norm.query, norm.eps, a.heads, a.head_dim);
            k = w.head_norm(&k, &norm.key, norm.eps, a.kv_heads, a.head_dim);
        }
        let (past, present) = (|part: &str| past(a.layer, part), |part: &str| present(a.layer, part));
        let cache = |length: &str| [dynamic("batch"), fixed(a.kv_heads), dynamic(length), fixed(a.head_dim)];
        for part in ["key", "value"] {
            w.input(ValueInfo::tensor(&past(part), w.style.element, &cache("past_sequence")));
            w.output(ValueInfo::tensor(&present(part), w.style.element, &cache("total_sequence")));
        }
        let table = [w.style.positions, a.head_dim / 2];
        let cos = w.external("rotary.cos", w.style.element, &table, Content::Cosines);
        let sin = w.external("rotary.sin", w.style.element, &table, Content::Sines);
        let mut attended = w.name(self.out);
        if w.style.form == Form::Session {
            [q, k, v] = [q, k, v].map(|x| w.in_sequences(&x));
            attended = format!("{attended}.sequences");
        }
        let input = vec![q, k, v, past("key"), past("value"), LAST.into(), TOTAL.into(), cos, sin];
        let output = vec![attended.clone(), present("key"), present("value")];
        let mut node = Node::new(MICROSOFT, "GroupQueryAttention", input, output)
            .with(Attribute::int("num_heads", a.heads as i64))
            .with(Attribute::int("kv_num_heads", a.kv_heads as i64))
            .with(Attribute::float("scale", a.scale))
            .with(Attribute::int("do_rotary", 1));
        if let Some(window) = a.window {
            node = node.with(Attribute::int("local_window_size", window as i64));
        }
        w.push(node);
        if w.style.form == Form::Session {
            let width = a.heads * a.head_dim;
            let rows = w.constant(&format!("rows.{width}"), &[-1, width as i64]);
            let out = w.name(self.out);
            w.push(Node::new("", "Reshape", vec![attended, rows], vec![out]));
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// `[rows, width]` as the `[sequences, tokens, width]` that attention takes.
    fn in_sequences(&mut self, x: &str) -> String {
        let out = format!("{x}.sequences");
        self.push(Node::new("", "Reshape", vec![x.to_owned(), SEQUENCES.into()], vec![out.clone()]));
        out
    }

    /// Norm of each head: `[.., heads * dim]` seen as `[.., heads, dim]`.
    fn head_norm(&mut self, x: &str, weight: &Weight, eps: f32, heads: usize, head_dim: usize) -> String {
        let part = |name: &str| format!("{x}.{name}");
        // A zero keeps the dimension that is there.
        let rows: &[i64] = if self.style.form == Form::File { &[0, 0] } else { &[0] };
        let split = self.constant(&format!("split.{heads}"), &[rows, &[heads as i64, head_dim as i64]].concat());
        let join = self.constant(&format!("join.{heads}"), &[rows, &[(heads * head_dim) as i64]].concat());
        self.push(Node::new("", "Reshape", vec![x.to_owned(), split], vec![part("heads")]));
        self.norm(part("heads"), weight, eps, part("normed"));
        self.push(Node::new("", "Reshape", vec![part("normed"), join], vec![part("joined")]));
        part("joined")
    }
}
