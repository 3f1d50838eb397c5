//! Fetches one content into the cache: whole, checked, and once.

use std::path::{Path, PathBuf};

use super::body::{self, Partial, Stop};
use super::client::Client;
use super::metadata::Meta;
use super::retry::Attempts;
use super::{lock, verify};
use crate::error::{ErrorKind, Result};
use crate::source::files::{self, OnTransfer, Transfer};
use crate::source::hub::Repository;

/// Fetches the content `meta` from `url`, unless another thread or process does so meanwhile, and returns its path.
/// Bytes that a failed attempt brought are kept for the next one, in this call or a later one.
///
/// # Errors
/// `HashMismatch` if the content is wrong twice in a row, the second time from scratch; `Io`; what `on` returned.
pub(super) fn fetch(
    client: &Client,
    repository: &Repository,
    url: &str,
    meta: &Meta,
    on: &mut OnTransfer<'_>,
) -> Result<PathBuf> {
    let place = repository.blob(&meta.etag);
    let bytes_total = meta.size.unwrap_or(0);
    let _lock = lock::take(&repository.lock(&meta.etag), &mut || on(Transfer { bytes_done: 0, bytes_total }))?;
    if is_whole(&place, meta)? {
        return Ok(place);
    }
    let mut partial = Partial::open(repository.partial(&meta.etag))?;
    let mut second_try = false;
    loop {
        let outcome = complete(client, url, meta, &mut partial, on);
        let error = match outcome {
            Ok(()) => {
                partial.finish(&place)?;
                return Ok(place);
            }
            Err(e) if e.kind() == ErrorKind::HashMismatch => e,
            Err(e) => return Err(e),
        };
        if second_try {
            partial.discard();
            return Err(error);
        }
        second_try = true;
        log::warn!("{}; fetching it once more from scratch", error.chain());
        partial.reset()?;
    }
}

/// Whether the content is at `place` already. A file of another length is damaged and will be replaced.
fn is_whole(place: &Path, meta: &Meta) -> Result<bool> {
    Ok(files::size_of(place)?.is_some_and(|size| meta.size.is_none_or(|expected| expected == size)))
}

/// Fetches the rest of `partial`, in as many attempts as the options allow, and checks it.
fn complete(client: &Client, url: &str, meta: &Meta, partial: &mut Partial, on: &mut OnTransfer<'_>) -> Result<()> {
    if meta.size.is_some_and(|size| partial.len() > size) {
        partial.reset()?;
    }
    let mut attempts = Attempts::new(client.options(), false);
    let mut whole = meta.size == Some(partial.len());
    while !whole {
        let before = partial.len();
        match body::bring(client, url, partial, meta.size, on) {
            Ok(()) => whole = true,
            Err(Stop::Wrong(error)) => return Err(error),
            Err(Stop::Failed(failure)) => {
                let now = Transfer { bytes_done: partial.len(), bytes_total: meta.size.unwrap_or(0) };
                attempts.again(failure, partial.len().saturating_sub(before), &mut || on(now))?;
            }
        }
    }
    let now = Transfer { bytes_done: partial.len(), bytes_total: partial.len() };
    verify::check(partial.path(), &meta.etag, &mut || on(now))
}
