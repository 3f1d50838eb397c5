//! Writes a [`Graph`] in operators that stock ONNX Runtime has: ONNX opset 21 and `com.microsoft`.
//!
//! Inputs and outputs follow the convention of the `onnxruntime-genai` builder: `input_ids` (or hidden states),
//! `attention_mask`, `past_key_values.{layer}.key` and `.value` in, `logits` (or hidden states) and
//! `present.{layer}.key` and `.value` out, with a batch dimension. Layers keep their numbers in the whole model. Logits
//! come for every position. Weights are float32 external data.

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

/// Tensors in the data file start at multiples of this, so that a reader can map them.
const ALIGNMENT: u64 = 4096;

/// A graph file and what belongs into the data file beside it.
pub(crate) struct Standard {
    /// The serialised ONNX model.
    pub model: Vec<u8>,
    /// Tensors of the data file, in increasing order of offset.
    pub external: Vec<External>,
}

/// One float32 tensor of the data file.
pub(crate) struct External {
    pub name: String,
    pub offset: u64,
}

/// Writes `graph`, with its weights in the file `location` and rotation tables of `positions` rows.
pub(crate) fn write(graph: &Graph, location: &str, positions: usize, metadata: &[(&str, String)]) -> Standard {
    let mut writer = Writer::new(graph, location);
    let Some(pairs) = graph.attentions().next().map(|a| a.head_dim / 2) else {
        return Standard { model: Vec::new(), external: Vec::new() };
    };
    for weight in graph.weights() {
        writer.external(&weight.name, &weight.shape);
    }
    writer.external(COS, &[positions, pairs]);
    writer.external(SIN, &[positions, pairs]);
    writer.sequence_lengths();
    for op in &graph.ops {
        writer.op(op);
    }
    writer.finish(metadata)
}

struct Writer<'a> {
    graph: &'a Graph,
    location: &'a str,
    proto: GraphProto,
    external: Vec<External>,
    end: u64,
    /// Values that are another value: the rows whose logits are wanted are all rows here.
    same: HashMap<usize, Value>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, location: &'a str) -> Self {
        let proto = GraphProto { name: "shard".into(), ..GraphProto::default() };
        Self { graph, location, proto, external: Vec::new(), end: 0, same: HashMap::new() }
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
        self.push(node("Cast", &["last"], "seqlens_k").with(int32()));
        self.push(node("Shape", &["attention_mask"], "mask_shape"));
        let axis = self.constant("axis", &[1]);
        self.push(node("Gather", &["mask_shape", &axis], "total"));
        let scalar = self.constant("scalar", &[]);
        self.push(node("Reshape", &["total", &scalar], "total_scalar"));
        self.push(node("Cast", &["total_scalar"], "total_sequence_length").with(int32()));
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
            Op::Rows { x, out } => {
                self.same.insert(out.id, *x);
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
        let product = if linear.bias.is_some() { format!("{out}.matmul") } else { out.clone() };
        let weight = linear.weight.name.clone();
        let node = Node::new(MICROSOFT, "FusedMatMul", vec![x, weight], vec![product.clone()]);
        self.push(node.with(Attribute::int("transB", 1)));
        if let Some(bias) = &linear.bias {
            self.push(Node::new("", "Add", vec![product, bias.name.clone()], vec![out]));
        }
    }

    fn attention(&mut self, qkv: [Value; 3], a: &Attention, out: Value) {
        let [mut q, mut k, v] = qkv.map(|value| self.name(value));
        if let Some(norm) = &a.head_norm {
            q = self.head_norm(&q, &norm.query, norm.eps, a.heads, a.head_dim);
            k = self.head_norm(&k, &norm.key, norm.eps, a.kv_heads, a.head_dim);
        }
        let past = |part: &str| format!("past_key_values.{}.{part}", a.layer);
        let present = |part: &str| format!("present.{}.{part}", a.layer);
        let cache = |length: &str| [dynamic("batch"), fixed(a.kv_heads), dynamic(length), fixed(a.head_dim)];
        for part in ["key", "value"] {
            self.proto.input.push(ValueInfo::tensor(&past(part), ElementType::F32, &cache("past_sequence")));
            self.proto.output.push(ValueInfo::tensor(&present(part), ElementType::F32, &cache("total_sequence")));
        }
        let fixed_inputs = ["seqlens_k", "total_sequence_length", COS, SIN].map(String::from);
        let input = [q, k, v, past("key"), past("value")].into_iter().chain(fixed_inputs).collect();
        let output = vec![self.name(out), present("key"), present("value")];
        let mut node = Node::new(MICROSOFT, "GroupQueryAttention", input, output)
            .with(Attribute::int("num_heads", a.heads as i64))
            .with(Attribute::int("kv_num_heads", a.kv_heads as i64))
            .with(Attribute::float("scale", a.scale))
            .with(Attribute::int("do_rotary", 1));
        if let Some(window) = a.window {
            node = node.with(Attribute::int("local_window_size", window as i64));
        }
        self.push(node);
    }

    /// Norm of each head: `[batch, sequence, heads * dim]` seen as `[batch, sequence, heads, dim]`.
    fn head_norm(&mut self, x: &str, weight: &Weight, eps: f32, heads: usize, head_dim: usize) -> String {
        let part = |name: &str| format!("{x}.{name}");
        let split = self.constant(&format!("split.{heads}"), &[0, 0, heads as i64, head_dim as i64]);
        let join = self.constant(&format!("join.{heads}"), &[0, 0, (heads * head_dim) as i64]);
        self.push(Node::new("", "Reshape", vec![x.to_owned(), split], vec![part("heads")]));
        self.norm(part("heads"), weight, eps, part("normed"));
        self.push(Node::new("", "Reshape", vec![part("normed"), join], vec![part("joined")]));
        part("joined")
    }

    fn finish(mut self, metadata: &[(&str, String)]) -> Standard {
        let rows = |width: usize| -> [DimValue; 3] { [dynamic("batch"), dynamic("sequence"), fixed(width)] };
        let input = match self.graph.input {
            Input::Ids => {
                ValueInfo::tensor(names::INPUT_IDS, ElementType::I64, &[dynamic("batch"), dynamic("sequence")])
            }
            Input::Hidden(value) => ValueInfo::tensor(names::HIDDEN_IN, ElementType::F32, &rows(value.width)),
        };
        let mask = [dynamic("batch"), dynamic("total_sequence")];
        let mask = ValueInfo::tensor("attention_mask", ElementType::I64, &mask);
        self.proto.input.splice(0..0, [input, mask]);
        let output = match self.graph.output {
            Output::Hidden(value) => ValueInfo::tensor(names::HIDDEN_OUT, ElementType::F32, &rows(value.width)),
            Output::Logits(value) => ValueInfo::tensor(names::LOGITS, ElementType::F32, &rows(value.width)),
        };
        self.proto.output.insert(0, output);
        let mut model = Model::new(self.proto, MICROSOFT);
        model.metadata_props =
            metadata.iter().map(|(key, value)| StringEntry { key: (*key).into(), value: value.clone() }).collect();
        Standard { model: model.encode_to_vec(), external: self.external }
    }
}
