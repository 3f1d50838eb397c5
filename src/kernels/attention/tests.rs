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
    norms: Option<(Stored, Stored)>,
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
            window: None,
            norm_eps: 1e-6,
        };
        let mut random = Random::new(seed);
        let q = random.values(tokens * heads * head_dim).iter().map(|x| x * 3.0).collect();
        let k = random.values(tokens * kv_heads * head_dim).iter().map(|x| x * 3.0).collect();
        let v = random.values(tokens * kv_heads * head_dim);
        let mut case = Self { shape, tokens, q, k, v, cos: vec![], sin: vec![], norms: None, kind: RowType::F32 };
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
        self
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
        Cache { keys: rows.clone(), values: rows, from: 0, capacity, position: 0 }
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
        let AttentionShape { heads, kv_heads, head_dim, scale, window, .. } = self.shape;
        let norms = self.norms.as_ref();
        let mut out = Vec::new();
        for token in 0..self.tokens {
            for head in 0..heads {
                let q = &self.q[(token * heads + head) * head_dim..][..head_dim];
                let q = self.head(q, token, norms.map(|n| &n.0));
                let kv_head = head / (heads / kv_heads);
                let from = window.map_or(0, |w| (token + 1).saturating_sub(w));
                let scores: Vec<f64> = (from..=token)
                    .map(|t| {
                        keys[t * kv_heads + kv_head].iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() * f64::from(scale)
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
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
        if let Some(norm) = norm {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            for (x, w) in x.iter_mut().zip(&norm.values) {
                *x *= f64::from(*w) / (mean + f64::from(self.shape.norm_eps)).sqrt();
            }
        }
        let pairs = self.shape.rotary_pairs;
        for i in 0..pairs {
            let (cos, sin) = (f64::from(self.cos[token * pairs + i]), f64::from(self.sin[token * pairs + i]));
            let (a, b) = (x[i], x[i + pairs]);
            (x[i], x[i + pairs]) = (a * cos - b * sin, b * cos + a * sin);
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
    let norms = case.norms.as_ref().map(|(q, k)| (q.matrix(), k.matrix()));
    let (q_norm, k_norm) = (norms.as_ref().map(|n| &n.0), norms.as_ref().map(|n| &n.1));
    let mut out = vec![f32::NAN; q.len()];
    let mut sequences: Vec<Sequence> = parts
        .iter_mut()
        .map(|(case, cache, tokens)| Sequence {
            keys: &mut cache.keys[cache.from..],
            values: &mut cache.values[cache.from..],
            kind: case.kind,
            capacity: cache.capacity,
            position: cache.position,
            tokens: *tokens,
        })
        .collect();
    attention(isa, par, &case.shape, &q, &k, &v, &cos, &sin, q_norm, k_norm, &mut sequences, &mut out);
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
