//! A linear layer for each head: `DeepSeek`'s way from queries to latents, and from latents to values.

use super::super::shared::{Output, Scratch};
use super::super::{Isa, Matrix, Parallel};
use super::area::Apart;
use super::job::{Job, coded, coded_bytes};
use super::parts::{Part, run_parts};

/// Values that a task copies: below that a thread is not worth waking.
const TASK_VALUES: usize = 1 << 15;

/// `x` is `[tokens, heads, width]`. The first values of a head, as many as its matrix has columns, become as many as it has rows; those
/// that are left pass, behind them: `y` is `[tokens, heads, rows + passing]`.
///
/// Every token and head is summed as in [`linear`](super::linear), so its bits depend on nothing else.
pub fn linear_heads(isa: Isa, par: &dyn Parallel, x: &[f32], width: usize, heads: &[Matrix], y: &mut [f32]) {
    let Some(Matrix { rows, cols, .. }) = heads.first().copied() else { return };
    let count = heads.len();
    let alike = heads.iter().all(|head| (head.rows, head.cols) == (rows, cols));
    if !alike || cols == 0 || cols > width || !x.len().is_multiple_of(count * width) {
        par.incomplete();
        return;
    }
    let (tokens, passing) = (x.len() / (count * width), width - cols);
    let out_width = rows + passing;
    let apart = Apart { x: count * width, y: count * out_width };
    let (total, y) = (tokens * apart.y, Output::new(par, y));
    if tokens == 0 {
        return;
    }
    let bytes = coded_bytes(heads.iter().map(|head| head.layout), tokens * count, cols);
    let mut scratch = Scratch::take((bytes[0] + bytes[1]).div_ceil(size_of::<f32>()));
    let all = coded(isa, par, x, (cols, width), bytes, scratch.bytes());
    let parts: Vec<Part> = heads
        .iter()
        .enumerate()
        .map(|(head, weights)| {
            let y = y.part(head * out_width, total - head * out_width);
            let coded = all.map(|rows| rows.map(|rows| rows.every(count, head)));
            Part { job: Job::one(*weights, None, None, y).apart(apart), x: &x[head * width..], coded, tokens }
        })
        .collect();
    run_parts(isa, par, &parts);
    if passing > 0 {
        let per_task = (TASK_VALUES / (count * passing)).max(1);
        par.run(tokens.div_ceil(per_task), &|task| {
            let of_task = task * per_task * count..((task + 1) * per_task).min(tokens) * count;
            for place in of_task {
                // SAFETY: no other task has this token, and of a head the layers have other values.
                let to = unsafe { y.slice(place * out_width + rows, passing) };
                to.copy_from_slice(&x[place * width + cols..][..to.len()]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Packed, Random, Stored, Threads, bits};
    use super::super::super::{Dtype, Packing, Serial, linear};
    use super::*;

    /// A head's matrix, however it is kept.
    enum Kept {
        Plain(Stored),
        Quantised(Packed),
    }

    impl Kept {
        fn matrix(&self) -> Matrix<'_> {
            match self {
                Self::Plain(stored) => stored.matrix(),
                Self::Quantised(packed) => packed.matrix(),
            }
        }
    }

    /// Each head by itself is a linear layer, which has tests of its own.
    #[test]
    fn every_head_has_the_bits_of_a_linear_layer() {
        for isa in Isa::available() {
            for (heads, rows, cols, passing) in [(1, 20, 10, 0), (3, 33, 16, 6), (5, 130, 150, 64), (2, 16, 300, 1)] {
                let kept: Vec<Kept> = (0..heads)
                    .map(|head| match head % 5 {
                        0 => Kept::Plain(Stored::new(rows, cols, Dtype::BF16, head as u64)),
                        1 => Kept::Quantised(Packed::new(rows, cols, Packing::Int4, head as u64)),
                        2 => Kept::Quantised(Packed::new(rows, cols, Packing::Int8, head as u64)),
                        3 => Kept::Plain(Stored::new(rows, cols, Dtype::F32, head as u64)),
                        _ => Kept::Quantised(Packed::new(rows, cols, Packing::Int4Fine, head as u64)),
                    })
                    .collect();
                let matrices: Vec<Matrix> = kept.iter().map(Kept::matrix).collect();
                let (width, out_width) = (cols + passing, rows + passing);
                for tokens in [0, 1, 4, 13, 70] {
                    let x = Random::new(7).values(tokens * heads * width);
                    let mut y = vec![f32::NAN; tokens * heads * out_width];
                    linear_heads(isa, &Threads(3), &x, width, &matrices, &mut y);
                    for (place, (x, y)) in x.chunks(width).zip(y.chunks(out_width)).enumerate() {
                        let mut expected = vec![f32::NAN; rows];
                        linear(isa, &Serial, &x[..cols], &matrices[place % heads], None, None, &mut expected);
                        expected.extend(&x[cols..]);
                        assert_eq!(bits(y), bits(&expected), "{isa:?} {heads} heads, {rows} x {cols}, place {place}");
                    }
                }
            }
        }
    }
}
