//! What the kernels' tests share.

use super::mxfp4::{BLOCK, BLOCK_BYTES};
use super::{Dtype, Isa, Layout, Matrix, Mxfp4, Packing, Parallel, pack};
use half::{bf16, f16};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Repeatable values in -1..1 (xorshift, Marsaglia 2003).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn value(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(super) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

/// A matrix in a file's bytes, at an odd address, beside the values it stands for.
pub(super) struct Stored {
    pub(super) values: Vec<f32>,
    dtype: Dtype,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn new(rows: usize, cols: usize, dtype: Dtype, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut bytes = vec![0];
        let values = (0..rows * cols)
            .map(|_| {
                let value = random.value();
                match dtype {
                    Dtype::F32 => {
                        bytes.extend(value.to_le_bytes());
                        value
                    }
                    Dtype::F16 => {
                        let value = f16::from_f32(value);
                        bytes.extend(value.to_le_bytes());
                        value.to_f32()
                    }
                    Dtype::BF16 => {
                        let value = bf16::from_f32(value);
                        bytes.extend(value.to_le_bytes());
                        value.to_f32()
                    }
                }
            })
            .collect();
        Self { values, dtype, rows, cols, bytes }
    }

    /// These values as they are.
    pub(super) fn of(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes = std::iter::once(0).chain(values.iter().flat_map(|value| value.to_le_bytes())).collect();
        Self { values: values.to_vec(), dtype: Dtype::F32, rows, cols, bytes }
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        Matrix {
            layout: Layout::Rows(self.dtype),
            rows: self.rows,
            cols: self.cols,
            data: &self.bytes[1..],
            scales: &[],
        }
    }
}

/// A quantised matrix, at an odd address, beside the values it stands for.
pub(super) struct Packed {
    pub(super) values: Vec<f32>,
    pub(super) packing: Packing,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Packed {
    pub(super) fn new(rows: usize, cols: usize, packing: Packing, seed: u64) -> Self {
        Self::of(&Stored::new(rows, cols, Dtype::F32, seed).matrix(), packing)
    }

    pub(super) fn of(source: &Matrix, packing: Packing) -> Self {
        let Matrix { rows, cols, .. } = *source;
        let mut bytes = vec![0xaa; 1 + packing.bytes(rows, cols).unwrap()];
        pack(Isa::Portable, packing, source, 0..rows, &mut bytes[1..]);
        let mut packed = Self { values: vec![f32::NAN; rows * cols], packing, rows, cols, bytes };
        let mut values = std::mem::take(&mut packed.values);
        packed.matrix().widen(0, &mut values);
        packed.values = values;
        packed
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        let layout = Layout::Tiles(self.packing);
        Matrix { layout, rows: self.rows, cols: self.cols, data: &self.bytes[1..], scales: &[] }
    }
}

/// Four-bit floats, each matrix one of `step` whose rows lie in turns, beside the values that they stand for.
pub(super) struct Fours {
    pub(super) values: Vec<f32>,
    mxfp4: Mxfp4,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

impl Fours {
    pub(super) fn new(rows: usize, cols: usize, step: usize, coded: bool, seed: u64) -> Self {
        let (mut random, blocks) = (Random::new(seed), rows * step * cols / BLOCK);
        let mut byte =
            |least: f32, most: f32| (least + f32::midpoint(random.value(), 1.0) * (most + 1.0 - least)) as u8;
        let codes = (0..=blocks * BLOCK_BYTES).map(|_| byte(0.0, 255.0)).collect();
        let scales = (0..=blocks).map(|_| byte(120.0, 130.0)).collect();
        let mut fours = Self { values: Vec::new(), mxfp4: Mxfp4 { step, coded }, rows, cols, codes, scales };
        let place = |i: usize| i / cols * step * cols + i % cols;
        let value = |i: usize| {
            let code = fours.codes[1 + place(i) / 2] >> (place(i) % 2 * 4) & 15;
            let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
            let scale = 2_f32.powi(i32::from(fours.scales[1 + place(i) / BLOCK]) - 127);
            if code < 8 { magnitude * scale } else { -magnitude * scale }
        };
        fours.values = (0..rows * cols).map(value).collect();
        fours
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        // Rows between the last of this matrix and the end belong to others.
        let blocks = if self.rows == 0 { 0 } else { ((self.rows - 1) * self.mxfp4.step + 1) * self.cols / BLOCK };
        let (data, scales) = (&self.codes[1..][..blocks * BLOCK_BYTES], &self.scales[1..][..blocks]);
        Matrix { layout: Layout::Mxfp4(self.mxfp4), rows: self.rows, cols: self.cols, data, scales }
    }
}

/// Real threads, started for each call.
pub(super) struct Threads(pub(super) usize);

impl Parallel for Threads {
    fn incomplete(&self) {
        unreachable!("a result without a place");
    }

    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= tasks {
                            break;
                        }
                        task(number);
                    }
                });
            }
        });
    }
}

/// The bits of each value: equal means equal, zeros' signs and NaNs included.
pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
