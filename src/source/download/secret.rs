//! The token. No log, message or `Debug` output ever shows it.

use std::fmt;

use crate::error::{Result, bail};

/// A bearer token.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    /// `text` as a token.
    ///
    /// # Errors
    /// `InvalidArgument` if `text` cannot stand in a header.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            bail!(InvalidArgument, "the hub token (HF_TOKEN) contains spaces or characters that are not ASCII");
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}
