use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::activation::tests::exact_gated;
use super::super::testing::{Packed, Random, Stored, Threads, bits};
use super::super::{Dtype, Packing, Serial, activate, gated, linear};
use super::*;

/// How an expert's weights are kept.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain(Dtype),
    Quantised(Packing),
}

const FORMS: [Form; 6] = [
    Form::Plain(Dtype::F32),
    Form::Plain(Dtype::F16),
    Form::Plain(Dtype::BF16),
    Form::Quantised(Packing::Int4),
    Form::Quantised(Packing::Int4Fine),
    Form::Quantised(Packing::Int8),
];

enum Kept {
    Plain(Stored),
    Quantised(Packed),
}

impl Kept {
    fn new(rows: usize, cols: usize, form: Form, seed: u64) -> Self {
        match form {
            Form::Plain(dtype) => Self::Plain(Stored::new(rows, cols, dtype, seed)),
            Form::Quantised(packing) => Self::Quantised(Packed::new(rows, cols, packing, seed)),
        }
    }

    fn matrix(&self) -> Matrix<'_> {
        match self {
            Self::Plain(stored) => stored.matrix(),
            Self::Quantised(packed) => packed.matrix(),
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::Plain(stored) => &stored.values,
            Self::Quantised(packed) => &packed.values,
        }
    }
}

/// One expert's gate, up and down, each with its bias.
type Three = [(Kept, Stored); 3];

/// A layer of experts, and tokens for it.
#[allow(clippy::struct_excessive_bools, reason = "each says whether a case has one thing")]
struct Case {
    hidden: usize,
    inner: usize,
    top_k: usize,
    activation: Activation,
    gate: bool,
    bias: bool,
    residual: bool,
    on_input: bool,
    all: Vec<Three>,
    x: Vec<f32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl Case {
    /// Every expert in the next of these forms.
    fn new(tokens: usize, experts: usize, top_k: usize, (hidden, inner): (usize, usize), forms: &[Form]) -> Self {
        let mut random = Random::new(tokens as u64);
        let all = (0..experts)
            .map(|expert| {
                let form = forms[expert % forms.len()];
                [(inner, hidden), (inner, hidden), (hidden, inner)].map(|(rows, cols)| {
                    let seed = (random.value() * 1e6).abs() as u64;
                    (Kept::new(rows, cols, form, seed), Stored::new(1, rows, Dtype::F32, seed + 1))
                })
            })
            .collect();
        // Some experts get many tokens and some none.
        let mut ids = Vec::new();
        for _ in 0..tokens {
            let first = (random.value().powi(2) * experts as f32) as usize % experts;
            ids.extend((0..top_k).map(|k| ((first + k * k) % experts) as u32).rev());
        }
        let (x, weights) = (random.values(tokens * hidden), random.values(tokens * top_k));
        let (gate, bias, residual, on_input) = (true, true, false, false);
        Self {
            hidden,
            inner,
            top_k,
            activation: Activation::Silu,
            gate,
            bias,
            residual,
            on_input,
            all,
            x,
            ids,
            weights,
        }
    }

    fn experts(&self) -> Vec<Expert<'_>> {
        self.all
            .iter()
            .map(|[gate, up, down]| Expert {
                gate: self.gate.then(|| self.projection(gate)),
                up: self.projection(up),
                down: self.projection(down),
            })
            .collect()
    }

    fn projection<'a>(&self, (weights, bias): &'a (Kept, Stored)) -> Projection<'a> {
        Projection { weights: weights.matrix(), bias: self.bias.then(|| bias.matrix()) }
    }

    /// Runs these tokens.
    fn run(&self, isa: Isa, par: &dyn Parallel, tokens: Range<usize>) -> Vec<f32> {
        let x = &self.x[tokens.start * self.hidden..tokens.end * self.hidden];
        let places = tokens.start * self.top_k..tokens.end * self.top_k;
        let (ids, weights) = (&self.ids[places.clone()], &self.weights[places]);
        let routes = Routes { top_k: self.top_k, ids, weights, on_input: self.on_input };
        let residual = self.residual.then_some(x);
        let mut out = vec![f32::NAN; x.len()];
        experts(isa, par, x, &routes, &self.experts(), self.activation, residual, &mut out).unwrap();
        out
    }

    fn tokens(&self) -> usize {
        self.ids.len() / self.top_k
    }

    /// One token at one expert, by the other kernels.
    fn one(&self, isa: Isa, x: &[f32], expert: &Expert) -> Vec<f32> {
        let (mut inner, mut y) = (vec![0.0; self.inner], vec![0.0; self.hidden]);
        let Expert { gate, up, down } = expert;
        let (par, activation) = (&Serial, self.activation);
        if let Some(gate) = gate {
            let (gate_bias, up_bias) = (gate.bias.as_ref(), up.bias.as_ref());
            gated(isa, par, x, &gate.weights, gate_bias, &up.weights, up_bias, activation, &mut inner);
        } else {
            let mut sums = inner.clone();
            linear(isa, par, x, &up.weights, up.bias.as_ref(), None, &mut sums);
            activate(isa, par, &sums, activation, &mut inner);
        }
        linear(isa, par, &inner, &down.weights, down.bias.as_ref(), None, &mut y);
        y
    }

    fn check(&self, isa: Isa, what: &str) {
        let out = self.run(isa, &Threads(3), 0..self.tokens());
        let experts = self.experts();
        for (token, (x, out)) in self.x.chunks(self.hidden).zip(out.chunks(self.hidden)).enumerate() {
            let mut expected: Vec<(f64, f64)> = x
                .iter()
                .map(|x| if self.residual { (f64::from(*x), f64::from(x.abs())) } else { (0.0, 0.0) })
                .collect();
            for place in token * self.top_k..(token + 1) * self.top_k {
                let weight = self.weights[place];
                let (on_input, on_output) = if self.on_input { (weight, 1.0) } else { (1.0, weight) };
                let x: Vec<f32> = x.iter().map(|x| on_input * x).collect();
                let y = self.one(isa, &x, &experts[self.ids[place] as usize]);
                for ((sum, magnitude), y) in expected.iter_mut().zip(y) {
                    let term = f64::from(on_output) * f64::from(y);
                    (*sum, *magnitude) = (*sum + term, *magnitude + term.abs());
                }
            }
            for (out, (expected, magnitude)) in out.iter().zip(expected) {
                let error = (f64::from(*out) - expected).abs();
                assert!(error <= 1e-6 * magnitude, "{isa:?} {what} token {token}: {out}, expected {expected}");
            }
        }
    }
}

#[test]
fn the_sum_is_that_of_the_experts_one_by_one() {
    for isa in Isa::available() {
        for form in FORMS {
            for (tokens, top_k) in [(1, 1), (1, 3), (5, 2), (40, 3)] {
                let mut case = Case::new(tokens, 7, top_k, (150, 40), &[form]);
                case.residual = tokens != 5;
                case.check(isa, &format!("{form:?}"));
                case.on_input = true;
                case.check(isa, &format!("{form:?}, weights on the input"));
            }
        }
        for activation in [Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 }, Activation::Relu2] {
            let mut case = Case::new(20, 8, 3, (40, 30), &FORMS);
            (case.activation, case.bias) = (activation, false);
            case.check(isa, "without biases");
            case.gate = false;
            case.check(isa, "without gates");
        }
    }
}

#[test]
fn plain_weights_agree_with_f64() {
    let case = Case::new(30, 6, 2, (50, 33), &FORMS[..3]);
    let exact = |x: &[f64], (weights, bias): &(Kept, Stored)| -> Vec<f64> {
        let rows = weights.values().chunks(x.len()).zip(&bias.values);
        rows.map(|(w, b)| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*b)).collect()
    };
    for isa in Isa::available() {
        let out = case.run(isa, &Threads(2), 0..30);
        for (token, (x, out)) in case.x.chunks(50).zip(out.chunks(50)).enumerate() {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mut expected = vec![0.0; 50];
            for place in 2 * token..2 * token + 2 {
                let [gate, up, down] = &case.all[case.ids[place] as usize];
                let halves = exact(&x, gate).into_iter().zip(exact(&x, up));
                let inner: Vec<f64> = halves.map(|(gate, up)| exact_gated(Activation::Silu, gate, up)).collect();
                for (sum, y) in expected.iter_mut().zip(exact(&inner, down)) {
                    *sum += f64::from(case.weights[place]) * y;
                }
            }
            for (out, expected) in out.iter().zip(expected) {
                // Sums of 33 products of up to about ten each.
                assert!((f64::from(*out) - expected).abs() < 1e-4, "{isa:?} token {token}: {out}, {expected}");
            }
        }
    }
}

#[test]
fn a_token_has_the_same_bits_in_every_batch_on_any_number_of_threads() {
    let mut long = Case::new(500, 9, 3, (24, 17), &[FORMS[2], FORMS[3], FORMS[5]]);
    long.residual = true;
    let mut crowded = Case::new(WAVE_ROWS + 90, 3, 1, (16, 16), &[FORMS[2]]);
    crowded.ids.fill(1);
    let twice = Case { ids: [2, 2].repeat(20), ..Case::new(20, 3, 2, (33, 16), &FORMS[2..4]) };
    for isa in Isa::available() {
        let weighed = Case { on_input: true, ..Case::new(12, 20, 4, (70, 30), &FORMS) };
        for case in [&Case::new(12, 20, 4, (300, 130), &FORMS), &long, &crowded, &twice, &weighed] {
            let all = bits(&case.run(isa, &Threads(3), 0..case.tokens()));
            let few = case.tokens().min(30);
            for tokens in [0..case.tokens() - 7, 3..7, few - 9..few].into_iter().chain((0..few).map(|t| t..t + 1)) {
                let expected = &all[tokens.start * case.hidden..tokens.end * case.hidden];
                for threads in [1, 4] {
                    let out = case.run(isa, &Threads(threads), tokens.clone());
                    assert_eq!(bits(&out), expected, "{isa:?} tokens {tokens:?}");
                }
            }
        }
    }
}

#[test]
fn weights_of_other_experts_are_not_touched() {
    for isa in Isa::available() {
        let case = Case::new(5, 20, 2, (40, 24), &FORMS);
        let routes = Routes { top_k: 2, ids: &case.ids, weights: &case.weights, on_input: false };
        let mut experts = case.experts();
        for (_, expert) in experts.iter_mut().enumerate().filter(|(id, _)| !case.ids.contains(&(*id as u32))) {
            for projection in [expert.gate.as_mut(), Some(&mut expert.up), Some(&mut expert.down)].into_iter().flatten()
            {
                projection.weights.data = &[];
            }
        }
        assert!(experts.iter().any(|expert| expert.up.weights.data.is_empty()));
        let mut out = vec![f32::NAN; 5 * 40];
        super::experts(isa, &Serial, &case.x, &routes, &experts, case.activation, None, &mut out).unwrap();
        assert_eq!(bits(&out), bits(&case.run(isa, &Serial, 0..5)));
    }
}

#[test]
fn a_bad_value_stays_in_its_token() {
    for isa in Isa::available() {
        for form in FORMS {
            let mut case = Case::new(20, 5, 2, (40, 24), &[form]);
            let good = case.run(isa, &Serial, 0..20);
            case.x[3 * 40 + 7] = f32::NAN;
            case.weights[2 * 11] = f32::NAN;
            let bad = case.run(isa, &Serial, 0..20);
            for (token, (bad, good)) in bad.chunks(40).zip(good.chunks(40)).enumerate() {
                match token {
                    3 | 11 => assert!(bad.iter().all(|y| y.is_nan()), "{isa:?} {form:?}"),
                    _ => assert_eq!(bits(bad), bits(good), "{isa:?} {form:?}"),
                }
            }
        }
    }
}

#[derive(Default)]
struct Listening(AtomicBool);

impl Parallel for Listening {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        Serial.run(tasks, task);
    }

    fn incomplete(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn routes_that_lead_nowhere_are_no_success() {
    let case = Case::new(2, 3, 2, (8, 8), &FORMS[..1]);
    for (ids, weights, failed) in
        [(&[0, 1, 2, 0][..], 4, false), (&[0, 1, 3, 0], 4, true), (&[0, 1, 2], 4, true), (&[0, 1, 2, 0], 3, true)]
    {
        let par = Listening::default();
        let routes = Routes { top_k: 2, ids, weights: &case.weights[..weights], on_input: false };
        let mut out = vec![0.0; 16];
        experts(Isa::Portable, &par, &case.x, &routes, &case.experts(), case.activation, None, &mut out).unwrap();
        assert_eq!(par.0.into_inner(), failed, "{ids:?}");
    }
    let none = Routes { top_k: 2, ids: &[], weights: &[], on_input: false };
    experts(Isa::Portable, &Serial, &[], &none, &case.experts(), case.activation, None, &mut []).unwrap();
}

#[test]
fn scratch_is_no_more_than_was_said() {
    for (tokens, top_k, inner, hidden) in [(1, 8, 768, 2048), (1, 1, 1, 1), (100, 4, 33, 90), (5000, 8, 1408, 2048)] {
        let rows = (tokens * top_k).min(WAVE_ROWS);
        let layouts = || [Packing::Int4, Packing::Int4Fine].into_iter().map(Layout::Tiles);
        let codes = [hidden, inner].map(|cols| coded_bytes(layouts(), rows, cols).iter().sum::<usize>());
        let values = [hidden, inner].map(|cols| (rows * cols).next_multiple_of(16) * 4);
        let needed = values[0] + values[1] + codes[0].max(codes[1]) + 64 + 8 * tokens * top_k;
        assert!(experts_scratch(tokens, top_k, inner, hidden) >= needed, "{tokens} {inner} {hidden}");
    }
    assert_eq!(experts_scratch(usize::MAX, 8, 1, 1), usize::MAX);
}
