//! Writes a [`Graph`] in operators that stock ONNX Runtime has: ONNX opset 21 and `com.microsoft`.
//!
//! There are two forms of it. [`Form::File`] is for other programs: inputs and outputs follow the convention of the
//! `onnxruntime-genai` builder, `input_ids` (or hidden states), `attention_mask`, `past_key_values.{layer}.key` and
//! `.value` in, `logits` (or hidden states) and `present.{layer}.key` and `.value` out, with a batch dimension, and
//! logits come for every position.
//!
//! [`Form::Session`] is for this library's own sessions on any execution provider. Rows are `[tokens, width]` as in the
//! [native](super::native) dialect, so that every linear layer is a plain `Gemm`, which more providers take than
//! `FusedMatMul`; lengths are inputs instead of sums of a mask, which would be computed on the processor; and only the
//! rows asked for give logits.
//!
//! In both, layers keep their numbers in the whole model, and weights are float32 external data.

use std::collections::HashMap;

use prost::Message;

use super::onnx::{
    Attribute, DimValue, ElementType, GraphProto, MICROSOFT, Model, Node, StringEntry, Tensor, ValueInfo, dynamic,
    fixed,
};
use super::{Attention, Graph, Input, Linear, Op, Output, Value, Weight, names};

/// Names of the rotation tables, `[positions, head_dim / 2]`.
pub(crate) const COS: &str = "rotary.cos";
/// See [`COS`].
pub(crate) const SIN: &str = "rotary.sin";
/// The position of the run's last token, int32 `[1]`: an input of [`Form::Session`].
pub(crate) const LAST: &str = "seqlens_k";
/// Tokens up to and including the run's last, an int32 scalar: an input of [`Form::Session`].
pub(crate) const TOTAL: &str = "total_sequence_length";

/// The input with a layer's cached keys (`part` is `key`) or values (`value`).
pub(crate) fn past(layer: usize, part: &str) -> String {
    format!("past_key_values.{layer}.{part}")
}

/// The output with the same and this run's rows.
pub(crate) fn present(layer: usize, part: &str) -> String {
    format!("present.{layer}.{part}")
}

/// Tensors in the data file start at multiples of this, so that a reader can map them.
const ALIGNMENT: u64 = 4096;

/// For whom the graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A file for other programs.
    File,
    /// A session of this library.
    Session,
}

/// A graph file and what belongs into the data file beside it.
pub(crate) struct Standard {
    /// The serialised ONNX model.
    pub model: Vec<u8>,
    /// Tensors of the data file, in increasing order of offset.
    pub external: Vec<External>,
    /// Bytes of the data file.
    pub data_bytes: u64,
    /// Bytes of its largest tensor.
    pub largest_bytes: u64,
}

/// One float32 tensor of the data file.
pub(crate) struct External {
    pub name: String,
    pub offset: u64,
}

/// Writes `graph`, with its weights in the file `location` and rotation tables of `positions` rows.
pub(crate) fn write(
    graph: &Graph,
    form: Form,
    location: &str,
    positions: usize,
    metadata: &[(&str, String)],
) -> Standard {
    let mut writer = Writer::new(graph, form, location);
    let Some(pairs) = graph.attentions().next().map(|a| a.head_dim / 2) else {
        return Standard { model: Vec::new(), external: Vec::new(), data_bytes: 0, largest_bytes: 0 };
    };
    for weight in graph.weights() {
        writer.external(&weight.name, &weight.shape);
    }
    writer.external(COS, &[positions, pairs]);
    writer.external(SIN, &[positions, pairs]);
    if form == Form::File {
        writer.sequence_lengths();
    }
    for op in &graph.ops {
        writer.op(op);
    }
    writer.finish(metadata)
}

/// The smallest graph that shows whether an execution provider takes nodes: `sum = x + x`.
pub(crate) fn probe() -> Vec<u8> {
    let tensor = |name: &str| ValueInfo::tensor(name, ElementType::F32, &[fixed(16)]);
    let node = vec![Node::new("", "Add", vec!["x".into(), "x".into()], vec!["sum".into()])];
    let (input, output) = (vec![tensor("x")], vec![tensor("sum")]);
    let proto = GraphProto { name: "probe".into(), node, input, output, ..GraphProto::default() };
    Model::new(proto, MICROSOFT).encode_to_vec()
}

struct Writer<'a> {
    graph: &'a Graph,
    form: Form,
    location: &'a str,
    proto: GraphProto,
    external: Vec<External>,
    end: u64,
    largest: u64,
    /// Values that are another value: the rows whose logits are wanted are all rows here.
    same: HashMap<usize, Value>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, form: Form, location: &'a str) -> Self {
        let proto = GraphProto { name: "shard".into(), ..GraphProto::default() };
        Self { graph, form, location, proto, external: Vec::new(), end: 0, largest: 0, same: HashMap::new() }
    }

    fn name(&self, value: Value) -> String {
        let value = self.same.get(&value.id).copied().unwrap_or(value);
        match (self.graph.input, self.graph.output) {
            (Input::Hidden(input), _) if input == value => names::HIDDEN_IN.into(),
            (_, Output::Hidden(output)) if output == value => names::HIDDEN_OUT.into(),
            (_, Output::Logits(output)) if output == value => names::LOGITS.into(),
            _ => format!("v{}", value.id),
        }
    }

    fn push(&mut self, node: Node) {
        self.proto.node.push(node);
    }

    /// A float32 initialiser in the data file.
    fn external(&mut self, name: &str, shape: &[usize]) {
        let length = shape.iter().product::<usize>() as u64 * 4;
        let offset = self.end.next_multiple_of(ALIGNMENT);
        self.end = offset + length;
        self.largest = self.largest.max(length);
        let entry = |key: &str, value: String| StringEntry { key: key.into(), value };
        self.proto.initializer.push(Tensor {
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: ElementType::F32 as i32,
            name: name.into(),
            external_data: vec![
                entry("location", self.location.into()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: 1,
            ..Tensor::default()
        });
        self.external.push(External { name: name.into(), offset });
    }

    /// A small int64 initialiser inside the graph file; returns its name.
    fn constant(&mut self, name: &str, values: &[i64]) -> String {
        if !self.proto.initializer.iter().any(|t| t.name == name) {
            self.proto.initializer.push(Tensor {
                dims: vec![values.len() as i64],
                data_type: ElementType::I64 as i32,
                name: name.into(),
                raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                ..Tensor::default()
            });
        }
        name.into()
    }

    /// `GroupQueryAttention` takes the lengths as `sum(mask) - 1` per row and the longest as a scalar, both int32.
    fn sequence_lengths(&mut self) {
        let one = self.constant("one", &[1]);
        let node = |kind: &str, input: &[&str], out: &str| {
            Node::new("", kind, input.iter().map(|s| (*s).to_owned()).collect(), vec![out.into()])
        };
        let int32 = || Attribute::int("to", ElementType::I32 as i64);
        self.push(node("ReduceSum", &["attention_mask", &one], "lengths").with(Attribute::int("keepdims", 0)));
        self.push(node("Sub", &["lengths", &one], "last"));
        self.push(node("Cast", &["last"], LAST).with(int32()));
        self.push(node("Shape", &["attention_mask"], "mask_shape"));
        let axis = self.constant("axis", &[1]);
        self.push(node("Gather", &["mask_shape", &axis], "total"));
        let scalar = self.constant("scalar", &[]);
        self.push(node("Reshape", &["total", &scalar], "total_scalar"));
        self.push(node("Cast", &["total_scalar"], TOTAL).with(int32()));
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Embed { table, out } => {
                let input = vec![table.name.clone(), names::INPUT_IDS.into()];
                let node = Node::new("", "Gather", input, vec![self.name(*out)]);
                self.push(node);
            }
            Op::RmsNorm { x, weight, eps, out } => {
                let (x, out) = (self.name(*x), self.name(*out));
                self.norm(x, weight, *eps, out);
            }
            Op::Linear { x, linear, residual, out } => {
                let (x, out) = (self.name(*x), self.name(*out));
                match residual.map(|r| self.name(r)) {
                    None => self.linear(x, linear, out),
                    Some(residual) => {
                        let product = format!("{out}.product");
                        self.linear(x, linear, product.clone());
                        self.push(Node::new("", "Add", vec![residual, product], vec![out]));
                    }
                }
            }
            Op::Qkv { x, linears, out } => {
                for (linear, out) in linears.iter().zip(out) {
                    let (x, out) = (self.name(*x), self.name(*out));
                    self.linear(x, linear, out);
                }
            }
            Op::SwiGlu { x, gate, up, out } => {
                let (x, out) = (self.name(*x), self.name(*out));
                let part = |name: &str| format!("{out}.{name}");
                self.linear(x.clone(), gate, part("gate"));
                self.linear(x, up, part("up"));
                self.push(Node::new("", "Sigmoid", vec![part("gate")], vec![part("sigmoid")]));
                self.push(Node::new("", "Mul", vec![part("gate"), part("sigmoid")], vec![part("silu")]));
                self.push(Node::new("", "Mul", vec![part("silu"), part("up")], vec![out]));
            }
            Op::Attention { qkv, attention, out } => self.attention(*qkv, attention, *out),
            Op::Rows { x, out } if self.form == Form::File => {
                self.same.insert(out.id, *x);
            }
            Op::Rows { x, out } => {
                let input = vec![self.name(*x), names::LOGIT_ROWS.into()];
                let node = Node::new("", "Gather", input, vec![self.name(*out)]);
                self.push(node);
            }
        }
    }

    fn norm(&mut self, x: String, weight: &Weight, eps: f32, out: String) {
        let node = Node::new("", "SimplifiedLayerNormalization", vec![x, weight.name.clone()], vec![out])
            .with(Attribute::int("axis", -1))
            .with(Attribute::float("epsilon", eps))
            .with(Attribute::int("stash_type", 1));
        self.push(node);
    }

    fn linear(&mut self, x: String, linear: &Linear, out: String) {
        if self.form == Form::Session {
            let bias = linear.bias.iter().map(|bias| bias.name.clone());
            let input = [x, linear.weight.name.clone()].into_iter().chain(bias).collect();
            self.push(Node::new("", "Gemm", input, vec![out]).with(Attribute::int("transB", 1)));
            return;
        }
        let product = if linear.bias.is_some() { format!("{out}.matmul") } else { out.clone() };
        let weight = linear.weight.name.clone();
        let node = Node::new(MICROSOFT, "FusedMatMul", vec![x, weight], vec![product.clone()]);
        self.push(node.with(Attribute::int("transB", 1)));
        if let Some(bias) = &linear.bias {
            self.push(Node::new("", "Add", vec![product, bias.name.clone()], vec![out]));
        }
    }

    fn attention(&mut self, qkv: [Value; 3], a: &Attention, out: Value) {
        let [mut q, mut k, mut v] = qkv.map(|value| self.name(value));
        if let Some(norm) = &a.head_norm {
            q = self.head_norm(&q, &norm.query, norm.eps, a.heads, a.head_dim);
            k = self.head_norm(&k, &norm.key, norm.eps, a.kv_heads, a.head_dim);
        }
        let (past, present) = (|part: &str| past(a.layer, part), |part: &str| present(a.layer, part));
        let cache = |length: &str| [dynamic("batch"), fixed(a.kv_heads), dynamic(length), fixed(a.head_dim)];
        for part in ["key", "value"] {
            self.proto.input.push(ValueInfo::tensor(&past(part), ElementType::F32, &cache("past_sequence")));
            self.proto.output.push(ValueInfo::tensor(&present(part), ElementType::F32, &cache("total_sequence")));
        }
        let fixed_inputs = [LAST, TOTAL, COS, SIN].map(String::from);
        let mut attended = self.name(out);
        if self.form == Form::Session {
            [q, k, v] = [q, k, v].map(|x| self.batched(&x));
            attended = format!("{attended}.batch");
        }
        let input = [q, k, v, past("key"), past("value")].into_iter().chain(fixed_inputs).collect();
        let output = vec![attended.clone(), present("key"), present("value")];
        let mut node = Node::new(MICROSOFT, "GroupQueryAttention", input, output)
            .with(Attribute::int("num_heads", a.heads as i64))
            .with(Attribute::int("kv_num_heads", a.kv_heads as i64))
            .with(Attribute::float("scale", a.scale))
            .with(Attribute::int("do_rotary", 1));
        if let Some(window) = a.window {
            node = node.with(Attribute::int("local_window_size", window as i64));
        }
        self.push(node);
        if self.form == Form::Session {
            let axes = self.constant("batch_axis", &[0]);
            self.push(Node::new("", "Squeeze", vec![attended, axes], vec![self.name(out)]));
        }
    }

    /// `[tokens, width]` as the `[1, tokens, width]` that attention takes.
    fn batched(&mut self, x: &str) -> String {
        let axes = self.constant("batch_axis", &[0]);
        let out = format!("{x}.batch");
        self.push(Node::new("", "Unsqueeze", vec![x.to_owned(), axes], vec![out.clone()]));
        out
    }

    /// Norm of each head: `[.., heads * dim]` seen as `[.., heads, dim]`.
    fn head_norm(&mut self, x: &str, weight: &Weight, eps: f32, heads: usize, head_dim: usize) -> String {
        let part = |name: &str| format!("{x}.{name}");
        // A zero keeps the dimension that is there.
        let rows: &[i64] = if self.form == Form::File { &[0, 0] } else { &[0] };
        let split = self.constant(&format!("split.{heads}"), &[rows, &[heads as i64, head_dim as i64]].concat());
        let join = self.constant(&format!("join.{heads}"), &[rows, &[(heads * head_dim) as i64]].concat());
        self.push(Node::new("", "Reshape", vec![x.to_owned(), split], vec![part("heads")]));
        self.norm(part("heads"), weight, eps, part("normed"));
        self.push(Node::new("", "Reshape", vec![part("normed"), join], vec![part("joined")]));
        part("joined")
    }

    fn finish(mut self, metadata: &[(&str, String)]) -> Standard {
        match self.form {
            Form::File => self.file_interface(),
            Form::Session => self.session_interface(),
        }
        let mut model = Model::new(self.proto, MICROSOFT);
        model.metadata_props =
            metadata.iter().map(|(key, value)| StringEntry { key: (*key).into(), value: value.clone() }).collect();
        Standard {
            model: model.encode_to_vec(),
            external: self.external,
            data_bytes: self.end,
            largest_bytes: self.largest,
        }
    }

    /// Inputs and outputs besides the KV caches, for other programs.
    fn file_interface(&mut self) {
        let mask = [dynamic("batch"), dynamic("total_sequence")];
        let mask = ValueInfo::tensor("attention_mask", ElementType::I64, &mask);
        let sequence = [dynamic("batch"), dynamic("sequence")];
        self.interface(&sequence, &sequence, vec![mask]);
    }

    /// The same for this library's sessions.
    fn session_interface(&mut self) {
        let mut lengths = vec![
            ValueInfo::tensor(LAST, ElementType::I32, &[fixed(1)]),
            ValueInfo::tensor(TOTAL, ElementType::I32, &[]),
        ];
        if matches!(self.graph.output, Output::Logits(_)) {
            lengths.push(ValueInfo::tensor(names::LOGIT_ROWS, ElementType::I64, &[dynamic("rows")]));
        }
        self.interface(&[dynamic("tokens")], &[dynamic("rows")], lengths);
    }

    fn interface(&mut self, tokens: &[DimValue], rows: &[DimValue], lengths: Vec<ValueInfo>) {
        let wide = |dims: &[DimValue], width: usize| [dims, &[fixed(width)]].concat();
        let input = match self.graph.input {
            Input::Ids => ValueInfo::tensor(names::INPUT_IDS, ElementType::I64, tokens),
            Input::Hidden(value) => ValueInfo::tensor(names::HIDDEN_IN, ElementType::F32, &wide(tokens, value.width)),
        };
        self.proto.input.splice(0..0, std::iter::once(input).chain(lengths));
        let output = match self.graph.output {
            Output::Hidden(value) => ValueInfo::tensor(names::HIDDEN_OUT, ElementType::F32, &wide(tokens, value.width)),
            Output::Logits(value) => ValueInfo::tensor(names::LOGITS, ElementType::F32, &wide(rows, value.width)),
        };
        self.proto.output.insert(0, output);
    }
}
