//! Choosing a token from logits of Qwen2.5's vocabulary, by each control alone and by all of them together.
//!
//! All together must take less than 2 % of a decode step of the 0.5B model in 4 bits, which `decode` measures.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use ortshard::{Bias, Sampler, SamplerOptions};

/// Tokens of the vocabulary, and of the text so far.
const VOCABULARY: u32 = 151_936;
const TEXT: u32 = 4096;

/// Logits that look like a model's: most of them about 0 with a deviation of 2.3, and fifty from 8 to 18.
fn logits() -> Vec<f32> {
    let unit = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
    let bulk = |i: u32| 4.0 * (0..4).map(|k| unit(i + k * VOCABULARY) - 0.5).sum::<f32>();
    let mut logits: Vec<f32> = (0..VOCABULARY).map(bulk).collect();
    (0..50).for_each(|i| logits[i * 2999] = 8.0 + i as f32 / 5.0);
    logits
}

/// The controls' names, and options with each of them alone; the last one has all.
fn controls() -> Vec<(&'static str, SamplerOptions)> {
    let none = SamplerOptions { top_k: 0, ..SamplerOptions::default() };
    let biases = (0..100).map(|i| Bias { ids: vec![i * 7, i], bias: -1.0 }).collect();
    vec![
        ("greedy", SamplerOptions::greedy()),
        ("default", SamplerOptions::default()),
        ("temperature alone", none.clone()),
        ("top_p", SamplerOptions { top_p: 0.9, ..none.clone() }),
        ("min_p", SamplerOptions { min_p: 0.05, ..none.clone() }),
        ("typical_p", SamplerOptions { typical_p: 0.9, ..none.clone() }),
        ("top_n_sigma", SamplerOptions { top_n_sigma: 1.0, ..none.clone() }),
        ("penalties", SamplerOptions { repetition_penalty: 1.1, frequency_penalty: 0.5, ..SamplerOptions::default() }),
        ("no_repeat_ngram", SamplerOptions { no_repeat_ngram: 3, ..SamplerOptions::default() }),
        ("biases", SamplerOptions { biases, ..SamplerOptions::default() }),
        ("all", all()),
    ]
}

fn all() -> SamplerOptions {
    SamplerOptions {
        temperature: 0.7,
        top_k: 40,
        seed: 1,
        top_p: 0.9,
        min_p: 0.01,
        typical_p: 0.95,
        top_n_sigma: 3.0,
        repetition_penalty: 1.1,
        presence_penalty: 0.5,
        frequency_penalty: 0.5,
        penalty_window: 0,
        no_repeat_ngram: 3,
        biases: (0..100).map(|i| Bias { ids: vec![i * 7, i], bias: -1.0 }).collect(),
        banned: (1000..1100).collect(),
        forced: Vec::new(),
        min_new_tokens: 1_000_000_000,
        eos: vec![151_643, 151_645],
    }
}

fn sample(c: &mut Criterion) {
    let (logits, text) = (logits(), (0..TEXT).map(|i| i * i % 1999).collect::<Vec<_>>());
    let mut group = c.benchmark_group("sample");
    for (name, options) in controls() {
        let mut sampler = Sampler::new(options).unwrap();
        sampler.accept(&text).unwrap();
        group.bench_function(name, |b| b.iter(|| sampler.sample(&logits).unwrap()));
    }
}

criterion_group!(benches, sample);
criterion_main!(benches);
