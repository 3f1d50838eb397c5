//! How requests run: in any cuts, batches and chains, on any thread and device, while shards come and go.

mod allocations;
mod batch;
mod chain;
mod devices;
mod frames;
mod generation;
mod generation_state;
mod long_context;
mod partitions;
mod recurrent;
mod state;
mod state_since;
mod swaps;
mod threads;
mod without_cache;
