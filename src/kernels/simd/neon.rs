//! NEON (every 64-bit Arm): four lanes, thirty-two registers.

use super::super::mxfp4::VALUES;
use super::{Element, Simd};
#[allow(clippy::wildcard_imports, reason = "half of the intrinsics there are")]
use core::arch::aarch64::*;

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "neon")]
        fn with_features<K: super::Kernel>(simd: Neon, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: a value of this type proves that the features are there.
        unsafe { with_features(self, kernel) }
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are the caller's promise.
#[allow(unused_unsafe, reason = "which intrinsics are safe to call depends on the compiler's version")]
impl Simd for Neon {
    type V = float32x4_t;
    /// Their scale.
    type Fours = f32;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn run_apart<K: super::Kernel>(self, kernel: K) {
        #[target_feature(enable = "neon")]
        #[inline(never)]
        fn apart<K: super::Kernel>(simd: Neon, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: see above.
        unsafe { apart(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above; read as bytes, because the address may have any alignment.
        unsafe { vreinterpretq_f32_u8(vld1q_u8(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0_f32; 4];
        // SAFETY: see above; at most four values are copied.
        unsafe {
            core::ptr::copy_nonoverlapping(from.cast::<u8>(), lanes.as_mut_ptr().cast(), count.min(4) * 4);
            vld1q_f32(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vreinterpret_u16_u8(vld1_u8(from))))) }
    }

    // As `portable::widen_f16`: the compiler's own conversion is too new to rely on.
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let bits = vmovl_u16(vreinterpret_u16_u8(vld1_u8(from)));
            let magnitude = vandq_u32(bits, vdupq_n_u32(0x7fff));
            let scaled = vmulq_f32(
                vreinterpretq_f32_u32(vshlq_n_u32::<13>(magnitude)),
                vreinterpretq_f32_u32(vdupq_n_u32(0x7780_0000)),
            );
            let special = vandq_u32(vcgeq_u32(magnitude, vdupq_n_u32(0x7c00)), vdupq_n_u32(0x7f80_0000));
            let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
            vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), vorrq_u32(special, sign)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> float32x4_t {
        // SAFETY: see above; the word is the four bytes.
        unsafe {
            let bytes = vreinterpret_s8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }

    #[inline(always)]
    unsafe fn load_e4m3(self, from: *const u8) -> float32x4_t {
        // SAFETY: see above; the word is the four bytes.
        unsafe {
            let bytes = vreinterpret_u8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
            let codes = vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
            let magnitude = vandq_u32(codes, vdupq_n_u32(0x7f));
            let scaled = vmulq_f32(
                vreinterpretq_f32_u32(vshlq_n_u32::<20>(magnitude)),
                vreinterpretq_f32_u32(vdupq_n_u32(0x7b80_0000)),
            );
            let special = vandq_u32(vceqq_u32(magnitude, vdupq_n_u32(0x7f)), vdupq_n_u32(0x7fc0_0000));
            let sign = vshlq_n_u32::<24>(vandq_u32(codes, vdupq_n_u32(0x80)));
            vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), vorrq_u32(special, sign)))
        }
    }

    #[inline(always)]
    fn fours(self, scale: f32) -> f32 {
        scale
    }

    #[inline(always)]
    unsafe fn load_fours(self, scale: f32, block: *const u8, part: usize) -> float32x4_t {
        // SAFETY: the caller vouches for the block, of which a part is two bytes.
        let [a, b] = unsafe { block.add(2 * part).cast::<[u8; 2]>().read() };
        let values = [a & 15, a >> 4, b & 15, b >> 4].map(|code| VALUES[usize::from(code)] * scale);
        // SAFETY: see above; the array holds the register.
        unsafe { vld1q_f32(values.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, v: float32x4_t, to: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_u8(to.cast(), vreinterpretq_u8_f32(v)) }
    }

    #[inline(always)]
    unsafe fn store_part(self, v: float32x4_t, to: *mut f32, count: usize) {
        let mut lanes = [0.0_f32; 4];
        // SAFETY: see above; at most four values are copied.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), v);
            core::ptr::copy_nonoverlapping(lanes.as_ptr().cast(), to.cast::<u8>(), count.min(4) * 4);
        }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vminq_f32(a, b) }
    }

    #[inline(always)]
    fn power_of_two(self, t: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(t));
            vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(0x3f80_0000)))
        }
    }

    // Neighbours, then pairs.
    #[inline(always)]
    fn sum4(self, [a, b, c, d]: [float32x4_t; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: see above; the array has four lanes.
        unsafe { vst1q_f32(sums.as_mut_ptr(), vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))) }
        sums
    }

    #[inline(always)]
    fn largest(self, v: float32x4_t) -> f32 {
        // SAFETY: see above.
        unsafe { vmaxvq_f32(v) }
    }

    #[inline(always)]
    unsafe fn transpose<E: Element>(self, from: *const u8, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: see above.
        unsafe {
            let a = E::load(self, from);
            let b = E::load(self, from.add(from_stride));
            let c = E::load(self, from.add(2 * from_stride));
            let d = E::load(self, from.add(3 * from_stride));
            let (ac, bd) = (vzip1q_f32(a, c), vzip1q_f32(b, d));
            let (ac_high, bd_high) = (vzip2q_f32(a, c), vzip2q_f32(b, d));
            self.store(vzip1q_f32(ac, bd), to);
            self.store(vzip2q_f32(ac, bd), to.add(to_stride));
            self.store(vzip1q_f32(ac_high, bd_high), to.add(2 * to_stride));
            self.store(vzip2q_f32(ac_high, bd_high), to.add(3 * to_stride));
        }
    }

    // No stable prefetch; the hardware follows these streams by itself.
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}
}
