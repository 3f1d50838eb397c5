//! What a run in native operators works on besides its tensors: which request each row belongs to, where the
//! requests' KV caches are, and how far each row is rotated.
//!
//! The graph's `batch` input carries the address of a [`Batch`]; only `Attention` reads it. So ONNX Runtime knows
//! nothing of KV caches: no tensor for each layer to bind, nothing to copy, and requests of any length can share a
//! run.
#![allow(unsafe_code, reason = "the batch crosses ONNX Runtime as an address")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::error::{Result, err};
use crate::kept::{Parts, Place, RowsPlace, StateRun};
use crate::kernels::{AttentionSegment, AttentionShape, RowType, StateSegment};
use crate::runtime::device::cache::DeviceCache;

/// One request's rows in a run.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    /// What all layers keep, at `places`.
    kv: *mut u8,
    len: usize,
    places: &'a [Place],
    kind: RowType,
    /// Where the run's states lie.
    states: StateRun,
    position: usize,
    tokens: usize,
    /// Whether the request's positions are rotated as those of long texts are, where there is a difference.
    pub is_long: bool,
    /// The slot that holds them, if they are on a device instead of in this process's memory.
    slot: Option<(&'a DeviceCache, usize)>,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> Segment<'a> {
    /// `tokens` rows that continue a request of `position` tokens, with what it keeps.
    pub(crate) fn new(parts: Parts<'a>, position: usize, tokens: usize) -> Self {
        let Parts { memory, places, rows: kind, states } = parts;
        let (kv, len) = (memory.as_mut_ptr(), memory.len());
        Self { kv, len, places, kind, states, position, tokens, is_long: false, slot: None, lifetime: PhantomData }
    }

    /// As [`new`](Self::new), for a request whose KV cache is a slot on a device.
    pub(crate) fn on_device(cache: &'a DeviceCache, slot: usize, position: usize, tokens: usize) -> Self {
        let (kv, len, states) = (std::ptr::null_mut(), 0, StateRun::default());
        let slot = Some((cache, slot));
        let kind = RowType::F32;
        Self { kv, len, places: &[], kind, states, position, tokens, is_long: false, slot, lifetime: PhantomData }
    }

    /// The slot on a device that holds the request's KV cache.
    pub(crate) fn slot(&self) -> Result<(&'a DeviceCache, usize)> {
        self.slot.ok_or_else(|| err!(Internal, "the request's KV cache is not on the device"))
    }

    /// The positions of the segment's rows.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.position..self.position + self.tokens
    }
}

/// The requests of a run, their rows one after another, and each row's rotation.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// The segments, in the order of their rows.
    pub segments: Vec<Segment<'a>>,
    /// The angles of each of the model's rotations.
    pub angles: Vec<Angles>,
}

/// How far each row is rotated.
#[derive(Debug, Default)]
pub(crate) struct Angles {
    /// Cosines `[tokens, rotary_pairs]`.
    pub cos: Vec<f32>,
    /// Sines `[tokens, rotary_pairs]`.
    pub sin: Vec<f32>,
}

impl Batch<'_> {
    /// The value of the graph's `batch` input.
    pub(crate) fn address(&self) -> i64 {
        std::ptr::from_ref(self).expose_provenance() as i64
    }

    /// The batch behind an address.
    ///
    /// # Safety
    /// `address` must come from [`address`](Self::address) of a batch that outlives the run in progress.
    pub(in crate::runtime) unsafe fn from_address<'a>(address: i64) -> Option<&'a Self> {
        // SAFETY: the caller vouches for the address; NULL is ruled out.
        unsafe { std::ptr::with_exposed_provenance::<Self>(address as usize).as_ref() }
    }

    /// The segments as the attention sees them whose keys and values are the `kept`th of what the shard keeps.
    ///
    /// # Safety
    /// One caller at a time per batch and `kept`. ONNX Runtime runs each node of a graph once per run, and what an attention node
    /// computes goes into the next layer's, so the node that runs has the rows to itself.
    pub(in crate::runtime) unsafe fn rows(
        &self,
        kept: usize,
        shape: &AttentionShape,
    ) -> Result<Vec<AttentionSegment<'_>>> {
        self.segments
            .iter()
            .map(|segment| {
                let misfit = || err!(Internal, "layer {kept} does not fit the request's KV cache");
                let Some(Place::Rows(place)) = segment.places.get(kept) else { return Err(misfit()) };
                let RowsPlace { capacity, origin: first, .. } = *place;
                let [keys, values] = place.halves();
                let wanted = shape.kept_widths().map(|width| shape.kv_heads * capacity * segment.kind.bytes(width));
                let fits = [keys.len(), values.len()] == wanted && keys.end <= values.start;
                if !fits || values.end > segment.len || segment.position + segment.tokens > first + capacity {
                    return Err(misfit());
                }
                // SAFETY: in bounds as just checked; the segment borrows the cache exclusively, and the two parts of
                // the layer, which nobody else touches during this node, do not overlap.
                let (keys, values) = unsafe {
                    let part =
                        |part: &Range<usize>| std::slice::from_raw_parts_mut(segment.kv.add(part.start), part.len());
                    (part(&keys), part(&values))
                };
                let Segment { kind, position, tokens, .. } = *segment;
                Ok(AttentionSegment { keys, values, kind, capacity, first, position, tokens })
            })
            .collect()
    }

    /// The segments as the operation sees them whose state of `values` values is the `kept`th of what the shard keeps.
    ///
    /// # Safety
    /// One caller at a time per batch and `kept`, as for [`rows`](Self::rows).
    #[allow(clippy::cast_ptr_alignment, reason = "it is checked")]
    pub(in crate::runtime) unsafe fn states(&self, kept: usize, values: usize) -> Result<Vec<StateSegment<'_>>> {
        let part = |segment: &Segment| -> Result<StateSegment<'_>> {
            let misfit = || err!(Internal, "operation {kept} does not fit the request's states");
            let Some(Place::State { at, bytes }) = segment.places.get(kept) else { return Err(misfit()) };
            let StateRun { from, to } = &segment.states;
            let inside = |snapshot: usize| snapshot.checked_add(at + bytes).is_some_and(|end| end <= segment.len);
            let mut snapshots: Vec<usize> = to.iter().map(|(_, to)| *to).chain(*from).collect();
            snapshots.sort_unstable();
            // Each is a place of its own, and a multiple of the size of a value.
            let apart = snapshots.windows(2).all(|pair| pair[1] - pair[0] >= at + bytes);
            let aligned = snapshots.iter().all(|snapshot| (snapshot + at).is_multiple_of(align_of::<f32>()));
            if *bytes != values * size_of::<f32>() || !snapshots.iter().all(|at| inside(*at)) || !apart || !aligned {
                return Err(misfit());
            }
            // SAFETY: in bounds, apart and aligned as just checked, from a block that begins at a page; the segment borrows it
            // exclusively, nobody else touches this operation's part of any snapshot during this node, and any bits are an f32.
            unsafe {
                let place = |snapshot: usize| segment.kv.add(snapshot + at).cast::<f32>();
                Ok(StateSegment {
                    tokens: segment.tokens,
                    from: from.map(|from| std::slice::from_raw_parts(place(from), values)),
                    to: to
                        .iter()
                        .map(|(behind, to)| (*behind, std::slice::from_raw_parts_mut(place(*to), values)))
                        .collect(),
                })
            }
        };
        self.segments.iter().map(part).collect()
    }
}
