//! The part of the ONNX file format that this library writes, as protobuf messages.
//!
//! Field numbers are those of `onnx.proto` (IR version 10). Reading is left to ONNX Runtime.

use prost::Message;

/// ONNX IR version of the models written here.
pub(crate) const IR_VERSION: i64 = 10;
/// Version of the default operator set.
pub(crate) const OPSET: i64 = 21;
/// Domain of ONNX Runtime's contributed operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ElementType {
    /// float32
    F32 = 1,
    /// uint8
    U8 = 2,
    /// int32
    I32 = 6,
    /// int64
    I64 = 7,
    /// IEEE half precision
    F16 = 10,
    /// bfloat16
    BF16 = 16,
}

impl ElementType {
    /// Bytes of one element.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StringEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

impl Attribute {
    /// A string attribute.
    pub(crate) fn string(name: &str, value: &str) -> Self {
        Self { name: name.into(), s: value.as_bytes().to_vec(), kind: 3, ..Self::default() }
    }

    /// A float attribute.
    pub(crate) fn float(name: &str, value: f32) -> Self {
        Self { name: name.into(), f: value, kind: 1, ..Self::default() }
    }

    /// An integer attribute.
    pub(crate) fn int(name: &str, value: i64) -> Self {
        Self { name: name.into(), i: value, kind: 2, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringEntry>,
    /// 1: the data lies in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dim {
    #[prost(oneof = "DimValue", tags = "1, 2")]
    pub value: Option<DimValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum DimValue {
    #[prost(int64, tag = "1")]
    Size(i64),
    #[prost(string, tag = "2")]
    Name(String),
}

impl ValueInfo {
    /// A tensor input or output with named or fixed dimensions.
    pub(crate) fn tensor(name: &str, element: ElementType, dims: &[DimValue]) -> Self {
        let dim = dims.iter().map(|value| Dim { value: Some(value.clone()) }).collect();
        let tensor_type = TensorType { elem_type: element as i32, shape: Some(Shape { dim }) };
        Self { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
    }
}

/// A dimension known only at run time.
pub(crate) fn dynamic(name: &str) -> DimValue {
    DimValue::Name(name.into())
}

/// A dimension known when the graph is written.
pub(crate) fn fixed(size: usize) -> DimValue {
    DimValue::Size(size as i64)
}

impl Node {
    /// A node named after its output, as viewers and ONNX Runtime's messages show it.
    pub(crate) fn new(domain: &str, op_type: &str, input: Vec<String>, output: Vec<String>) -> Self {
        Self {
            name: output.first().map_or_else(String::new, |out| format!("{out}/{op_type}")),
            op_type: op_type.into(),
            domain: domain.into(),
            input,
            output,
            attribute: Vec::new(),
        }
    }

    /// The node with `attribute`.
    pub(crate) fn with(mut self, attribute: Attribute) -> Self {
        self.attribute.push(attribute);
        self
    }
}

impl Model {
    /// A model of `graph` that uses the default operators and those of `domain`.
    pub(crate) fn new(graph: GraphProto, domain: &str) -> Self {
        let set = |domain: &str, version| OperatorSet { domain: domain.into(), version };
        Self {
            ir_version: IR_VERSION,
            producer_name: "ortshard".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(graph),
            opset_import: vec![set("", OPSET), set(domain, 1)],
            metadata_props: Vec::new(),
        }
    }
}
