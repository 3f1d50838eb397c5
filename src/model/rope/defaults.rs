//! What families have in common with Llama in how they rotate, and what not.

use serde_json::{Map, Value};

/// How frequencies are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Default,
    Linear,
    Dynamic,
    /// `dynamic` with a fixed `alpha` (Hunyuan); without one, the same as there.
    Alpha,
    Llama3,
    Yarn,
    LongRope,
    /// The first pairs of a head as where all turn, and the others not at all (Gemma 4).
    Proportional,
}

/// The names of the kinds.
const KINDS: &[(&str, Kind)] = &[
    ("default", Kind::Default),
    ("linear", Kind::Linear),
    ("dynamic", Kind::Dynamic),
    ("llama3", Kind::Llama3),
    ("yarn", Kind::Yarn),
    ("longrope", Kind::LongRope),
];

/// The same, and one more.
pub(crate) const KINDS_WITH_PROPORTIONAL: &[(&str, Kind)] = &[
    ("default", Kind::Default),
    ("linear", Kind::Linear),
    ("dynamic", Kind::Dynamic),
    ("llama3", Kind::Llama3),
    ("yarn", Kind::Yarn),
    ("longrope", Kind::LongRope),
    ("proportional", Kind::Proportional),
];

/// How a family's rotation is spelled, and what it is where config.json says nothing of it.
///
/// A family whose own differ sets them in its `family` function, before the rotation is read:
/// `c.rope = RopeDefaults { theta: 1e6, partial: Some(0.5), ..RopeDefaults::default() }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RopeDefaults {
    /// The base of the wavelengths.
    pub theta: f64,
    /// What the top level of config.json calls it. In an object it is `rope_theta`.
    pub theta_key: &'static str,
    /// The part of each head that is rotated, from its first value on. `None`: the family rotates whole heads, whatever config.json
    /// says.
    pub partial: Option<f64>,
    /// What the top level of config.json calls it. In an object it is `partial_rotary_factor`.
    pub partial_key: &'static str,
    /// `original_max_position_embeddings`. `None`: where no place has it, it is the longest text; else the top level alone may have
    /// another one.
    pub original: Option<f64>,
    /// The kinds of rotation, by the names that `rope_type` may have.
    pub kinds: &'static [(&'static str, Kind)],
    /// The object of parameters where config.json has none.
    pub object: Option<&'static Map<String, Value>>,
}

impl Default for RopeDefaults {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            theta_key: "rope_theta",
            partial: None,
            partial_key: "partial_rotary_factor",
            original: None,
            kinds: KINDS,
            object: None,
        }
    }
}
