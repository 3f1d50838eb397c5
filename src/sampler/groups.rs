//! Logits are looked at in groups. One pass, which the compiler vectorises, finds the largest of each group; the rest of
//! the work leaves out the groups that cannot matter.

use ortshard_error::{Result, bail};

/// Logits of a group.
pub(super) const GROUP: usize = 64;

/// What is known of the groups of the logits at hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    /// The largest logit of each group.
    maxima: Vec<f32>,
    /// Logits that may be among the largest.
    large: Vec<f32>,
}

impl Groups {
    /// Looks at all `logits`; refuses those that cannot be sampled from.
    pub(super) fn survey(&mut self, logits: &[f32]) -> Result<()> {
        self.maxima.clear();
        for (index, group) in logits.chunks(GROUP).enumerate() {
            let Some(maximum) = group_maximum(group) else {
                let wrong = index * GROUP + group.iter().take_while(|&&logit| logit < f32::INFINITY).count();
                bail!(InvalidArgument, "logits[{wrong}] is {}", logits[wrong]);
            };
            self.maxima.push(maximum);
        }
        if logits.is_empty() {
            bail!(InvalidArgument, "logits is empty");
        }
        if logits.len() > u32::MAX as usize {
            bail!(InvalidArgument, "logits has {} values; a token id has 32 bits", logits.len());
        }
        if self.maxima.iter().all(|&maximum| maximum == f32::NEG_INFINITY) {
            bail!(InvalidArgument, "every one of the {} logits is minus infinity", logits.len());
        }
        Ok(())
    }

    /// The largest of the surveyed `logits`, and the lowest id that has it.
    pub(super) fn largest(&self, logits: &[f32]) -> (u32, f32) {
        let (group, largest) = first_largest(&self.maxima);
        let within = first_largest(logits.chunks(GROUP).nth(group).unwrap_or_default()).0;
        ((group * GROUP + within) as u32, largest)
    }

    /// The `n`-th largest of the surveyed `logits`, or minus infinity where there are not more, or `n` is 0.
    pub(super) fn nth_largest(&mut self, logits: &[f32], n: usize) -> f32 {
        if n == 0 || n >= logits.len() {
            return f32::NEG_INFINITY;
        }
        // The largest logits of `n` groups reach this floor, so the n-th largest does, too.
        let floor = if n < self.maxima.len() {
            self.large.clone_from(&self.maxima);
            nth_largest(&mut self.large, n)
        } else {
            f32::NEG_INFINITY
        };
        self.large.clear();
        for (group, &maximum) in logits.chunks(GROUP).zip(&self.maxima) {
            if maximum >= floor {
                self.large.extend(group.iter().filter(|&&logit| logit >= floor));
            }
        }
        nth_largest(&mut self.large, n)
    }

    /// The ids of the surveyed `logits` that are not below `floor`, in increasing order, with their logits. A logit of
    /// minus infinity is never among them.
    pub(super) fn at_least<'l>(&'l self, logits: &'l [f32], floor: f32) -> impl Iterator<Item = (u32, f32)> + 'l {
        let groups = logits.chunks(GROUP).enumerate().zip(&self.maxima).filter(move |&(_, &maximum)| maximum >= floor);
        let all = groups.flat_map(|((group, logits), _)| ((group * GROUP) as u32..).zip(logits.iter().copied()));
        all.filter(move |&(_, logit)| logit >= floor && logit != f32::NEG_INFINITY)
    }
}

/// The `n`-th largest of `values`, from 1; there are at least that many. Reorders them.
fn nth_largest(values: &mut [f32], n: usize) -> f32 {
    *values.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1
}

/// The lowest index of the largest value, and that value; (0, minus infinity) where there is none above that.
fn first_largest(values: &[f32]) -> (usize, f32) {
    let start = (0, f32::NEG_INFINITY);
    (0..).zip(values).fold(start, |best, (index, &value)| if value > best.1 { (index, value) } else { best })
}

/// The largest of at most [`GROUP`] logits; `None` if one is not a number or plus infinity.
#[allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "one comparison for what is not a number and what is plus infinity"
)]
fn group_maximum(group: &[f32]) -> Option<f32> {
    const LANES: usize = 8;
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let mut wrong = [0_u32; LANES];
    let mut look = |lane: usize, logit: f32| {
        maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
        wrong[lane] |= u32::from(!(logit < f32::INFINITY));
    };
    let (rows, rest) = group.as_chunks::<LANES>();
    for row in rows {
        for (lane, &logit) in row.iter().enumerate() {
            look(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        look(lane, logit);
    }
    if wrong.iter().fold(0, |any, lane| any | lane) != 0 { None } else { Some(first_largest(&maxima).1) }
}
