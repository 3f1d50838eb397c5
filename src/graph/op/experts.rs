//! A layer of experts, of which each token passes a few (Shazeer et al., 2017).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Linear, Value, Weight};
use crate::kernels::{Activation, Groups, Packing, Score, experts_scratch};

/// `out` = the sum of `weight * expert(x)` over the experts that the routing chooses by `scores`, or of `expert(weight * x)`, plus
/// `residual` where there is one.
#[derive(Debug, Clone)]
pub(crate) struct Experts {
    pub x: Value,
    /// The router's logits, a value for each expert.
    pub scores: Value,
    pub routing: Routing,
    pub members: Vec<Expert>,
    pub activation: Activation,
    pub residual: Option<Value>,
    pub out: Value,
}

/// Which experts a token passes, and how much each counts.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    /// What the logits become.
    pub score: Score,
    /// Experts of a token.
    pub top_k: usize,
    /// Whether the scores of a token's experts are divided by their sum.
    pub normalise: bool,
    /// The least that they are divided by.
    pub least_sum: f32,
    /// What is added to the sum before that.
    pub sum_offset: f32,
    /// Added to the scores when experts are chosen, not when they are weighed: `[experts]`.
    pub bias: Option<Weight>,
    /// Groups of experts, of which only some may be chosen from.
    pub groups: Option<Groups>,
    /// Multiplies the weights.
    pub scale: f32,
    /// Multiplies the weight of each expert: `[experts]`.
    pub expert_scales: Option<Weight>,
    /// Whether the weights multiply what an expert reads (Llama 4), and not what it gives.
    pub on_input: bool,
}

/// One expert: `down(activation(gate(x)) * up(x))`, or without a gate `down(activation(up(x)))`.
#[derive(Debug, Clone)]
pub(crate) struct Expert {
    pub gate: Option<Linear>,
    pub up: Linear,
    pub down: Linear,
}

impl Expert {
    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let gate = self.gate.iter().flat_map(Linear::weights);
        gate.chain(self.up.weights()).chain(self.down.weights())
    }
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"Experts"), inputs: &[Type::F32, Type::F32, Type::Optional], outputs: 1 };

impl Operation for Experts {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.x, self.scores].into_iter().chain(self.residual).map(Read::Value).collect()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        self.routing
            .bias
            .iter()
            .chain(&self.routing.expert_scales)
            .chain(self.members.iter().flat_map(Expert::weights))
            .collect()
    }

    /// Those of the experts that a token passes.
    fn token_bytes(&self, bytes: &dyn Fn(&Weight) -> u64) -> u64 {
        let all: u64 = self.members.iter().flat_map(Expert::weights).map(bytes).fold(0, u64::saturating_add);
        let passed = u128::from(all) * self.routing.top_k as u128 / self.members.len().max(1) as u128;
        (passed as u64).saturating_add(self.routing.bias.as_ref().map_or(0, bytes))
    }

    /// Whether quantised or not: what the kernel takes has room for the codes.
    fn scratch_bytes(&self, rows: usize, _: Option<Packing>) -> usize {
        let inner = self.members.first().map_or(0, |expert| expert.up.out());
        experts_scratch(rows, self.routing.top_k, inner, self.x.width)
    }

    /// The stock operator for experts (`MoE`) wants all of a layer stacked in one tensor, which a checkpoint's seldom are.
    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a layer of experts is not written in stock operators")
    }
}
