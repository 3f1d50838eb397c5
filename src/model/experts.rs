//! Layers of experts (Shazeer et al., 2017), as families share them: how many experts there are, and what such a layer computes.

use std::ops::RangeInclusive;

use super::family::Encoding;
use super::plain::mlp;
use super::spellings::{Bias, DEEPSEEK, QWEN, Spellings, Stored};
use super::{Fields, Layer, ModelConfig, activation};
use crate::error::{Result, bail, err};
use crate::graph::{Builder, Expert, Linear, Routing, Value, Weight};
use crate::kernels::{Activation, Groups, Score};

/// What is added to the sum of weights in most families: beside any sum that is not nearly zero it is nothing.
pub(super) const SUM_OFFSET: f32 = 1e-20;

/// The most experts that a layer may have.
pub(super) const MAX_EXPERTS: u64 = 1 << 16;
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
    /// The least that they are divided by for that.
    pub least_sum: f32,
    /// What is added to their sum before that.
    pub sum_offset: f32,
    /// Groups of experts, of which only some may be chosen from.
    pub groups: Option<Groups>,
    /// Multiplies the weights.
    pub scale: f32,
    /// Whether the weights multiply what an expert reads, and not what it gives.
    pub on_input: bool,
    /// What each expert applies to its gate, or to its first projection where it has none.
    pub activation: Activation,
    /// A narrower width that the experts have as theirs.
    pub latent: Option<Latent>,
    /// What every token passes besides.
    pub shared: Option<Shared>,
}

/// Projections in front of all experts of a layer and behind them.
#[derive(Debug)]
pub(super) struct Latent {
    pub modules: [&'static str; 2],
    pub width: usize,
    pub bias: bool,
}

/// An MLP beside the experts, which every token passes.
#[derive(Debug)]
pub(super) struct Shared {
    pub module: &'static str,
    /// Its inner width.
    pub inner: usize,
    /// Whether its projections have biases.
    pub bias: bool,
    /// The vector whose product with the token says, through a sigmoid, how much the MLP counts.
    pub gate: Option<&'static str>,
    /// The activation of an MLP that has no gate of its own.
    pub plain: Option<Activation>,
}

/// What the keys of `DeepSeek`'s experts default to.
pub(super) struct Defaults {
    /// How many there are, how many of them a token passes, and how many every token does; without them the keys must be there.
    pub numbers: Option<[usize; 3]>,
    /// The inner width of each.
    pub inner: usize,
    /// How many groups there are, and how many of them may be chosen from.
    pub groups: [usize; 2],
    pub normalise: bool,
    pub scale: f64,
}

impl Experts {
    /// Experts by the softmax of the router's logits, and nothing beside them.
    pub(super) fn by_softmax(
        spellings: &'static Spellings,
        [count, top_k, inner]: [usize; 3],
        normalise: bool,
    ) -> Self {
        Self {
            spellings,
            count,
            top_k,
            inner,
            score: Score::Softmax,
            normalise,
            least_sum: 0.0,
            sum_offset: SUM_OFFSET,
            groups: None,
            scale: 1.0,
            on_input: false,
            activation: Activation::Silu,
            latent: None,
            shared: None,
        }
    }

    /// Experts as in `DeepSeek` V3 (2024): the sigmoids of the router's logits and a bias choose them, in the groups whose best two add
    /// up to most, and beside them are some that every token passes.
    pub(super) fn deepseek(f: Fields, defaults: &Defaults) -> Result<Self> {
        let number = |keys: [&str; 2], place: usize, range: RangeInclusive<u64>| {
            let missing = || err!(Malformed, "{} is missing", f.name(keys[0]));
            either(f, keys, range)?.or(defaults.numbers.map(|numbers| numbers[place])).ok_or_else(missing)
        };
        let count = number(["n_routed_experts", "num_local_experts"], 0, 1..=MAX_EXPERTS)?;
        let top_k = number(["num_experts_per_tok"; 2], 1, 1..=MAX_NUMBER)?;
        let shared = number(["n_shared_experts"; 2], 2, 0..=MAX_EXPERTS)?;
        let inner = f.integer("moe_intermediate_size", 1..=MAX_NUMBER)?.unwrap_or(defaults.inner);
        let [groups, top] = [("n_group", 0), ("topk_group", 1)]
            .map(|(key, place)| f.integer(key, 1..=MAX_EXPERTS).map(|own| own.unwrap_or(defaults.groups[place])));
        let groups = Groups { count: groups?, top: top?, best: 2 };
        check(f, [count, top_k], groups)?;
        on_every_layer(f)?;
        // `null` is as good as false.
        let normalise = f.flag("norm_topk_prob")?.unwrap_or(defaults.normalise && !f.has("norm_topk_prob"));
        Ok(Self {
            score: Score::Sigmoid,
            groups: Some(groups).filter(|groups| groups.count > 1),
            scale: factor(f, "routed_scaling_factor", defaults.scale)?,
            shared: (shared > 0).then(|| Shared::new(shared * inner)),
            ..Self::by_softmax(&DEEPSEEK, [count, top_k, inner], normalise)
        })
    }

    /// Experts as in `DeepSeek` V2: the softmax of the router's logits chooses them, of all or in the groups whose best ones are the
    /// best, and beside them are some that every token passes, with a `bias` or without.
    pub(super) fn deepseek_v2(f: Fields, bias: bool) -> Result<Self> {
        let count = count(f, ["n_routed_experts", "num_experts"], 64, 1)?;
        let top_k = top_k(f, ["num_experts_per_tok"; 2], 0, count)?;
        if top_k == 0 {
            bail!(Malformed, "{} is missing", f.name("num_experts_per_tok"));
        }
        let shared = f.integer("n_shared_experts", 0..=MAX_EXPERTS)?.unwrap_or(2);
        if shared == 0 && bias {
            return Err(f.unsupported("n_shared_experts", "mlp_bias needs some"));
        }
        let inner = f.integer("moe_intermediate_size", 1..=MAX_NUMBER)?.unwrap_or(1407);
        let groups = match f.text("topk_method")? {
            None | Some("greedy") => None,
            Some("group_limited_greedy") => {
                let [groups, top] = ["n_group", "topk_group"].map(|key| f.required(key, 1..=MAX_EXPERTS));
                let groups = Groups { count: groups?, top: top?, best: 1 };
                check(f, [count, top_k], groups)?;
                Some(groups)
            }
            Some(_) => return Err(f.unsupported("topk_method", "supported are greedy and group_limited_greedy")),
        };
        on_every_layer(f)?;
        Ok(Self {
            groups,
            scale: factor(f, "routed_scaling_factor", 1.0)?,
            shared: (shared > 0).then(|| Shared { bias, ..Shared::new(shared * inner) }),
            ..Self::by_softmax(&QWEN, [count, top_k, inner], false)
        })
    }

    /// The numbers, in the order that the family's [encoding](super::Family::encode) begins with.
    #[allow(clippy::float_cmp, reason = "what is exactly as usual is left out")]
    pub(super) fn encode(&self, e: &mut Encoding) {
        // The pattern has no `..`, so that whoever adds a field decides whether it belongs here.
        let Self {
            spellings: _,
            count,
            top_k,
            inner,
            score,
            normalise,
            least_sum,
            sum_offset,
            groups,
            scale,
            on_input,
            activation,
            latent,
            shared,
        } = self;
        for number in [*count, *top_k, *inner, (*normalise).into()] {
            e.number(number);
        }
        // What only some families have is left out in the others.
        if let Some(Groups { count, top, best }) = groups {
            for number in [count, top, best] {
                e.number(*number);
            }
        }
        if let Some(shared) = shared {
            e.number(shared.inner);
        }
        if let Some(latent) = latent {
            e.number(latent.width);
        }
        if *activation != Activation::Silu {
            e.text(activation::name(*activation));
        }
        if let Score::SparseMixer { jitter } = score {
            e.float(*jitter);
        }
        for (value, usual) in [(*least_sum, 0.0), (*sum_offset, SUM_OFFSET), (*scale, 1.0)] {
            if value != usual {
                e.float(value);
            }
        }
        if *on_input {
            e.number(1);
        }
    }

    /// `x + the sum of weight * expert(n)` over the experts that the router chooses, and what is shared, with `n = norm(x)`.
    pub(super) fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let n = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        self.onto(g, c, layer, x, n)
    }

    /// `x + the sum of weight * expert(n)` over the experts that the router chooses, and what is shared.
    pub(super) fn onto(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let x = self.shared.as_ref().map_or(x, |shared| shared.onto(g, c, layer, x, n));
        self.routed(g, c, layer, n, n, Some(x))
    }

    /// The sum of `weight * expert(n)` over the experts that the router chooses by `scored`, onto `x` where there is one.
    pub(super) fn routed(
        &self,
        g: &mut Builder,
        c: &ModelConfig,
        layer: Layer,
        scored: Value,
        n: Value,
        x: Option<Value>,
    ) -> Value {
        let Spellings { published, held } = self.spellings;
        let names = if c.stacked_experts { held } else { published };
        let router = layer.weight(names.router, [self.count, c.hidden_size]).exact();
        let scores = g.linear(scored, Linear { weight: router, bias: None });
        let routing = Routing {
            score: self.score,
            top_k: self.top_k,
            normalise: self.normalise,
            least_sum: self.least_sum,
            sum_offset: self.sum_offset,
            bias: names.bias.as_ref().map(|bias| match *bias {
                Bias::Vector(name) => layer.weight(name, [self.count]),
                Bias::Row(name) => layer.weight(name, [1, self.count]).exact(),
            }),
            groups: self.groups,
            scale: self.scale,
            expert_scales: names.scales.map(|name| layer.weight(name, [self.count])),
            on_input: self.on_input,
        };
        let members = |hidden| (0..self.count).map(|index| self.member(hidden, layer, &names.experts, index)).collect();
        let Some(Latent { modules: [before, behind], width, bias }) = self.latent else {
            return g.experts(n, scores, routing, members(c.hidden_size), self.activation, x);
        };
        let n = g.linear(n, layer.linear(before, c.hidden_size, width, bias));
        let y = g.experts(n, scores, routing, members(width), self.activation, None);
        let behind = layer.linear(behind, width, c.hidden_size, bias);
        match x {
            Some(x) => g.linear_onto(x, y, behind),
            None => g.linear(y, behind),
        }
    }

    /// Expert `index` of a layer, from rows of `hidden` values to such rows.
    fn member(&self, hidden: usize, layer: Layer, stored: &Stored, index: usize) -> Expert {
        let inner = self.inner;
        let single =
            |module: &str, part: &str, input, out| layer.linear(&format!("{module}.{index}.{part}"), input, out, false);
        let of_all = |name, shape: [usize; 2]| layer.weight(name, [self.count, shape[0], shape[1]]).at(index);
        let plain = |weight| Linear { weight, bias: None };
        let halves = |gate_up: Weight, down| Expert {
            gate: Some(plain(gate_up.rows(0..inner))),
            up: plain(gate_up.rows(inner..2 * inner)),
            down: plain(down),
        };
        match *stored {
            Stored::Single { module, parts: [gate, up, down] } => Expert {
                gate: Some(single(module, gate, hidden, inner)),
                up: single(module, up, hidden, inner),
                down: single(module, down, inner, hidden),
            },
            Stored::Stacked { gate_up, down } => {
                halves(of_all(gate_up, [2 * inner, hidden]), of_all(down, [hidden, inner]))
            }
            Stored::Columns { gate_up, down } => {
                let (gate_up, down) = (of_all(gate_up, [hidden, 2 * inner]), of_all(down, [inner, hidden]));
                halves(gate_up.transposed(), down.transposed())
            }
            Stored::SinglePlain { module, parts: [up, down] } => {
                Expert { gate: None, up: single(module, up, hidden, inner), down: single(module, down, inner, hidden) }
            }
            Stored::StackedPlain { up, down } => Expert {
                gate: None,
                up: plain(of_all(up, [inner, hidden])),
                down: plain(of_all(down, [hidden, inner])),
            },
        }
    }
}

impl Shared {
    /// As most families have it, `inner` wide.
    pub(super) fn new(inner: usize) -> Self {
        Self { module: "mlp.shared_experts", inner, bias: false, gate: None, plain: None }
    }

    /// `x + down(silu(gate(n)) * up(n))`, or `x +` a share of that, or `x + down(activation(up(n)))`.
    pub(super) fn onto(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let (hidden, inner) = (c.hidden_size, self.inner);
        let linear = |part: &str, input, out| layer.linear(&format!("{}.{part}", self.module), input, out, self.bias);
        if let Some(activation) = self.plain {
            return mlp(g, x, n, linear("up_proj", hidden, inner), activation, linear("down_proj", inner, hidden));
        }
        let gated = g.gated(n, linear("gate_proj", hidden, inner), linear("up_proj", hidden, inner), Activation::Silu);
        let down = linear("down_proj", inner, hidden);
        let Some(gate) = self.gate else { return g.linear_onto(x, gated, down) };
        let y = g.linear(gated, down);
        let gate = g.linear(n, Linear { weight: layer.weight(gate, [1, hidden]).exact(), bias: None });
        let y = g.sigmoid_gate(y, gate);
        g.add(x, y, 1.0)
    }
}

/// Whether groups can be made of `count` experts, and hold the `top_k` of a token.
fn check(f: Fields, [count, top_k]: [usize; 2], Groups { count: all, top, best }: Groups) -> Result<()> {
    if !count.is_multiple_of(all) || count / all < best {
        bail!(
            Malformed,
            "{} is {all}: n_routed_experts {count} is no multiple of it from {best} on",
            f.name("n_group")
        );
    }
    if top > all {
        bail!(Malformed, "{} is {top}, and n_group is {all}", f.name("topk_group"));
    }
    let open = count / all * top;
    if top_k > open {
        let name = f.name("num_experts_per_tok");
        bail!(
            Malformed,
            "{name} is {top_k}, and topk_group {top} of n_group {all} groups hold {open} of n_routed_experts {count}"
        );
    }
    Ok(())
}

/// Refuses `moe_layer_freq`, by which only each so many layers have experts: transformers does not read it.
fn on_every_layer(f: Fields) -> Result<()> {
    match f.integer_or_null("moe_layer_freq", 0..=MAX_NUMBER)? {
        None | Some(1) => Ok(()),
        Some(_) => Err(f.unsupported("moe_layer_freq", "all layers behind the first have experts")),
    }
}

/// How many experts a layer has, by either of two names: transformers gives some numbers a second one.
pub(super) fn count(f: Fields, [own, other]: [&str; 2], default: usize, from: u64) -> Result<usize> {
    Ok(either(f, [own, other], from..=MAX_EXPERTS)?.unwrap_or(default))
}

/// How many of `experts` experts a token passes. If there are none, it does not matter.
pub(super) fn top_k(f: Fields, keys: [&str; 2], default: usize, experts: usize) -> Result<usize> {
    let top_k = either(f, keys, u64::from(experts > 0)..=MAX_NUMBER)?.unwrap_or(default);
    if experts > 0 && top_k > experts {
        bail!(Malformed, "{} is {top_k}, more than the {experts} experts that a layer has", f.name(keys[0]));
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

/// A factor of any sign.
pub(super) fn factor(f: Fields, key: &str, default: f64) -> Result<f32> {
    let factor = f.number(key)?.unwrap_or(default);
    if !(-1e9..=1e9).contains(&factor) {
        return Err(f.wrong(key, "between -1e9 and 1e9"));
    }
    Ok(factor as f32)
}
