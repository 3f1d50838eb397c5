//! Eight-bit floats with a scale for each block, beside the same numbers in `f32`.

use super::super::testing::{Random, Stored, Threads, bits};
use super::super::{Fp8, Isa, Layout, Matrix, Serial, linear};

/// A tensor of codes and scales, and which part of it is the matrix.
struct Eights {
    fp8: Fp8,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

impl Eights {
    /// `rows` by `cols` codes that are numbers, with the scales of a tensor of which they begin at `first`.
    fn new(rows: usize, cols: usize, block: [usize; 2], first: [usize; 2], transposed: bool) -> Self {
        let mut random = Random::new((rows * cols) as u64);
        let codes = (0..rows * cols)
            .map(|_| ((random.value() * 127.5).abs() as u8).min(0x7e) | (u8::from(random.value() > 0.0) << 7));
        let codes = codes.collect();
        let all = if transposed { [first[0] + cols, first[1] + rows] } else { [first[0] + rows, first[1] + cols] };
        let across = all[1].div_ceil(block[1]);
        let scales = random.values(all[0].div_ceil(block[0]) * across);
        let scales = scales.into_iter().flat_map(|scale| (scale / 300.0).to_le_bytes()).collect();
        Self { fp8: Fp8 { block, across, first, transposed }, rows, cols, codes, scales }
    }

    fn matrix(&self) -> Matrix<'_> {
        let Self { fp8, rows, cols, .. } = *self;
        Matrix { layout: Layout::Fp8(fp8), rows, cols, data: &self.codes, scales: &self.scales }
    }

    /// The values, from the codes' bits and the scales' places.
    fn values(&self) -> Vec<f32> {
        let value = |i: usize| {
            let (row, col, code) = (i / self.cols, i % self.cols, self.codes[i]);
            let (row, col) = if self.fp8.transposed { (col, row) } else { (row, col) };
            let [first, left] = self.fp8.first;
            let at = (first + row) / self.fp8.block[0] * self.fp8.across + (left + col) / self.fp8.block[1];
            let scale = f32::from_le_bytes(self.scales[4 * at..][..4].try_into().unwrap());
            let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
            let magnitude = if exponent == 0 { fraction / 64.0 } else { (1.0 + fraction) * 2_f32.powi(exponent - 7) };
            (if code < 0x80 { magnitude } else { -magnitude }) * scale
        };
        (0..self.rows * self.cols).map(value).collect()
    }
}

#[test]
fn they_have_the_bits_of_their_values() {
    for isa in Isa::available() {
        for (rows, cols, block, first, transposed) in [
            (1, 16, [128, 128], [0, 0], false),
            (40, 300, [128, 128], [200, 0], false),
            (33, 1000, [32, 16], [5, 48], false),
            (70, 200, [48, 7], [32, 3], true),
            (20, 128, [128, 128], [256, 0], true),
            (17, 33, [16, 16], [16, 0], true),
        ] {
            let eights = Eights::new(rows, cols, block, first, transposed);
            let (matrix, values) = (eights.matrix(), eights.values());
            let mut widened = vec![f32::NAN; rows * cols];
            matrix.widen(0, &mut widened);
            assert_eq!(bits(&widened), bits(&values));
            let plain = Stored::of(rows, cols, &values);
            for tokens in [1, 2, 7, 9, 10, 70] {
                let x = Random::new(tokens as u64).values(tokens * cols);
                let run = |matrix: &Matrix| {
                    let mut y = vec![f32::NAN; tokens * matrix.rows];
                    linear(isa, &Threads(3), &x, matrix, None, None, &mut y);
                    bits(&y)
                };
                assert_eq!(run(&matrix), run(&plain.matrix()), "{isa:?} {rows} x {cols}, {tokens} tokens");
                let part = rows / 3..rows;
                let (eights, plain) = (matrix.rows(part.clone()).unwrap(), plain.matrix().rows(part).unwrap());
                assert_eq!(run(&eights), run(&plain), "{isa:?} rows of {rows} x {cols}, {tokens} tokens");
            }
        }
    }
}

#[test]
fn a_code_that_is_no_number_is_not_hidden() {
    for isa in Isa::available() {
        for bad in [0x7f, 0xff] {
            let mut eights = Eights::new(20, 64, [128, 128], [0, 0], false);
            eights.codes[3 * 64 + 5] = bad;
            let mut y = vec![0.0; 20];
            linear(isa, &Serial, &[1.0; 64], &eights.matrix(), None, None, &mut y);
            for (row, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), row == 3, "{isa:?} {row}");
            }
        }
    }
}
