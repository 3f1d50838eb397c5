//! The flags that stop a run.

use crate::runtime::Cancel;

/// The flags of the requests of a run. The run is under the first one; each of the others stops it as well.
#[derive(Debug)]
pub(crate) struct Flags<'a>(Vec<&'a Cancel>);

impl<'a> Flags<'a> {
    /// Begins a run under `flags`, of which there is at least one.
    pub(crate) fn join(flags: impl Iterator<Item = &'a Cancel>) -> Self {
        let all = Self(flags.collect());
        all.0.iter().for_each(|flag| flag.begin());
        for follower in &all.0[1..] {
            follower.join(all.leader());
        }
        all
    }

    /// The flag that the run is under.
    pub(crate) fn leader(&self) -> &'a Cancel {
        self.0[0]
    }
}

impl Drop for Flags<'_> {
    fn drop(&mut self) {
        for follower in &self.0[1..] {
            follower.leave();
        }
        if self.0.len() > 1 {
            self.leader().resume();
        }
    }
}
