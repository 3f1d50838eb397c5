//! The operations in f64, as their papers have them, one value at a time.

use super::{HEAD_DIM, HEADS, KV_HEADS, ROTATIONS};
use crate::graph::{Attention, Routing};
use crate::kernels::{Activation, Groups, Norm, NormKind, Rotation, Score, Window};

/// A row for each token.
pub(super) type Rows = Vec<Vec<f64>>;

/// The first `count` values of the tensor `name` of every checkpoint in these tests, repeatable and in -0.5..0.5.
pub(super) fn stored(name: &str, count: usize) -> Vec<f32> {
    // FNV-1a, then xorshift.
    let mut state = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// The values of [`stored`] in f64.
pub(super) fn tensor(name: &str, count: usize) -> Vec<f64> {
    stored(name, count).into_iter().map(f64::from).collect()
}

/// `x Wᵀ + b`.
pub(super) fn linear(x: &Rows, weight: &[f64], bias: Option<&[f64]>) -> Rows {
    let row = |x: &Vec<f64>| {
        let products = weight.chunks(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
        products.enumerate().map(|(i, y)| y + bias.map_or(0.0, |bias| bias[i])).collect()
    };
    x.iter().map(row).collect()
}

/// The linear layer of the tensor `{module}.weight`.
pub(super) fn layer(x: &Rows, module: &str, out: usize) -> Rows {
    linear(x, &tensor(&format!("{module}.weight"), out * x[0].len()), None)
}

/// `f` of each value.
pub(super) fn each(x: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    x.iter().map(|row| row.iter().map(|x| f(*x)).collect()).collect()
}

/// `f` of each two values in one place.
pub(super) fn both(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

/// The norm of each `width` values.
pub(super) fn norm(x: &Rows, norm: Norm, width: usize, weight: Option<&[f64]>, bias: Option<&[f64]>) -> Rows {
    let part = |x: &[f64]| -> Vec<f64> {
        let count = x.len() as f64;
        let mean = if norm.kind == NormKind::Layer { x.iter().sum::<f64>() / count } else { 0.0 };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let factor = |i: usize| weight.map_or(1.0, |weight| weight[i] + f64::from(norm.offset));
        let normed = x.iter().map(|x| (x - mean) / (variance + f64::from(norm.eps)).sqrt());
        normed.enumerate().map(|(i, x)| x * factor(i) + bias.map_or(0.0, |bias| bias[i])).collect()
    };
    x.iter().map(|row| row.chunks(width).flat_map(part).collect()).collect()
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The activation of one value.
pub(super) fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => x * (1.0 + libm::erf(x / 2.0_f64.sqrt())) / 2.0,
        Activation::GeluTanh => {
            x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()) / 2.0
        }
        Activation::Relu => x.max(0.0),
        Activation::Relu2 => x.max(0.0).powi(2),
        Activation::ClampedSwiglu { alpha, limit } => {
            let x = x.min(f64::from(limit));
            x * sigmoid(f64::from(alpha) * x)
        }
    }
}

/// The activation of `gate`, times `up` or what GPT-OSS makes of it.
pub(super) fn gated(kind: Activation, gate: f64, up: f64) -> f64 {
    let up = match kind {
        Activation::ClampedSwiglu { limit, .. } => up.clamp(-f64::from(limit), f64::from(limit)) + 1.0,
        _ => up,
    };
    activation(kind, gate) * up
}

/// Attention over the whole prompt.
pub(super) fn attention([q, k, v]: [&Rows; 3], a: &Attention) -> Rows {
    let vector = |weight: &Option<crate::graph::Weight>, count| weight.as_ref().map(|w| tensor(&w.name, count));
    let [q, k] = [(q, &a.query_norm), (k, &a.key_norm)].map(|(x, weight)| {
        let normed = |x: &Rows| match a.shape.head_norm {
            Some(kind) => norm(x, kind, HEAD_DIM, vector(weight, HEAD_DIM).as_deref(), None),
            None => x.clone(),
        };
        let turned = |x: &Rows| -> Rows {
            let row =
                |(position, row): (usize, &Vec<f64>)| row.chunks(HEAD_DIM).flat_map(|x| turn(x, position, a)).collect();
            x.iter().enumerate().map(row).collect()
        };
        if a.shape.norm_after_rotation { normed(&turned(x)) } else { turned(&normed(x)) }
    });
    let sinks = vector(&a.sinks, HEADS);
    let head = |position: usize, head: usize| {
        let factor = a.temperature.map_or(1.0, |t| {
            let periods = ((position as f64 + f64::from(t.shift)) / f64::from(t.period)).floor();
            1.0 + f64::from(t.beta) * (1.0 + periods).ln()
        });
        let kv = (head / (HEADS / KV_HEADS)) * HEAD_DIM;
        let first = match a.shape.window {
            None => 0,
            Some(Window::Sliding(size)) => (position + 1).saturating_sub(size),
            Some(Window::Chunked(size)) => position / size * size,
        };
        let seen = first..=position;
        let query = &q[position][head * HEAD_DIM..][..HEAD_DIM];
        let weights: Vec<f64> = seen
            .clone()
            .map(|at| k[at][kv..][..HEAD_DIM].iter().zip(query).map(|(k, q)| k * q).sum::<f64>())
            .map(|score| score * f64::from(a.shape.scale) * factor)
            .map(|score| a.shape.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()))
            .map(f64::exp)
            .collect();
        let sum = weights.iter().sum::<f64>() + sinks.as_ref().map_or(0.0, |sinks| sinks[head].exp());
        let mean = move |i: usize| seen.clone().zip(&weights).map(|(at, weight)| weight / sum * v[at][kv + i]).sum();
        (0..HEAD_DIM).map(mean).collect::<Vec<f64>>()
    };
    (0..q.len()).map(|position| (0..HEADS).flat_map(|h| head(position, h)).collect()).collect()
}

/// One head, rotated to `position`.
fn turn(x: &[f64], position: usize, a: &Attention) -> Vec<f64> {
    let (pairs, mut turned) = (a.shape.rotary_pairs, x.to_vec());
    for pair in 0..pairs {
        let (theta, _) = ROTATIONS[a.rope];
        let angle = position as f64 * theta.powf(-(pair as f64) / pairs as f64);
        let (i, j) = match a.shape.rotation {
            Rotation::Halves => (pair, pair + pairs),
            Rotation::Interleaved => (2 * pair, 2 * pair + 1),
        };
        turned[i] = x[i] * angle.cos() - x[j] * angle.sin();
        turned[j] = x[j] * angle.cos() + x[i] * angle.sin();
    }
    turned
}

/// The weights and biases of a layer.
pub(super) type Layer = (Vec<f64>, Option<Vec<f64>>);

/// One expert: gate, up and down.
pub(super) type Member = (Option<Layer>, Layer, Layer);

/// A layer of experts.
pub(super) fn experts(x: &Rows, scores: &Rows, routing: &Routing, members: &[Member], kind: Activation) -> Rows {
    let apply = |x: &Rows, (weight, bias): &Layer| linear(x, weight, bias.as_deref());
    let row = |(x, scores): (&Vec<f64>, &Vec<f64>)| {
        let (rows, mut sum) = (vec![x.clone()], vec![0.0; x.len()]);
        for (id, weight) in routed(scores, routing) {
            let (x, weight) =
                if routing.on_input { (each(&rows, |x| weight * x), 1.0) } else { (rows.clone(), weight) };
            let (gate, up, down) = &members[id];
            let up = apply(&x, up);
            let inner = match gate {
                Some(gate) => both(&apply(&x, gate), &up, |gate, up| gated(kind, gate, up)),
                None => each(&up, |up| activation(kind, up)),
            };
            sum.iter_mut().zip(&apply(&inner, down)[0]).for_each(|(sum, y)| *sum += weight * y);
        }
        sum
    };
    x.iter().zip(scores).map(row).collect()
}

/// The experts of one token, and their weights.
fn routed(logits: &[f64], routing: &Routing) -> Vec<(usize, f64)> {
    let softmax = |of: &[f64]| -> Vec<f64> {
        let sum: f64 = of.iter().map(|x| x.exp()).sum();
        of.iter().map(|x| x.exp() / sum).collect()
    };
    let descending = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        order
    };
    let scores = match routing.score {
        Score::Softmax => softmax(logits),
        Score::Sigmoid => logits.iter().map(|x| sigmoid(*x)).collect(),
        Score::SoftmaxOfTopK | Score::SparseMixer { .. } => logits.to_vec(),
    };
    let bias = routing.bias.as_ref().map_or(vec![0.0; logits.len()], |bias| tensor(&bias.name, logits.len()));
    let mut choice: Vec<f64> = scores.iter().zip(&bias).map(|(score, bias)| score + bias).collect();
    if let Some(Groups { count, top, best }) = routing.groups {
        let size = choice.len() / count;
        let sum = |group: &[f64]| descending(group)[..best].iter().map(|i| group[*i]).sum::<f64>();
        let sums: Vec<f64> = choice.chunks(size).map(sum).collect();
        for group in &descending(&sums)[top..] {
            choice[group * size..][..size].fill(f64::NEG_INFINITY);
        }
    }
    let chosen = &descending(&choice)[..routing.top_k];
    let mut weights: Vec<f64> = chosen.iter().map(|id| scores[*id]).collect();
    if routing.score == Score::SoftmaxOfTopK {
        weights = softmax(&weights);
    }
    if let Score::SparseMixer { jitter } = routing.score {
        let share = |place: usize| {
            let most = logits[chosen[place]];
            let close = |score: &f64| (most - score) / score.abs().max(most) <= 2.0 * f64::from(jitter);
            let left = (0..logits.len()).filter(|id| !chosen[..place].contains(id)).map(|id| logits[id]);
            1.0 / left.filter(close).map(|score| (score - most).exp()).sum::<f64>()
        };
        weights = (0..chosen.len()).map(share).collect();
    }
    let sum: f64 = if routing.normalise { weights.iter().sum() } else { 1.0 };
    let sum = (sum + f64::from(routing.sum_offset)).max(f64::from(routing.least_sum));
    let scales = routing.expert_scales.as_ref().map(|scales| tensor(&scales.name, logits.len()));
    let scale = |id: usize| f64::from(routing.scale) * scales.as_ref().map_or(1.0, |scales| scales[id]);
    chosen.iter().zip(weights).map(|(id, weight)| (*id, weight / sum * scale(*id))).collect()
}
