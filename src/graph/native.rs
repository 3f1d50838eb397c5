//! Writes a [`Graph`] in this library's own CPU operators.
//!
//! Weights never enter the file: a node names the checkpoint's tensors in string attributes, and the operators look
//! them up in the shard's mapped weight table. So every ONNX Runtime version reads the weights where they lie, and a
//! session is ready in milliseconds however large they are.
//!
//! Rows of all sequences of a run lie one after another in `[tokens, width]` tensors; the `batch` input carries the
//! address of the run's description (positions, KV rows, rotary tables), which only `Attention` reads.

use prost::Message;

use super::onnx::{Attribute, ElementType, GraphProto, Model, Node, ValueInfo, dynamic, fixed};
use super::{Graph, Input, Linear, Op, Output, Value, names};

/// Domain of the operators.
pub(crate) const DOMAIN: &str = "ortshard";

/// Names of the operators and their attributes, shared with their implementation in `runtime`.
pub(crate) mod op {
    pub(crate) const EMBED: &str = "Embed";
    pub(crate) const RMS_NORM: &str = "RmsNorm";
    pub(crate) const LINEAR: &str = "Linear";
    pub(crate) const QKV: &str = "Qkv";
    pub(crate) const SWIGLU: &str = "SwiGlu";
    pub(crate) const ATTENTION: &str = "Attention";
}

/// The serialised ONNX model of `graph`.
pub(crate) fn write(graph: &Graph) -> Vec<u8> {
    let mut input = Vec::new();
    match graph.input {
        Input::Ids => input.push(ValueInfo::tensor(names::INPUT_IDS, ElementType::I64, &[dynamic("tokens")])),
        Input::Hidden(value) => {
            let dims = [dynamic("tokens"), fixed(value.width)];
            input.push(ValueInfo::tensor(names::HIDDEN_IN, ElementType::F32, &dims));
        }
    }
    input.push(ValueInfo::tensor(names::BATCH, ElementType::I64, &[fixed(1)]));
    let output = match graph.output {
        Output::Hidden(value) => {
            ValueInfo::tensor(names::HIDDEN_OUT, ElementType::F32, &[dynamic("tokens"), fixed(value.width)])
        }
        Output::Logits(value) => {
            input.push(ValueInfo::tensor(names::LOGIT_ROWS, ElementType::I64, &[dynamic("rows")]));
            ValueInfo::tensor(names::LOGITS, ElementType::F32, &[dynamic("rows"), fixed(value.width)])
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
    let own = |kind, input: Vec<String>, out: &[Value]| Node::new(DOMAIN, kind, input, out.iter().map(value).collect());
    match op {
        Op::Embed { table, out } => {
            own(op::EMBED, vec![names::INPUT_IDS.into()], &[*out]).with(Attribute::string("weight", &table.name))
        }
        Op::RmsNorm { x, weight, eps, out } => own(op::RMS_NORM, vec![value(x)], &[*out])
            .with(Attribute::string("weight", &weight.name))
            .with(Attribute::float("eps", *eps)),
        Op::Linear { x, linear, residual, out } => {
            let input = std::iter::once(x).chain(residual).map(value).collect();
            with_linear(own(op::LINEAR, input, &[*out]), "", linear)
        }
        Op::Qkv { x, linears: [q, k, v], out } => {
            let node = own(op::QKV, vec![value(x)], out);
            with_linear(with_linear(with_linear(node, "q_", q), "k_", k), "v_", v)
        }
        Op::SwiGlu { x, gate, up, out } => {
            with_linear(with_linear(own(op::SWIGLU, vec![value(x)], &[*out]), "gate_", gate), "up_", up)
        }
        Op::Attention { qkv, attention: a, out } => {
            let input = qkv.iter().map(value).chain([names::BATCH.into()]).collect();
            let mut node = own(op::ATTENTION, input, &[*out])
                .with(Attribute::int("cache", a.cache as i64))
                .with(Attribute::int("heads", a.heads as i64))
                .with(Attribute::int("kv_heads", a.kv_heads as i64))
                .with(Attribute::int("head_dim", a.head_dim as i64))
                .with(Attribute::float("scale", a.scale))
                .with(Attribute::int("window", a.window.unwrap_or(0) as i64));
            if let Some(norm) = &a.head_norm {
                node = node
                    .with(Attribute::string("q_norm", &norm.query.name))
                    .with(Attribute::string("k_norm", &norm.key.name))
                    .with(Attribute::float("eps", norm.eps));
            }
            node
        }
        Op::Rows { x, out } => Node::new("", "Gather", vec![value(x), names::LOGIT_ROWS.into()], vec![value(out)])
            .with(Attribute::int("axis", 0)),
    }
}

fn with_linear(node: Node, prefix: &str, linear: &Linear) -> Node {
    let node = node.with(Attribute::string(&format!("{prefix}weight"), &linear.weight.name));
    match &linear.bias {
        Some(bias) => node.with(Attribute::string(&format!("{prefix}bias"), &bias.name)),
        None => node,
    }
}
