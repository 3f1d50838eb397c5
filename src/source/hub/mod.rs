//! The hub's cache on the disk: `models--ORG--NAME` with `refs`, `snapshots` and `blobs`, as Python's `huggingface_hub`
//! keeps it, so that either finds what the other fetched.

mod cache;
mod environment;
mod id;
mod repository;

pub(super) use cache::{HubCache, NoNetwork};
pub(super) use environment::{Environment, Variables};
#[cfg(feature = "download")]
pub(super) use id::Etag;
pub(super) use id::{Commit, HubId, Revision};
pub(super) use repository::Repository;
