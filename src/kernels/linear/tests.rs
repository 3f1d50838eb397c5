use super::super::activation::tests::{ACTIVATIONS, exact, exact_gated};
use super::super::testing::{Random, Stored, Threads, bits};
use super::super::{Dtype, Serial};
use super::*;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];
/// Columns at and around every register and panel width.
const COLS: [usize; 12] = [1, 7, 16, 31, 33, 50, 64, 100, 511, 513, 896, 1100];

/// `x W^T + b + r` in f64, and for each element the sum of magnitudes that its rounding errors are relative to.
fn reference(x: &[f32], w: &Stored, cols: usize, bias: Option<&Stored>, residual: Option<&[f32]>) -> Vec<(f64, f64)> {
    let mut result = Vec::new();
    for x in x.chunks(cols) {
        for (n, w) in w.values.chunks(cols).enumerate() {
            let mut sum = (0.0, 0.0);
            for (x, w) in x.iter().zip(w) {
                sum.0 += f64::from(*x) * f64::from(*w);
                sum.1 += (f64::from(*x) * f64::from(*w)).abs();
            }
            let others = [bias.map(|b| b.values[n]), residual.map(|r| r[result.len()])];
            for other in others.into_iter().flatten() {
                sum.0 += f64::from(other);
                sum.1 += f64::from(other).abs();
            }
            result.push(sum);
        }
    }
    result
}

/// A dot product of `cols` terms in `f32` with 4 lanes or more: the error bound grows with the additions in a lane.
fn tolerance(cols: usize) -> f64 {
    (cols as f64 / 4.0 + 8.0) * f64::from(f32::EPSILON)
}

fn check(y: &[f32], expected: &[(f64, f64)], cols: usize, what: &str) {
    for (i, (y, (value, magnitude))) in y.iter().zip(expected).enumerate() {
        let error = (f64::from(*y) - value).abs();
        assert!(error <= magnitude * tolerance(cols) + 1e-30, "{what}: element {i} is {y}, expected {value}");
    }
}

#[test]
fn every_shape_and_type_agrees_with_f64() {
    for isa in Isa::available() {
        for dtype in DTYPES {
            for (i, cols) in COLS.into_iter().enumerate() {
                let rows = [1, 3, 8, 13, 70, 24][i % 6];
                for tokens in [1, 2, 3, 4, 7, 40] {
                    let x = Random::new(cols as u64).values(tokens * cols);
                    let w = Stored::new(rows, cols, dtype, 2);
                    let bias = Stored::new(1, rows, DTYPES[i % 3], 3);
                    let residual = Random::new(4).values(tokens * rows);
                    let mut y = vec![f32::NAN; tokens * rows];
                    let what = format!("{isa:?} {dtype:?} {tokens} x {rows} x {cols}");
                    linear(isa, &Serial, &x, &w.matrix(), None, None, &mut y);
                    check(&y, &reference(&x, &w, cols, None, None), cols, &what);
                    linear(isa, &Serial, &x, &w.matrix(), Some(&bias.matrix()), Some(&residual), &mut y);
                    check(&y, &reference(&x, &w, cols, Some(&bias), Some(&residual)), cols, &what);
                }
            }
        }
    }
}

#[test]
fn every_number_of_rows_agrees_with_f64() {
    for isa in Isa::available() {
        for rows in 1..=70 {
            let (cols, tokens) = (33, rows % 9 + 1);
            let x = Random::new(5).values(tokens * cols);
            let w = Stored::new(rows, cols, Dtype::BF16, 6);
            let mut y = vec![f32::NAN; tokens * rows];
            linear(isa, &Serial, &x, &w.matrix(), None, None, &mut y);
            check(&y, &reference(&x, &w, cols, None, None), cols, &format!("{isa:?} {rows} rows"));
        }
    }
}

#[test]
fn a_row_of_a_batch_has_the_bits_of_the_row_alone_on_any_number_of_threads() {
    for isa in Isa::available() {
        for dtype in DTYPES {
            for cols in COLS {
                let rows = 45;
                let x = Random::new(7).values(40 * cols);
                let w = Stored::new(rows, cols, dtype, 8);
                let bias = Stored::new(1, rows, dtype, 9);
                let mut alone = vec![0.0; 40 * rows];
                for (x, y) in x.chunks(cols).zip(alone.chunks_mut(rows)) {
                    linear(isa, &Serial, x, &w.matrix(), Some(&bias.matrix()), None, y);
                }
                for tokens in (1..=40).step_by(if cols < 100 { 1 } else { 13 }) {
                    let mut y = vec![f32::NAN; tokens * rows];
                    linear(
                        isa,
                        &Threads(tokens % 5 + 1),
                        &x[..tokens * cols],
                        &w.matrix(),
                        Some(&bias.matrix()),
                        None,
                        &mut y,
                    );
                    assert_eq!(
                        bits(&y),
                        bits(&alone[..tokens * rows]),
                        "{isa:?} {dtype:?} {tokens} tokens, {cols} columns"
                    );
                }
            }
        }
    }
}

#[test]
fn blocks_of_tokens_and_split_weights_keep_the_bits() {
    // Wide enough for several token blocks, and for several tasks of one token.
    let (tokens, rows, cols) = (70, 200, 9000);
    let x = Random::new(10).values(tokens * cols);
    let w = Stored::new(rows, cols, Dtype::BF16, 11);
    for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Portable) {
        let mut all = vec![f32::NAN; tokens * rows];
        linear(isa, &Threads(3), &x, &w.matrix(), None, None, &mut all);
        for token in [0, 1, 33, 69] {
            let mut one = vec![f32::NAN; rows];
            linear(isa, &Threads(2), &x[token * cols..][..cols], &w.matrix(), None, None, &mut one);
            assert_eq!(bits(&one), bits(&all[token * rows..][..rows]), "{isa:?} token {token}");
        }
    }
}

#[test]
fn several_layers_at_once_have_the_bits_of_each_alone() {
    let cols = 96;
    for isa in Isa::available() {
        for (tokens, threads) in [(1, 1), (1, 4), (3, 2), (20, 3)] {
            let x = Random::new(12).values(tokens * cols);
            let layers = [(70, Dtype::BF16), (8, Dtype::F32), (13, Dtype::F16)]
                .map(|(rows, dtype)| (rows, Stored::new(rows, cols, dtype, 13), Stored::new(1, rows, Dtype::F32, 14)));
            let mut outs = layers.each_ref().map(|(rows, ..)| vec![f32::NAN; tokens * rows]);
            let mut maps: Vec<Map> = layers
                .iter()
                .zip(&mut outs)
                .map(|((_, w, b), y)| Map { weights: w.matrix(), bias: Some(b.matrix()), residual: None, y })
                .collect();
            linear_many(isa, &Threads(threads), &x, &mut maps);
            for ((rows, w, b), out) in layers.iter().zip(&outs) {
                let mut y = vec![f32::NAN; tokens * rows];
                linear(isa, &Serial, &x, &w.matrix(), Some(&b.matrix()), None, &mut y);
                assert_eq!(bits(&y), bits(out), "{isa:?} {tokens} tokens");
            }
        }
    }
}

#[test]
fn gated_agrees_with_f64_and_keeps_rows_independent() {
    let with_each_type = DTYPES.map(|dtype| (dtype, Activation::Silu));
    let with_each_activation = ACTIVATIONS.map(|activation| (Dtype::BF16, activation));
    for isa in Isa::available() {
        for (dtype, activation) in with_each_type.into_iter().chain(with_each_activation) {
            for (cols, rows) in [(50, 13), (64, 70), (600, 24)] {
                let tokens = 12;
                let x = Random::new(15).values(tokens * cols);
                let [gate, up] = [16, 17].map(|seed| Stored::new(rows, cols, dtype, seed));
                let [gate_bias, up_bias] = [18, 19].map(|seed| Stored::new(1, rows, dtype, seed));
                let run = |threads: usize, x: &[f32]| {
                    let mut y = vec![f32::NAN; x.len() / cols * rows];
                    let (gate, up) = ((gate.matrix(), gate_bias.matrix()), (up.matrix(), up_bias.matrix()));
                    let par = Threads(threads);
                    gated(isa, &par, x, &gate.0, Some(&gate.1), &up.0, Some(&up.1), activation, &mut y);
                    y
                };
                let y = run(3, &x);
                let gates = reference(&x, &gate, cols, Some(&gate_bias), None);
                let ups = reference(&x, &up, cols, Some(&up_bias), None);
                for (i, y) in y.iter().enumerate() {
                    let (gate, up) = (gates[i].0, ups[i].0);
                    let (expected, active) = (exact_gated(activation, gate, up), exact(activation, gate));
                    // Both factors carry a dot product's error; the slopes are at most 1.2, but that of a square.
                    let slope = if activation == Activation::Relu2 { 2.0 * gate.abs() + 1e-3 } else { 1.2 };
                    let error = tolerance(cols) * (slope * gates[i].1 * (up.abs() + 1.0) + active.abs() * ups[i].1)
                        + 8.0 * f64::from(f32::EPSILON) * (gate * up).abs().max(expected.abs());
                    assert!((f64::from(*y) - expected).abs() <= error, "{isa:?} {dtype:?} {activation:?} {i}: {y}");
                }
                for (i, x) in x.chunks(cols).enumerate() {
                    assert_eq!(bits(&run(1, x)), bits(&y[i * rows..][..rows]), "{isa:?} {dtype:?} token {i}");
                }
            }
        }
    }
}

#[test]
fn a_bad_value_stays_in_its_row() {
    for isa in Isa::available() {
        let (tokens, rows, cols) = (7, 9, 40);
        let mut x = Random::new(20).values(tokens * cols);
        let w = Stored::new(rows, cols, Dtype::F16, 21);
        let mut good = vec![0.0; tokens * rows];
        linear(isa, &Serial, &x, &w.matrix(), None, None, &mut good);
        (x[2 * cols], x[4 * cols + 39]) = (f32::NAN, f32::INFINITY);
        let mut y = vec![0.0; tokens * rows];
        linear(isa, &Serial, &x, &w.matrix(), None, None, &mut y);
        for (token, (y, good)) in y.chunks(rows).zip(good.chunks(rows)).enumerate() {
            match token {
                2 => assert!(y.iter().all(|y| y.is_nan())),
                4 => assert!(y.iter().all(|y| !y.is_finite())),
                _ => assert_eq!(bits(y), bits(good)),
            }
        }
        for activation in ACTIVATIONS {
            gated(isa, &Serial, &x, &w.matrix(), None, &w.matrix(), None, activation, &mut y);
            assert!(y[2 * rows..][..rows].iter().all(|y| y.is_nan()), "{isa:?} {activation:?}");
        }
    }
}

#[test]
fn nothing_to_do_is_fine() {
    let w = Stored::new(4, 8, Dtype::F32, 22);
    linear(Isa::detect(), &Serial, &[], &w.matrix(), None, None, &mut []);
    linear_many(Isa::detect(), &Serial, &[1.0; 8], &mut []);
}
