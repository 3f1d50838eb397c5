//! What a model gives: transformers' answers, in every form of its files and every type of its numbers.

mod checkpoints;
mod configs;
mod divergence;
mod export;
mod kv_types;
mod parity;
mod precision;
mod tied_head;
mod windows;
