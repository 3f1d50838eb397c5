//! Which instructions to use, decided once at run time.
//!
//! A fuzzer's build (`cfg(fuzzing)`) has the portable code alone: its subject is what reads files and calls, and the others
//! would take most of the time to compile. For the same reason a build with `ORTSHARD_NO_AVX512` in its environment leaves
//! AVX-512 out: for developers whose processor has none.

use super::simd::{Kernel, portable::Portable};

/// An instruction set the kernels are compiled for.
///
/// Naming one that the processor lacks is safe: the portable code runs instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust; runs anywhere.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// 64-bit Arm.
    Neon,
}

/// Whether AVX-512 is compiled. What a constant rules out costs no time to compile.
pub(super) const AVX512: bool = option_env!("ORTSHARD_NO_AVX512").is_none();

impl Isa {
    /// Every instruction set there is code for, the best first.
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// The best instruction set of this processor, or the one the environment variable `ORTSHARD_ISA` names
    /// (`portable`, `avx2`, `avx512`, `neon`) where the processor has it.
    #[must_use]
    pub fn detect() -> Self {
        let wanted = std::env::var("ORTSHARD_ISA").unwrap_or_default();
        let available = Self::available();
        let named = available.iter().find(|isa| isa.name() == wanted);
        named.or(available.first()).copied().unwrap_or(Self::Portable)
    }

    /// The instruction sets of this processor, the best first; never empty.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The name that `ORTSHARD_ISA` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Self::Avx2 => super::simd::avx2::Avx2::detect().is_some(),
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Self::Avx512 => AVX512 && super::simd::avx512::Avx512::detect().is_some(),
            #[cfg(all(target_arch = "aarch64", not(fuzzing)))]
            Self::Neon => super::simd::neon::Neon::detect().is_some(),
            _ => false,
        }
    }

    /// Runs a kernel compiled for this instruction set. The processor is asked again, which costs a few loads: so no value of
    /// this type can lead to an instruction that is not there.
    pub(super) fn run<K: Kernel>(self, kernel: K) {
        match self {
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Self::Avx512 if AVX512 => {
                if let Some(simd) = super::simd::avx512::Avx512::detect() {
                    return simd.run(kernel);
                }
            }
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Self::Avx2 => {
                if let Some(simd) = super::simd::avx2::Avx2::detect() {
                    return simd.run(kernel);
                }
            }
            #[cfg(all(target_arch = "aarch64", not(fuzzing)))]
            Self::Neon => {
                if let Some(simd) = super::simd::neon::Neon::detect() {
                    return simd.run(kernel);
                }
            }
            _ => {}
        }
        kernel.run(Portable);
    }
}
