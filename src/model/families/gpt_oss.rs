//! `GPT-OSS` (`OpenAI`, 2025): a logit for each head that joins its softmax, a window on every other layer, biases everywhere, and a layer
//! of experts with a clamped gate, published in four-bit floats.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value as Json};

use super::config::MAX_POSITIONS;
use super::experts;
use super::family::Encoding;
use super::layers::windows;
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama};
use crate::error::{Result, bail};
use crate::graph::{Builder, Expert, Linear, MXFP4_BLOCK, Routing, Value, Weight};
use crate::kernels::{Activation, Score};

pub(super) const GPT_OSS: Architecture = Architecture {
    model_type: "gpt_oss",
    name: "GptOssForCausalLM",
    covers: "gpt-oss (20b, 120b), gpt-oss-safeguard",
    honours: &["quantization_config"],
    family,
};

/// How positions are rotated where config.json does not say.
static YARN: LazyLock<Map<String, Json>> = LazyLock::new(|| {
    let numbers =
        [("factor", 32.0), ("beta_fast", 32.0), ("beta_slow", 1.0), ("original_max_position_embeddings", 4096.0)];
    let numbers = numbers.map(|(key, number)| (key.to_owned(), number.into()));
    numbers.into_iter().chain([("rope_type".into(), "yarn".into()), ("truncate".into(), false.into())]).collect()
});

#[derive(Debug)]
struct GptOss {
    /// `num_local_experts`, or `num_experts`, as transformers also calls it.
    experts: usize,
    /// `num_experts_per_tok`.
    top_k: usize,
    /// `swiglu_alpha`: multiplies what the gate's sigmoid is taken of.
    alpha: f32,
    /// `swiglu_limit`: the largest gate, and the largest magnitude of what it meets.
    limit: f32,
    /// Whether experts are four-bit floats, as `quantization_config` says. The tensors' names decide.
    mxfp4: bool,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    // No layer asks for it: the gate of an expert is the family's own.
    f.text("hidden_act")?;
    c.rope = RopeDefaults { theta: 150_000.0, object: Some(&*YARN), ..RopeDefaults::default() };
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 64)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    let bias = f.flag("attention_bias")?.unwrap_or(true);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    let window = f.integer("sliding_window", 1..=MAX_POSITIONS)?.unwrap_or(128);
    c.windows = windows(f, c.layers, Some(window), |layer| layer % 2 == 0)?;
    let count = experts::count(f, ["num_local_experts", "num_experts"], 128, 1)?;
    let mxfp4 = is_mxfp4(f)?;
    for (key, width) in [("hidden_size", c.hidden_size), ("intermediate_size", c.intermediate_size)] {
        if mxfp4 && !width.is_multiple_of(MXFP4_BLOCK) {
            bail!(
                Malformed,
                "{} is {width}, no multiple of {MXFP4_BLOCK}, as mxfp4 (quantization_config) needs it",
                f.name(key)
            );
        }
    }
    Ok(Arc::new(GptOss {
        experts: count,
        top_k: experts::top_k(f, ["num_experts_per_tok"; 2], 4, count)?,
        alpha: f.number("swiglu_alpha")?.unwrap_or(1.702) as f32,
        limit: f.positive("swiglu_limit", 1e9)?.unwrap_or(7.0) as f32,
        mxfp4,
    }))
}

/// Whether `quantization_config` says that experts are four-bit floats. It may say nothing else.
fn is_mxfp4(f: Fields) -> Result<bool> {
    let Some(config) = f.object("quantization_config")? else { return Ok(false) };
    match config.text("quant_method")? {
        Some("mxfp4") => Ok(true),
        Some(_) => {
            Err(config.unsupported("quant_method", "supported is mxfp4; or take the checkpoint that is not quantised"))
        }
        None => bail!(Malformed, "{} is missing", config.name("quant_method")),
    }
}

impl GptOss {
    /// Expert `index` of a layer. Its gate and up lie row by row in turns.
    fn expert(&self, c: &ModelConfig, layer: Layer, index: usize) -> Expert {
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        // As transformers holds them, each matrix is stored column after column.
        let is_held = c.stacked_experts || !self.mxfp4;
        let weight = |part: &str, out: usize, input: usize| {
            if is_held {
                return layer.weight(part, [self.experts, input, out]).at(index).transposed();
            }
            Weight::mxfp4(&layer.name(part), [self.experts, out, input]).at(index)
        };
        let linear = |part: &str, out: usize, input: usize| Linear {
            weight: weight(part, out, input),
            bias: Some(layer.weight(&format!("{part}_bias"), [self.experts, out]).at(index)),
        };
        let both = linear("mlp.experts.gate_up_proj", 2 * inner, hidden);
        Expert {
            gate: Some(both.every(2, 0)),
            up: both.every(2, 1),
            down: linear("mlp.experts.down_proj", hidden, inner),
        }
    }
}

impl Family for GptOss {
    fn encode(&self, e: &mut Encoding) {
        e.number(self.experts);
        e.number(self.top_k);
        e.float(self.alpha);
        e.float(self.limit);
    }

    /// Llama's attention with sinks; then `x + the sum of weight * expert(n)` over the experts with the largest logits, which are
    /// weighed by the softmax of theirs alone, with `n = norm(x)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.sinks = Some(layer.weight("self_attn.sinks", [c.heads]));
        let x = llama::self_attention(g, c, layer, attention, x);

        let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        let router = layer.linear("mlp.router", c.hidden_size, self.experts, true);
        let scores = g.linear(normed, Linear { weight: router.weight.exact(), ..router });
        let routing = Routing {
            score: Score::SoftmaxOfTopK,
            top_k: self.top_k,
            normalise: false,
            least_sum: 0.0,
            sum_offset: experts::SUM_OFFSET,
            bias: None,
            groups: None,
            scale: 1.0,
            expert_scales: None,
            on_input: false,
        };
        let members = (0..self.experts).map(|index| self.expert(c, layer, index)).collect();
        let activation = Activation::ClampedSwiglu { alpha: self.alpha, limit: self.limit };
        g.experts(normed, scores, routing, members, activation, Some(x))
    }
}
