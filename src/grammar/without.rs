//! A library without grammars.

use std::collections::VecDeque;
use std::sync::Arc;

use super::kind::Grammar;
use crate::error::{Error, Result, err};
use crate::tokenizer::Tokenizer;

/// There is none.
#[derive(Debug, Clone)]
pub(super) struct Automaton;

fn none() -> Error {
    err!(Unsupported, "this library was built without grammars: build it with the feature \"grammar\"")
}

#[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with the feature")]
impl Automaton {
    pub(super) fn new(_: &Arc<Tokenizer>, _: &Grammar) -> Result<Self> {
        Err(none())
    }

    pub(super) fn accept(&mut self, _: u32) -> Result<()> {
        Err(none())
    }

    pub(super) fn may_end(&mut self) -> Result<bool> {
        Err(none())
    }

    pub(super) fn must_end(&mut self) -> Result<bool> {
        Err(none())
    }

    pub(super) fn known(&mut self) -> Result<&[u32]> {
        Err(none())
    }

    pub(super) fn spelled(&self) -> Option<&VecDeque<u32>> {
        None
    }

    pub(super) fn set_spelled(&mut self, _: &[u32]) {}

    pub(super) fn allowed(&mut self) -> Result<&[u32]> {
        Err(none())
    }
}
