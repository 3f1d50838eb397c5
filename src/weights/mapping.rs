//! A file mapped for reading. One of the few places with `unsafe`.
#![allow(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::File;
use std::io::ErrorKind;

use memmap2::{Advice, Mmap};

use crate::error::{Error, Result, Site, err};

/// The bytes of a file, in memory as they are touched and shared with every process that maps the same file.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
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
        // Advice only: kernels walk rows in order and many files are read from a cold cache.
        #[cfg(unix)]
        let _ = map.advise(Advice::WillNeed);
        Ok(Self { map })
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}
