//! Hidden states of several streams side by side, of which a layer computes one (alternating updates, Baykal et al. 2023).

use super::elementwise::{TASK_VALUES, each_row};
use super::norm::sum;
use super::shared::Output;
use super::simd::{Kernel, Simd};
use super::{Isa, Parallel};

/// The streams of each row: the first one, `[rows, width]`, and the others, `[rows, others * width]`.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// The first stream.
    pub first: &'a [f32],
    /// The others, one after another.
    pub others: &'a [f32],
    /// Values of one.
    pub width: usize,
}

impl<'a> Streams<'a> {
    /// How many there are.
    fn count(self) -> usize {
        1 + self.others.len() / self.first.len().max(1)
    }

    /// Stream `index` of `row`.
    #[inline(always)]
    fn of(self, row: usize, index: usize) -> &'a [f32] {
        let Self { first, others, width } = self;
        match index {
            0 => &first[row * width..][..width],
            _ => &others[(row * (self.count() - 1) + index - 1) * width..][..width],
        }
    }
}

/// Adds to each stream a sum of all streams, each times a coefficient: stream `i` of a row takes stream `j` times the row's coefficient
/// `i * count + j`.
pub fn mix_streams(
    isa: Isa,
    par: &dyn Parallel,
    x: Streams,
    coefficients: &[f32],
    first: &mut [f32],
    others: &mut [f32],
) {
    let (width, count) = (x.width, x.count());
    let rows = x.first.len() / width.max(1);
    let fits = width > 0
        && (x.first.len(), x.others.len(), coefficients.len())
            == (rows * width, rows * (count - 1) * width, rows * count * count);
    if !fits {
        par.incomplete();
        return;
    }
    let (first, others) = (Output::new(par, first), Output::new(par, others));
    let per_task = (TASK_VALUES / (width * count * count)).max(1);
    par.run(rows.div_ceil(per_task), &|task| {
        for row in task * per_task..rows.min((task + 1) * per_task) {
            for index in 0..count {
                // SAFETY: every task has its own rows.
                let y = unsafe {
                    match index {
                        0 => first.slice(row * width, width),
                        _ => others.slice((row * (count - 1) + index - 1) * width, width),
                    }
                };
                let by = &coefficients[(row * count + index) * count..][..count];
                isa.run(Mix { x, row, index, by, y });
            }
        }
    });
}

/// One stream of one row.
struct Mix<'a> {
    x: Streams<'a>,
    row: usize,
    index: usize,
    /// The coefficient of each stream.
    by: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Mix<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, row, index, by, y } = self;
        let own = x.of(row, index);
        let len = own.len().min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len, which all streams have.
            unsafe {
                let mut total = simd.load_part(own.as_ptr().add(at), count);
                for (j, by) in by.iter().enumerate() {
                    let other = simd.load_part(x.of(row, j).as_ptr().add(at), count);
                    total = simd.mul_add(other, simd.splat(*by), total);
                }
                simd.store_part(total, y.as_mut_ptr().add(at), count);
            }
        }
    }
}

/// Adds one value of `width` to each stream of `x`, `[rows, streams * width]`: as it is, or times one more than the row's factor for the
/// stream, `[rows, streams]`.
pub fn add_to_streams(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    width: usize,
    add: &[f32],
    factors: Option<&[f32]>,
    y: &mut [f32],
) {
    let rows = add.len() / width.max(1);
    let streams = x.len() / (rows * width).max(1);
    let fits = x.len() == rows * streams * width && factors.is_none_or(|factors| factors.len() == rows * streams);
    if !fits {
        par.incomplete();
        return;
    }
    each_row(par, rows * streams, width, y, |stream, y| {
        let (x, add) = (&x[stream * width..][..width], &add[stream / streams * width..][..width]);
        let factor = factors.map_or(1.0, |factors| 1.0 + factors[stream]);
        isa.run(AddTo { x, add, factor, y });
    });
}

struct AddTo<'a> {
    x: &'a [f32],
    add: &'a [f32],
    factor: f32,
    y: &'a mut [f32],
}

impl Kernel for AddTo<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, add, factor, y } = self;
        let len = x.len().min(add.len()).min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let (x, add) = (simd.load_part(x.as_ptr().add(at), count), simd.load_part(add.as_ptr().add(at), count));
                simd.store_part(simd.mul_add(add, simd.splat(factor), x), y.as_mut_ptr().add(at), count);
            }
        }
    }
}

/// Scales each row of `width` values of `x` such that its root mean square is that of the row of `like`; one whose mean square is below
/// `least` counts as if it were that.
pub fn match_rms(isa: Isa, par: &dyn Parallel, x: &[f32], like: &[f32], width: usize, least: f32, y: &mut [f32]) {
    if width == 0 || x.len() != like.len() {
        par.incomplete();
        return;
    }
    each_row(par, x.len() / width, width, y, |row, y| {
        let [x, like] = [x, like].map(|of| &of[row * width..][..width]);
        isa.run(Match { x, like, least, y });
    });
}

struct Match<'a> {
    x: &'a [f32],
    like: &'a [f32],
    least: f32,
    y: &'a mut [f32],
}

impl Kernel for Match<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, like, least, y } = self;
        #[allow(clippy::cast_precision_loss, reason = "no model is 2^24 wide")]
        let count = x.len() as f32;
        let zeros = [simd.splat(0.0); 2];
        let (own, wanted) = (sum::<S, true>(simd, x, zeros) / count, sum::<S, true>(simd, like, zeros) / count);
        // A NaN stays one.
        let own = if own < least { least } else { own };
        let by = simd.splat(wanted.sqrt() / own.sqrt());
        let len = x.len().min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                simd.store_part(simd.mul(simd.load_part(x.as_ptr().add(at), count), by), y.as_mut_ptr().add(at), count);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "test values are small")]
mod tests {
    use super::super::testing::{Random, Threads, bits};
    use super::super::{Isa, Serial};
    use super::*;

    /// Widths of no whole register, and more rows than one task takes.
    const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 3), (5, 7, 3), (3, 33, 1), (700, 48, 3)];

    #[test]
    fn mixed_streams_agree_with_f64_and_rows_are_independent() {
        for isa in Isa::available() {
            for (rows, width, others) in SHAPES {
                let count = others + 1;
                let first = Random::new(1).values(rows * width);
                let rest = Random::new(2).values(rows * others * width);
                let coefficients = Random::new(3).values(rows * count * count);
                let x = Streams { first: &first, others: &rest, width };
                let (mut y, mut z) = (vec![f32::NAN; first.len()], vec![f32::NAN; rest.len()]);
                mix_streams(isa, &Threads(3), x, &coefficients, &mut y, &mut z);
                for row in 0..rows {
                    for i in 0..count {
                        let ours = if i == 0 { &y[row * width..] } else { &z[(row * others + i - 1) * width..] };
                        for (at, ours) in ours[..width].iter().enumerate() {
                            let product = |j: usize| {
                                f64::from(x.of(row, j)[at]) * f64::from(coefficients[(row * count + i) * count + j])
                            };
                            let expected = f64::from(x.of(row, i)[at]) + (0..count).map(product).sum::<f64>();
                            assert!((f64::from(*ours) - expected).abs() < 1e-5, "{isa:?} {rows} {width} {i}");
                        }
                    }
                }
                let last = rows - 1;
                let alone = Streams { first: &first[last * width..], others: &rest[last * others * width..], width };
                let (mut a, mut b) = (vec![f32::NAN; width], vec![f32::NAN; others * width]);
                mix_streams(isa, &Serial, alone, &coefficients[last * count * count..], &mut a, &mut b);
                assert_eq!(bits(&a), bits(&y[last * width..]));
                assert_eq!(bits(&b), bits(&z[last * others * width..]));
            }
        }
    }

    #[test]
    fn what_is_added_to_streams_agrees_with_f64() {
        for isa in Isa::available() {
            for (rows, width, streams) in SHAPES {
                let (x, add) = (Random::new(1).values(rows * streams * width), Random::new(2).values(rows * width));
                let factors = Random::new(3).values(rows * streams);
                for factors in [None, Some(&*factors)] {
                    let mut y = vec![f32::NAN; x.len()];
                    add_to_streams(isa, &Threads(3), &x, width, &add, factors, &mut y);
                    for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                        let stream = i / width;
                        let factor = factors.map_or(1.0, |factors| 1.0 + f64::from(factors[stream]));
                        let expected = f64::from(*x) + factor * f64::from(add[stream / streams * width + i % width]);
                        assert!((f64::from(*y) - expected).abs() < 1e-6, "{isa:?} {rows} {width} {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_get_the_root_mean_square_of_others() {
        for isa in Isa::available() {
            for (rows, width, _) in SHAPES {
                let (mut x, like) = (Random::new(1).values(rows * width), Random::new(2).values(rows * width));
                // So small that the least counts.
                x[..width].iter_mut().for_each(|x| *x *= 1e-4);
                let mut y = vec![f32::NAN; x.len()];
                match_rms(isa, &Threads(3), &x, &like, width, 1e-5, &mut y);
                let square = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                for ((x, like), y) in x.chunks(width).zip(like.chunks(width)).zip(y.chunks(width)) {
                    let by = (square(like) / square(x).max(1e-5)).sqrt();
                    for (x, y) in x.iter().zip(y) {
                        assert!((f64::from(*y) - f64::from(*x) * by).abs() < 1e-5, "{isa:?} {rows} {width}");
                    }
                }
            }
        }
    }
}
