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
//! In both, layers keep their numbers in the whole model, and weights are external data, or, where matrices are quantised, the
//! codes and scales that `MatMulNBits` and `GatherBlockQuantized` read.
//!
//! Weights, KV caches, hidden states and all that is computed are of one [element type](Style::element); logits leave as float32.

mod data;
mod quantised;
mod utility;

use std::collections::HashMap;

use prost::Message;

use super::onnx::{
    Attribute, DimValue, ElementType, GraphProto, MICROSOFT, Model, Node, StringEntry, Tensor, ValueInfo, dynamic,
    fixed,
};
use super::{Attention, Graph, Input, Linear, Op, Output, Value, Weight, names};
use data::Data;
pub(crate) use data::{Content, External, Place};
pub(crate) use utility::{chooser, copier, probe};

/// The input with a layer's cached keys (`part` is `key`) or values (`value`).
pub(crate) fn past(layer: usize, part: &str) -> String {
    format!("past_key_values.{layer}.{part}")
}

/// The output with the same and this run's rows.
pub(crate) fn present(layer: usize, part: &str) -> String {
    format!("present.{layer}.{part}")
}

/// For whom the graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A file for other programs.
    File,
    /// A session of this library.
    Session,
}

/// How matrices are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Bits of a code: 4 or 8.
    pub bits: usize,
    /// Columns of a row that share a scale.
    pub columns: usize,
}

/// How a graph is written.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    pub form: Form,
    /// What is computed in: float32, half precision or bfloat16.
    pub element: ElementType,
    /// `None`: matrices are not quantised.
    pub blocks: Option<Blocks>,
    /// The name of the data file.
    pub location: &'a str,
    /// Where a weight of the element type lies already. `None`: it goes into the data file.
    pub place: &'a dyn Fn(&str) -> Option<Place>,
    /// Rows of the rotation tables.
    pub positions: usize,
}

/// A graph file and what belongs into the data file beside it.
pub(crate) struct StockModel {
    /// The serialised ONNX model.
    pub model: Vec<u8>,
    /// Tensors of the data file, in increasing order of offset.
    pub external: Vec<External>,
    /// Bytes of the data file.
    pub data_bytes: u64,
    /// Bytes that ONNX Runtime keeps of it: a copy of each initialiser, and what the processor packs beside the codes.
    pub kept_bytes: u64,
    /// Bytes that are held besides those while it takes them over: the data file, and its largest tensor a second time or,
    /// packed, all codes. (It frees what it has packed, but the C allocator keeps much of that until all is done.)
    pub passing_bytes: u64,
}

/// Writes `graph`.
pub(crate) fn write(graph: &Graph, style: Style, metadata: &[(&str, String)]) -> StockModel {
    let mut writer = Writer::new(graph, style);
    if style.form == Form::File {
        writer.sequence_lengths();
    }
    for op in &graph.ops {
        writer.op(op);
    }
    writer.widen();
    writer.finish(metadata)
}

struct Writer<'a> {
    graph: &'a Graph,
    style: Style<'a>,
    proto: GraphProto,
    data: Data<'a>,
    /// Bytes of the codes that the processor's `MatMulNBits` packs.
    packed_codes: u64,
    /// Bytes that it packs beside them: each scale again, and a sum.
    packed_scales: u64,
    /// Values that are another value: the rows whose logits are wanted are all rows in a file.
    same: HashMap<usize, Value>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, style: Style<'a>) -> Self {
        let proto = GraphProto { name: "shard".into(), ..GraphProto::default() };
        Self {
            graph,
            style,
            proto,
            data: Data::new(style.location),
            packed_codes: 0,
            packed_scales: 0,
            same: HashMap::new(),
        }
    }

    fn name(&self, value: Value) -> String {
        let value = self.same.get(&value.id).copied().unwrap_or(value);
        match (self.graph.input, self.graph.output) {
            (Input::Hidden(input), _) if input == value => names::HIDDEN_IN.into(),
            (_, Output::Hidden(output)) if output == value => names::HIDDEN_OUT.into(),
            (_, Output::Logits(output)) if output == value && self.style.element == ElementType::F32 => {
                names::LOGITS.into()
            }
            _ => format!("v{}", value.id),
        }
    }

    fn push(&mut self, node: Node) {
        self.proto.node.push(node);
    }

    /// Logits on their way out.
    fn widen(&mut self) {
        if let (Output::Logits(value), true) = (self.graph.output, self.style.element != ElementType::F32) {
            let to = Attribute::int("to", ElementType::F32 as i64);
            let node = Node::new("", "Cast", vec![self.name(value)], vec![names::LOGITS.into()]).with(to);
            self.push(node);
        }
    }

    /// An initialiser of the data file, added when it is first used; returns its name.
    fn external(&mut self, name: &str, element: ElementType, shape: &[usize], content: Content) -> String {
        if !self.has(name) {
            let tensor = self.data.initialiser(name, element, shape, content);
            self.proto.initializer.push(tensor);
        }
        name.into()
    }

    fn has(&self, name: &str) -> bool {
        self.proto.initializer.iter().any(|tensor| tensor.name == name)
    }

    /// A weight as it is.
    fn weight(&mut self, weight: &Weight) -> String {
        let (name, element, shape) = (&weight.name, self.style.element, &weight.shape);
        match (self.style.place)(name) {
            None => self.external(name, element, shape, Content::Weight(name.clone())),
            Some(_) if self.has(name) => name.clone(),
            Some(place) => {
                let tensor = self.data.elsewhere(name, element, shape, place);
                self.proto.initializer.push(tensor);
                name.clone()
            }
        }
    }

    /// A small int64 initialiser inside the graph file; returns its name.
    fn constant(&mut self, name: &str, values: &[i64]) -> String {
        if !self.has(name) {
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
        self.push(node("Cast", &["last"], names::LAST.text()).with(int32()));
        self.push(node("Shape", &["attention_mask"], "mask_shape"));
        let axis = self.constant("axis", &[1]);
        self.push(node("Gather", &["mask_shape", &axis], "total"));
        let scalar = self.constant("scalar", &[]);
        self.push(node("Reshape", &["total", &scalar], "total_scalar"));
        self.push(node("Cast", &["total_scalar"], names::TOTAL.text()).with(int32()));
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Embed { table, out } => self.embed(table, *out),
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
            Op::Rows { x, out } if self.style.form == Form::File => {
                self.same.insert(out.id, *x);
            }
            Op::Rows { x, out } => {
                let input = vec![self.name(*x), names::LOGIT_ROWS.into()];
                let node = Node::new("", "Gather", input, vec![self.name(*out)]);
                self.push(node);
            }
        }
    }

    fn embed(&mut self, table: &Weight, out: Value) {
        let (out, ids) = (self.name(out), String::from(names::INPUT_IDS));
        if let Some(blocks) = self.style.blocks {
            return self.quantised_embed(table, blocks, ids, out);
        }
        let input = vec![self.weight(table), ids];
        self.push(Node::new("", "Gather", input, vec![out]));
    }

    fn norm(&mut self, x: String, weight: &Weight, eps: f32, out: String) {
        let node = Node::new("", "SimplifiedLayerNormalization", vec![x, self.weight(weight)], vec![out])
            .with(Attribute::int("axis", -1))
            .with(Attribute::float("epsilon", eps))
            .with(Attribute::int("stash_type", 1));
        self.push(node);
    }

    fn linear(&mut self, x: String, linear: &Linear, out: String) {
        let bias = linear.bias.as_ref().map(|bias| self.weight(bias));
        if self.style.form == Form::Session && self.style.blocks.is_none() {
            let input = [x, self.weight(&linear.weight)].into_iter().chain(bias).collect();
            return self.push(Node::new("", "Gemm", input, vec![out]).with(Attribute::int("transB", 1)));
        }
        let product = if bias.is_some() { format!("{out}.matmul") } else { out.clone() };
        let node = match self.style.blocks {
            Some(blocks) => self.matmul_nbits(x, &linear.weight, blocks, product.clone()),
            None => Node::new(MICROSOFT, "FusedMatMul", vec![x, self.weight(&linear.weight)], vec![product.clone()])
                .with(Attribute::int("transB", 1)),
        };
        self.push(node);
        if let Some(bias) = bias {
            self.push(Node::new("", "Add", vec![product, bias], vec![out]));
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
            self.proto.input.push(ValueInfo::tensor(&past(part), self.style.element, &cache("past_sequence")));
            self.proto.output.push(ValueInfo::tensor(&present(part), self.style.element, &cache("total_sequence")));
        }
        let table = [self.style.positions, a.head_dim / 2];
        let cos = self.external("rotary.cos", self.style.element, &table, Content::Cosines);
        let sin = self.external("rotary.sin", self.style.element, &table, Content::Sines);
        let mut attended = self.name(out);
        if self.style.form == Form::Session {
            [q, k, v] = [q, k, v].map(|x| self.in_sequences(&x));
            attended = format!("{attended}.sequences");
        }
        let input = vec![q, k, v, past("key"), past("value"), names::LAST.into(), names::TOTAL.into(), cos, sin];
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
        if self.style.form == Form::Session {
            let width = a.heads * a.head_dim;
            let rows = self.constant(&format!("rows.{width}"), &[-1, width as i64]);
            self.push(Node::new("", "Reshape", vec![attended, rows], vec![self.name(out)]));
        }
    }

    /// `[rows, width]` as the `[sequences, tokens, width]` that attention takes.
    fn in_sequences(&mut self, x: &str) -> String {
        let out = format!("{x}.sequences");
        self.push(Node::new("", "Reshape", vec![x.to_owned(), names::SEQUENCES.into()], vec![out.clone()]));
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

    fn finish(mut self, metadata: &[(&str, String)]) -> StockModel {
        match self.style.form {
            Form::File => self.file_interface(),
            Form::Session => self.session_interface(),
        }
        let mut model = Model::new(self.proto, MICROSOFT);
        model.metadata_props =
            metadata.iter().map(|(key, value)| StringEntry { key: (*key).into(), value: value.clone() }).collect();
        StockModel {
            model: model.encode_to_vec(),
            external: self.data.external,
            data_bytes: self.data.end,
            kept_bytes: self.data.held + self.packed_scales,
            passing_bytes: self.data.end + self.data.largest.max(self.packed_codes),
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
            ValueInfo::tensor(names::LAST.text(), ElementType::I32, &[dynamic("sequences")]),
            ValueInfo::tensor(names::TOTAL.text(), ElementType::I32, &[]),
            ValueInfo::tensor(names::SEQUENCES.text(), ElementType::I64, &[fixed(3)]),
        ];
        if matches!(self.graph.output, Output::Logits(_)) {
            lengths.push(ValueInfo::tensor(names::LOGIT_ROWS.text(), ElementType::I64, &[dynamic("rows")]));
        }
        self.interface(&[dynamic("tokens")], &[dynamic("rows")], lengths);
    }

    fn interface(&mut self, tokens: &[DimValue], rows: &[DimValue], lengths: Vec<ValueInfo>) {
        let wide = |dims: &[DimValue], width: usize| [dims, &[fixed(width)]].concat();
        let element = self.style.element;
        let input = match self.graph.input {
            Input::Ids => ValueInfo::tensor(names::INPUT_IDS.text(), ElementType::I64, tokens),
            Input::Hidden(value) => ValueInfo::tensor(names::HIDDEN_IN.text(), element, &wide(tokens, value.width)),
        };
        self.proto.input.splice(0..0, std::iter::once(input).chain(lengths));
        let output = match self.graph.output {
            Output::Hidden(value) => ValueInfo::tensor(names::HIDDEN_OUT.text(), element, &wide(tokens, value.width)),
            Output::Logits(value) => {
                ValueInfo::tensor(names::LOGITS.text(), ElementType::F32, &wide(rows, value.width))
            }
        };
        self.proto.output.insert(0, output);
    }
}
