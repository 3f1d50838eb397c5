use super::super::testing::{Random, Stored, Threads, bits};
use super::super::{Dtype, Serial};
use super::attend::CHUNK;
use super::*;

/// A model's attention and one prompt for it.
struct Case {
    shape: AttentionShape,
    tokens: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// Of queries and of keys.
    norms: Option<(Stored, Stored)>,
    sinks: Option<Stored>,
    /// One for each token.
    temperature: Option<Vec<f32>>,
    kind: RowType,
}

const KINDS: [RowType; 3] = [RowType::F32, RowType::F16, RowType::Int8];

/// Keys and values of every token, `[tokens * kv_heads]` heads each.
type Heads = [Vec<Vec<f64>>; 2];

impl Case {
    fn new(heads: usize, kv_heads: usize, head_dim: usize, tokens: usize, seed: u64) -> Self {
        let rotary_pairs = head_dim / 2;
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            rotary_pairs,
            scale: 1.0 / (head_dim as f32).sqrt(),
            rotation: Rotation::Halves,
            window: None,
            soft_cap: None,
            head_norm: None,
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

    fn angles(&mut self) {
        let pairs = self.shape.rotary_pairs;
        let angle = |i: usize| (i / pairs) as f32 * 10_000_f32.powf(-((i % pairs) as f32) / pairs as f32);
        self.cos = (0..self.tokens * pairs).map(|i| angle(i).cos()).collect();
        self.sin = (0..self.tokens * pairs).map(|i| angle(i).sin()).collect();
    }

    fn with_norms(mut self) -> Self {
        let dim = self.shape.head_dim;
        self.norms = Some((Stored::new(1, dim, Dtype::BF16, 98), Stored::new(1, dim, Dtype::F32, 99)));
        self.with_norm(Norm::rms(1e-6))
    }

    fn with_norm(mut self, norm: Norm) -> Self {
        self.shape.head_norm = Some(norm);
        self
    }

    fn with_soft_cap(mut self, cap: f32) -> Self {
        self.shape.soft_cap = Some(cap);
        self
    }

    fn with_sinks(mut self) -> Self {
        self.sinks = Some(Stored::new(1, self.shape.heads, Dtype::BF16, 97));
        self
    }

    fn with_temperature(mut self) -> Self {
        self.temperature = Some(Random::new(96).values(self.tokens).iter().map(|t| 1.0 + t / 2.0).collect());
        self
    }

    fn interleaved(mut self) -> Self {
        self.shape.rotation = Rotation::Interleaved;
        self
    }

    /// With everything at once that Gemma, GPT-OSS, GLM and Mistral 3 have each some of.
    fn with_all(self, window: usize) -> Self {
        let norm = Norm { offset: 1.0, ..Norm::rms(1e-6) };
        let case = self.with_norms().with_norm(norm).with_soft_cap(9.0).with_sinks().with_temperature();
        case.interleaved().with_window(window)
    }

    fn kept_as(mut self, kind: RowType) -> Self {
        self.kind = kind;
        self
    }

    fn with_window(mut self, window: usize) -> Self {
        self.shape.window = Some(window);
        self
    }

    fn with_rotary_pairs(mut self, pairs: usize) -> Self {
        self.shape.rotary_pairs = pairs;
        self.angles();
        self
    }

    fn cache(&self) -> Cache {
        let capacity = self.tokens + 3;
        // What was never written must never be read: NaNs of every type.
        let rows = vec![0xff; self.shape.kv_heads * capacity * self.kind.bytes(self.shape.head_dim) + 1];
        Cache { keys: rows.clone(), values: rows, from: 0, capacity, first: 0, position: 0 }
    }

    /// What is left of a cache when the tokens before `first` are let go of, with room for `more`.
    fn rest(&self, cache: &Cache, first: usize, more: usize) -> Cache {
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
    fn step(&self, isa: Isa, par: &dyn Parallel, cache: &mut Cache, tokens: usize) -> Vec<f32> {
        run_batch(isa, par, &mut [(self, cache, tokens)]).remove(0)
    }

    fn whole(&self, isa: Isa) -> Vec<f32> {
        self.step(isa, &Serial, &mut self.cache(), self.tokens)
    }

    /// The heads as they are computed, in f64.
    fn exact(&self) -> Heads {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let norm = self.norms.as_ref().map(|norms| &norms.1);
        let keys = self.k.chunks(head_dim).enumerate().map(|(i, k)| self.head(k, i / kv_heads, norm)).collect();
        let values = self.v.chunks(head_dim).map(|v| v.iter().map(|v| f64::from(*v)).collect()).collect();
        [keys, values]
    }

    /// The heads as a full cache holds them.
    fn kept(&self, cache: &Cache) -> Heads {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let bytes = self.kind.bytes(head_dim);
        [&cache.keys, &cache.values].map(|rows| {
            let row = |i: usize| &rows[cache.from + (i % kv_heads * cache.capacity + i / kv_heads) * bytes..][..bytes];
            (0..self.tokens * kv_heads).map(|i| decode(self.kind, row(i))).collect()
        })
    }

    /// Everything in f64, one score at a time.
    fn reference(&self, [keys, values]: &Heads) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim, scale, window, soft_cap, .. } = self.shape;
        let norms = self.norms.as_ref();
        let mut out = Vec::new();
        for token in 0..self.tokens {
            for head in 0..heads {
                let q = &self.q[(token * heads + head) * head_dim..][..head_dim];
                let q = self.head(q, token, norms.map(|n| &n.0));
                let kv_head = head / (heads / kv_heads);
                let from = window.map_or(0, |w| (token + 1).saturating_sub(w));
                let scale = f64::from(scale) * self.temperature.as_ref().map_or(1.0, |t| f64::from(t[token]));
                let scores: Vec<f64> = (from..=token)
                    .map(|t| keys[t * kv_heads + kv_head].iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() * scale)
                    .map(|score| soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()))
                    .collect();
                let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks.values[head]));
                let largest = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - largest).exp());
                let mut mean = vec![0.0; head_dim];
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

    fn head(&self, x: &[f32], token: usize, norm: Option<&Stored>) -> Vec<f64> {
        let mut x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        if let Some(Norm { offset, eps, .. }) = self.shape.head_norm {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            for (i, x) in x.iter_mut().enumerate() {
                let weight = norm.map_or(1.0, |norm| f64::from(norm.values[i]) + f64::from(offset));
                *x *= weight / (mean + f64::from(eps)).sqrt();
            }
        }
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
    fn check(&self, isa: Isa) {
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
fn decode(kind: RowType, row: &[u8]) -> Vec<f64> {
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

struct Cache {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Where the rows begin.
    from: usize,
    capacity: usize,
    /// Position of the first row.
    first: usize,
    position: usize,
}

/// Runs some tokens of several sequences in one call and moves their positions.
fn run_batch(isa: Isa, par: &dyn Parallel, parts: &mut [(&Case, &mut Cache, usize)]) -> Vec<Vec<f32>> {
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
    let k = pack(|c| &c.k, kv_heads * head_dim);
    let v = pack(|c| &c.v, kv_heads * head_dim);
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
    let mut out = vec![f32::NAN; q.len()];
    let mut sequences: Vec<Sequence> = parts
        .iter_mut()
        .map(|(case, cache, tokens)| Sequence {
            keys: &mut cache.keys[cache.from..],
            values: &mut cache.values[cache.from..],
            kind: case.kind,
            capacity: cache.capacity,
            first: cache.first,
            position: cache.position,
            tokens: *tokens,
        })
        .collect();
    attention(isa, par, &case.shape, &inputs, &mut sequences, &mut out);
    let mut rest = &out[..];
    parts
        .iter_mut()
        .map(|(_, cache, tokens)| {
            cache.position += *tokens;
            let (own, others) = rest.split_at(*tokens * heads * head_dim);
            rest = others;
            own.to_vec()
        })
        .collect()
}

/// Every instruction set with every type of rows.
fn everywhere() -> impl Iterator<Item = (Isa, RowType)> {
    Isa::available().into_iter().flat_map(|isa| KINDS.map(|kind| (isa, kind)))
}

#[test]
fn every_shape_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for head_dim in [2, 6, 10, 18, 24, 40, 64, 80, 96, 128] {
            for (heads, kv_heads) in [(1, 1), (4, 4), (7, 1), (8, 2), (6, 3)] {
                Case::new(heads, kv_heads, head_dim, 70, head_dim as u64).kept_as(kind).check(isa);
            }
            Case::new(6, 2, head_dim, 30, 5).with_norms().kept_as(kind).check(isa);
            Case::new(3, 3, head_dim, 30, 6).with_rotary_pairs(head_dim / 4).kept_as(kind).check(isa);
            for window in [1, 2, 5, 64, 65] {
                Case::new(4, 2, head_dim, 140, 7).with_window(window).kept_as(kind).check(isa);
            }
        }
    }
}

#[test]
fn every_option_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for head_dim in [6, 10, 40, 64] {
            let case = || Case::new(6, 2, head_dim, 70, 21).kept_as(kind);
            let offset = Norm { offset: 1.0, ..Norm::rms(1e-6) };
            case().with_norms().with_norm(offset).check(isa);
            case().with_norm(Norm::rms(1e-6)).check(isa);
            case().interleaved().check(isa);
            case().interleaved().with_rotary_pairs(head_dim / 4).check(isa);
            case().with_rotary_pairs(0).with_temperature().check(isa);
            case().with_soft_cap(2.0).check(isa);
            case().with_sinks().check(isa);
            case().with_all(33).check(isa);
        }
        Case::new(2, 1, 16, CHUNK + 100, 8).kept_as(kind).with_all(CHUNK).check(isa);
    }
}

/// A sink far above all scores takes nearly everything, one far below nothing.
#[test]
fn sinks_may_be_far_from_the_scores() {
    for isa in Isa::available() {
        let mut case = Case::new(1, 1, 8, 5, 22);
        let without = case.whole(isa);
        for (sink, expected) in [(1e4, 0.0), (-1e4, 1.0)] {
            case.sinks = Some(Stored::of(1, 1, &[sink]));
            for (with, without) in case.whole(isa).iter().zip(&without) {
                assert!((with - expected * without).abs() < 1e-6, "{isa:?}: {with} of {without}");
            }
        }
    }
}

#[test]
fn tokens_that_no_row_sees_may_be_let_go_of() {
    for (isa, kind) in everywhere() {
        for (case, window, from) in [
            (Case::new(4, 2, 24, 200, 23).with_norms(), 70, 131),
            (Case::new(6, 2, 10, 200, 24).with_all(33), 33, 100),
            (Case::new(3, 1, 8, CHUNK + 150, 25).with_sinks(), 100, CHUNK + 40),
            (Case::new(3, 1, 8, CHUNK + 150, 26), CHUNK, CHUNK + 90),
        ] {
            let case = case.kept_as(kind).with_window(window);
            let mut cache = case.cache();
            case.step(isa, &Threads(2), &mut cache, from);
            for tokens in [1, 7, case.tokens - from] {
                let expected = case.step(isa, &Serial, &mut case.rest(&cache, 0, tokens), tokens);
                let needed = from + 1 - window;
                for first in [needed, needed - 1, needed / 64 * 64, needed.saturating_sub(64).max(1)] {
                    for threads in [1, 3] {
                        let mut rest = case.rest(&cache, first, tokens);
                        let out = case.step(isa, &Threads2(threads), &mut rest, tokens);
                        assert_eq!(bits(&out), bits(&expected), "{isa:?} {kind:?} {tokens} tokens, rows from {first}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_context_of_several_chunks_agrees_with_f64() {
    for (isa, kind) in everywhere() {
        for window in [None, Some(700), Some(1500)] {
            let mut case = Case::new(2, 1, 16, 2 * CHUNK + 100, 8).kept_as(kind);
            case.shape.window = window;
            case.check(isa);
        }
    }
}

#[test]
fn the_way_a_prompt_is_cut_leaves_the_bits() {
    for (isa, kind) in everywhere() {
        let cases = [
            Case::new(7, 1, 64, 200, 9),
            Case::new(14, 2, 24, 150, 10).with_norms(),
            Case::new(4, 4, 10, 140, 11).with_window(33),
            Case::new(4, 2, 80, 140, 11).with_window(3),
            Case::new(3, 1, 8, CHUNK + 130, 12),
            Case::new(3, 1, 8, CHUNK + 130, 13).with_window(100),
            Case::new(4, 2, 24, CHUNK + 130, 14).with_all(CHUNK),
        ];
        for case in cases {
            let case = case.kept_as(kind);
            let whole = case.whole(isa);
            for (pieces, threads) in
                [(vec![1], 1), (vec![1], 3), (vec![3, 1, 50], 2), (vec![64], 4), (vec![63, 65], 2), (vec![1000], 3)]
            {
                let mut cache = case.cache();
                let mut out = Vec::new();
                for piece in pieces.iter().cycle() {
                    let tokens = (*piece).min(case.tokens - cache.position);
                    if tokens == 0 {
                        break;
                    }
                    // Starting threads for every token of the long cases would take most of the time.
                    let threads = if *piece == 1 && cache.position % 97 != 0 { 1 } else { threads };
                    out.extend(case.step(isa, &Threads2(threads), &mut cache, tokens));
                }
                assert_eq!(bits(&out), bits(&whole), "{isa:?} {:?} in pieces of {pieces:?}", case.shape);
            }
        }
    }
}

/// One thread is the calling one.
struct Threads2(usize);

impl Parallel for Threads2 {
    fn incomplete(&self) {
        unreachable!("a result without a place");
    }

    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.0 == 1 { Serial.run(tasks, task) } else { Threads(self.0).run(tasks, task) }
    }
}

#[test]
fn sequences_in_one_call_have_the_bits_of_each_alone() {
    for (isa, kind) in everywhere() {
        let cases = [(40, 14), (1, 15), (CHUNK + 20, 16), (7, 17)]
            .map(|(tokens, seed)| Case::new(6, 2, 32, tokens, seed).kept_as(kind));
        let alone = cases.each_ref().map(|case| case.whole(isa));
        for threads in [1, 3] {
            let mut caches = cases.each_ref().map(Case::cache);
            let mut outs = vec![Vec::new(); cases.len()];
            // All but the last token of each, then the last: a mixed prompt and a pure decode step.
            for last in [false, true] {
                let mut parts: Vec<_> = cases
                    .iter()
                    .zip(&mut caches)
                    .map(|(case, cache)| (case, cache, if last { 1 } else { case.tokens - 1 }))
                    .collect();
                for (out, new) in outs.iter_mut().zip(run_batch(isa, &Threads(threads), &mut parts)) {
                    out.extend(new);
                }
            }
            for (out, alone) in outs.iter().zip(&alone) {
                assert_eq!(bits(out), bits(alone), "{isa:?}");
            }
        }
    }
}

#[test]
fn a_bad_value_reaches_no_earlier_token() {
    for (isa, kind) in everywhere() {
        let mut case = Case::new(4, 2, 18, 90, 18).kept_as(kind);
        let good = case.whole(isa);
        let width = 2 * 18;
        case.v[71 * width] = f32::NAN;
        case.k[80 * width..][..width].fill(f32::INFINITY);
        let bad = case.whole(isa);
        let unharmed = 71 * 4 * 18;
        assert_eq!(bits(&bad[..unharmed]), bits(&good[..unharmed]), "{isa:?}");
        assert!(bad[unharmed].is_nan(), "{isa:?}");
    }
}

#[test]
fn rows_may_lie_at_any_address() {
    for (isa, kind) in everywhere() {
        let case = Case::new(4, 2, 18, 90, 20).kept_as(kind);
        let mut cache = Cache { from: 1, ..case.cache() };
        assert_eq!(bits(&case.step(isa, &Serial, &mut cache, 90)), bits(&case.whole(isa)), "{isa:?} {kind:?}");
    }
}

#[test]
fn nothing_to_do_is_fine() {
    let case = Case::new(2, 1, 8, 4, 19);
    assert!(case.step(Isa::detect(), &Serial, &mut case.cache(), 0).is_empty());
}
