//! Attention in `f64`, and prompts for it with everything that a model may have.

use super::super::super::testing::{Random, Stored};
use super::super::super::{Dtype, Norm, Serial};
use super::super::*;

/// A model's attention and one prompt for it.
pub(super) struct Case {
    pub(super) shape: AttentionShape,
    pub(super) tokens: usize,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
    /// Of queries and of keys.
    pub(super) norms: Option<(Stored, Stored)>,
    pub(super) sinks: Option<Stored>,
    /// One for each token.
    pub(super) temperature: Option<Vec<f32>>,
    pub(super) kind: RowType,
}

pub(super) const KINDS: [RowType; 3] = [RowType::F32, RowType::F16, RowType::Int8];

/// Keys and values of every token, `[tokens * kv_heads]` heads each.
pub(super) type Heads = [Vec<Vec<f64>>; 2];

impl Case {
    pub(super) fn new(heads: usize, kv_heads: usize, head_dim: usize, tokens: usize, seed: u64) -> Self {
        let rotary_pairs = head_dim / 2;
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            rotary_pairs,
            scale: 1.0 / (head_dim as f32).sqrt(),
            rotation: Rotation::Halves,
            latent: None,
            window: None,
            soft_cap: None,
            head_norm: None,
            norm_after_rotation: false,
        };
        let mut random = Random::new(seed);
        let q = random.values(tokens * heads * head_dim).iter().map(|x| x * 3.0).collect();
        let k = random.values(tokens * kv_heads * head_dim).iter().map(|x| x * 3.0).collect();
        let v = random.values(tokens * kv_heads * head_dim);
        let (norms, sinks, temperature) = (None, None, None);
        let (cos, sin, kind) = (vec![], vec![], RowType::F32);
        let mut case = Self { shape, tokens, q, k, v, cos, sin, norms, sinks, temperature, kind };
        case.angles();
        case
    }

    pub(super) fn angles(&mut self) {
        let pairs = self.shape.rotary_pairs;
        let angle = |i: usize| (i / pairs) as f32 * 10_000_f32.powf(-((i % pairs) as f32) / pairs as f32);
        self.cos = (0..self.tokens * pairs).map(|i| angle(i).cos()).collect();
        self.sin = (0..self.tokens * pairs).map(|i| angle(i).sin()).collect();
    }

    pub(super) fn with_norms(mut self) -> Self {
        let dim = self.shape.head_dim;
        self.norms = Some((Stored::new(1, dim, Dtype::BF16, 98), Stored::new(1, dim, Dtype::F32, 99)));
        self.with_norm(Norm::rms(1e-6))
    }

    pub(super) fn with_norm(mut self, norm: Norm) -> Self {
        self.shape.head_norm = Some(norm);
        self
    }

    pub(super) fn normed_after_rotation(mut self) -> Self {
        self.shape.norm_after_rotation = true;
        self
    }

    pub(super) fn with_soft_cap(mut self, cap: f32) -> Self {
        self.shape.soft_cap = Some(cap);
        self
    }

    pub(super) fn with_sinks(mut self) -> Self {
        self.sinks = Some(Stored::new(1, self.shape.heads, Dtype::BF16, 97));
        self
    }

    pub(super) fn with_temperature(mut self) -> Self {
        self.temperature = Some(Random::new(96).values(self.tokens).iter().map(|t| 1.0 + t / 2.0).collect());
        self
    }

    pub(super) fn interleaved(mut self) -> Self {
        self.shape.rotation = Rotation::Interleaved;
        self
    }

    /// With everything at once that Gemma, GPT-OSS, GLM and Mistral 3 have each some of.
    pub(super) fn with_all(self, window: usize) -> Self {
        let norm = Norm { offset: 1.0, ..Norm::rms(1e-6) };
        let case = self.with_norms().with_norm(norm).with_soft_cap(9.0).with_sinks().with_temperature();
        case.interleaved().with_window(window)
    }

    pub(super) fn kept_as(mut self, kind: RowType) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn with_window(mut self, window: usize) -> Self {
        self.shape.window = Some(Window::Sliding(window));
        self
    }

    pub(super) fn in_chunks(mut self, of: usize) -> Self {
        self.shape.window = Some(Window::Chunked(of));
        self
    }

    pub(super) fn with_rotary_pairs(mut self, pairs: usize) -> Self {
        self.shape.rotary_pairs = pairs;
        self.angles();
        self
    }

    /// Whose keys are latents of so many values and what is rotated behind them.
    pub(super) fn with_latent(mut self, latent: usize) -> Self {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let behind = head_dim - latent;
        (self.shape.latent, self.shape.rotary_pairs) = (Some(latent), behind / 2);
        self.k.truncate(self.tokens * kv_heads * latent);
        self.v.truncate(self.tokens * kv_heads * behind);
        self.angles();
        self
    }

    pub(super) fn cache(&self) -> Cache {
        let capacity = self.tokens + 3;
        // What was never written must never be read: NaNs of every type.
        let [keys, values] = self
            .shape
            .kept_widths()
            .map(|width| vec![0xff; self.shape.kv_heads * capacity * self.kind.bytes(width) + 1]);
        Cache { keys, values, from: 0, capacity, first: 0, position: 0 }
    }

    /// What is left of a cache when the tokens before `first` are let go of, with room for `more`.
    pub(super) fn rest(&self, cache: &Cache, first: usize, more: usize) -> Cache {
        let bytes = self.kind.bytes(self.shape.head_dim);
        let (kept, capacity) = (cache.position - first, cache.position - first + more);
        let [keys, values] = [&cache.keys, &cache.values].map(|rows| {
            let mut rest = vec![0xff; self.shape.kv_heads * capacity * bytes];
            for (head, rest) in rest.chunks_exact_mut(capacity * bytes).enumerate() {
                let from = cache.from + (head * cache.capacity + first) * bytes;
                rest[..kept * bytes].copy_from_slice(&rows[from..][..kept * bytes]);
            }
            rest
        });
        Cache { keys, values, from: 0, capacity, first, position: cache.position }
    }

    /// Runs the tokens from `cache.position` on.
    pub(super) fn step(&self, isa: Isa, par: &dyn Parallel, cache: &mut Cache, tokens: usize) -> Vec<f32> {
        run_batch(isa, par, &mut [(self, cache, tokens)]).remove(0)
    }

    pub(super) fn whole(&self, isa: Isa) -> Vec<f32> {
        self.step(isa, &Serial, &mut self.cache(), self.tokens)
    }

    /// The heads as they are computed, in f64.
    pub(super) fn exact(&self) -> Heads {
        let AttentionShape { kv_heads, head_dim, latent, .. } = self.shape;
        let norm = self.norms.as_ref().map(|norms| &norms.1);
        if let Some(latent) = latent {
            let values: Vec<Vec<f64>> =
                self.k.chunks(latent).map(|k| k.iter().map(|k| f64::from(*k)).collect()).collect();
            let behind = self.v.chunks(head_dim - latent).enumerate().map(|(i, k)| self.head(k, i / kv_heads, None));
            let keys = values.iter().zip(behind).map(|(first, second)| [first.clone(), second].concat()).collect();
            return [keys, values];
        }
        let keys = self.k.chunks(head_dim).enumerate().map(|(i, k)| self.head(k, i / kv_heads, norm)).collect();
        let values = self.v.chunks(head_dim).map(|v| v.iter().map(|v| f64::from(*v)).collect()).collect();
        [keys, values]
    }

    /// The heads as a full cache holds them.
    pub(super) fn kept(&self, cache: &Cache) -> Heads {
        let AttentionShape { kv_heads, latent, .. } = self.shape;
        let of = |rows: &[u8], width: usize| -> Vec<Vec<f64>> {
            let bytes = self.kind.bytes(width);
            let row = |i: usize| &rows[cache.from + (i % kv_heads * cache.capacity + i / kv_heads) * bytes..][..bytes];
            (0..self.tokens * kv_heads).map(|i| decode(self.kind, row(i))).collect()
        };
        let [first, second] = self.shape.kept_widths();
        let [keys, values] = [of(&cache.keys, first), of(&cache.values, second)];
        match latent {
            None => [keys, values],
            Some(_) => {
                [keys.iter().zip(&values).map(|(latent, behind)| [&latent[..], behind].concat()).collect(), keys]
            }
        }
    }

    /// Everything in f64, one score at a time.
    pub(super) fn reference(&self, [keys, values]: &Heads) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim, scale, window, soft_cap, .. } = self.shape;
        let norms = self.norms.as_ref();
        let mut out = Vec::new();
        for token in 0..self.tokens {
            for head in 0..heads {
                let q = &self.q[(token * heads + head) * head_dim..][..head_dim];
                let (passing, rotated) = q.split_at(self.shape.latent.unwrap_or(0));
                let rotated = self.head(rotated, token, norms.map(|n| &n.0));
                let q = [passing.iter().map(|q| f64::from(*q)).collect(), rotated].concat();
                let kv_head = head / (heads / kv_heads);
                let from = match window {
                    None => 0,
                    Some(Window::Sliding(w)) => (token + 1).saturating_sub(w),
                    Some(Window::Chunked(w)) => token / w * w,
                };
                let scale = f64::from(scale) * self.temperature.as_ref().map_or(1.0, |t| f64::from(t[token]));
                let scores: Vec<f64> = (from..=token)
                    .map(|t| keys[t * kv_heads + kv_head].iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() * scale)
                    .map(|score| soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()))
                    .collect();
                let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks.values[head]));
                let largest = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - largest).exp());
                let mut mean = vec![0.0; self.shape.value_dim()];
                for (t, weight) in weights.iter().enumerate() {
                    for (mean, value) in mean.iter_mut().zip(&values[(from + t) * kv_heads + kv_head]) {
                        *mean += weight / sum * value;
                    }
                }
                out.extend(mean);
            }
        }
        out
    }

    pub(super) fn head(&self, x: &[f32], token: usize, weight: Option<&Stored>) -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        if self.shape.norm_after_rotation {
            self.normed(self.rotated(x, token), weight)
        } else {
            self.rotated(self.normed(x, weight), token)
        }
    }

    fn normed(&self, mut x: Vec<f64>, weight: Option<&Stored>) -> Vec<f64> {
        if let Some(Norm { offset, eps, .. }) = self.shape.head_norm {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            for (i, x) in x.iter_mut().enumerate() {
                let weight = weight.map_or(1.0, |weight| f64::from(weight.values[i]) + f64::from(offset));
                *x *= weight / (mean + f64::from(eps)).sqrt();
            }
        }
        x
    }

    fn rotated(&self, mut x: Vec<f64>, token: usize) -> Vec<f64> {
        let pairs = self.shape.rotary_pairs;
        for i in 0..pairs {
            let (cos, sin) = (f64::from(self.cos[token * pairs + i]), f64::from(self.sin[token * pairs + i]));
            let (first, second) = match self.shape.rotation {
                Rotation::Halves => (i, i + pairs),
                Rotation::Interleaved => (2 * i, 2 * i + 1),
            };
            let (a, b) = (x[first], x[second]);
            (x[first], x[second]) = (a * cos - b * sin, b * cos + a * sin);
        }
        x
    }

    /// Runs everything and compares: what the cache holds with what was computed, and the outputs with what it holds.
    pub(super) fn check(&self, isa: Isa) {
        let mut cache = self.cache();
        let out = self.step(isa, &Serial, &mut cache, self.tokens);
        let (exact, kept) = (self.exact(), self.kept(&cache));
        for (exact, kept) in exact.iter().flatten().zip(kept.iter().flatten()) {
            let largest = exact.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (exact, kept) in exact.iter().zip(kept) {
                // Half a unit in the last place of 11 bits, half a step of 127 to the largest; and the roundings before that.
                let rounding = match self.kind {
                    RowType::F32 => 0.0,
                    RowType::F16 => exact.abs() / 2048.0 + f64::from(2_f32.powi(-25)),
                    RowType::Int8 => largest / 254.0,
                };
                assert!((exact - kept).abs() <= rounding + 2e-6 * largest, "{isa:?} {:?}: {exact}, {kept}", self.kind);
            }
        }
        // Outputs are means of values below 1; scores of up to about 30 carry errors of a few hundred roundings.
        for (i, (out, expected)) in out.iter().zip(self.reference(&kept)).enumerate() {
            assert!(
                (f64::from(*out) - expected).abs() < 2e-5,
                "{isa:?} {:?} {:?}: element {i} is {out}, expected {expected}",
                self.kind,
                self.shape
            );
        }
    }
}

/// The values of a row.
pub(super) fn decode(kind: RowType, row: &[u8]) -> Vec<f64> {
    match kind {
        RowType::F32 => row.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        RowType::F16 => row.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
        RowType::Int8 => {
            let (codes, scale) = row.split_at(row.len() - 4);
            let scale = f64::from(f32::from_le_bytes(scale.try_into().unwrap()));
            codes.iter().map(|code| f64::from(code.cast_signed()) * scale).collect()
        }
    }
}

pub(super) struct Cache {
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
    /// Where the rows begin.
    pub(super) from: usize,
    pub(super) capacity: usize,
    /// Position of the first row.
    pub(super) first: usize,
    pub(super) position: usize,
}

/// Runs some tokens of several segments in one call and moves their positions.
pub(super) fn run_batch(isa: Isa, par: &dyn Parallel, parts: &mut [(&Case, &mut Cache, usize)]) -> Vec<Vec<f32>> {
    let case = parts[0].0;
    let AttentionShape { heads, kv_heads, head_dim, rotary_pairs, .. } = case.shape;
    let pack = |of: fn(&Case) -> &[f32], width: usize| -> Vec<f32> {
        parts
            .iter()
            .flat_map(|(case, cache, tokens)| &of(case)[cache.position * width..][..tokens * width])
            .copied()
            .collect()
    };
    let q = pack(|c| &c.q, heads * head_dim);
    let [key, value] = case.shape.kept_widths();
    // Of a case whose caches have the rows already there are none.
    let kept = case.k.is_empty();
    let k = if kept { Vec::new() } else { pack(|c| &c.k, kv_heads * key) };
    let v = if kept { Vec::new() } else { pack(|c| &c.v, kv_heads * value) };
    let cos = pack(|c| &c.cos, rotary_pairs);
    let sin = pack(|c| &c.sin, rotary_pairs);
    let temperature: Vec<f32> = parts
        .iter()
        .filter_map(|(case, cache, tokens)| Some(&case.temperature.as_ref()?[cache.position..][..*tokens]))
        .flatten()
        .copied()
        .collect();
    let inputs = AttentionInputs {
        q: &q,
        k: &k,
        v: &v,
        cos: &cos,
        sin: &sin,
        q_norm: case.norms.as_ref().map(|norms| norms.0.matrix()),
        k_norm: case.norms.as_ref().map(|norms| norms.1.matrix()),
        sinks: case.sinks.as_ref().map(Stored::matrix),
        temperature: case.temperature.is_some().then_some(&temperature),
    };
    let mut out = vec![f32::NAN; q.len() / head_dim * case.shape.value_dim()];
    let mut segments: Vec<AttentionSegment> = parts
        .iter_mut()
        .map(|(case, cache, tokens)| AttentionSegment {
            keys: &mut cache.keys[cache.from..],
            values: &mut cache.values[cache.from..],
            kind: case.kind,
            capacity: cache.capacity,
            first: cache.first,
            position: cache.position,
            tokens: *tokens,
        })
        .collect();
    attention(isa, par, &case.shape, &inputs, &mut segments, &mut out);
    let mut rest = &out[..];
    parts
        .iter_mut()
        .map(|(_, cache, tokens)| {
            cache.position += *tokens;
            let (own, others) = rest.split_at(*tokens * heads * case.shape.value_dim());
            rest = others;
            own.to_vec()
        })
        .collect()
}

/// Every instruction set with every type of rows.
pub(super) fn everywhere() -> impl Iterator<Item = (Isa, RowType)> {
    Isa::available().into_iter().flat_map(|isa| KINDS.map(|kind| (isa, kind)))
}
