//! Plain Rust, four lanes in an array: the reference, and what runs where nothing better is known.

use super::super::fp8::value;
use super::super::mxfp4::VALUES;
use super::narrow::{widen_bf16, widen_f16};
use super::{Element, Simd};

/// The portable instruction set. Always there, so it needs no proof.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Four lanes, laid out so that the compiler may use any 128-bit registers it has.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Lanes([f32; 4]);

#[inline(always)]
fn zip(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    Lanes([f(a.0[0], b.0[0]), f(a.0[1], b.0[1]), f(a.0[2], b.0[2]), f(a.0[3], b.0[3])])
}

impl Simd for Portable {
    type V = Lanes;
    /// Their scale.
    type Fours = f32;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    // Hardly any processor of that kind is without AVX2.
    const TOKENS: usize = if cfg!(target_arch = "x86_64") { 1 } else { 3 };

    #[inline(never)]
    fn run_apart<K: super::Kernel>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Lanes {
        Lanes([value; 4])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Lanes {
        // SAFETY: the caller vouches for four values; their alignment is not assumed.
        Lanes(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> Lanes {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: i < count, and the caller vouches for count values.
            *lane = unsafe { from.add(i).read_unaligned() };
        }
        Lanes(lanes)
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> Lanes {
        // SAFETY: the caller vouches for eight bytes.
        let h = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Lanes(h.map(|h| widen_bf16(u16::from_le(h))))
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> Lanes {
        // SAFETY: the caller vouches for eight bytes.
        let h = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Lanes(h.map(|h| widen_f16(u16::from_le(h))))
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> Lanes {
        // SAFETY: the caller vouches for four bytes.
        Lanes(unsafe { from.cast::<[i8; 4]>().read() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_e4m3(self, from: *const u8) -> Lanes {
        // SAFETY: the caller vouches for four bytes.
        Lanes(unsafe { from.cast::<[u8; 4]>().read() }.map(value))
    }

    #[inline(always)]
    fn fours(self, scale: f32) -> f32 {
        scale
    }

    #[inline(always)]
    unsafe fn load_fours(self, scale: f32, block: *const u8, part: usize) -> Lanes {
        // SAFETY: the caller vouches for the block, of which a part is two bytes.
        let [a, b] = unsafe { block.add(2 * part).cast::<[u8; 2]>().read() };
        let values = [a & 15, a >> 4, b & 15, b >> 4].map(|code| VALUES[usize::from(code)] * scale);
        Lanes(values)
    }

    #[inline(always)]
    unsafe fn store(self, v: Lanes, to: *mut f32) {
        // SAFETY: the caller vouches for four values; their alignment is not assumed.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, v: Lanes, to: *mut f32, count: usize) {
        for (i, lane) in v.0.iter().enumerate().take(count) {
            // SAFETY: i < count, and the caller vouches for count values.
            unsafe { to.add(i).write_unaligned(*lane) }
        }
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a / b)
    }

    // Not `f32::mul_add`: without the instruction that is a slow library call.
    #[inline(always)]
    fn mul_add(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn power_of_two(self, t: Lanes) -> Lanes {
        Lanes(t.0.map(|t| f32::from_bits((t.to_bits() << 23).wrapping_add(0x3f80_0000))))
    }

    #[inline(always)]
    fn sum4(self, v: [Lanes; 4]) -> [f32; 4] {
        v.map(|v| (v.0[0] + v.0[2]) + (v.0[1] + v.0[3]))
    }

    #[inline(always)]
    fn largest(self, v: Lanes) -> f32 {
        v.0[0].max(v.0[1]).max(v.0[2].max(v.0[3]))
    }

    #[inline(always)]
    unsafe fn transpose<E: Element>(self, from: *const u8, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..4 {
            for j in 0..4 {
                // SAFETY: i and j stay inside the square the caller vouches for.
                unsafe { to.add(j * to_stride + i).write_unaligned(E::widen(from.add(i * from_stride + j * E::SIZE))) }
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}
}
