//! What families have in common with Llama in how they rotate, and what not.

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
}

impl Default for RopeDefaults {
    fn default() -> Self {
        Self { theta: 10_000.0, theta_key: "rope_theta", partial: None, partial_key: "partial_rotary_factor" }
    }
}
