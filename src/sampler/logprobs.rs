//! The logarithms of probabilities, as the model gives them before any control.

use super::groups::Groups;
use super::softmax::Scale;
use ortshard_error::Result;

/// Logarithms of the probabilities of one token's logits.
#[derive(Debug, Clone, Default)]
pub struct Logprobs {
    groups: Groups,
    /// The most probable tokens with their logarithms, the most probable first.
    best: Vec<(u32, f32)>,
    /// The logarithm of the probability of a logit of 0.
    of_zero: f64,
}

impl Logprobs {
    /// Looks at `logits`, and finds the `count` most probable tokens; among equals the lowest ids.
    pub fn look_at(&mut self, logits: &[f32], count: usize) -> Result<()> {
        self.groups.survey(logits)?;
        let (_, largest) = self.groups.largest(logits);
        self.of_zero = -f64::from(largest) - libm::log(Scale::new(largest, 1.0).mass(logits, f32::NEG_INFINITY));
        self.best.clear();
        if count > 0 {
            let floor = self.groups.nth_largest(logits, count);
            self.best.extend(self.groups.at_least(logits, floor));
            self.best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.best.truncate(count);
        }
        for (_, value) in &mut self.best {
            *value = (f64::from(*value) + self.of_zero) as f32;
        }
        Ok(())
    }

    /// The most probable tokens with the logarithms of their probabilities.
    pub fn best(&self) -> &[(u32, f32)] {
        &self.best
    }

    /// The logarithm of the probability of the token with `logit`.
    pub fn of(&self, logit: f32) -> f32 {
        (f64::from(logit) + self.of_zero) as f32
    }
}
