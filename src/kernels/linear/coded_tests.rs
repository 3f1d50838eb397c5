use super::super::activation::tests::{ACTIVATIONS, exact_gated};
use super::super::testing::{Packed, Random, Stored, Threads, bits};
use super::super::{Dtype, Packing, Serial};
use super::*;

const PACKINGS: [Packing; 4] = [Packing::Int4, Packing::Int4Fine, Packing::Int8, Packing::Int8Fine];

/// Activations as the documentation says they are coded, back to values.
pub(super) fn coded(x: &[f32], cols: usize, block: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for block in x.chunks(cols).flat_map(|x| x.chunks(block)) {
        let most = block.iter().fold(0.0_f32, |most, x| x.abs().max(most));
        let scale = f64::from(most / 127.0);
        values.extend(block.iter().map(|x| f64::from((x * (127.0 / most)).round_ties_even()) * scale));
    }
    values
}

/// `x W^T + b + r` in f64, and for each element the sum of magnitudes that its rounding errors are relative to.
pub(super) fn reference(x: &[f64], w: &[f32], cols: usize, others: [Option<&[f32]>; 2]) -> Vec<(f64, f64)> {
    let mut result = Vec::new();
    let rows = w.len() / cols;
    for x in x.chunks(cols) {
        for (n, w) in w.chunks(cols).enumerate() {
            let products = || x.iter().zip(w).map(|(x, w)| x * f64::from(*w));
            let bias = others[0].map_or(0.0, |bias| f64::from(bias[n]));
            let residual = others[1].map_or(0.0, |residual| f64::from(residual[result.len()]));
            debug_assert!(rows > 0);
            result.push((
                products().sum::<f64>() + bias + residual,
                products().map(f64::abs).sum::<f64>() + bias.abs() + residual.abs(),
            ));
        }
    }
    result
}

pub(super) fn check(y: &[f32], expected: &[(f64, f64)], cols: usize, what: &str) {
    // A handful of roundings for each block, and sums over blocks.
    let tolerance = (cols as f64 / 32.0 + 8.0) * f64::from(f32::EPSILON);
    for (i, (y, (value, magnitude))) in y.iter().zip(expected).enumerate() {
        let error = (f64::from(*y) - value).abs();
        assert!(error <= magnitude * tolerance + 1e-30, "{what}: element {i} is {y}, expected {value}");
    }
}

#[test]
fn every_shape_agrees_with_f64_and_has_the_same_bits_everywhere() {
    for packing in PACKINGS {
        for (i, cols) in [1, 4, 7, 9, 31, 33, 128, 129, 257, 500].into_iter().enumerate() {
            let rows = [1, 17, 16, 50, 3][i % 5];
            for tokens in [1, 2, 3, 4, 5, 6, 7, 8, 19, 51] {
                let x = Random::new(cols as u64).values(tokens * cols);
                let w = Packed::new(rows, cols, packing, 2);
                let bias = Stored::new(1, rows, [Dtype::F32, Dtype::BF16][i % 2], 3);
                let residual = Random::new(4).values(tokens * rows);
                let coded = coded(&x, cols, packing.block());
                let plain = reference(&coded, &w.values, cols, [None, None]);
                let whole = reference(&coded, &w.values, cols, [Some(&bias.values), Some(&residual)]);
                let mut first = None;
                for isa in Isa::available() {
                    let what = format!("{isa:?} {packing:?} {tokens} x {rows} x {cols}");
                    let mut y = vec![f32::NAN; 2 * tokens * rows];
                    let (a, b) = y.split_at_mut(tokens * rows);
                    linear(isa, &Serial, &x, &w.matrix(), None, None, a);
                    check(a, &plain, cols, &what);
                    linear(isa, &Serial, &x, &w.matrix(), Some(&bias.matrix()), Some(&residual), b);
                    check(b, &whole, cols, &what);
                    assert_eq!(first.get_or_insert_with(|| bits(&y)), &bits(&y), "{what}");
                }
            }
        }
    }
}

/// What quantised activations cost: half a step each.
#[test]
fn activations_lose_half_a_step_at_most() {
    let (tokens, rows, cols) = (3, 20, 300);
    for packing in PACKINGS {
        let x = Random::new(5).values(tokens * cols);
        let w = Packed::new(rows, cols, packing, 6);
        let mut y = vec![f32::NAN; tokens * rows];
        linear(Isa::detect(), &Serial, &x, &w.matrix(), None, None, &mut y);
        let exact: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for (i, (y, (value, magnitude))) in y.iter().zip(reference(&exact, &w.values, cols, [None, None])).enumerate() {
            let weights: f32 = w.values[i % rows * cols..][..cols].iter().map(|w| w.abs()).sum();
            let bound = f64::from(weights) / 254.0 + magnitude * 1e-5;
            assert!((f64::from(*y) - value).abs() <= bound, "{packing:?} element {i}");
        }
    }
}

#[test]
fn a_row_of_a_batch_has_the_bits_of_the_row_alone_on_any_number_of_threads() {
    // Enough rows for several tasks and streams, and tokens for several blocks of tokens.
    for packing in PACKINGS {
        for (tokens, rows, cols) in [(40, 275, 70), (9, 1300, 160), (300, 40, 33)] {
            let x = Random::new(7).values(tokens * cols);
            let w = Packed::new(rows, cols, packing, 8);
            let bias = Stored::new(1, rows, Dtype::F32, 9);
            for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Portable) {
                let run = |threads: usize, tokens: std::ops::Range<usize>| {
                    let x = &x[tokens.start * cols..tokens.end * cols];
                    let mut y = vec![f32::NAN; tokens.len() * rows];
                    linear(isa, &Threads(threads), x, &w.matrix(), Some(&bias.matrix()), None, &mut y);
                    bits(&y)
                };
                let all = run(3, 0..tokens);
                for some in [0..1, 1..3, 2..5, 3..7, 0..5, 1..7, 0..9, 0..tokens.min(29)] {
                    let expected = &all[some.start * rows..some.end * rows];
                    assert_eq!(run(some.end % 3 + 1, some.clone()), expected, "{isa:?} {packing:?} tokens {some:?}");
                }
            }
        }
    }
}

#[test]
fn layers_of_every_kind_at_once_have_the_bits_of_each_alone() {
    let cols = 150;
    let plain = Stored::new(70, cols, Dtype::BF16, 10);
    let packed = PACKINGS.map(|packing| Packed::new(40, cols, packing, 11));
    let matrices = [&packed[0], &packed[1], &packed[2], &packed[3]].map(Packed::matrix);
    let matrices = [matrices[0], plain.matrix(), matrices[1], matrices[2], matrices[3]];
    for isa in Isa::available() {
        for (tokens, threads) in [(1, 1), (1, 4), (3, 2), (20, 3)] {
            let x = Random::new(12).values(tokens * cols);
            let mut outs = matrices.map(|w| vec![f32::NAN; tokens * w.rows]);
            let mut maps: Vec<Map> = matrices
                .iter()
                .zip(&mut outs)
                .map(|(weights, y)| Map { weights: *weights, bias: None, residual: None, y })
                .collect();
            linear_many(isa, &Threads(threads), &x, &mut maps);
            for (w, out) in matrices.iter().zip(&outs) {
                let mut y = vec![f32::NAN; tokens * w.rows];
                linear(isa, &Serial, &x, w, None, None, &mut y);
                assert_eq!(bits(&y), bits(out), "{isa:?} {:?} {tokens} tokens", w.layout);
            }
        }
    }
}

#[test]
fn gated_is_the_activation_of_the_gate_times_the_other_half() {
    let (rows, cols) = (50, 200);
    for packing in PACKINGS {
        let [gate, up] = [13, 14].map(|seed| Packed::new(rows, cols, packing, seed));
        let plain = Stored::new(rows, cols, Dtype::F16, 14);
        let biases = [15, 16].map(|seed| Stored::new(1, rows, Dtype::F32, seed));
        for isa in Isa::available() {
            for up in [up.matrix(), plain.matrix()] {
                for (tokens, activation) in [(1, Activation::Silu)].into_iter().chain(ACTIVATIONS.map(|a| (9, a))) {
                    let x = Random::new(17).values(tokens * cols);
                    let [gate_bias, up_bias] = biases.each_ref().map(Stored::matrix);
                    let [mut y, mut gates, mut ups] = [const { Vec::new() }; 3].map(|mut y: Vec<f32>| {
                        y.resize(tokens * rows, f32::NAN);
                        y
                    });
                    let par = Threads(2);
                    gated(isa, &par, &x, &gate.matrix(), Some(&gate_bias), &up, Some(&up_bias), activation, &mut y);
                    linear(isa, &par, &x, &gate.matrix(), Some(&gate_bias), None, &mut gates);
                    linear(isa, &par, &x, &up, Some(&up_bias), None, &mut ups);
                    for ((y, gate), up) in y.iter().zip(&gates).zip(&ups) {
                        let expected = exact_gated(activation, f64::from(*gate), f64::from(*up));
                        let error = (f64::from(*y) - expected).abs();
                        let magnitude = expected.abs() * f64::from(1.0 + gate.abs()) + f64::from(gate * up).abs();
                        assert!(
                            error <= 4.0 * f64::from(f32::EPSILON) * magnitude,
                            "{isa:?} {packing:?} {activation:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_bad_value_shows_in_its_row_and_nowhere_else() {
    let (tokens, rows, cols) = (7, 20, 140);
    for isa in Isa::available() {
        for packing in PACKINGS {
            let mut x = Random::new(20).values(tokens * cols);
            x[cols..2 * cols].fill(0.0);
            x[5 * cols..6 * cols].fill(1e-40);
            let w = Packed::new(rows, cols, packing, 21);
            let mut good = vec![f32::NAN; tokens * rows];
            linear(isa, &Serial, &x, &w.matrix(), None, None, &mut good);
            assert!(good[rows..2 * rows].iter().chain(&good[5 * rows..6 * rows]).all(|y| *y == 0.0));
            (x[2 * cols], x[4 * cols + 139]) = (f32::NAN, f32::INFINITY);
            let mut y = vec![0.0; tokens * rows];
            linear(isa, &Serial, &x, &w.matrix(), None, None, &mut y);
            for (token, (y, good)) in y.chunks(rows).zip(good.chunks(rows)).enumerate() {
                match token {
                    2 | 4 => assert!(y.iter().all(|y| y.is_nan()), "{isa:?} {packing:?}"),
                    _ => assert_eq!(bits(y), bits(good)),
                }
            }
        }
    }
}

#[test]
fn nothing_to_do_is_fine() {
    let w = Packed::new(4, 8, Packing::Int4, 22);
    linear(Isa::detect(), &Serial, &[], &w.matrix(), None, None, &mut []);
    let none = Packed::new(0, 8, Packing::Int8, 22);
    linear(Isa::detect(), &Serial, &[1.0; 8], &none.matrix(), None, None, &mut []);
}
