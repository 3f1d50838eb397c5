//! Nemotron-H (Blakeman et al., 2025) and Nemotron 3: each layer is one thing alone, Mamba-2 (Dao and Gu, 2024), attention without
//! rotation, an MLP whose activation is the square of `ReLU`, or experts of such MLPs.

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::{Names, norm_eps};
use super::experts::{self, Defaults, Experts, Latent, Shared};
use super::family::Encoding;
use super::layers::listed;
use super::mamba2::{GatedNorm, Mamba2, holds, number};
use super::plain::mlp;
use super::{Architecture, Family, Fields, Layer, ModelConfig, spellings};
use crate::error::{Result, bail};
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, ScanShape};

pub(in super::super) const NEMOTRON_H: Architecture = Architecture {
    model_type: "nemotron_h",
    name: "NemotronHForCausalLM",
    covers: "Nemotron-H (8B, 47B, 56B), Nemotron Nano 2 (9B, 12B), Nemotron 3 (Nano, Super)",
    honours: &[],
    family,
};

#[derive(Debug)]
struct NemotronH {
    /// What each layer is.
    kinds: Vec<Kind>,
    mamba: Mamba2,
    /// `mlp_hidden_act`.
    activation: Activation,
    experts: Experts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mamba,
    Attention,
    Mlp,
    Experts,
}

/// `mlp_bias` puts a bias on the projections of MLPs and around experts; attention has none.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.names = Names { embedding: "model.embeddings.weight", ..c.names };
    c.set_default(f, "intermediate_size", |c| &mut c.intermediate_size, 21_504)?;
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 128)?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096)?;
    c.rms_norm_eps = norm_eps(f, "layer_norm_epsilon", 1e-5)?;
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    // The head is never the embedding.
    c.tie_word_embeddings = false;
    let kinds = kinds(f)?;
    c.layers = kinds.len();
    let activation = activation(f, "mlp_hidden_act", Activation::Relu2)?;
    Ok(Arc::new(NemotronH { kinds, mamba: mamba(f)?, activation, experts: sparse(f, c, activation)? }))
}

/// A list of the layers' kinds, or a letter for each of them. How many there are decides, whatever `num_hidden_layers` says.
fn kinds(f: Fields) -> Result<Vec<Kind>> {
    const NAMES: [&str; 6] = ["mamba", "linear_attention", "attention", "full_attention", "mlp", "moe"];
    const LETTERS: [(char, Kind); 4] =
        [('M', Kind::Mamba), ('*', Kind::Attention), ('-', Kind::Mlp), ('E', Kind::Experts)];
    const PATTERN: &str = "hybrid_override_pattern";
    let [blocks, types] = ["layers_block_type", "layer_types"].map(|key| listed(f, key, &NAMES));
    let (blocks, types) = (blocks?, types?);
    if blocks.is_some() && types.is_some() && blocks != types {
        bail!(Malformed, "{} is another list than layer_types; keep the right one", f.name("layers_block_type"));
    }
    let kinds: Vec<Kind> = if let Some(list) = blocks.or(types) {
        let kind = |place: usize| [Kind::Mamba, Kind::Attention, Kind::Mlp, Kind::Experts][[0, 0, 1, 1, 2, 3][place]];
        list.into_iter().map(kind).collect()
    } else if let Some(pattern) = f.text(PATTERN)? {
        let kind = |letter| LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, kind)| *kind);
        let kinds: Option<Vec<Kind>> = pattern.chars().map(kind).collect();
        kinds.ok_or_else(|| f.unsupported(PATTERN, "its letters may be M, *, - and E"))?
    } else {
        vec![Kind::Mamba, Kind::Experts, Kind::Attention, Kind::Mlp]
    };
    if !(1..=1 << 12).contains(&kinds.len()) {
        let name = f.name("layers_block_type");
        bail!(Malformed, "{name}, layer_types or {PATTERN} has {} layers, outside 1..=4096", kinds.len());
    }
    Ok(kinds)
}

/// The Mamba-2 layers. Some keys have an older name, which counts where both are there.
fn mamba(f: Fields) -> Result<Mamba2> {
    let either = |older, key| if f.has(older) { older } else { key };
    let of_groups = either("mamba_n_groups", "n_groups");
    let (heads, groups) = (number(f, "mamba_num_heads", 128)?, number(f, of_groups, 8)?);
    let (head_width, state_width) = (number(f, "mamba_head_dim", 64)?, number(f, "ssm_state_size", 128)?);
    number(f, either("mamba_chunk_size", "chunk_size"), 128)?;
    let shortest = f.number(either("mamba_dt_min", "time_step_min"))?.unwrap_or(0.001);
    let bias = f.flag("use_bias")?.unwrap_or(false);
    let layer = Mamba2 {
        module: "mixer",
        scan: ScanShape { heads, head_width, groups, state_width, limits: [shortest as f32, f32::INFINITY] },
        taps: f.integer(either("mamba_d_conv", "conv_kernel"), 2..=64)?.unwrap_or(4),
        activation: activation(f, "mamba_hidden_act", Activation::Silu)?,
        conv_bias: holds(f, either("mamba_conv_bias", "use_conv_bias"))?,
        in_bias: bias,
        out_bias: bias,
        norm: GatedNorm::BehindGate,
        factors: None,
    };
    layer.checked(f, ["mamba_num_heads", of_groups])
}

/// `DeepSeek`'s experts, without gates, and in a narrower width than the model's if `moe_latent_size` says so.
fn sparse(f: Fields, c: &ModelConfig, activation: Activation) -> Result<Experts> {
    let width = |key, default| Ok(f.integer(key, 1..=experts::MAX_NUMBER)?.unwrap_or(default));
    let shared = Shared {
        module: "mixer.shared_experts",
        bias: c.mlp_bias,
        plain: Some(activation),
        ..Shared::new(width("moe_shared_expert_intermediate_size", 7688)?)
    };
    let latent = f.integer_or_null("moe_latent_size", 1..=experts::MAX_NUMBER)?.map(|width| Latent {
        modules: ["mixer.fc1_latent_proj", "mixer.fc2_latent_proj"],
        width,
        bias: c.mlp_bias,
    });
    let defaults = Defaults { numbers: Some([8, 2, 1]), inner: 7688, groups: [1, 1], normalise: true, scale: 1.0 };
    Ok(Experts {
        spellings: &spellings::NEMOTRON,
        activation,
        latent,
        shared: Some(shared),
        ..Experts::deepseek(f, &defaults)?
    })
}

impl Family for NemotronH {
    fn encode(&self, e: &mut Encoding) {
        e.number(self.kinds.len());
        self.kinds.iter().for_each(|kind| e.number(*kind as usize));
        self.mamba.encode(e);
        e.text(activation::name(self.activation));
        self.experts.encode(e);
    }

    /// `x + mixer(norm(x))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let n = g.rms_norm(x, &layer.name("norm.weight"), c.rms_norm_eps);
        let linear = |part, input, out, bias| layer.linear(part, input, out, bias);
        let hidden = c.hidden_size;
        match self.kinds.get(layer.index).copied().unwrap_or(Kind::Mlp) {
            Kind::Mamba => {
                let mixed = self.mamba.mixed(g, c, layer, n);
                g.linear_onto(x, mixed, self.mamba.out(c, layer))
            }
            Kind::Attention => {
                let (query, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
                let parts = [("mixer.q_proj", query), ("mixer.k_proj", kv), ("mixer.v_proj", kv)];
                let qkv = g.qkv(n, parts.map(|(part, out)| linear(part, hidden, out, false)));
                let mut attention = layer.attention(c);
                attention.shape.rotary_pairs = 0;
                let attended = g.attention(qkv, attention);
                g.linear_onto(x, attended, linear("mixer.o_proj", query, hidden, false))
            }
            Kind::Mlp => {
                let (up, down) = (("mixer.up_proj", c.intermediate_size), "mixer.down_proj");
                let up = linear(up.0, hidden, up.1, c.mlp_bias);
                let down = linear(down, c.intermediate_size, hidden, c.mlp_bias);
                mlp(g, x, n, up, self.activation, down)
            }
            Kind::Experts => self.experts.onto(g, c, layer, x, n),
        }
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.rms_norm(x, "model.norm_f.weight", c.rms_norm_eps)
    }
}
