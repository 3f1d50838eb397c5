//! The names that graphs are written with and that those who run them ask for: typed here and nowhere else, since a name that
//! is typed twice is found to be wrong only when it runs.

use std::ffi::CStr;

/// A name, as a model file has it and as ONNX Runtime's C API takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(&'static CStr);

impl Name {
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

/// The operators of the native dialect.
pub(crate) mod op {
    use super::Name;

    pub(crate) const EMBED: Name = Name(c"Embed");
    pub(crate) const RMS_NORM: Name = Name(c"RmsNorm");
    pub(crate) const LINEAR: Name = Name(c"Linear");
    pub(crate) const QKV: Name = Name(c"Qkv");
    pub(crate) const SWIGLU: Name = Name(c"SwiGlu");
    pub(crate) const ATTENTION: Name = Name(c"Attention");
}

/// Their attributes. Tensors are named by the checkpoint's names; an empty name is no tensor.
pub(crate) mod attribute {
    /// The weights of an embedding or norm; behind one of the prefixes below, of a linear layer.
    pub(crate) const WEIGHT: &str = "weight";
    /// Behind one of the prefixes: the bias of a linear layer.
    pub(crate) const BIAS: &str = "bias";

    pub(crate) const ONLY: &str = "";
    pub(crate) const QUERY: &str = "q_";
    pub(crate) const KEY: &str = "k_";
    pub(crate) const VALUE: &str = "v_";
    pub(crate) const GATE: &str = "gate_";
    pub(crate) const UP: &str = "up_";

    pub(crate) const EPS: &str = "eps";
    pub(crate) const CACHE: &str = "cache";
    pub(crate) const HEADS: &str = "heads";
    pub(crate) const KV_HEADS: &str = "kv_heads";
    pub(crate) const HEAD_DIM: &str = "head_dim";
    pub(crate) const ROTARY_PAIRS: &str = "rotary_pairs";
    pub(crate) const SCALE: &str = "scale";
    pub(crate) const WINDOW: &str = "window";
    pub(crate) const QUERY_NORM: &str = "q_norm";
    pub(crate) const KEY_NORM: &str = "k_norm";
}

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
