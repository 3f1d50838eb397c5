//! Writes a [`Graph`] in this library's own CPU operators.
//!
//! Weights never enter the file: a node names the checkpoint's tensors in string attributes, and the operators look
//! them up in the shard's mapped weight table. So every ONNX Runtime version reads the weights where they lie, and a
//! session is ready in milliseconds however large they are.
//!
//! Rows of all sequences of a run lie one after another in `[tokens, width]` tensors; the `batch` input carries the
//! address of the run's description (positions, KV rows, rotary tables), which only `Attention` reads.

use prost::Message;

use super::names::{self, Name, attribute, op};
use super::onnx::{Attribute, ElementType, GraphProto, Model, Node, ValueInfo, dynamic, fixed};
use super::{Graph, Input, Linear, Op, Output, Value, Weight};

/// Domain of the operators.
pub(crate) const DOMAIN: &str = "ortshard";

/// The serialised ONNX model of `graph`.
pub(crate) fn write(graph: &Graph) -> Vec<u8> {
    let mut input = Vec::new();
    match graph.input {
        Input::Ids => input.push(ValueInfo::tensor(names::INPUT_IDS.text(), ElementType::I64, &[dynamic("tokens")])),
        Input::Hidden(value) => {
            let dims = [dynamic("tokens"), fixed(value.width)];
            input.push(ValueInfo::tensor(names::HIDDEN_IN.text(), ElementType::F32, &dims));
        }
    }
    input.push(ValueInfo::tensor(names::BATCH.text(), ElementType::I64, &[fixed(1)]));
    let output = match graph.output {
        Output::Hidden(value) => {
            ValueInfo::tensor(names::HIDDEN_OUT.text(), ElementType::F32, &[dynamic("tokens"), fixed(value.width)])
        }
        Output::Logits(value) => {
            input.push(ValueInfo::tensor(names::LOGIT_ROWS.text(), ElementType::I64, &[dynamic("rows")]));
            ValueInfo::tensor(names::LOGITS.text(), ElementType::F32, &[dynamic("rows"), fixed(value.width)])
        }
    };
    let node = graph.ops.iter().map(|op| node(graph, op)).collect();
    let proto = GraphProto { name: "shard".into(), node, input, output: vec![output], ..GraphProto::default() };
    Model::new(proto, DOMAIN).encode_to_vec()
}

/// The name a value has in the file.
fn name(graph: &Graph, value: Value) -> String {
    match (graph.input, graph.output) {
        (Input::Hidden(input), _) if input == value => names::HIDDEN_IN.into(),
        (_, Output::Hidden(output)) if output == value => names::HIDDEN_OUT.into(),
        (_, Output::Logits(output)) if output == value => names::LOGITS.into(),
        _ => format!("v{}", value.id),
    }
}

fn node(graph: &Graph, op: &Op) -> Node {
    let value = |v: &Value| name(graph, *v);
    let own = |kind: Name, input: Vec<String>, out: &[Value]| {
        Node::new(DOMAIN, kind.text(), input, out.iter().map(value).collect())
    };
    match op {
        Op::Embed { table, out } => own(op::EMBED, vec![names::INPUT_IDS.into()], &[*out])
            .with(Attribute::string(attribute::WEIGHT, &table.name)),
        Op::RmsNorm { x, weight, eps, out } => own(op::RMS_NORM, vec![value(x)], &[*out])
            .with(Attribute::string(attribute::WEIGHT, &weight.name))
            .with(Attribute::float(attribute::EPS, *eps)),
        Op::Linear { x, linear, residual, out } => {
            let input = std::iter::once(x).chain(residual).map(value).collect();
            with_linear(own(op::LINEAR, input, &[*out]), attribute::ONLY, linear)
        }
        Op::Qkv { x, linears: [q, k, v], out } => {
            let node = own(op::QKV, vec![value(x)], out);
            let node = with_linear(node, attribute::QUERY, q);
            with_linear(with_linear(node, attribute::KEY, k), attribute::VALUE, v)
        }
        Op::SwiGlu { x, gate, up, out } => {
            let node = with_linear(own(op::SWIGLU, vec![value(x)], &[*out]), attribute::GATE, gate);
            with_linear(node, attribute::UP, up)
        }
        Op::Attention { qkv, attention: a, out } => {
            let input = qkv.iter().map(value).chain([names::BATCH.into()]).collect();
            let norm = a.head_norm.as_ref();
            own(op::ATTENTION, input, &[*out])
                .with(Attribute::int(attribute::CACHE, a.cache as i64))
                .with(Attribute::int(attribute::HEADS, a.heads as i64))
                .with(Attribute::int(attribute::KV_HEADS, a.kv_heads as i64))
                .with(Attribute::int(attribute::HEAD_DIM, a.head_dim as i64))
                .with(Attribute::int(attribute::ROTARY_PAIRS, a.rotary_pairs as i64))
                .with(Attribute::float(attribute::SCALE, a.scale))
                .with(Attribute::int(attribute::WINDOW, a.window.unwrap_or(0) as i64))
                .with(tensor(attribute::QUERY_NORM, norm.map(|norm| &norm.query)))
                .with(tensor(attribute::KEY_NORM, norm.map(|norm| &norm.key)))
                .with(Attribute::float(attribute::EPS, norm.map_or(0.0, |norm| norm.eps)))
        }
        Op::Rows { x, out } => Node::new("", "Gather", vec![value(x), names::LOGIT_ROWS.into()], vec![value(out)])
            .with(Attribute::int("axis", 0)),
    }
}

fn with_linear(node: Node, prefix: &str, linear: &Linear) -> Node {
    let name = |part| format!("{prefix}{part}");
    node.with(tensor(&name(attribute::WEIGHT), Some(&linear.weight)))
        .with(tensor(&name(attribute::BIAS), linear.bias.as_ref()))
}

/// Also a tensor that the node does not have is written, as an empty name: an attribute that cannot be read is then an error,
/// whatever the reason.
fn tensor(name: &str, weight: Option<&Weight>) -> Attribute {
    Attribute::string(name, weight.map_or("", |weight| &weight.name))
}
