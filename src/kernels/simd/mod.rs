//! The one vector abstraction every kernel is written against.
//!
//! A kernel is a generic function over [`Simd`]; each instruction set implements the trait once, and [`Isa::run`](super::Isa)
//! calls the kernel inside a function compiled for that instruction set. Two rules make that work:
//!
//! * A value of an implementing type is a *proof*: it can only be made after the processor was asked, so its methods may use the
//!   instructions without asking again.
//! * Everything on the way from the wrapper to an intrinsic is `#[inline(always)]`; what is not inlined is compiled for the
//!   baseline processor and would be slow (never wrong).

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod narrow;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod portable;

use super::fp8::value;

/// A kernel that can be compiled for any instruction set. Implementations mark `run` as `#[inline(always)]`.
pub(super) trait Kernel {
    /// Does the work with the instructions that `simd` stands for.
    fn run<S: Simd>(self, simd: S);
}

/// One instruction set's vectors of `f32` lanes.
///
/// Loads and stores take raw pointers, need no alignment, and touch exactly the lanes they name.
pub(super) trait Simd: Copy {
    /// A register of [`LANES`](Self::LANES) values.
    type V: Copy;
    /// What four-bit floats of one scale stand for.
    type Fours: Copy;
    /// Values in one register.
    const LANES: usize;
    /// Vector registers there are: how large a block of accumulators a kernel may keep.
    const REGISTERS: usize;
    /// Most tokens of a block of accumulators; 1 where speed is not worth the code of every shape.
    const TOKENS: usize = 3;

    /// Runs a kernel as a function of its own, for what is seldom done and would be in the way of what is always.
    fn run_apart<K: Kernel>(self, kernel: K);

    /// Every lane set to `value`.
    fn splat(self, value: f32) -> Self::V;

    /// Reads `LANES` values.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` values.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// Reads `count <= LANES` values, zeros in the other lanes.
    ///
    /// # Safety
    /// `from` is valid for reading `count` values.
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::V;

    /// Reads `LANES` bfloat16 values and widens them, which is exact.
    ///
    /// # Safety
    /// `from` is valid for reading `2 * LANES` bytes.
    unsafe fn load_bf16(self, from: *const u8) -> Self::V;

    /// Reads `LANES` IEEE half values and widens them, which is exact.
    ///
    /// # Safety
    /// `from` is valid for reading `2 * LANES` bytes.
    unsafe fn load_f16(self, from: *const u8) -> Self::V;

    /// Reads `LANES` signed bytes and widens them.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` bytes.
    unsafe fn load_i8(self, from: *const u8) -> Self::V;

    /// Reads `LANES` eight-bit floats (E4M3) and widens them, which is exact.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` bytes.
    unsafe fn load_e4m3(self, from: *const u8) -> Self::V;

    /// What four-bit floats with this scale stand for.
    fn fours(self, scale: f32) -> Self::Fours;

    /// Widens the `part`th `LANES` of a block of 32 four-bit floats.
    ///
    /// # Safety
    /// `block` is valid for reading 16 bytes.
    unsafe fn load_fours(self, fours: Self::Fours, block: *const u8, part: usize) -> Self::V;

    /// Writes `LANES` values.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` values.
    unsafe fn store(self, v: Self::V, to: *mut f32);

    /// Writes the first `count <= LANES` values.
    ///
    /// # Safety
    /// `to` is valid for writing `count` values.
    unsafe fn store_part(self, v: Self::V, to: *mut f32, count: usize);

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set has a fused operation.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair; a NaN in `b` stays a NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of each pair; a NaN in `b` stays a NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;

    /// `2^n` in each lane, where `t` is `n + 1.5 * 2^23` and `-126 <= n <= 127`: the sum's low bits are the integer `n`,
    /// which only has to be moved into the exponent.
    fn power_of_two(self, t: Self::V) -> Self::V;

    /// The sums of the lanes of four registers. Every register is folded in the same fixed order, whatever the others hold.
    fn sum4(self, v: [Self::V; 4]) -> [f32; 4];

    /// The largest lane.
    fn largest(self, v: Self::V) -> f32;

    /// Widens and transposes a square of `LANES` by `LANES` elements; `from_stride` in bytes, `to_stride` in values.
    ///
    /// # Safety
    /// `LANES` rows of `LANES` elements at `from` are valid for reading, as many values at `to` for writing, and they do not
    /// overlap.
    unsafe fn transpose<E: Element>(self, from: *const u8, from_stride: usize, to: *mut f32, to_stride: usize);

    /// Asks for the cache line at `at`, which need not be valid to read, into the second-level cache: the first-level cache has too
    /// few places for misses (measured: 9.3 GB/s of keys and values a core against 7.9).
    fn prefetch(self, at: *const u8);

    /// The sum of the lanes, in the order of [`sum4`](Self::sum4).
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let zero = self.splat(0.0);
        self.sum4([v, zero, zero, zero])[0]
    }
}

/// An element type of stored weights, or of rows that attention keeps, as a type: so that a kernel is compiled for each.
pub(super) trait Element {
    /// Bytes of one element.
    const SIZE: usize;

    /// Reads a register full of elements and widens them.
    ///
    /// # Safety
    /// `from` is valid for reading `S::LANES` elements.
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V;

    /// Reads `count <= S::LANES` elements and widens them, zeros in the other lanes.
    ///
    /// # Safety
    /// `from` is valid for reading `count` elements.
    #[inline(always)]
    unsafe fn load_part<S: Simd>(simd: S, from: *const u8, count: usize) -> S::V {
        let mut whole = [0_u8; 64];
        // SAFETY: the caller vouches for the elements, and no register is longer than the array.
        unsafe {
            core::ptr::copy_nonoverlapping(from, whole.as_mut_ptr(), (count * Self::SIZE).min(64));
            Self::load(simd, whole.as_ptr())
        }
    }

    /// Reads one element and widens it.
    ///
    /// # Safety
    /// `from` is valid for reading one element.
    unsafe fn widen(from: *const u8) -> f32;
}

/// 32 bit floating point.
pub(super) struct F32;
/// IEEE half precision.
pub(super) struct F16;
/// bfloat16.
pub(super) struct BF16;
/// Signed bytes.
pub(super) struct I8;
/// Eight-bit floats.
pub(super) struct E4M3;

impl Element for F32 {
    const SIZE: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller vouches for the elements; a load needs no alignment.
        unsafe { simd.load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> f32 {
        // SAFETY: the caller vouches for the element; its alignment is not assumed.
        unsafe { from.cast::<f32>().read_unaligned() }
    }
}

impl Element for F16 {
    const SIZE: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.load_f16(from) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> f32 {
        // SAFETY: the caller vouches for the element; its alignment is not assumed.
        narrow::widen_f16(unsafe { from.cast::<u16>().read_unaligned() })
    }
}

impl Element for BF16 {
    const SIZE: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> f32 {
        // SAFETY: the caller vouches for the element; its alignment is not assumed.
        narrow::widen_bf16(unsafe { from.cast::<u16>().read_unaligned() })
    }
}

impl Element for I8 {
    const SIZE: usize = 1;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.load_i8(from) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> f32 {
        // SAFETY: the caller vouches for the element.
        f32::from(unsafe { from.read() }.cast_signed())
    }
}

impl Element for E4M3 {
    const SIZE: usize = 1;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.load_e4m3(from) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> f32 {
        // SAFETY: the caller vouches for the element.
        value(unsafe { from.read() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::mxfp4::VALUES;
    use super::super::testing::Random;
    use super::*;

    /// A square of elements, and single ones of it, widened.
    #[inline(always)]
    fn check_widening<S: Simd, E: Element>(simd: S, isa: Isa) {
        // Any bits but those of NaNs, whose payload may change.
        let elements: Vec<u8> = (0..16 * 20 * E::SIZE).map(|i| (i * 37) as u8 & 0xfb).collect();
        let mut back = [0.0_f32; 16 * 20];
        // SAFETY: both hold 16 rows of 20, and no register has more than 16 lanes.
        unsafe {
            simd.transpose::<E>(elements.as_ptr(), 20 * E::SIZE, back.as_mut_ptr(), 18);
            for i in 0..S::LANES {
                let row = elements.as_ptr().add(i * 20 * E::SIZE);
                let mut lanes = [0.0_f32; 16];
                simd.store(E::load(simd, row), lanes.as_mut_ptr());
                for (j, lane) in lanes.iter().enumerate().take(S::LANES) {
                    let one = E::widen(row.add(j * E::SIZE));
                    assert_eq!(lane.to_bits(), one.to_bits(), "{isa:?} widens {i}, {j}");
                    assert_eq!(back[j * 18 + i].to_bits(), one.to_bits(), "{isa:?} transposes {i}, {j}");
                }
            }
        }
    }

    /// What an instruction set does beside the obvious.
    struct Check(Isa);

    impl Kernel for Check {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let isa = self.0;
            let n = S::LANES;
            let values = Random::new(1).values(16 * 20);
            check_widening::<S, F32>(simd, isa);
            check_widening::<S, F16>(simd, isa);
            check_widening::<S, BF16>(simd, isa);
            check_widening::<S, I8>(simd, isa);
            check_widening::<S, E4M3>(simd, isa);
            let codes: Vec<u8> = (0..=u8::MAX).collect();
            for from in (0..256).step_by(n) {
                let mut out = [0.0_f32; 16];
                // SAFETY: a register of either.
                unsafe { simd.store(simd.load_e4m3(codes[from..].as_ptr()), out.as_mut_ptr()) };
                for (out, code) in out.iter().zip(&codes[from..from + n]) {
                    assert!(
                        out.to_bits() == value(*code).to_bits() || out.is_nan() && value(*code).is_nan(),
                        "{isa:?} {code:#x}"
                    );
                }
            }
            for (round, scale) in [1.0, 0.125, f32::from_bits(1 << 22), 1e38].into_iter().enumerate() {
                let block: [u8; 16] = std::array::from_fn(|i| (i * 17 + round * 5 + i / 3) as u8);
                let fours = simd.fours(scale);
                for part in 0..32 / n {
                    let mut out = [0.0_f32; 16];
                    // SAFETY: a block, and a register.
                    unsafe { simd.store(simd.load_fours(fours, block.as_ptr(), part), out.as_mut_ptr()) };
                    for (i, out) in out[..n].iter().enumerate() {
                        let col = part * n + i;
                        let expected = VALUES[usize::from(block[col / 2] >> (col % 2 * 4) & 15)] * scale;
                        assert_eq!(out.to_bits(), expected.to_bits(), "{isa:?} four-bit floats, column {col}");
                    }
                }
            }
            let bytes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
            for from in (0..256).step_by(n) {
                let mut out = [0.0_f32; 16];
                // SAFETY: a register of either.
                unsafe { simd.store(simd.load_i8(bytes[from..].as_ptr().cast()), out.as_mut_ptr()) };
                assert!(
                    out[..n].iter().zip(&bytes[from..]).all(|(x, b)| x.to_bits() == f32::from(*b).to_bits()),
                    "{isa:?} {from}"
                );
            }
            // SAFETY: four registers of the array.
            let v = [0, 1, 2, 3].map(|i| unsafe { simd.load(values.as_ptr().add(i * n)) });
            let sums = simd.sum4(v);
            for i in 0..4 {
                let lanes = &values[i * n..][..n];
                assert_eq!(simd.sum(v[i]).to_bits(), sums[i].to_bits(), "{isa:?} folds each register alike");
                assert!((sums[i] - lanes.iter().sum::<f32>()).abs() < 1e-5, "{isa:?} sums");
                assert_eq!(simd.largest(v[i]).to_bits(), lanes.iter().copied().fold(f32::MIN, f32::max).to_bits());
            }
            for count in 0..=n {
                let mut out = [7.0_f32; 16];
                // SAFETY: count lanes of either.
                unsafe { simd.store_part(simd.load_part(values.as_ptr(), count), out.as_mut_ptr(), count) };
                assert_eq!(out[..count], values[..count]);
                assert!(out[count..].iter().all(|x| x.to_bits() == 7_f32.to_bits()), "{isa:?} writes beyond {count}");
                // SAFETY: count lanes, then a whole register.
                unsafe { simd.store(simd.load_part(values.as_ptr(), count), out.as_mut_ptr()) };
                assert!(out[count..n].iter().all(|x| *x == 0.0), "{isa:?} reads beyond {count}");
            }
            for first in (0..=u16::MAX).step_by(16) {
                let halves: Vec<u16> = (0..16).map(|i| first + i).collect();
                let mut out = [0.0_f32; 32];
                for from in (0..16).step_by(n) {
                    // SAFETY: sixteen values of either.
                    unsafe {
                        simd.store(simd.load_f16(halves[from..].as_ptr().cast()), out.as_mut_ptr().add(from));
                        simd.store(simd.load_bf16(halves[from..].as_ptr().cast()), out.as_mut_ptr().add(16 + from));
                    }
                }
                for (i, half) in halves.iter().enumerate() {
                    let (f16, bf16) = (half::f16::from_bits(*half).to_f32(), half::bf16::from_bits(*half).to_f32());
                    assert!(
                        out[i].to_bits() == f16.to_bits() || out[i].is_nan() && f16.is_nan(),
                        "{isa:?} f16 {half:x}"
                    );
                    assert!(out[16 + i].to_bits() == bf16.to_bits() || bf16.is_nan(), "{isa:?} bf16 {half:x}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_does_what_the_trait_says() {
        for isa in Isa::available() {
            isa.run(Check(isa));
        }
    }
}
