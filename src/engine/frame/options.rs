//! How the values of a frame are written.

use crate::graph::Role;

/// The type of a part's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PartType {
    /// 32 bit floating point: nothing is rounded.
    #[default]
    F32,
    /// IEEE 16 bit floating point.
    F16,
    /// The upper half of an F32.
    Bf16,
}

impl PartType {
    /// Bytes of a value.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Its number in a frame, which is that of the C interface.
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::F32 => 3,
            Self::F16 => 4,
            Self::Bf16 => 5,
        }
    }

    pub(super) fn of_code(code: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16].into_iter().find(|dtype| dtype.code() == code)
    }
}

/// What becomes of a number that is beyond the largest of its part's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Beyond {
    /// It becomes the largest.
    #[default]
    Saturate,
    /// It is an error.
    Refuse,
}

/// How a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameOptions {
    /// The type of the hidden states, of all streams where there are several.
    pub hidden_states: PartType,
    /// The type of the per-layer inputs, where the boundary has them.
    pub per_layer_inputs: PartType,
    /// What becomes of numbers that are beyond it.
    pub beyond: Beyond,
}

impl FrameOptions {
    /// The type of the part `role`.
    pub const fn dtype(self, role: Role) -> PartType {
        match role {
            Role::HiddenStates | Role::Streams => self.hidden_states,
            Role::PerLayerInputs => self.per_layer_inputs,
        }
    }
}
