//! Activations by the names that config.json has for them (`ACT2FN` in transformers).

use super::fields::Fields;
use crate::error::Result;
use crate::kernels::Activation;

/// The names, the first one of each activation the one that stands for it.
const NAMES: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
];

/// The activation under `key`, `default` where there is none.
pub(super) fn activation(f: Fields, key: &str, default: Activation) -> Result<Activation> {
    let Some(name) = f.text(key)? else { return Ok(default) };
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, activation)| *activation).ok_or_else(|| {
        let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
        f.unsupported(key, &format!("supported are {}", known.join(", ")))
    })
}

/// The name that stands for `activation`.
pub(super) fn name(activation: Activation) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == activation).map_or("", |(name, _)| name)
}
