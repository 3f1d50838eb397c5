//! Both layers beside plain loops in f64, and the same bits in every cut of a text.

mod scan;

use super::super::activation::tests::exact;
use super::super::testing::{Random, Threads, bits};
use super::super::{Activation, Isa, Parallel, Serial};
use super::*;

/// States by position.
type States = Vec<(usize, Vec<f32>)>;

/// Requests of so many tokens each, run in pieces of `chunk`, with states put aside at multiples of `interval`; gives the outputs of each
/// and its states, by position.
fn run_in_pieces(
    texts: &[usize],
    chunk: usize,
    interval: usize,
    values: usize,
    mut run: impl FnMut(&[(usize, usize)], &mut [StateSegment]) -> Vec<f32>,
) -> (Vec<Vec<f32>>, Vec<States>) {
    let mut outputs = vec![Vec::new(); texts.len()];
    let mut states: Vec<States> = vec![Vec::new(); texts.len()];
    let mut done = 0;
    while done < *texts.iter().max().unwrap() {
        let pieces: Vec<(usize, usize)> =
            texts.iter().map(|tokens| (done.min(*tokens), (done + chunk).min(*tokens))).collect();
        let here: Vec<usize> = (0..texts.len()).filter(|text| pieces[*text].0 < pieces[*text].1).collect();
        let mut written: Vec<States> = here
            .iter()
            .map(|text| {
                let (from, to) = pieces[*text];
                let kept = (from + 1..=to).filter(|at| at % interval == 0 || *at == to);
                kept.map(|at| (at, vec![f32::NAN; values])).collect()
            })
            .collect();
        let mut segments: Vec<StateSegment> = here
            .iter()
            .zip(&mut written)
            .map(|(text, written)| {
                let (first, end) = pieces[*text];
                let from = states[*text].last().map(|(at, state)| {
                    assert_eq!(*at, first);
                    &state[..]
                });
                let to = written.iter_mut().map(|(at, state)| (*at - first, &mut state[..])).collect();
                StateSegment { tokens: end - first, from, to }
            })
            .collect();
        let rows: Vec<(usize, usize)> =
            here.iter().flat_map(|text| (pieces[*text].0..pieces[*text].1).map(|at| (*text, at))).collect();
        let out = run(&rows, &mut segments);
        drop(segments);
        let width = out.len() / rows.len();
        for ((text, _), out) in rows.iter().zip(out.chunks_exact(width)) {
            outputs[*text].extend_from_slice(out);
        }
        for (text, written) in here.iter().zip(written) {
            states[*text].extend(written);
        }
        done += chunk;
    }
    (outputs, states)
}

/// Every cut and every number of threads gives the bits of all tokens at once, and those are `expected` up to rounding.
fn check(
    what: &str,
    values: usize,
    expected: &[Vec<f64>],
    width: usize,
    run: impl Fn(&dyn Parallel, &[(usize, usize)], &mut [StateSegment]) -> Vec<f32>,
) {
    let texts: Vec<usize> = expected.iter().map(|text| text.len() / width).collect();
    let (whole, states) = run_in_pieces(&texts, 1000, 5, values, |rows, segments| run(&Serial, rows, segments));
    for (ours, exact) in whole.iter().zip(expected) {
        let scale = exact.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (ours, exact) in ours.iter().zip(exact) {
            assert!((f64::from(*ours) - exact).abs() <= 2e-5 * scale, "{what}: {ours} for {exact}");
        }
    }
    for (chunk, threads) in [(1, 1), (3, 2), (7, 3), (70, 2)] {
        let (cut, cut_states) =
            run_in_pieces(&texts, chunk, 5, values, |rows, segments| run(&Threads(threads), rows, segments));
        for (cut, whole) in cut.iter().zip(&whole) {
            assert_eq!(bits(cut), bits(whole), "{what} in pieces of {chunk}");
        }
        for (cut, whole) in cut_states.iter().zip(&states) {
            for (at, state) in whole {
                let (_, same) = cut.iter().find(|(other, _)| other == at).unwrap();
                assert_eq!(bits(same), bits(state), "{what}: the state behind {at} in pieces of {chunk}");
            }
        }
    }
}

#[test]
fn convolutions_agree_with_f64_in_every_cut() {
    let texts = [150, 1, 12];
    for isa in Isa::available() {
        for (channels, taps, gated, activation) in
            [(7, 3, true, None), (300, 4, false, Some(Activation::Silu)), (33, 2, true, Some(Activation::Silu))]
        {
            let row = if gated { 3 * channels + 5 } else { channels + 2 };
            let shape = ConvShape {
                row,
                channels,
                taps,
                x: if gated { 2 * channels + 1 } else { 2 },
                before: gated.then_some(0),
                after: gated.then_some(channels),
                activation,
            };
            let rows: Vec<Vec<f32>> = (0..).zip(texts).map(|(i, n)| Random::new(i).values(n * row)).collect();
            let (weights, bias) = (Random::new(10).values(taps * channels), Random::new(11).values(channels));
            let bias = gated.then_some(&bias[..]);
            let expected: Vec<Vec<f64>> = rows
                .iter()
                .map(|x| {
                    let at = |t: usize, c: usize| f64::from(x[t * row + c]);
                    let value = |t: usize, c: usize| {
                        let seen = (0..taps).filter(|k| t + k + 1 >= taps).map(|k| {
                            let from = t + k + 1 - taps;
                            let before = shape.before.map_or(1.0, |before| at(from, before + c));
                            f64::from(weights[k * channels + c]) * before * at(from, shape.x + c)
                        });
                        let sum = seen.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[c]));
                        let after = shape.after.map_or(1.0, |after| at(t, after + c));
                        after * activation.map_or(sum, |activation| exact(activation, sum))
                    };
                    (0..x.len() / row * channels).map(|i| value(i / channels, i % channels)).collect()
                })
                .collect();
            check(&format!("{isa:?} {shape:?}"), shape.state(), &expected, channels, |par, which, segments| {
                let x: Vec<f32> =
                    which.iter().flat_map(|(text, at)| rows[*text][at * row..][..row].iter().copied()).collect();
                let mut y = vec![f32::NAN; which.len() * channels];
                short_conv(isa, par, &shape, &x, &weights, bias, segments, &mut y);
                y
            });
        }
    }
}

/// The inputs of one text.
struct Text {
    qkv: Vec<f32>,
    corrections: Vec<f32>,
    decays: Vec<f32>,
}

/// The rule, token by token.
fn delta_in_f64(shape: &DeltaShape, text: &Text, rates: &[f32], shifts: &[f32]) -> Vec<f64> {
    let DeltaShape { key_heads, value_heads, key_width: dk, value_width: dv, eps } = *shape;
    let tokens = text.qkv.len() / shape.row();
    let mut out = vec![0.0; tokens * value_heads * dv];
    for head in 0..value_heads {
        let mut matrix = vec![0.0; dk * dv];
        for t in 0..tokens {
            let row = &text.qkv[t * shape.row()..][..shape.row()];
            let unit = |first: usize| {
                let part: Vec<f64> = row[first..][..dk].iter().map(|x| f64::from(*x)).collect();
                let length = (part.iter().map(|x| x * x).sum::<f64>() + f64::from(eps)).sqrt();
                part.into_iter().map(|x| x / length).collect::<Vec<_>>()
            };
            let key_head = head / (value_heads / key_heads);
            let (q, k) = (unit(key_head * dk), unit((key_heads + key_head) * dk));
            let v = &row[2 * key_heads * dk + head * dv..][..dv];
            let x = f64::from(text.decays[t * value_heads + head]) + f64::from(shifts[head]);
            let g = (-f64::from(rates[head]) * x.exp().ln_1p()).exp();
            let b = 1.0 / (1.0 + (-f64::from(text.corrections[t * value_heads + head])).exp());
            for j in 0..dv {
                let held: f64 = (0..dk).map(|i| k[i] * g * matrix[i * dv + j]).sum();
                let change = b * (f64::from(v[j]) - held);
                for i in 0..dk {
                    matrix[i * dv + j] = g * matrix[i * dv + j] + k[i] * change;
                }
                let read: f64 = (0..dk).map(|i| q[i] * matrix[i * dv + j]).sum();
                out[(t * value_heads + head) * dv + j] = read / (dk as f64).sqrt();
            }
        }
    }
    out
}

#[test]
fn the_delta_rule_agrees_with_f64_in_every_cut() {
    let tokens = [90, 1, 13];
    for isa in Isa::available() {
        for (key_heads, value_heads, key_width, value_width) in [(2, 4, 7, 5), (1, 1, 16, 64), (3, 3, 33, 40)] {
            let shape = DeltaShape { key_heads, value_heads, key_width, value_width, eps: 1e-6 };
            let mut random = Random::new(5);
            let texts: Vec<Text> = tokens
                .iter()
                .map(|n| {
                    let decays = random.values(n * value_heads).into_iter().map(|x| 4.0 * x).collect();
                    Text { qkv: random.values(n * shape.row()), corrections: random.values(n * value_heads), decays }
                })
                .collect();
            let rates: Vec<f32> = random.values(value_heads).into_iter().map(f32::exp).collect();
            let shifts = random.values(value_heads);
            let expected: Vec<_> = texts.iter().map(|text| delta_in_f64(&shape, text, &rates, &shifts)).collect();
            let width = value_heads * value_width;
            check(&format!("{isa:?} {shape:?}"), shape.state(), &expected, width, |par, rows, segments| {
                let gather = |of: fn(&Text) -> &[f32], width: usize| -> Vec<f32> {
                    let row = |(text, at): &(usize, usize)| of(&texts[*text])[at * width..][..width].to_vec();
                    rows.iter().flat_map(row).collect()
                };
                let qkv = gather(|text| &text.qkv, shape.row());
                let corrections = gather(|text| &text.corrections, value_heads);
                let decays = gather(|text| &text.decays, value_heads);
                let inputs = DeltaInputs {
                    qkv: &qkv,
                    corrections: &corrections,
                    decays: &decays,
                    rates: &rates,
                    shifts: &shifts,
                };
                let mut y = vec![f32::NAN; rows.len() * width];
                gated_delta(isa, par, &shape, &inputs, segments, &mut y);
                y
            });
        }
    }
}
