//! What the kernels' tests share.

use super::{Dtype, Isa, Layout, Matrix, Packing, Parallel, pack};
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
        Matrix { layout: Layout::Rows(self.dtype), rows: self.rows, cols: self.cols, data: &self.bytes[1..] }
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
        Matrix { layout, rows: self.rows, cols: self.cols, data: &self.bytes[1..] }
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
