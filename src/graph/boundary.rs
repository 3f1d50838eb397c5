//! What passes the boundary between two shards: a value for each of its parts.

use std::ops::Deref;

use super::names::{self, Name};

/// What a part of a boundary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Role {
    /// What a layer hands to the next. Every boundary has it.
    #[default]
    HiddenStates,
    /// What the tokens themselves give to each layer behind the boundary (per-layer embeddings).
    PerLayerInputs,
    /// The streams of hidden states besides the first one, one after another, in models that have several (`AltUp`).
    Streams,
}

impl Role {
    /// All roles, in the order that parts have.
    pub(crate) const ALL: [Self; 3] = [Self::HiddenStates, Self::PerLayerInputs, Self::Streams];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        self.output().text()
    }

    /// The graph's input of this role.
    pub(crate) const fn input(self) -> Name {
        match self {
            Self::HiddenStates => names::HIDDEN_IN,
            Self::PerLayerInputs => names::PER_LAYER_IN,
            Self::Streams => names::STREAMS_IN,
        }
    }

    /// The graph's output of this role.
    pub(crate) const fn output(self) -> Name {
        match self {
            Self::HiddenStates => names::HIDDEN_OUT,
            Self::PerLayerInputs => names::PER_LAYER_OUT,
            Self::Streams => names::STREAMS_OUT,
        }
    }
}

/// One thing for each part of a boundary, in the order of their roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PerPart<T> {
    items: [T; Role::ALL.len()],
    count: usize,
}

impl<T: Copy + Default> FromIterator<T> for PerPart<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut all = Self::default();
        for (place, item) in all.items.iter_mut().zip(items) {
            *place = item;
            all.count += 1;
        }
        all
    }
}

impl<T> Deref for PerPart<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.count]
    }
}
