//! Writes a [`Graph`] in this library's own CPU operators.
//!
//! A node says which of the graph's operations it is, and no more: its kernel is made from the operation itself, whose weights are
//! looked up in the shard's mapped table. So every ONNX Runtime version reads the weights where they lie, and a session is ready in
//! milliseconds however large they are.
//!
//! Rows of all sequences of a run lie one after another in `[tokens, width]` tensors; the `batch` input carries the
//! address of the run's description (positions, KV rows, rotary tables), which only attention reads.

use prost::Message;

use super::names::{self, Name};
use super::onnx::{Attribute, ElementType, GraphProto, Model, Node, ValueInfo, dynamic, fixed};
use super::op::{Op, Read};
use super::{Graph, Input, Output};

/// Domain of the operators.
pub(crate) const DOMAIN: &str = "ortshard";

/// The serialised ONNX model of `graph`.
pub(crate) fn write(graph: &Graph) -> Vec<u8> {
    let mut input = Vec::new();
    match &graph.input {
        Input::Ids => input.push(ValueInfo::tensor(names::INPUT_IDS.text(), ElementType::I64, &[dynamic("tokens")])),
        Input::Parts(parts) => input.extend(parts.iter().map(|(role, value)| {
            ValueInfo::tensor(role.input().text(), ElementType::F32, &[dynamic("tokens"), fixed(value.width)])
        })),
    }
    input.push(ValueInfo::tensor(names::BATCH.text(), ElementType::I64, &[fixed(1)]));
    let rows = if matches!(graph.output, Output::Logits(_)) {
        input.push(ValueInfo::tensor(names::LOGIT_ROWS.text(), ElementType::I64, &[dynamic("rows")]));
        "rows"
    } else {
        "tokens"
    };
    let tensor = |(name, width): &(Name, usize)| {
        ValueInfo::tensor(name.text(), ElementType::F32, &[dynamic(rows), fixed(*width)])
    };
    let output = graph.output.tensors().iter().map(tensor).collect();
    let node = graph.ops.iter().enumerate().map(|(index, op)| node(graph, index, op)).collect();
    let proto = GraphProto { name: "shard".into(), node, input, output, ..GraphProto::default() };
    Model::new(proto, DOMAIN).encode_to_vec()
}

fn node(graph: &Graph, index: usize, op: &Op) -> Node {
    let input = op.reads().into_iter().map(|read| match read {
        Read::Value(value) => graph.name(value),
        Read::Ids => names::INPUT_IDS.into(),
        Read::Batch => names::BATCH.into(),
        Read::LogitRows => names::LOGIT_ROWS.into(),
    });
    let output = op.writes().into_iter().map(|value| graph.name(value));
    let mut node = Node::new(DOMAIN, op.operator().name.text(), input.collect(), output.collect());
    if let Some(value) = op.writes().first() {
        node.name.clone_from(&graph.names[value.id]);
    }
    node.with(Attribute::int(names::OPERATION, index as i64))
}
