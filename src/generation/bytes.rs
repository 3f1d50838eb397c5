//! Numbers and lists as bytes, for a generation's state. Numbers are little-endian, of 8 bytes where nothing else is said; a list is the
//! number of its elements, and then the elements.

use crate::error::{Error, Result, Site, err};

/// Appends to a state.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Makes room for `more` bytes.
    pub(super) fn reserve(&mut self, more: usize) -> Result<()> {
        let bytes = (self.0.len() + more) as u64;
        self.0.try_reserve(more).map_err(|_| Error::oom(Site::Run, "cpu", bytes, "the exported state"))
    }

    /// Bytes of a known number.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn number(&mut self, number: usize) -> Result<()> {
        self.raw(&(number as u64).to_le_bytes())
    }

    /// A list of bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.number(bytes.len())?;
        self.raw(bytes)
    }

    /// A list of numbers of 4 bytes.
    pub(super) fn ids(&mut self, ids: impl ExactSizeIterator<Item = u32>) -> Result<()> {
        self.reserve(8 + 4 * ids.len())?;
        self.number(ids.len())?;
        ids.for_each(|id| self.0.extend_from_slice(&id.to_le_bytes()));
        Ok(())
    }
}

/// Reads what a [`Writer`] has written.
pub(super) struct Reader<'s>(pub(super) &'s [u8]);

fn short() -> Error {
    err!(Malformed, "state: it ends too soon")
}

impl<'s> Reader<'s> {
    pub(super) fn raw(&mut self, count: usize) -> Result<&'s [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn number(&mut self) -> Result<usize> {
        let number = u64::from_le_bytes(self.array()?);
        // No count comes near this, and one can be added to it.
        match u32::try_from(number) {
            Ok(number) if number < u32::MAX => Ok(number as usize),
            _ => Err(err!(Malformed, "state: {number} where a count stands")),
        }
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(err!(Malformed, "state: {other} where 0 or 1 stands")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'s [u8]> {
        let count = self.number()?;
        self.raw(count)
    }

    pub(super) fn ids(&mut self) -> Result<Vec<u32>> {
        let count = self.number()?;
        let bytes = self.raw(count.saturating_mul(4))?;
        Ok(bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect())
    }
}
