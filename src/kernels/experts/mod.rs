//! Mixtures of experts.

mod route;

pub use route::{Groups, Routing, Score, route};
