//! What families have in common that kept the norms and the MLP of the first transformers: `LayerNorm` with a bias, and an MLP of two
//! layers without a gate.

use super::ModelConfig;
use crate::graph::{Builder, Linear, Value, Weight};
use crate::kernels::{Activation, Norm};

/// `(x - mean(x)) / deviation(x) * weight + bias`, with the weight and the bias of `module`.
pub(super) fn layer_norm(g: &mut Builder, c: &ModelConfig, x: Value, module: &str) -> Value {
    norm(g, x, Norm::layer(c.rms_norm_eps), module)
}

/// The norm `norm` of `x`, with the weight and the bias of `module`.
pub(super) fn norm(g: &mut Builder, x: Value, norm: Norm, module: &str) -> Value {
    let [weight, bias] = ["weight", "bias"].map(|part| Weight::new(format!("{module}.{part}"), [x.width]));
    g.norm(x, norm, Some(weight), Some(bias))
}

/// `residual + down(activation(up(x)))`.
pub(super) fn mlp(
    g: &mut Builder,
    residual: Value,
    x: Value,
    up: Linear,
    activation: Activation,
    down: Linear,
) -> Value {
    let up = g.linear(x, up);
    let activated = g.activate(up, activation);
    g.linear_onto(residual, activated, down)
}
