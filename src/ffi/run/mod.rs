//! Shards, requests, and running many of them.

pub(super) mod batch;
pub(super) mod chain;
pub(super) mod frame;
pub(super) mod frame_pieces;
pub(super) mod many;
pub(super) mod request;
pub(super) mod request_options;
pub(super) mod running;
pub(super) mod shard;
pub(super) mod state;
pub(super) mod tensor;
