//! The failure of a template.

use std::fmt;

/// `Result` with a template's [`Error`], boxed to keep the results of expressions small.
pub(super) type Result<T, E = Box<Error>> = std::result::Result<T, E>;

/// The kind of a failure. Kinds that Python has are named after its exceptions, since a template can notice some of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The template itself cannot be read.
    Syntax,
    /// `TypeError`.
    Type,
    /// `ValueError`.
    Value,
    /// `LookupError`.
    Lookup,
    /// `UndefinedError`: an operation on something that is not there.
    Undefined,
    /// `ZeroDivisionError` and `OverflowError`.
    Arithmetic,
    /// `SecurityError`.
    Security,
    /// Any other error of Jinja2's own.
    Runtime,
    /// The template called `raise_exception`.
    Raised,
    /// One of this library's bounds was hit.
    Bound,
    /// There is no memory for so many bytes.
    Memory(usize),
    /// Jinja2 would go on, but this library cannot.
    Unsupported,
}

/// A failure, and the line of the template it happened in.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// From 1; 0 while it is not known.
    pub(crate) line: u32,
}

impl Error {
    #[allow(clippy::unnecessary_box_returns, reason = "every result holds it boxed")]
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, message: message.into(), line: 0 })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `fault!(Type, "...")` builds an error, `fail!(Type, "...")` returns it.
macro_rules! fault {
    ($kind:ident, $($message:tt)+) => {
        $crate::chat::jinja::error::Error::new($crate::chat::jinja::error::Kind::$kind, format!($($message)+))
    };
}
macro_rules! fail {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::chat::jinja::error::fault!($kind, $($message)+))
    };
}
pub(super) use {fail, fault};
