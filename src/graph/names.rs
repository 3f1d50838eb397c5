//! The names that graphs are written with and that those who run them ask for: typed here and nowhere else, since a name that
//! is typed twice is found to be wrong only when it runs.

use std::ffi::CStr;

/// A name, as a model file has it and as ONNX Runtime's C API takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Name(&'static CStr);

impl Name {
    /// The name `text`.
    pub(crate) const fn new(text: &'static CStr) -> Self {
        Self(text)
    }

    /// In a model file.
    pub(crate) const fn text(self) -> &'static str {
        match self.0.to_str() {
            Ok(text) => text,
            Err(_) => "",
        }
    }

    /// In C.
    pub(crate) const fn c(self) -> &'static CStr {
        self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.text().to_owned()
    }
}

/// Token ids, first shard only.
pub(crate) const INPUT_IDS: Name = Name(c"input_ids");
/// Hidden states, in on every shard but the first, out of every shard but the last.
pub(crate) const HIDDEN_IN: Name = Name(c"hidden_states_in");
/// See [`HIDDEN_IN`].
pub(crate) const HIDDEN_OUT: Name = Name(c"hidden_states");
/// Per-layer inputs, in where they pass the boundary in front of the shard.
pub(crate) const PER_LAYER_IN: Name = Name(c"per_layer_inputs_in");
/// Per-layer inputs, out where they pass the boundary behind it.
pub(crate) const PER_LAYER_OUT: Name = Name(c"per_layer_inputs");
/// Streams of hidden states besides the first one, in where they pass the boundary in front of the shard.
pub(crate) const STREAMS_IN: Name = Name(c"streams_in");
/// Those streams, out where they pass the boundary behind it.
pub(crate) const STREAMS_OUT: Name = Name(c"streams");
/// Logits, last shard only.
pub(crate) const LOGITS: Name = Name(c"logits");
/// Indices of the rows whose logits are wanted, where not all are.
pub(crate) const LOGIT_ROWS: Name = Name(c"logit_rows");

/// Native dialect: the address of the run's batch description.
pub(crate) const BATCH: Name = Name(c"batch");

/// Stock dialect: the position of each sequence's last token, int32 `[sequences]`: an input of
/// [`Form::Session`](super::stock::Form::Session).
pub(crate) const LAST: Name = Name(c"seqlens_k");
/// Stock dialect: tokens up to and including the last one of the longest sequence, an int32 scalar: an input of
/// [`Form::Session`](super::stock::Form::Session).
pub(crate) const TOTAL: Name = Name(c"total_sequence_length");
/// Stock dialect: how the run's rows fall into sequences, int64 `[3]`: their number, the tokens of each, and -1. An input of
/// [`Form::Session`](super::stock::Form::Session). Attention takes one sequence of any length, or several of one token each.
pub(crate) const SEQUENCES: Name = Name(c"sequences");

/// Native dialect: the attribute of a node that says which of the graph's operations it is.
pub(crate) const OPERATION: &str = "operation";

/// What the search for the largest logits takes and gives.
pub(crate) mod choice {
    use super::Name;

    pub(crate) const K: Name = Name(c"k");
    pub(crate) const BEST: Name = Name(c"best");
    pub(crate) const IDS: Name = Name(c"ids");
    pub(crate) const SUMS: Name = Name(c"sums");
}

/// What a graph that copies bytes takes and gives.
pub(crate) mod copy {
    use super::Name;

    pub(crate) const FROM: Name = Name(c"from");
    pub(crate) const TO: Name = Name(c"to");
}
