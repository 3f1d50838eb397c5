//! Latent attention (`DeepSeek`-V2, 2024), as families share it: what a token leaves behind is one latent for all heads, and a few
//! rotated values.
//!
//! As published, a matrix for each head makes keys and values out of the latents. It can as well stand on the other side: a head's query
//! goes through the transposed part that gives its keys, and meets the latents themselves; and what the head gathers of these goes
//! through the part that gives its values. So no key or value of a head is ever made, and one row serves all heads. Long prompts cost
//! more arithmetic that way; but a text run token by token must give the same bits, and it would be far too slow the other way.

use super::family::Encoding;
use super::layers::no_window;
use super::{Fields, Layer, ModelConfig, config, experts, rope};
use crate::error::{Result, bail};
use crate::graph::{Attention, Builder, Linear, Value};
use crate::kernels::Rotation;

/// The epsilon of latents' norms, whatever config.json has for others.
const NORM_EPS: f32 = 1e-6;

/// Values of a token and of its heads.
#[derive(Debug)]
pub(super) struct Latents {
    /// `q_lora_rank`: values of the latent that queries are made of, if they are made of one.
    pub query_rank: Option<usize>,
    /// `kv_lora_rank`: values of the latent that keys and values are made of.
    pub rank: usize,
    /// `qk_nope_head_dim`: a head's values of queries and keys that are not rotated.
    pub plain: usize,
    /// `qk_rope_head_dim`: those that are. All heads share those of the keys.
    pub rotated: usize,
    /// `v_head_dim`: a head's values.
    pub value: usize,
    pub rotation: Rotation,
    /// `attention_bias`: on what makes latents, and on the projection behind the attention.
    pub bias: bool,
    /// Multiplies the scores.
    pub scale: f32,
}

/// What the keys default to, by the fields' names.
pub(super) struct Defaults {
    pub query_rank: usize,
    pub plain: usize,
    pub value: usize,
    /// Another key for what is rotated.
    pub rotated: &'static str,
}

impl Latents {
    /// Reads the keys, and makes `c` that of such a model: with what is rotated for a head.
    pub(super) fn read(f: Fields, c: &mut ModelConfig, defaults: &Defaults, rotation: Rotation) -> Result<Self> {
        no_window(f, c)?;
        if c.kv_heads != c.heads {
            return Err(f.unsupported("num_key_value_heads", "each head of queries has keys and values of its own"));
        }
        let number = |key, default| Ok(f.integer(key, 1..=config::MAX_HEAD_DIM)?.unwrap_or(default));
        let query_rank = if f.has("q_lora_rank") {
            f.integer_or_null("q_lora_rank", 1..=config::MAX_WIDTH)?
        } else {
            Some(defaults.query_rank)
        };
        let rank = number("kv_lora_rank", 512)?;
        let plain = number("qk_nope_head_dim", defaults.plain)?;
        let rotated =
            experts::either(f, ["qk_rope_head_dim", defaults.rotated], 1..=config::MAX_HEAD_DIM)?.unwrap_or(64);
        let value = number("v_head_dim", defaults.value)?;
        if !rotated.is_multiple_of(2) {
            return Err(f.wrong("qk_rope_head_dim", "an even number, which pairs need"));
        }
        for (key, width) in [
            ("kv_lora_rank", rank + rotated),
            ("qk_nope_head_dim", plain + value),
            ("qk_rope_head_dim", plain + rotated),
        ] {
            let (heads, most) = (c.heads, config::MAX_WIDTH);
            if (heads * width) as u64 > most {
                bail!(
                    Malformed,
                    "{}: {width} values of each of num_attention_heads {heads} are over {most}",
                    f.name(key)
                );
            }
        }
        // A head's part of the matrix for keys begins anywhere in a block, and is read by columns.
        if c.blocks.is_some() && !(plain + value).is_multiple_of(16) {
            return Err(f.unsupported(
                "qk_nope_head_dim",
                "with fp8 (quantization_config) it and v_head_dim add up to a multiple of 16",
            ));
        }
        c.head_dim = rotated;
        let factor = rope::score_factor(f, c.rope)?;
        let scale = ((plain + rotated) as f64).powf(-0.5) * factor;
        let bias = f.flag("attention_bias")?.unwrap_or(false);
        Ok(Self { query_rank, rank, plain, rotated, value, rotation, bias, scale: scale as f32 })
    }

    /// The numbers, in the order that the family's [encoding](super::Family::encode) begins with.
    pub(super) fn encode(&self, e: &mut Encoding) {
        // The pattern has no `..`, so that whoever adds a field decides whether it belongs here.
        let Self { query_rank, rank, plain, rotated, value, rotation, bias, scale } = self;
        for number in [query_rank.unwrap_or(0), *rank, *plain, *rotated, *value] {
            e.number(number);
        }
        e.number((*rotation == Rotation::Interleaved).into());
        e.number((*bias).into());
        e.computed(*scale);
    }

    /// `x + o(attention(n))` with `n = norm(x)`.
    pub(super) fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let Self { query_rank, rank, plain, rotated, value, bias, .. } = *self;
        let linear = |part: &str, input, out, bias| layer.linear(&format!("self_attn.{part}"), input, out, bias);
        let norm =
            |g: &mut Builder, x, part: &str| g.rms_norm(x, &layer.name(&format!("self_attn.{part}.weight")), NORM_EPS);
        let all = c.heads * (plain + rotated);
        let query = match query_rank {
            None => linear("q_proj", c.hidden_size, all, false),
            Some(query_rank) => linear("q_a_proj", c.hidden_size, query_rank, bias),
        };
        let key = linear("kv_a_proj_with_mqa", c.hidden_size, rank + rotated, bias);

        let n = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let [query, latent, key] = g.qkv(n, [query, key.rows(0..rank), key.rows(rank..rank + rotated)]);
        let latent = norm(g, latent, "kv_a_layernorm");
        let query = match query_rank {
            None => query,
            Some(query_rank) => {
                let query = norm(g, query, "q_a_layernorm");
                g.linear(query, linear("q_b_proj", query_rank, all, false))
            }
        };
        let [keys, values] = self.heads(c, layer);
        let query = g.project_heads(query, keys);
        let gathered = g.attention([query, latent, key], self.attention(c, layer));
        let attended = g.project_heads(gathered, values);
        g.linear_onto(x, attended, linear("o_proj", c.heads * value, c.hidden_size, bias))
    }

    /// For each head the matrix that takes its queries to the latents, and the one that takes what it gathers there to its values. The
    /// checkpoint has both in one, that of the keys as it would take latents to keys.
    fn heads(&self, c: &ModelConfig, layer: Layer) -> [Vec<Linear>; 2] {
        let Self { rank, plain, value, .. } = *self;
        let all = layer.stored(layer.weight("self_attn.kv_b_proj.weight", [c.heads * (plain + value), rank]));
        let of = |head: usize| {
            let first = head * (plain + value);
            [all.rows(first..first + plain).transposed(), all.rows(first + plain..first + plain + value)]
        };
        let linear = |weight| Linear { weight, bias: None };
        let (keys, values) = (0..c.heads).map(|head| of(head).map(linear)).map(|[key, value]| (key, value)).unzip();
        [keys, values]
    }

    /// One row of latents for all heads.
    fn attention(&self, c: &ModelConfig, layer: Layer) -> Attention {
        let mut attention = layer.attention(c);
        let shape = &mut attention.shape;
        (shape.kv_heads, shape.head_dim, shape.latent) = (1, self.rank + self.rotated, Some(self.rank));
        (shape.rotation, shape.scale) = (self.rotation, self.scale);
        attention
    }
}
