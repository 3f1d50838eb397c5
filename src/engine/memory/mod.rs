//! Memory: the budget that counts it, what a run needs, and the KV caches of requests.

mod budget;
mod kv;
mod run;
mod slots;

pub(crate) use budget::{Budget, Reservation};
pub(crate) use kv::{KvCell, KvStore};
pub(crate) use run::{ROWS, SHRINK_FROM, run_bytes, run_of, run_within};
pub(crate) use slots::{Slot, Slots};
