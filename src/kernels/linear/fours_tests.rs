//! Layers of four-bit floats, exact and with coded activations.

use super::super::activation::tests::exact_gated;
use super::super::mxfp4::BLOCK;
use super::super::testing::{Fours, Random, Stored, Threads, bits};
use super::super::{Dtype, Serial};
use super::coded_tests::{check, coded, reference};
use super::*;

/// Exact sums are in the lanes of a register: their error grows with the additions in one.
fn check_exact(y: &[f32], expected: &[(f64, f64)], cols: usize, what: &str) {
    check(y, expected, 8 * cols, what);
}

#[test]
fn every_shape_agrees_with_f64() {
    for coding in [false, true] {
        for (i, cols) in [32, 64, 96, 448, 896, 928, 2880].into_iter().enumerate() {
            for (rows, step) in [([1, 17, 16, 50, 3, 33, 40][i], 1), ([40, 2, 31, 32, 16, 5, 24][i], 2)] {
                for tokens in [1, 2, 3, 4, 5, 8, 9, 10, 51] {
                    let x = Random::new(cols as u64).values(tokens * cols);
                    let w = Fours::new(rows, cols, step, coding, 2);
                    let bias = Stored::new(1, rows, [Dtype::F32, Dtype::BF16][i % 2], 3);
                    let residual = Random::new(4).values(tokens * rows);
                    let met: Vec<f64> =
                        if coding { coded(&x, cols, BLOCK) } else { x.iter().map(|x| f64::from(*x)).collect() };
                    let expected = reference(&met, &w.values, cols, [Some(&bias.values), Some(&residual)]);
                    let mut first = None;
                    for isa in Isa::available() {
                        let what = format!("{isa:?} coded: {coding} {tokens} x {rows} x {cols}, every {step}th row");
                        let mut y = vec![f32::NAN; tokens * rows];
                        linear(isa, &Serial, &x, &w.matrix(), Some(&bias.matrix()), Some(&residual), &mut y);
                        if coding {
                            check(&y, &expected, cols, &what);
                            assert_eq!(first.get_or_insert_with(|| bits(&y)), &bits(&y), "{what}");
                        } else {
                            check_exact(&y, &expected, cols, &what);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_of_a_batch_has_the_bits_of_the_row_alone_on_any_number_of_threads() {
    for coding in [false, true] {
        for (tokens, rows, cols, step) in [(40, 275, 96, 2), (9, 1300, 160, 1), (300, 40, 928, 3)] {
            let x = Random::new(7).values(tokens * cols);
            let w = Fours::new(rows, cols, step, coding, 8);
            let bias = Stored::new(1, rows, Dtype::F32, 9);
            for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Portable) {
                let run = |threads: usize, tokens: std::ops::Range<usize>| {
                    let x = &x[tokens.start * cols..tokens.end * cols];
                    let mut y = vec![f32::NAN; tokens.len() * rows];
                    linear(isa, &Threads(threads), x, &w.matrix(), Some(&bias.matrix()), None, &mut y);
                    bits(&y)
                };
                let all = run(3, 0..tokens);
                for some in [0..1, 1..3, 2..5, 3..7, 0..5, 1..8, 0..9, 0..tokens.min(29)] {
                    let expected = &all[some.start * rows..some.end * rows];
                    assert_eq!(
                        run(some.end % 3 + 1, some.clone()),
                        expected,
                        "{isa:?} coded: {coding} tokens {some:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn gated_is_the_activation_of_the_gate_times_the_other_half() {
    let (rows, cols, activation) = (50, 224, Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 });
    for coding in [false, true] {
        let [gate, up] = [13, 14].map(|seed| Fours::new(rows, cols, 2, coding, seed));
        let biases = [15, 16].map(|seed| Stored::new(1, rows, Dtype::F32, seed));
        let [gate_bias, up_bias] = biases.each_ref().map(Stored::matrix);
        for isa in Isa::available() {
            for tokens in [1, 12] {
                let x: Vec<f32> = Random::new(17).values(tokens * cols).iter().map(|x| x / 8.0).collect();
                let [mut y, mut gates, mut ups] = [const { Vec::new() }; 3].map(|mut y: Vec<f32>| {
                    y.resize(tokens * rows, f32::NAN);
                    y
                });
                let (par, gate, up) = (Threads(2), gate.matrix(), up.matrix());
                gated(isa, &par, &x, &gate, Some(&gate_bias), &up, Some(&up_bias), activation, &mut y);
                linear(isa, &par, &x, &gate, Some(&gate_bias), None, &mut gates);
                linear(isa, &par, &x, &up, Some(&up_bias), None, &mut ups);
                for ((y, gate), up) in y.iter().zip(&gates).zip(&ups) {
                    let expected = exact_gated(activation, f64::from(*gate), f64::from(*up));
                    let error = (f64::from(*y) - expected).abs();
                    let magnitude = expected.abs() * f64::from(1.0 + gate.abs()) + f64::from(gate * up).abs();
                    assert!(error <= 8.0 * f64::from(f32::EPSILON) * (magnitude + 1.0), "{isa:?} coded: {coding}");
                }
            }
        }
    }
}

/// The scale of the largest byte is no number: its rows show it, and no other.
#[test]
fn a_bad_scale_shows_in_its_row_and_nowhere_else() {
    let (rows, cols) = (20, 64);
    for coding in [false, true] {
        let w = Fours::new(rows, cols, 1, coding, 21);
        let good = w.matrix();
        let mut scales = good.scales.to_vec();
        scales[2 * 3 + 1] = 255;
        let bad = Matrix { scales: &scales, ..good };
        for isa in Isa::available() {
            for tokens in [1, 12] {
                let x = Random::new(22).values(tokens * cols);
                let [mut sound, mut y] = [0.0, 0.0].map(|y| vec![y; tokens * rows]);
                linear(isa, &Serial, &x, &good, None, None, &mut sound);
                linear(isa, &Serial, &x, &bad, None, None, &mut y);
                for (i, (y, sound)) in y.iter().zip(&sound).enumerate() {
                    assert!(if i % rows == 3 { !y.is_finite() } else { y.to_bits() == sound.to_bits() }, "{isa:?} {i}");
                }
            }
        }
    }
}
