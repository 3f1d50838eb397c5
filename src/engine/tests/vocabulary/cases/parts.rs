//! Parts of tensors: rows of fused ones, members of stacked ones, rows in turns and columns.

use super::super::reference::{Layer, Member, Rows, attention, experts, gated, layer, linear, norm, tensor};
use super::super::{HEAD_DIM, KV_HEADS, WIDTH, exact};
use super::experts::{EXPERTS, ROUTING};
use super::{Case, INNER, case, full, plain, usual, weight};
use crate::graph::{Expert, Linear};
use crate::kernels::{Activation, Norm};

/// The fused layer of `parts`.
fn fused() -> Linear {
    Linear::new(&full("qkv_proj"), WIDTH, WIDTH + 2 * KV_HEADS * HEAD_DIM, true)
}

/// Parts of tensors.
pub(in super::super) fn parts() -> Vec<Case> {
    const KV: usize = KV_HEADS * HEAD_DIM;
    let rows = case(
        "rows of a fused layer",
        |g, x| {
            let qkv =
                g.qkv(x, [0..WIDTH, WIDTH..WIDTH + KV, WIDTH + KV..WIDTH + 2 * KV].map(|rows| fused().rows(rows)));
            g.attention(qkv, usual(1))
        },
        |x| {
            let all = linear(
                x,
                &tensor(&full("qkv_proj.weight"), (WIDTH + 2 * KV) * WIDTH),
                Some(&tensor(&full("qkv_proj.bias"), WIDTH + 2 * KV)),
            );
            let slice = |from: usize, len: usize| all.iter().map(|row| row[from..][..len].to_vec()).collect::<Rows>();
            let [q, k, v] = [slice(0, WIDTH), slice(WIDTH, KV), slice(WIDTH + KV, KV)];
            attention([&q, &k, &v], &usual(1))
        },
    );
    let gate_and_up = case(
        "rows of a fused gate",
        |g, x| {
            let whole = plain("gate_up_proj", WIDTH, 2 * INNER);
            let y = g.gated(x, whole.rows(0..INNER), whole.rows(INNER..2 * INNER), Activation::GeluTanh);
            g.linear(y, plain("down", INNER, WIDTH))
        },
        |x| {
            let both_halves = layer(x, &full("gate_up_proj"), 2 * INNER);
            let y = |row: &Vec<f64>| (0..INNER).map(|i| gated(Activation::GeluTanh, row[i], row[INNER + i])).collect();
            layer(&both_halves.iter().map(y).collect(), &full("down"), WIDTH)
        },
    );
    let norms = case(
        "members of stacked vectors",
        |g, x| {
            let [scales, shifts] = ["norms.weight", "norms.bias"].map(|part| weight(part, [3, WIDTH]));
            g.norm(x, Norm::layer(1e-5), Some(scales.at(2)), Some(shifts.at(1)))
        },
        |x| {
            let [scales, shifts] = ["norms.weight", "norms.bias"].map(|part| tensor(&full(part), 3 * WIDTH));
            norm(x, Norm::layer(1e-5), WIDTH, Some(&scales[2 * WIDTH..]), Some(&shifts[WIDTH..2 * WIDTH]))
        },
    );
    vec![rows, gate_and_up, norms, stacked(), in_turns(), in_columns()]
}

/// A fused gate whose rows lie in turns with those of what it meets, biases too.
fn in_turns() -> Case {
    case(
        "rows in turns",
        |g, x| {
            let whole = Linear::new(&full("gate_and_up"), WIDTH, 2 * INNER, true);
            let y = g.gated(x, whole.every(2, 0), whole.every(2, 1), Activation::Silu);
            g.linear(y, plain("down", INNER, WIDTH))
        },
        |x| {
            let [weight, bias] = [("weight", WIDTH), ("bias", 1)]
                .map(|(part, row)| tensor(&full(&format!("gate_and_up.{part}")), 2 * INNER * row));
            let all = linear(x, &weight, Some(&bias));
            let y = |row: &Vec<f64>| row.chunks(2).map(|turn| gated(Activation::Silu, turn[0], turn[1])).collect();
            layer(&all.iter().map(y).collect(), &full("down"), WIDTH)
        },
    )
}

/// Experts as transformers holds those of GPT-OSS: each matrix column after column, gate and up by turns.
fn in_columns() -> Case {
    case(
        "experts in columns",
        |g, x| {
            let scores = g.linear(x, exact(&full("router"), EXPERTS));
            let both = weight("experts.gate_up_columns", [EXPERTS, WIDTH, 2 * INNER]);
            let biases = weight("experts.gate_up_bias", [EXPERTS, 2 * INNER]);
            let down = weight("experts.down_columns", [EXPERTS, INNER, WIDTH]);
            let expert = |e| {
                let half = |which: usize| Linear {
                    weight: both.at(e).transposed().every(2, which),
                    bias: Some(biases.at(e).every(2, which)),
                };
                Expert {
                    gate: Some(half(0)),
                    up: half(1),
                    down: Linear { weight: down.at(e).transposed(), bias: None },
                }
            };
            g.experts(x, scores, ROUTING, (0..EXPERTS).map(expert).collect(), Activation::Silu, None)
        },
        |x| {
            let (both, biases) = (
                tensor(&full("experts.gate_up_columns"), EXPERTS * WIDTH * 2 * INNER),
                tensor(&full("experts.gate_up_bias"), EXPERTS * 2 * INNER),
            );
            let down = tensor(&full("experts.down_columns"), EXPERTS * INNER * WIDTH);
            let half = |e: usize, which: usize| -> Layer {
                let at = |out: usize, input: usize| both[(e * WIDTH + input) * 2 * INNER + 2 * out + which];
                let rows = (0..INNER)
                    .flat_map(|out| (0..WIDTH).map(move |input| (out, input)))
                    .map(|(out, input)| at(out, input))
                    .collect();
                (rows, Some((0..INNER).map(|out| biases[e * 2 * INNER + 2 * out + which]).collect()))
            };
            let down = |e: usize| -> Layer {
                let at = |out: usize, input: usize| down[(e * INNER + input) * WIDTH + out];
                (
                    (0..WIDTH)
                        .flat_map(|out| (0..INNER).map(move |input| (out, input)))
                        .map(|(out, input)| at(out, input))
                        .collect(),
                    None,
                )
            };
            let members: Vec<Member> = (0..EXPERTS).map(|e| (Some(half(e, 0)), half(e, 1), down(e))).collect();
            experts(x, &layer(x, &full("router"), EXPERTS), &ROUTING, &members, Activation::Silu)
        },
    )
    .refused("experts")
}

/// Experts as GPT-OSS and others store them: all of a layer in one tensor, gate and up in one matrix, and with biases.
fn stacked() -> Case {
    case(
        "members of stacked experts",
        |g, x| {
            let scores = g.linear(x, exact(&full("router"), EXPERTS));
            let both = Linear {
                weight: weight("experts.gate_up_proj", [EXPERTS, 2 * INNER, WIDTH]),
                bias: Some(weight("experts.gate_up_proj_bias", [EXPERTS, 2 * INNER])),
            };
            let down = Linear {
                weight: weight("experts.down_proj", [EXPERTS, WIDTH, INNER]),
                bias: Some(weight("experts.down_proj_bias", [EXPERTS, WIDTH])),
            };
            let at = |linear: &Linear, e| Linear {
                weight: linear.weight.at(e),
                bias: linear.bias.as_ref().map(|bias| bias.at(e)),
            };
            let expert = |e| {
                let both = at(&both, e);
                Expert { gate: Some(both.rows(0..INNER)), up: both.rows(INNER..2 * INNER), down: at(&down, e) }
            };
            g.experts(x, scores, ROUTING, (0..EXPERTS).map(expert).collect(), Activation::Silu, None)
        },
        |x| {
            let slice = |part: &str, from: usize, len: usize| tensor(&full(part), from + len)[from..].to_vec();
            let up = |first: usize| -> Layer {
                (
                    slice("experts.gate_up_proj", first * WIDTH, INNER * WIDTH),
                    Some(slice("experts.gate_up_proj_bias", first, INNER)),
                )
            };
            let down = |e: usize| -> Layer {
                (
                    slice("experts.down_proj", e * WIDTH * INNER, WIDTH * INNER),
                    Some(slice("experts.down_proj_bias", e * WIDTH, WIDTH)),
                )
            };
            let member = |e: usize| -> Member { (Some(up(2 * e * INNER)), up((2 * e + 1) * INNER), down(e)) };
            let members: Vec<Member> = (0..EXPERTS).map(member).collect();
            experts(x, &layer(x, &full("router"), EXPERTS), &ROUTING, &members, Activation::Silu)
        },
    )
    .refused("experts")
}
