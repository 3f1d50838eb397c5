//! The selective scan beside plain loops in f64.

use super::super::super::Isa;
use super::super::super::testing::Random;
use super::super::{ScanInputs, ScanShape, selective_scan};
use super::check;

/// The inputs of one text.
struct Text {
    x: Vec<f32>,
    steps: Vec<f32>,
}

/// What all tokens share: rates, shifts and skips.
type Weights = [Vec<f32>; 3];

/// The scan, token by token.
fn in_f64(shape: &ScanShape, text: &Text, [rates, shifts, skips]: &Weights) -> Vec<f64> {
    let ScanShape { heads, head_width, groups, state_width, limits } = *shape;
    let tokens = text.steps.len() / heads;
    let mut out = vec![0.0; tokens * shape.inner()];
    for head in 0..heads {
        let mut matrix = vec![0.0; head_width * state_width];
        for t in 0..tokens {
            let row: Vec<f64> = text.x[t * shape.row()..][..shape.row()].iter().map(|x| f64::from(*x)).collect();
            let step = f64::from(text.steps[t * heads + head]) + f64::from(shifts[head]);
            let step = step.exp().ln_1p().clamp(f64::from(limits[0]), f64::from(limits[1]));
            let kept = (-f64::from(rates[head]) * step).exp();
            let group = head / (heads / groups);
            let [b, c] =
                [group, groups + group].map(|place| &row[shape.inner() + place * state_width..][..state_width]);
            for i in 0..head_width {
                let x = row[head * head_width + i];
                let own = &mut matrix[i * state_width..][..state_width];
                own.iter_mut().zip(b).for_each(|(s, b)| *s = kept * *s + step * x * b);
                let read: f64 = own.iter().zip(c).map(|(s, c)| s * c).sum();
                out[t * shape.inner() + head * head_width + i] = read + f64::from(skips[head]) * x;
            }
        }
    }
    out
}

#[test]
fn the_scan_agrees_with_f64_in_every_cut() {
    let tokens = [90, 1, 13];
    for isa in Isa::available() {
        for (heads, head_width, groups, state_width, limits) in [
            (4, 7, 2, 5, [0.0, f32::INFINITY]),
            (1, 64, 1, 16, [0.0, f32::INFINITY]),
            (3, 1, 3, 33, [0.1, 0.9]),
            (2, 37, 1, 40, [0.5, f32::INFINITY]),
        ] {
            let shape = ScanShape { heads, head_width, groups, state_width, limits };
            let mut random = Random::new(5);
            let texts: Vec<Text> = tokens
                .iter()
                .map(|n| {
                    let steps = random.values(n * heads).into_iter().map(|x| 4.0 * x).collect();
                    Text { x: random.values(n * shape.row()), steps }
                })
                .collect();
            let rates = random.values(heads).into_iter().map(f32::exp).collect();
            let weights: Weights = [rates, random.values(heads), random.values(heads)];
            let expected: Vec<_> = texts.iter().map(|text| in_f64(&shape, text, &weights)).collect();
            check(&format!("{isa:?} {shape:?}"), shape.state(), &expected, shape.inner(), |par, rows, segments| {
                let gather = |of: fn(&Text) -> &[f32], width: usize| -> Vec<f32> {
                    let row = |(text, at): &(usize, usize)| of(&texts[*text])[at * width..][..width].to_vec();
                    rows.iter().flat_map(row).collect()
                };
                let (x, steps) = (gather(|text| &text.x, shape.row()), gather(|text| &text.steps, heads));
                let [rates, shifts, skips] = &weights;
                let inputs = ScanInputs { x: &x, steps: &steps, rates, shifts, skips };
                let mut y = vec![f32::NAN; rows.len() * shape.inner()];
                selective_scan(isa, par, &shape, &inputs, segments, &mut y);
                y
            });
        }
    }
}
