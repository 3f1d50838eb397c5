//! A request's KV cache: mapped memory for the native operators, a slot on the session's device for the stock ones.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::budget::Reservation;
use super::slots::Slot;
use crate::error::{Result, bail, err};
use crate::graph::{Kept, Role};
use crate::kept::KeptState;
use crate::runtime::Segment;

/// A request's KV cache, and what it has taken from the budget.
#[derive(Debug)]
pub(crate) enum KeptStore {
    Mapped {
        cache: KeptState,
        _memory: Reservation,
    },
    /// A slot on the device, where every layer keeps all tokens.
    Device(Slot, Arc<[Kept]>),
}

/// Where a request keeps its KV cache: empty once the shard is retired, and between the calls of a request without one.
pub(crate) type KeptCell = Mutex<Option<KeptStore>>;

/// Bytes of the input of `capacity` tokens, where a request keeps that, to a shard that takes these parts, or ids if there are none.
pub(crate) fn input_bytes(parts: &[(Role, usize)], capacity: usize) -> u64 {
    let values: usize = parts.iter().map(|(_, width)| width).sum();
    let row = if parts.is_empty() { size_of::<i64>() } else { values * size_of::<f32>() };
    (capacity as u64).saturating_mul(row as u64)
}

impl KeptStore {
    /// The request's part of a run: `tokens` rows that continue `position` ones, in a call of a request that was at `start`, whose
    /// first run began at `first`.
    pub(crate) fn segment(
        &mut self,
        start: usize,
        first: usize,
        position: usize,
        tokens: usize,
    ) -> Result<Segment<'_>> {
        match self {
            Self::Mapped { cache, .. } => {
                Ok(Segment::new(cache.plan(start, first, position, tokens)?, position, tokens))
            }
            Self::Device(slot, _) => Ok(Segment::on_device(slot.cache(), slot.index(), position, tokens)),
        }
    }

    /// The run of the segment that was made last has succeeded.
    pub(crate) fn ran(&mut self) {
        if let Self::Mapped { cache, .. } = self {
            cache.ran();
        }
    }

    /// Where a request at `position` goes on from: there, or earlier ([`KeptState::resumes_at`]).
    pub(crate) fn resumes_at(&self, position: usize) -> usize {
        match self {
            Self::Mapped { cache, .. } => cache.resumes_at(position),
            Self::Device(..) => position,
        }
    }

    /// Makes `position` the one at which the request is.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) if a window has moved on; then nothing changes.
    pub(crate) fn go_back(&mut self, position: usize) -> Result<()> {
        match self {
            Self::Mapped { cache, .. } => cache.go_back(position),
            Self::Device(..) => Ok(()),
        }
    }

    /// Copies what `other` keeps at `position`.
    pub(crate) fn copy(&mut self, other: &Self, position: usize) -> Result<()> {
        match (self, other) {
            (Self::Mapped { cache: to, .. }, Self::Mapped { cache: from, .. }) => to.copy(from, position),
            (Self::Device(to, _), Self::Device(from, _)) => {
                to.cache().copy(to.index(), from.cache(), from.index(), position)
            }
            (to, from) => {
                let mut rows = Vec::new();
                from.read(0..position, &mut rows)?;
                to.write(0..position, &rows)
            }
        }
    }

    /// Bytes that [`read`](Self::read) gives of `tokens`.
    pub(crate) fn state_bytes(&self, tokens: Range<usize>) -> Result<usize> {
        match self {
            Self::Mapped { cache, .. } => cache.state_bytes(tokens),
            Self::Device(slot, layers) => {
                let windows = layers.iter().filter(|kept| kept.window().is_some()).count();
                Ok(slot.cache().state_bytes(tokens.len()) + windows * size_of::<u64>())
            }
        }
    }

    /// Appends what is kept of `tokens`, as [`KeptState::read`] does.
    pub(crate) fn read(&self, tokens: Range<usize>, to: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Mapped { cache, .. } => cache.read(tokens, to),
            Self::Device(slot, layers) => {
                for (layer, kept) in layers.iter().enumerate() {
                    if kept.window().is_some() {
                        to.extend_from_slice(&(tokens.start as u64).to_le_bytes());
                    }
                    slot.cache().read(slot.index(), layer, tokens.clone(), to)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what [`read`](Self::read) gave. If that is refused, nothing changes.
    pub(crate) fn write(&mut self, tokens: Range<usize>, from: &[u8]) -> Result<()> {
        let (slot, layers) = match self {
            Self::Mapped { cache, .. } => return cache.write(tokens, from),
            Self::Device(slot, layers) => (slot, layers),
        };
        let wrong = || err!(Malformed, "state: what it keeps is not what position {} takes", tokens.end);
        let (mut rest, mut parts) = (from, Vec::with_capacity(layers.len()));
        for kept in layers.iter() {
            if let Kept::Rows { layer, window: Some(_), .. } = kept {
                let (first, others) = rest.split_first_chunk().ok_or_else(wrong)?;
                if u64::from_le_bytes(*first) != tokens.start as u64 {
                    bail!(
                        Unsupported,
                        "state: it keeps a window of layer {layer}, and stock operators need every token"
                    );
                }
                rest = others;
            }
            let bytes = slot.cache().state_bytes(tokens.len()) / layers.len();
            let (own, others) = rest.split_at_checked(bytes).ok_or_else(wrong)?;
            parts.push(own);
            rest = others;
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        for (layer, rows) in parts.into_iter().enumerate() {
            slot.cache().write(slot.index(), layer, tokens.clone(), rows)?;
        }
        Ok(())
    }
}
