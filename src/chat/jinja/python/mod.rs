//! Python's values: what a template computes with.

pub(super) mod compare;
pub(super) mod dict;
pub(super) mod iterate;
pub(super) mod markup;
pub(super) mod methods;
pub(super) mod numbers;
pub(super) mod operators;
pub(super) mod repr;
pub(super) mod text;
pub(super) mod value;
