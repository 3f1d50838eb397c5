//! Small graphs that are no shards.

use prost::Message;

use super::super::names::{LOGITS, Name, choice, copy};
use super::super::onnx::{
    Attribute, ElementType, GraphProto, MICROSOFT, Model, Node, Tensor, ValueInfo, dynamic, fixed,
};

fn encoded(graph: GraphProto) -> Vec<u8> {
    Model::new(graph, MICROSOFT).encode_to_vec()
}

fn one_node(name: &str, node: Node, input: ValueInfo, output: ValueInfo) -> Vec<u8> {
    let (node, input, output) = (vec![node], vec![input], vec![output]);
    encoded(GraphProto { name: name.into(), node, input, output, ..GraphProto::default() })
}

/// The smallest graph that shows whether an execution provider takes nodes: `sum = x + x`.
pub(crate) fn probe() -> Vec<u8> {
    let tensor = |name: &str| ValueInfo::tensor(name, ElementType::F32, &[fixed(16)]);
    let node = Node::new("", "Add", vec!["x".into(), "x".into()], vec!["sum".into()]);
    one_node("probe", node, tensor("x"), tensor("sum"))
}

/// A graph that copies the bytes `from` to `to`, wherever those lie.
pub(crate) fn copier() -> Vec<u8> {
    let tensor = |name: &str| ValueInfo::tensor(name, ElementType::U8, &[dynamic("bytes")]);
    let node = Node::new("", "Identity", vec![copy::FROM.into()], vec![copy::TO.into()]);
    one_node("copy", node, tensor(copy::FROM.text()), tensor(copy::TO.text()))
}

/// A graph that finds the candidates for sampling: of each row of `logits` `[rows, vocabulary]` the `k` `[1]` largest, in falling
/// order and among equals the lower id first, as `best` and `ids` `[rows, k]`; and as `sums` `[rows]` the sum of the row, which
/// is no finite number if one of its logits is none.
pub(crate) fn chooser() -> Vec<u8> {
    const AXIS: &str = "axis";
    let rows =
        |name: Name, element, width: &str| ValueInfo::tensor(name.text(), element, &[dynamic("rows"), dynamic(width)]);
    let node = vec![
        Node::new("", "TopK", vec![LOGITS.into(), choice::K.into()], vec![choice::BEST.into(), choice::IDS.into()]),
        Node::new("", "ReduceSum", vec![LOGITS.into(), AXIS.into()], vec![choice::SUMS.into()])
            .with(Attribute::int("keepdims", 0)),
    ];
    let axis = Tensor {
        dims: vec![1],
        data_type: ElementType::I64 as i32,
        name: AXIS.into(),
        raw_data: 1_i64.to_le_bytes().to_vec(),
        ..Tensor::default()
    };
    let input = vec![
        rows(LOGITS, ElementType::F32, "vocabulary"),
        ValueInfo::tensor(choice::K.text(), ElementType::I64, &[fixed(1)]),
    ];
    let output = vec![
        rows(choice::BEST, ElementType::F32, "candidates"),
        rows(choice::IDS, ElementType::I64, "candidates"),
        ValueInfo::tensor(choice::SUMS.text(), ElementType::F32, &[dynamic("rows")]),
    ];
    encoded(GraphProto { name: "choose".into(), node, initializer: vec![axis], input, output })
}
