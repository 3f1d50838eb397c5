//! What is taken, kept within limits, told beforehand and given back.

mod address_space;
mod cleanup;
mod estimate;
mod mapped_weights;
mod memory_limit;
mod packing;
mod plan;
