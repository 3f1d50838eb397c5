//! The sampler follows its written rule, and each control leaves the tokens that transformers' processors leave.

use ortshard::{Bias, Constraint, ErrorKind, ModelInfo, Result, Sampler, SamplerOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::common;

fn sampler(temperature: f32, top_k: usize, seed: u64) -> Sampler {
    Sampler::new(SamplerOptions { temperature, top_k, seed, ..SamplerOptions::default() }).unwrap()
}

/// Logits that look like a model's: a few large ones.
fn logits(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| (random.next_u32() as f32 / u32::MAX as f32).powi(8) * 20.0 - 5.0).collect()
}

/// The rule, as the documentation of `Sampler` states it, with a sort and no shortcuts.
fn reference(logits: &[f32], options: &SamplerOptions, random: &mut ChaCha8Rng) -> usize {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let k = if options.top_k == 0 { logits.len() } else { options.top_k.min(logits.len()) };
    let (largest, pivot) = (sorted[0], sorted[k - 1]);
    let mut best = (f64::NEG_INFINITY, 0);
    for (index, &logit) in logits.iter().enumerate() {
        if logit >= pivot && logit > f32::NEG_INFINITY {
            let uniform = (2 * (random.next_u64() >> 12) + 1) as f64 / (1u64 << 53) as f64;
            let weight = (f64::from(logit) - f64::from(largest)) / f64::from(options.temperature.max(1e-5));
            let score = weight - libm::log(-libm::log(uniform));
            if score > best.0 {
                best = (score, index);
            }
        }
    }
    best.1
}

#[test]
fn follows_the_written_rule() {
    for (count, top_k, temperature) in [
        (1, 0, 0.6),
        (7, 3, 1.0),
        (300, 0, 2.0),
        (5000, 35, 0.6),
        (5000, 700, 1.3),
        (5000, 0, 0.8),
        (40, 40, 1e-9),
        (40, 99, 9.0),
    ] {
        let options = SamplerOptions { temperature, top_k, seed: 42, ..SamplerOptions::default() };
        let mut key = [0; 32];
        key[0] = 42;
        let (mut ours, mut random) = (Sampler::new(options.clone()).unwrap(), ChaCha8Rng::from_seed(key));
        for round in 0..50 {
            let mut logits = logits(count, round);
            if round % 3 == 0 {
                logits.sort_by(f32::total_cmp);
            }
            if round % 5 == 0 {
                logits = logits.iter().map(|logit| logit.round()).collect(); // many ties
            }
            for logit in logits.iter_mut().skip(1).step_by(4) {
                *logit = f32::NEG_INFINITY;
            }
            assert_eq!(ours.sample(&logits).unwrap() as usize, reference(&logits, &options, &mut random));
        }
    }
}

/// The contract: these ids must never change, on any platform. `sampler_ids` of `tools/goldens/make_tokenizer_goldens.py` gives
/// them from the book: `ChaCha8`, sorting and `math.log` in plain Python.
#[test]
fn the_stream_of_the_default_options_is_fixed() {
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let logits =
        |round: u32| (0..1000).map(|id: u32| ((id * 7919 + round * 31) % 1000) as f32 / 512.0).collect::<Vec<_>>();
    let ids: Vec<u32> = (0..12).map(|round| sampler.sample(&logits(round)).unwrap()).collect();
    assert_eq!(ids, FIXED);
}

const FIXED: [u32; 12] = [494, 914, 680, 989, 187, 385, 311, 571, 201, 695, 103, 128];

#[test]
fn zero_temperature_takes_the_lowest_of_the_largest() {
    let mut greedy = sampler(0.0, 1, 1);
    assert_eq!(greedy.sample(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]).unwrap(), 1);
    assert_eq!(greedy.sample(&[-0.0, 0.0]).unwrap(), 0);
    assert_eq!(greedy.sample(&[f32::NEG_INFINITY, f32::MIN]).unwrap(), 1);
    assert_eq!(greedy.sample(&[-0.0; 1]).unwrap(), 0);
    // A tiny temperature is as good as none.
    assert_eq!(sampler(1e-30, 0, 1).sample(&[1.0, 3.0, 2.9]).unwrap(), 1);
}

#[test]
fn draws_from_the_softmax() {
    let logits = [1.0f32, 0.0, 2.0, -1.0, f32::NEG_INFINITY, 1.5, 0.5];
    let rounds = 60_000;
    for (temperature, top_k, kept) in [(1.0, 0, 7), (0.6, 35, 7), (2.0, 3, 3), (0.7, 1, 1)] {
        let mut sorted = logits;
        sorted.sort_by(|a, b| b.total_cmp(a));
        let weight = |logit: f32| if logit < sorted[kept - 1] { 0.0 } else { f64::from(logit / temperature).exp() };
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut counts = [0u32; 7];
        let mut sampler = sampler(temperature, top_k, 2024);
        for _ in 0..rounds {
            counts[sampler.sample(&logits).unwrap() as usize] += 1;
        }
        let mut chi_square = 0.0;
        for (&logit, &count) in logits.iter().zip(&counts) {
            let expected = f64::from(rounds) * weight(logit) / total;
            if expected == 0.0 {
                assert_eq!(count, 0);
            } else {
                chi_square += (f64::from(count) - expected).powi(2) / expected;
            }
        }
        // At most 5 degrees of freedom: above 20.5 in one of a thousand honest runs.
        assert!(chi_square < 20.5, "temperature {temperature}, top_k {top_k}: {chi_square} {counts:?}");
    }
}

#[test]
fn ties_with_the_pivot_survive() {
    let logits = [1.0, 2.0, 1.0, 1.0, 0.0];
    let mut seen = [false; 5];
    let mut sampler = sampler(1.0, 2, 3);
    for _ in 0..500 {
        seen[sampler.sample(&logits).unwrap() as usize] = true;
    }
    assert_eq!(seen, [true, true, true, true, false]);
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let logits = logits(500, 1);
    let run = |sampler: &mut Sampler| (0..40).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>();
    let mut first = sampler(1.0, 0, 5);
    let ids = run(&mut first);
    assert_eq!(ids, run(&mut sampler(1.0, 0, 5)));
    assert_ne!(ids, run(&mut sampler(1.0, 0, 6)));
    assert_ne!(ids, run(&mut first), "the stream goes on");

    let mut snapshot = first.clone();
    assert_eq!(run(&mut first), run(&mut snapshot));
    first.reset();
    assert_eq!(ids, run(&mut first));
    first.reset_with(6);
    assert_eq!((run(&mut first), first.options().seed), (run(&mut sampler(1.0, 0, 6)), 6));
}

#[test]
fn refuses_what_cannot_be_sampled_and_stays_where_it_was() {
    for temperature in [0.0, 0.6] {
        let mut sampler = sampler(temperature, 35, 1234);
        let mut untouched = sampler.clone();
        for (logits, word) in [
            (&[][..], "empty"),
            (&[0.0, f32::NAN], "[1]"),
            (&[1.0, 2.0, f32::INFINITY], "[2]"),
            (&[f32::NEG_INFINITY; 3], "minus infinity"),
        ] {
            let error = sampler.sample(logits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(word), "{error}");
        }
        for round in 0..20 {
            let logits = logits(100, round);
            assert_eq!(sampler.sample(&logits).unwrap(), untouched.sample(&logits).unwrap());
        }
    }
    for temperature in [-0.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Sampler::new(SamplerOptions { temperature, ..SamplerOptions::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("temperature"));
    }
}

/// The tokens that may come.
#[derive(Debug, Clone)]
struct Allowed(Vec<u32>);

impl Constraint for Allowed {
    fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        let others = (0..).zip(logits).filter(|(id, _)| !self.0.contains(id));
        others.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        Ok(())
    }

    fn advance(&mut self, _: u32) {}
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().map_or_else(Vec::new, |ids| ids.iter().map(|id| id.as_u64().unwrap() as u32).collect())
}

fn options(value: &Value) -> SamplerOptions {
    let number = |name: &str| value[name].as_f64().unwrap_or_default() as f32;
    let count = |name: &str| value[name].as_u64().unwrap_or_default() as usize;
    let bias = |bias: &Value| Bias {
        ids: ids(&bias["ids"]),
        bias: bias["bias"].as_f64().map_or(f32::NEG_INFINITY, |bias| bias as f32),
    };
    SamplerOptions {
        temperature: number("temperature"),
        top_k: count("top_k"),
        seed: 9,
        top_p: number("top_p"),
        min_p: number("min_p"),
        typical_p: number("typical_p"),
        top_n_sigma: number("top_n_sigma"),
        repetition_penalty: number("repetition_penalty"),
        presence_penalty: number("presence_penalty"),
        frequency_penalty: number("frequency_penalty"),
        penalty_window: count("penalty_window"),
        no_repeat_ngram: count("no_repeat_ngram"),
        biases: value["biases"].as_array().map_or_else(Vec::new, |biases| biases.iter().map(bias).collect()),
        banned: ids(&value["banned"]),
        forced: Vec::new(),
        min_new_tokens: count("min_new_tokens"),
        eos: ids(&value["eos"]),
    }
}

/// The goldens are in float64, the sampler's logits in float32: probabilities agree to 2e-5 of themselves, tokens exactly.
#[test]
fn every_control_leaves_what_transformers_leaves() {
    let golden = std::fs::read(common::root().join("tests/sampler.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let row = |row: &Value| -> Vec<f32> {
        let logit = |logit: &Value| logit.as_f64().map_or(f32::NEG_INFINITY, |logit| logit as f32);
        row.as_array().unwrap().iter().map(logit).collect()
    };
    let rows: Vec<Vec<f32>> = golden["rows"].as_array().unwrap().iter().map(row).collect();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 400);
    for case in cases {
        let mut sampler = Sampler::new(options(&case["options"])).unwrap();
        sampler.accept(&ids(&case["prompt"])).unwrap();
        sampler.accept_chosen(&ids(&case["chosen"])).unwrap();
        let logits = &rows[case["row"].as_u64().unwrap() as usize];
        let mut allowed = Allowed(ids(&case["options"]["allowed"]));
        let constraint = (!allowed.0.is_empty()).then_some(&mut allowed as &mut dyn Constraint);
        let left = sampler.probabilities(constraint, logits).unwrap();
        assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids(&case["ids"]), "{case}");
        for ((id, ours), theirs) in left.iter().zip(case["probabilities"].as_array().unwrap()) {
            let theirs = theirs.as_f64().unwrap();
            assert!((ours - theirs).abs() <= 2e-5 * theirs, "{id}: {ours}, not {theirs}: {case}");
        }
        // What is drawn is one of them.
        for _ in 0..5 {
            let mut snapshot = sampler.clone();
            let constraint = (!allowed.0.is_empty()).then_some(&mut allowed as &mut dyn Constraint);
            let id = snapshot.sample_under(constraint, logits).unwrap();
            assert!(left.iter().any(|(candidate, _)| *candidate == id), "{id}: {case}");
        }
    }
}

/// What a model's publisher wants is what transformers' `generate` takes from its file; other ways to choose are refused.
#[test]
fn generation_config_is_read_as_transformers_does() {
    let golden = std::fs::read(common::root().join("tests/sampler.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        ModelInfo::published_sampling(folder.path())
    };
    // Off in two ways.
    let plain = |mut options: SamplerOptions| {
        for share in [&mut options.top_p, &mut options.typical_p, &mut options.repetition_penalty] {
            *share = if [1.0].contains(share) { 0.0 } else { *share };
        }
        SamplerOptions { seed: 0, ..options }
    };
    for case in golden["published"].as_array().unwrap() {
        let asked = read(&case["file"].to_string()).unwrap();
        assert_eq!(plain(asked), plain(options(&case["options"])), "{case}");
    }
    for (text, kind, word) in [
        (r#"{"num_beams": 4}"#, ErrorKind::Unsupported, "num_beams"),
        (r#"{"penalty_alpha": 0.6}"#, ErrorKind::Unsupported, "penalty_alpha"),
        (r#"{"begin_suppress_tokens": [1]}"#, ErrorKind::Unsupported, "begin_suppress_tokens"),
        (r#"{"do_sample": true, "temperature": "hot"}"#, ErrorKind::Malformed, "temperature"),
        (r#"{"do_sample": true, "temperature": 0}"#, ErrorKind::Malformed, "temperature"),
        (r#"{"top_k": -1}"#, ErrorKind::Malformed, "top_k"),
        (r#"{"bad_words_ids": [1]}"#, ErrorKind::Malformed, "bad_words_ids"),
        (r#"{"top_p": 7}"#, ErrorKind::InvalidArgument, "top_p"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.kind() == kind && error.chain().contains(word), "{}", error.chain());
        assert!(error.chain().contains("generation_config.json"), "{}", error.chain());
    }
    // A file that is none is left out.
    assert_eq!(read("{").unwrap(), read("{}").unwrap());
}

/// The filters leave the same tokens of a whole vocabulary by selection as a sort leaves.
#[test]
fn filters_of_a_large_vocabulary_leave_what_a_sort_leaves() {
    for (round, (temperature, top_p)) in [(0.7, 0.3), (1.0, 0.9), (1.5, 0.99), (30.0, 0.5)].into_iter().enumerate() {
        let logits = logits(20_000, round as u64);
        let options = SamplerOptions { temperature, top_k: 0, top_p, ..SamplerOptions::default() };
        let left = Sampler::new(options).unwrap().probabilities(None, &logits).unwrap();
        let weight = |logit: f32| (f64::from(logit) / f64::from(temperature)).exp();
        let mut falling: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        falling.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut before = 0.0;
        let wanted = falling.iter().take_while(|(_, logit)| {
            let stays = before < f64::from(top_p) * total;
            before += weight(*logit);
            stays
        });
        let wanted = wanted.count();
        // float32 may put the border one or two of thousands further.
        assert!(left.len().abs_diff(wanted) <= wanted / 1000, "{} of {wanted}", left.len());
        let lowest = falling[left.len() - 1].1;
        assert!(left.iter().all(|(id, _)| logits[*id as usize] >= lowest));
    }
}

#[test]
fn forced_tokens_come_first_and_draw_nothing() {
    let forced = SamplerOptions { forced: vec![7, 7, 3], ..SamplerOptions::default() };
    let (mut sampler, mut other) = (Sampler::new(forced).unwrap(), Sampler::new(SamplerOptions::default()).unwrap());
    for _ in 0..2 {
        let chosen: Vec<u32> = (0..6).map(|round| sampler.sample(&logits(100, round)).unwrap()).collect();
        let after: Vec<u32> = (3..6).map(|round| other.sample(&logits(100, round)).unwrap()).collect();
        assert_eq!(chosen, [&[7, 7, 3], &after[..]].concat());
        // Of the next turn as well.
        sampler.accept(&[1]).unwrap();
    }
}

/// Every field's range, and pairs that cannot both be meant.
#[test]
fn contradictions_are_refused_by_both_names() {
    let plain = SamplerOptions::default;
    let bias = |ids: &[u32], bias| Bias { ids: ids.to_vec(), bias };
    for (options, words) in [
        (SamplerOptions { top_p: 1.5, ..plain() }, &["top_p is 1.5"][..]),
        (SamplerOptions { top_p: f32::NAN, ..plain() }, &["top_p"]),
        (SamplerOptions { min_p: -0.1, ..plain() }, &["min_p"]),
        (SamplerOptions { typical_p: 2.0, ..plain() }, &["typical_p"]),
        (SamplerOptions { top_n_sigma: f32::INFINITY, ..plain() }, &["top_n_sigma"]),
        (SamplerOptions { repetition_penalty: -1.0, ..plain() }, &["repetition_penalty"]),
        (SamplerOptions { presence_penalty: 2.5, ..plain() }, &["presence_penalty", "-2 to 2"]),
        (SamplerOptions { frequency_penalty: f32::NAN, ..plain() }, &["frequency_penalty"]),
        (SamplerOptions { biases: vec![bias(&[], 1.0)], ..plain() }, &["biases[0]"]),
        (SamplerOptions { biases: vec![bias(&[1], f32::INFINITY)], ..plain() }, &["biases[0]", "inf"]),
        (
            SamplerOptions { biases: vec![bias(&[1, 2], 1.0), bias(&[2], 1.0), bias(&[1, 2], 3.0)], ..plain() },
            &["biases[2]", "biases[0]"],
        ),
        (SamplerOptions { biases: vec![bias(&[4], 1.0)], banned: vec![4], ..plain() }, &["biases[0]", "banned"]),
        (SamplerOptions { forced: vec![1, 4], banned: vec![4], ..plain() }, &["forced[1]", "banned"]),
        (
            SamplerOptions { forced: vec![1, 4], eos: vec![4], min_new_tokens: 2, ..plain() },
            &["forced[1]", "min_new_tokens is 2"],
        ),
    ] {
        let error = Sampler::new(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
    let mut sampler = Sampler::new(SamplerOptions { banned: vec![2, 9], ..plain() }).unwrap();
    let error = sampler.sample(&[0.0; 9]).unwrap_err();
    assert!(error.kind() == ErrorKind::OutOfRange && error.to_string().contains("banned names token 9"), "{error}");
    let mut sampler = Sampler::new(SamplerOptions { banned: vec![0, 1], ..plain() }).unwrap();
    let error = sampler.sample(&[0.0; 2]).unwrap_err();
    assert!(error.to_string().contains("leave none of the 2 tokens"), "{error}");
}

/// `cargo test --release --test sampler -- --ignored --nocapture` prints the cost per token.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut ascending = logits(151_936, 1);
    ascending.sort_by(f32::total_cmp);
    for (name, logits) in [("random", logits(151_936, 1)), ("ascending", ascending)] {
        for (temperature, top_k) in [(0.0, 0), (0.6, 35), (0.6, 5000), (0.6, 0)] {
            let mut sampler = sampler(temperature, top_k, 1);
            sampler.sample(&logits).unwrap();
            let start = std::time::Instant::now();
            for _ in 0..200 {
                sampler.sample(&logits).unwrap();
            }
            println!("{name}, temperature {temperature}, top_k {top_k}: {:?}", start.elapsed() / 200);
        }
    }
}
