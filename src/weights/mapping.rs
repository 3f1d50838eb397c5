//! A file mapped for reading. One of the few places with `unsafe`.
#![allow(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::File;
use std::io::ErrorKind;
use std::time::UNIX_EPOCH;

use memmap2::{Advice, Mmap, MmapMut};
use parking_lot::Mutex;

use crate::error::{Error, Result, Site, err};

/// The bytes of a file. The system reads them as they are touched, and shares them between all processes that map the
/// file.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    identity: Identity,
}

/// Tells one state of a file from another: its length, and the time of its last change in nanoseconds since 1970 (0
/// where the system does not say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub len: u64,
    pub changed: u128,
}

impl Identity {
    pub(crate) fn of(file: &File) -> Self {
        let Ok(metadata) = file.metadata() else { return Self::default() };
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { len: metadata.len(), changed: changed.unwrap_or_default().as_nanos() }
    }
}

impl Mapping {
    /// Maps all of `file`; `name` is for messages.
    pub(crate) fn new(file: &File, name: &str) -> Result<Self> {
        // SAFETY: the mapping is read-only and private to this process's view. Checkpoint files are immutable by
        // contract (documented in the header): a writer could change weights under us, never our own memory; a file
        // truncated while mapped ends in SIGBUS, which no mapping can prevent.
        let map = unsafe { Mmap::map(file) }.map_err(|e| match e.kind() {
            ErrorKind::OutOfMemory => {
                let bytes = file.metadata().map_or(0, |m| m.len());
                Error::oom(Site::Load, "cpu", bytes, format!("mapping `{name}`")).with_source(e)
            }
            _ => err!(Io, "`{name}` cannot be mapped").with_source(e),
        })?;
        // Only advice, so a failure does not matter. Kernels walk rows in order, and many files are not in the file
        // cache yet.
        #[cfg(unix)]
        let _ = map.advise(Advice::WillNeed);
        Ok(Self { map, identity: Identity::of(file) })
    }

    /// The state of the file when it was mapped.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Memory that several threads write, and that is only read once it is frozen.
#[derive(Debug)]
pub(crate) struct Scratch(Mutex<MmapMut>);

impl Scratch {
    /// `len` bytes of zeros.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let map = MmapMut::map_anon(len)
            .map_err(|e| Error::oom(Site::Load, "cpu", len as u64, "the packed weights").with_source(e))?;
        Ok(Self(Mutex::new(map)))
    }

    /// Writes `bytes` at `at`; bytes beyond the end are left out.
    pub(crate) fn write(&self, bytes: &[u8], at: usize) {
        if let Some(place) = self.0.lock().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Ends writing.
    pub(crate) fn freeze(self) -> Result<Mapping> {
        let map = self.0.into_inner().make_read_only();
        let map = map.map_err(|e| err!(Io, "memory cannot be made read-only").with_source(e))?;
        Ok(Mapping { map, identity: Identity::default() })
    }
}
