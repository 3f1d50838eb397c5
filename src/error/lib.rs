//! The one error type of the library. It knows nothing of C: `ffi` maps each [`ErrorKind`] to a status code.

use std::collections::TryReserveError;
use std::error::Error as StdError;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or option has a value that is not allowed.
    InvalidArgument,
    /// An index, token id, layer or position lies outside its range.
    OutOfRange,
    /// A file, folder, tensor or cached object does not exist.
    NotFound,
    /// Reading, writing or mapping a file failed.
    Io,
    /// A file's content breaks its own format or contradicts another file.
    Malformed,
    /// The input is well formed, but this library cannot run it.
    Unsupported,
    /// The network would be needed, and the engine is offline.
    Offline,
    /// A downloaded or cached file does not have the hash it should.
    HashMismatch,
    /// The call does not fit the object's present state.
    InvalidState,
    /// The shard behind this request was replaced or cleared.
    StaleShard,
    /// The request's KV cache or the model's maximum position is exhausted.
    ContextFull,
    /// The caller cancelled the work.
    Cancelled,
    /// No usable ONNX Runtime library was found.
    RuntimeNotFound,
    /// ONNX Runtime reported a failure that is none of the other kinds.
    Runtime,
    /// Memory ran out; [`Error::out_of_memory`] says where.
    OutOfMemory,
    /// The device asked for does not exist or cannot be used here.
    DeviceUnavailable,
    /// A broken invariant of this library: a bug.
    Internal,
}

/// Where memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// While a shard was loaded.
    Load,
    /// While a request's KV cache was reserved.
    Kv,
    /// In the middle of a run.
    Run,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Kv => "kv",
            Self::Run => "run",
        })
    }
}

/// Details of an [`ErrorKind::OutOfMemory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Which allocation failed.
    pub site: Site,
    /// Device whose memory ran out, such as `cpu` or `cuda:0`.
    pub device: String,
    /// Bytes that were asked for; 0 where the failing allocator does not say.
    pub requested: u64,
}

/// Bytes that [`Error::chain`] gives at most.
const LONGEST_LINE: usize = 16 << 10;

/// An error: a kind to act on, a message to read, and the cause below it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    oom: Option<OutOfMemory>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), oom: None, source: None }
    }

    /// An out-of-memory error at `site` for `requested` bytes on `device`.
    pub fn oom(site: Site, device: impl Into<String>, requested: u64, what: impl fmt::Display) -> Self {
        let device = device.into();
        // ONNX Runtime does not always say how many bytes it has asked for.
        let amount = if requested == 0 { "nothing".to_owned() } else { format!("no {requested} bytes") };
        let message = format!("out of memory: {device} has {amount} left for {what} (site: {site})");
        Self { kind: ErrorKind::OutOfMemory, message, oom: Some(OutOfMemory { site, device, requested }), source: None }
    }

    /// The error with where memory ran out.
    #[must_use]
    pub fn with_oom(self, oom: OutOfMemory) -> Self {
        Self { oom: Some(oom), ..self }
    }

    /// The error with `source` as its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error whose message says where this error, its cause, happened.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: place.to_string(), oom: self.oom.clone(), source: Some(Box::new(self)) }
    }

    /// A copy of the error for another call that it fails; its causes are text.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { kind: self.kind, message: self.chain(), oom: self.oom.clone(), source: None }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where memory ran out, if it did.
    #[must_use]
    pub fn out_of_memory(&self) -> Option<&OutOfMemory> {
        self.oom.as_ref()
    }

    /// The message and every cause below it, joined by `: `. One line of 16 KiB at most: what a model's files brought
    /// into it is escaped where it holds control characters, and cut where it is too long.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        one_line(&text)
    }
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_LINE));
    for character in text.chars() {
        if line.len() > LONGEST_LINE - 16 {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Bytes of a block that is asked for: so few that it comes from where small ones come from. Allocators make a mapping of one of 128 KiB.
const BLOCK: usize = 60 << 10;

/// Bytes that the smallest block takes in a heap, and as a mapping.
const SMALLEST: usize = 32;
const PAGE: usize = 4096;

/// Fails if `bytes` bytes cannot be had now for `what`, in one block and besides in small ones. To be asked before work that would end the
/// process if there were no memory for it. Other threads may take the memory in between.
///
/// # Errors
/// `OutOfMemory`.
pub fn probe(site: Site, bytes: usize, what: &str) -> Result<()> {
    // Twice: when the blocks are given back, a heap may end that cannot be made again.
    let had = small(bytes).and_then(|first| Ok(first && small(bytes)?)).and_then(|small| {
        // Else each block takes a page.
        if small { Ok(()) } else { Vec::<u8>::new().try_reserve_exact(bytes.saturating_mul(PAGE / SMALLEST)) }
    });
    had.map_err(|_| Error::oom(site, "cpu", bytes as u64, what))
}

/// Whether the allocator takes `bytes` bytes in small blocks from a heap. Once a thread's heap cannot grow, glibc makes a mapping of each
/// block, until it comes to other heaps.
fn small(bytes: usize) -> Result<bool, TryReserveError> {
    // Large blocks may come first, and then a heap that had room to grow has it no more.
    let mut one: Vec<u8> = Vec::new();
    one.try_reserve_exact(bytes)?;
    let (count, mut blocks) = (bytes / BLOCK + 2, Vec::new());
    blocks.try_reserve_exact(count)?;
    for _ in 0..count {
        let mut block: Vec<u8> = Vec::new();
        block.try_reserve_exact(BLOCK)?;
        blocks.push(block);
    }
    // A mapping begins with a header of 16 bytes. Of two blocks side by side in a heap, one begins elsewhere.
    let is_mapping = |block: &Vec<u8>| block.as_ptr().addr() % PAGE == 16;
    Ok(!blocks.windows(2).any(|pair| pair.iter().all(is_mapping)))
}

/// Builds an error: `err!(Malformed, "...")`.
#[macro_export]
macro_rules! err {
    ($kind:ident, $($message:tt)+) => {
        $crate::Error::new($crate::ErrorKind::$kind, format!($($message)+))
    };
}
/// Returns what [`err`] builds.
#[macro_export]
macro_rules! bail {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::err!($kind, $($message)+))
    };
}
