//! Layers of experts.

use super::super::reference::{Member, both, experts, layer, tensor};
use super::super::{WIDTH, exact};
use super::{ACTIVATIONS, Case, INNER, case, full, plain, weight};
use crate::graph::{Expert, Routing};
use crate::kernels::{Activation, Groups, Score};

pub(super) const EXPERTS: usize = 8;
pub(super) const ROUTING: Routing = Routing {
    score: Score::Softmax,
    top_k: 3,
    normalise: true,
    least_sum: 0.0,
    sum_offset: 1e-20,
    bias: None,
    groups: None,
    scale: 1.0,
    expert_scales: None,
    on_input: false,
};

/// A layer of experts whose tensors are whole, onto the residual stream if they have no gate.
fn sparse(name: &str, kind: Activation, has_gate: bool, routing: impl Fn() -> Routing + Copy + 'static) -> Case {
    let part = |expert: usize, part: &str| format!("experts.{expert}.{part}");
    case(
        name,
        move |g, x| {
            let scores = g.linear(x, exact(&full("router"), EXPERTS));
            let expert = |e| Expert {
                gate: has_gate.then(|| plain(&part(e, "gate"), WIDTH, INNER)),
                up: plain(&part(e, "up"), WIDTH, INNER),
                down: plain(&part(e, "down"), INNER, WIDTH),
            };
            let residual = (!has_gate).then_some(x);
            g.experts(x, scores, routing(), (0..EXPERTS).map(expert).collect(), kind, residual)
        },
        move |x| {
            let values = |e, p| (tensor(&full(&format!("{}.weight", part(e, p))), WIDTH * INNER), None);
            let member = |e| -> Member { (has_gate.then(|| values(e, "gate")), values(e, "up"), values(e, "down")) };
            let members: Vec<Member> = (0..EXPERTS).map(member).collect();
            let sum = experts(x, &layer(x, &full("router"), EXPERTS), &routing(), &members, kind);
            if has_gate { sum } else { both(x, &sum, |x, y| x + y) }
        },
    )
    .refused("experts")
}

pub(super) fn layers_of_experts() -> Vec<Case> {
    const SILU: Activation = Activation::Silu;
    let bias = || Some(weight("router.bias", [EXPERTS]));
    let groups = Some(Groups { count: 4, top: 2, best: 2 });
    vec![
        sparse("experts by softmax", SILU, true, || ROUTING),
        sparse("without a sum of one", SILU, true, || Routing { normalise: false, ..ROUTING }),
        sparse("experts by sigmoid", SILU, true, || Routing { score: Score::Sigmoid, normalise: false, ..ROUTING }),
        sparse("experts by softmax of the chosen", SILU, true, || Routing {
            score: Score::SoftmaxOfTopK,
            normalise: false,
            ..ROUTING
        }),
        sparse("bias for the choice", SILU, true, move || Routing { bias: bias(), score: Score::Sigmoid, ..ROUTING }),
        sparse("a sum that is added to", SILU, true, move || Routing { bias: bias(), sum_offset: 0.5, ..ROUTING }),
        sparse("a sum that is too small", SILU, true, move || Routing { bias: bias(), least_sum: 0.75, ..ROUTING }),
        sparse("experts by SparseMixer", SILU, true, || Routing {
            score: Score::SparseMixer { jitter: 0.25 },
            normalise: false,
            ..ROUTING
        }),
        sparse("groups", SILU, true, move || Routing { groups, ..ROUTING }),
        sparse("groups, bias and scale", SILU, true, move || Routing {
            score: Score::Sigmoid,
            bias: bias(),
            groups,
            scale: 2.5,
            ..ROUTING
        }),
        sparse("weights on what experts read", SILU, true, || Routing {
            score: Score::Sigmoid,
            normalise: false,
            on_input: true,
            ..ROUTING
        }),
        sparse("a factor for each expert", SILU, true, || Routing {
            expert_scales: Some(weight("router.scales", [EXPERTS])),
            sum_offset: 0.0,
            ..ROUTING
        }),
        sparse("experts without a gate", Activation::Relu2, false, || ROUTING),
        sparse("clamped experts", ACTIVATIONS[5], true, || ROUTING),
    ]
}
