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

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::onnx::{
    Attribute, DimValue, ElementType, GraphProto, MICROSOFT, Model, Node, StringEntry, Tensor, ValueInfo, dynamic,
    fixed,
};
use super::{Graph, Input, Kept, Output, Role, Value, Weight, names};
use crate::error::{Result, bail};
use data::Data;
pub(crate) use data::{Content, External, FileOffset};
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
    pub place: &'a dyn Fn(&str) -> Option<FileOffset>,
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
///
/// # Errors
/// [`Unsupported`](crate::error::ErrorKind::Unsupported) where an operation cannot be written so.
pub(crate) fn write(graph: &Graph, style: Style, metadata: &[(&str, String)]) -> Result<StockModel> {
    let mut writer = Writer::new(graph, style);
    if style.form == Form::File {
        writer.sequence_lengths();
    }
    for op in &*graph.ops {
        op.stock(&mut writer)?;
    }
    if style.form == Form::Session {
        check_caches(graph)?;
    }
    writer.widen();
    Ok(writer.finish(metadata))
}

/// A session's KV caches are one block, in which all layers have one shape.
fn check_caches(graph: &Graph) -> Result<()> {
    let mut shapes = graph.kept().filter_map(|kept| match kept {
        Kept::Rows { heads, key_width, value_width, .. } => Some((heads, key_width, value_width)),
        Kept::State { .. } => None,
    });
    let first = shapes.next();
    if shapes.any(|shape| Some(shape) != first) {
        bail!(Unsupported, "attention whose heads are not alike in all layers is not written in stock operators");
    }
    Ok(())
}

/// A graph in the stock dialect as it grows. How an operation is written stands in its file.
pub(crate) struct Writer<'a> {
    graph: &'a Graph,
    pub style: Style<'a>,
    proto: GraphProto,
    /// The names of those that there are.
    initialisers: HashSet<String>,
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
            initialisers: HashSet::new(),
            data: Data::new(style.location),
            packed_codes: 0,
            packed_scales: 0,
            same: HashMap::new(),
        }
    }

    /// The name of a value.
    pub(crate) fn name(&self, value: Value) -> String {
        let value = self.same.get(&value.id).copied().unwrap_or(value);
        match self.graph.output {
            // Narrow logits are not yet what goes out.
            Output::Logits(output) if output == value && self.style.element != ElementType::F32 => {
                "narrow_logits".into()
            }
            _ => self.graph.name(value),
        }
    }

    /// Says that `value` is what `other` is.
    pub(crate) fn is_the_same(&mut self, value: Value, other: Value) {
        self.same.insert(value.id, other);
    }

    /// Adds an input of the graph.
    pub(crate) fn input(&mut self, input: ValueInfo) {
        self.proto.input.push(input);
    }

    /// Adds an output of the graph.
    pub(crate) fn output(&mut self, output: ValueInfo) {
        self.proto.output.push(output);
    }

    /// Adds a node.
    pub(crate) fn push(&mut self, node: Node) {
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
    pub(crate) fn external(&mut self, name: &str, element: ElementType, shape: &[usize], content: Content) -> String {
        if !self.has(name) {
            let tensor = self.data.initialiser(name, element, shape, content);
            self.initialise(tensor);
        }
        name.into()
    }

    fn has(&self, name: &str) -> bool {
        self.initialisers.contains(name)
    }

    fn initialise(&mut self, tensor: Tensor) {
        self.initialisers.insert(tensor.name.clone());
        self.proto.initializer.push(tensor);
    }

    /// A weight as it is.
    pub(crate) fn weight(&mut self, weight: &Weight) -> String {
        let (name, element, shape) = (&weight.name, self.style.element, &weight.shape);
        match (self.style.place)(name) {
            None => self.external(name, element, shape, Content::Weight(name.clone())),
            Some(_) if self.has(name) => name.clone(),
            Some(place) => {
                let tensor = self.data.elsewhere(name, element, shape, place);
                self.initialise(tensor);
                name.clone()
            }
        }
    }

    /// A small int64 initialiser inside the graph file; returns its name.
    pub(crate) fn constant(&mut self, name: &str, values: &[i64]) -> String {
        if !self.has(name) {
            self.initialise(Tensor {
                dims: vec![values.len() as i64],
                data_type: ElementType::I64 as i32,
                name: name.into(),
                raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                ..Tensor::default()
            });
        }
        name.into()
    }

    /// A number of the element type, inside the graph file; returns its name.
    pub(crate) fn scalar(&mut self, value: f32) -> String {
        let name = format!("scalar {value:?}");
        if !self.has(&name) {
            let raw_data = match self.style.element {
                ElementType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                ElementType::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                _ => value.to_le_bytes().to_vec(),
            };
            let data_type = self.style.element as i32;
            self.initialise(Tensor { data_type, name: name.clone(), raw_data, ..Tensor::default() });
        }
        name
    }

    /// The weight of a norm that has none; returns its name.
    pub(crate) fn ones(&mut self, width: usize) -> String {
        self.external(&format!("ones.{width}"), self.style.element, &[width], Content::Ones(width))
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

    /// Inputs and outputs besides the KV caches, for this library's sessions.
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
        let input = match &self.graph.input {
            Input::Ids => vec![ValueInfo::tensor(names::INPUT_IDS.text(), ElementType::I64, tokens)],
            Input::Parts(parts) => {
                let part = |(role, value): &(Role, Value)| {
                    ValueInfo::tensor(role.input().text(), element, &wide(tokens, value.width))
                };
                parts.iter().map(part).collect()
            }
        };
        self.proto.input.splice(0..0, input.into_iter().chain(lengths));
        let (element, rows) = match self.graph.output {
            Output::Parts(_) => (element, tokens),
            Output::Logits(_) => (ElementType::F32, rows),
        };
        let output = self.graph.output.tensors();
        let output = output.iter().map(|(name, width)| ValueInfo::tensor(name.text(), element, &wide(rows, *width)));
        self.proto.output.splice(0..0, output);
    }
}
