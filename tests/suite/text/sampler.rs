//! The sampler follows its written rule.

use ortshard::{ErrorKind, Sampler, SamplerOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

fn sampler(temperature: f32, top_k: usize, seed: u64) -> Sampler {
    Sampler::new(SamplerOptions { temperature, top_k, seed }).unwrap()
}

/// Logits that look like a model's: a few large ones.
fn logits(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| (random.next_u32() as f32 / u32::MAX as f32).powi(8) * 20.0 - 5.0).collect()
}

/// The rule, as the documentation of `Sampler` states it, with a sort and no shortcuts.
fn reference(logits: &[f32], options: SamplerOptions, random: &mut ChaCha8Rng) -> usize {
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
        let options = SamplerOptions { temperature, top_k, seed: 42 };
        let mut key = [0; 32];
        key[0] = 42;
        let (mut ours, mut random) = (Sampler::new(options).unwrap(), ChaCha8Rng::from_seed(key));
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
            assert_eq!(ours.sample(&logits).unwrap() as usize, reference(&logits, options, &mut random));
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
