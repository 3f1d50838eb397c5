//! Layers of experts (Shazeer et al., 2017), as families share them: how many experts there are, what checkpoints call their tensors,
//! and what such a layer computes.

use std::ops::RangeInclusive;

use super::family::Encoding;
use super::{Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Builder, Expert, Linear, Routing, Value};
use crate::kernels::{Activation, Groups, Score};

/// How the name of a tensor ends that holds the first projections of all experts of a layer, in checkpoints that are in the spelling
/// [`Spellings::held`].
pub(crate) const STACKED: &str = ".experts.gate_up_proj";

/// The most experts that a layer may have.
const MAX_EXPERTS: u64 = 1 << 16;
/// The most that any other number of experts may be.
pub(super) const MAX_NUMBER: u64 = 1 << 20;

/// The layers of experts of a model.
#[derive(Debug)]
pub(super) struct Experts {
    pub spellings: &'static Spellings,
    /// How many experts a layer has.
    pub count: usize,
    /// How many of them a token passes.
    pub top_k: usize,
    /// The inner width of each.
    pub inner: usize,
    /// What the router's logits become.
    pub score: Score,
    /// Whether the weights of a token's experts add up to one.
    pub normalise: bool,
    /// Groups of experts, of which only some may be chosen from.
    pub groups: Option<Groups>,
    /// Multiplies the weights.
    pub scale: f32,
}

/// The two spellings that checkpoints of a family have. [`ModelConfig::stacked_experts`] says which one counts.
#[derive(Debug)]
pub(super) struct Spellings {
    /// As published.
    pub published: Names,
    /// As transformers 5 holds the layer in memory, and saves it with `save_original_format=False`.
    pub held: Names,
}

/// What a checkpoint calls the tensors of a layer of experts, behind the layer's name.
#[derive(Debug)]
pub(super) struct Names {
    /// The router's matrix.
    pub router: &'static str,
    /// What is added to the scores when experts are chosen, if anything is.
    pub bias: Option<&'static str>,
    pub experts: Stored,
}

/// How a layer's experts are stored.
#[derive(Debug)]
pub(super) enum Stored {
    /// Each projection of each expert as `{module}.{number}.{part}.weight`: gate, up and down.
    Single { module: &'static str, parts: [&'static str; 3] },
    /// All experts in two tensors: each one's gate in front of its up, and down.
    Stacked { gate_up: &'static str, down: &'static str },
}

/// How transformers 5 holds the experts of most families.
pub(super) const HELD: Stored = Stored::Stacked { gate_up: "mlp.experts.gate_up_proj", down: "mlp.experts.down_proj" };

/// As Qwen's models have it.
pub(super) const QWEN: Spellings = Spellings {
    published: Names {
        router: "mlp.gate.weight",
        bias: None,
        experts: Stored::Single { module: "mlp.experts", parts: ["gate_proj", "up_proj", "down_proj"] },
    },
    held: Names { router: "mlp.gate.weight", bias: None, experts: HELD },
};

impl Experts {
    /// The numbers that every family reads, in the order that the family's [encoding](super::Family::encode) begins with. What only
    /// some have, they encode.
    pub(super) fn encode(&self, e: &mut Encoding) {
        for number in [self.count, self.top_k, self.inner, self.normalise.into()] {
            e.number(number);
        }
    }

    /// `onto + the sum of weight * expert(n)` over the experts that the router's scores choose.
    pub(super) fn onto(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, onto: Value, n: Value) -> Value {
        let Spellings { published, held } = self.spellings;
        let names = if c.stacked_experts { held } else { published };
        let router = layer.weight(names.router, [self.count, c.hidden_size]).exact();
        let scores = g.linear(n, Linear { weight: router, bias: None });
        let routing = Routing {
            score: self.score,
            top_k: self.top_k,
            normalise: self.normalise,
            bias: names.bias.map(|bias| layer.weight(bias, [self.count])),
            groups: self.groups,
            scale: self.scale,
        };
        let members = (0..self.count).map(|index| self.member(c, layer, &names.experts, index)).collect();
        g.experts(n, scores, routing, members, Activation::Silu, Some(onto))
    }

    /// Expert `index` of a layer.
    fn member(&self, c: &ModelConfig, layer: Layer, stored: &Stored, index: usize) -> Expert {
        let (hidden, inner) = (c.hidden_size, self.inner);
        let [gate, up, down] = match *stored {
            Stored::Single { module, parts: [gate, up, down] } => {
                [(gate, hidden, inner), (up, hidden, inner), (down, inner, hidden)]
                    .map(|(part, input, out)| layer.linear(&format!("{module}.{index}.{part}"), input, out, false))
            }
            Stored::Stacked { gate_up, down } => {
                let of_all = |name, out, input| layer.weight(name, [self.count, out, input]).at(index);
                let (gate_up, down) = (of_all(gate_up, 2 * inner, hidden), of_all(down, hidden, inner));
                [gate_up.rows(0..inner), gate_up.rows(inner..2 * inner), down]
                    .map(|weight| Linear { weight, bias: None })
            }
        };
        Expert { gate: Some(gate), up, down }
    }
}

/// How many experts a layer has, by either of two names: transformers gives some numbers a second one.
pub(super) fn count(f: Fields, [own, other]: [&str; 2], default: usize, from: u64) -> Result<usize> {
    Ok(either(f, [own, other], from..=MAX_EXPERTS)?.unwrap_or(default))
}

/// How many of `experts` experts a token passes. If there are none, it does not matter.
pub(super) fn top_k(f: Fields, key: &str, default: usize, experts: usize) -> Result<usize> {
    let top_k = f.integer(key, u64::from(experts > 0)..=MAX_NUMBER)?.unwrap_or(default);
    if experts > 0 && top_k > experts {
        bail!(Malformed, "{} is {top_k}, and there are {experts} experts", f.name(key));
    }
    Ok(top_k)
}

/// A whole number by either of two names.
pub(super) fn either(f: Fields, [own, other]: [&str; 2], range: RangeInclusive<u64>) -> Result<Option<usize>> {
    match (f.integer(own, range.clone())?, f.integer(other, range)?) {
        (Some(a), Some(b)) if a != b => {
            bail!(Malformed, "{} is {a} and {other} is {b}; keep the one that the tensors have", f.name(own))
        }
        (a, b) => Ok(a.or(b)),
    }
}
