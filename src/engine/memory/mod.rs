//! Memory: the budget that counts it, what a run needs, and the KV caches of requests.

mod budget;
mod kept;
mod run;
mod slots;

pub(crate) use budget::{Budget, Reservation};
pub(crate) use kept::{KeptCell, KeptStore, input_bytes};
pub(crate) use run::{ROWS, SHRINK_FROM, run_bytes, run_of, run_within};
pub(crate) use slots::{Slot, Slots};
