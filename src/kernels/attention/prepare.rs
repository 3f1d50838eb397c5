//! One head's row before attention: norm, rotation, scale.

use super::super::norm::Weighted;
use super::super::simd::Simd;
use super::shape::Rotation;

/// What is done to a head.
pub(super) struct Preparation<'a> {
    pub(super) norm: Option<Weighted<'a>>,
    /// The norm comes after the rotation.
    pub(super) norm_after_rotation: bool,
    pub(super) rotation: Rotation,
    /// Values in front of the first that is rotated.
    pub(super) passing: usize,
    /// The angles of its position, one for each rotated pair.
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    /// Multiplies everything.
    pub(super) scale: f32,
}

/// Normalises, rotates and scales one head, in this order or the first two the other way round.
///
/// The rotation is `RoPE` (Su et al. 2021): a pair `(a, b)` becomes `(a cos - b sin, b cos + a sin)`. Values after the pairs pass.
#[inline(always)]
pub(super) fn prepare<S: Simd>(simd: S, from: &[f32], how: &Preparation, to: &mut [f32]) {
    let (before, after) = if how.norm_after_rotation { (None, how.norm) } else { (how.norm, None) };
    match before {
        Some(norm) => norm.normalise(simd, from, to),
        None => to.copy_from_slice(from),
    }
    // A norm would take off what heads were scaled by before it.
    let scale = if after.is_some() { 1.0 } else { how.scale };
    let (passing, rest) = to.split_at_mut(how.passing.min(to.len()));
    let pairs = how.cos.len().min(how.sin.len()).min(rest.len() / 2);
    match how.rotation {
        Rotation::Halves => rotate_halves(simd, pairs, how, scale, rest),
        Rotation::Interleaved => rotate_interleaved(pairs, how, scale, rest),
    }
    for value in passing.iter_mut().chain(&mut rest[2 * pairs..]) {
        *value *= scale;
    }
    if let Some(norm) = after {
        norm.normalise_in_place(simd, to);
        for value in to {
            *value *= how.scale;
        }
    }
}

/// Rotates and scales `pairs` pairs, whose second values are `pairs` after the first.
#[inline(always)]
fn rotate_halves<S: Simd>(simd: S, pairs: usize, how: &Preparation, scale: f32, to: &mut [f32]) {
    let (a, b) = (to.as_mut_ptr(), to[pairs..].as_mut_ptr());
    let scale = simd.splat(scale);
    let mut at = 0;
    // SAFETY: at + count <= pairs, and there are twice as many values; `a` and `b` are `pairs` apart, so each step reads both
    // before it writes either.
    unsafe {
        while at < pairs {
            let count = S::LANES.min(pairs - at);
            let (cos, sin) = (how.cos.as_ptr().add(at), how.sin.as_ptr().add(at));
            let (cos, sin) = (simd.load_part(cos, count), simd.load_part(sin, count));
            let (x, y) = (simd.load_part(a.add(at), count), simd.load_part(b.add(at), count));
            let minus_y = simd.sub(simd.splat(0.0), y);
            let first = simd.mul_add(x, cos, simd.mul(minus_y, sin));
            let second = simd.mul_add(y, cos, simd.mul(x, sin));
            simd.store_part(simd.mul(first, scale), a.add(at), count);
            simd.store_part(simd.mul(second, scale), b.add(at), count);
            at += count;
        }
    }
}

/// Rotates pairs of neighbours.
#[inline(always)]
fn rotate_interleaved(pairs: usize, how: &Preparation, scale: f32, to: &mut [f32]) {
    for ([a, b], (cos, sin)) in to.as_chunks_mut().0.iter_mut().zip(how.cos.iter().zip(how.sin)).take(pairs) {
        (*a, *b) = ((*a * cos - *b * sin) * scale, (*b * cos + *a * sin) * scale);
    }
}
