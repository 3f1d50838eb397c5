//! How often a failed request is repeated, and after which wait.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::source::NetworkOptions;

/// An attempt that brings so many bytes does not count: a connection that is cut every minute gets there all the
/// same.
const GAIN: u64 = 16 << 20;

/// The time between two calls of `pause` during a wait.
const SLICE: Duration = Duration::from_millis(50);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A later attempt may succeed; the server may have said when.
    Later(Error, Option<Duration>),
    /// A later attempt would fail, too.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Counts the attempts at one file.
pub(super) struct Attempts<'a> {
    options: &'a NetworkOptions,
    allowed: u32,
    failed: u32,
}

impl<'a> Attempts<'a> {
    /// As many attempts as the options allow, or only one.
    pub(super) fn new(options: &'a NetworkOptions, only_one: bool) -> Self {
        let allowed = if only_one { 1 } else { options.attempts.max(1) };
        Self { options, allowed, failed: 0 }
    }

    /// Waits for the next attempt, after one that failed with `failure` and brought `gained` bytes.
    ///
    /// # Errors
    /// The failure, if it is final or there is no further attempt; what `pause` returned.
    pub(super) fn again(&mut self, failure: Failure, gained: u64, pause: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let (error, asked) = match failure {
            Failure::Later(error, asked) => (error, asked),
            Failure::Final(error) => return Err(error),
        };
        self.failed = if gained >= GAIN { 1 } else { self.failed + 1 };
        if self.failed >= self.allowed {
            return Err(if self.allowed > 1 {
                error.within(format_args!("gave up after {} attempts", self.failed))
            } else {
                error
            });
        }
        let wait = asked.unwrap_or_else(|| backoff(self.options.backoff, self.failed)).min(self.options.longest_wait);
        log::info!("{}; next attempt in {} ms", error.chain(), wait.as_millis());
        let due = Instant::now() + wait;
        loop {
            pause()?;
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// The wait after `failed` failures: it doubles with each, less up to a half at random, so that many machines do not
/// come back at once.
fn backoff(first: Duration, failed: u32) -> Duration {
    let full = first.saturating_mul(1 << (failed - 1).min(10));
    let random = RandomState::new().hash_one(failed) >> 11;
    full.mul_f64(1.0 - 0.5 * (random as f64 / (1_u64 << 53) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, err};

    fn later() -> Failure {
        Failure::Later(err!(Io, "x"), None)
    }

    #[test]
    fn attempts_end_unless_they_bring_something() {
        let options = NetworkOptions { attempts: 3, backoff: Duration::from_micros(1), ..NetworkOptions::default() };
        let pause = &mut || Ok(());
        let mut attempts = Attempts::new(&options, false);
        assert!(attempts.again(later(), 0, pause).is_ok());
        assert!(attempts.again(later(), 0, pause).is_ok());
        assert!(attempts.again(later(), 0, pause).is_err());
        let mut attempts = Attempts::new(&options, false);
        for _ in 0..20 {
            assert!(attempts.again(later(), GAIN, pause).is_ok());
        }
        assert!(Attempts::new(&options, false).again(Failure::Final(err!(Io, "x")), GAIN, pause).is_err());
        assert!(Attempts::new(&options, true).again(later(), 0, pause).is_err());
    }

    #[test]
    fn waits_double_are_bounded_and_can_be_stopped() {
        for failed in 1..=40 {
            let full = Duration::from_millis(500) * (1 << (failed - 1).min(10));
            let wait = backoff(Duration::from_millis(500), failed);
            assert!(wait <= full && wait >= full / 2, "{failed}: {wait:?}");
        }
        let options = NetworkOptions { longest_wait: Duration::from_millis(60), ..NetworkOptions::default() };
        let begin = Instant::now();
        let failure = Failure::Later(err!(Io, "x"), Some(Duration::from_hours(1)));
        assert!(Attempts::new(&options, false).again(failure, 0, &mut || Ok(())).is_ok());
        assert!(begin.elapsed() >= Duration::from_millis(60) && begin.elapsed() < Duration::from_secs(10));
        let options = NetworkOptions::default();
        let failure = Failure::Later(err!(Io, "x"), Some(Duration::from_hours(1)));
        let stopped = Attempts::new(&options, false).again(failure, 0, &mut || Err(err!(Cancelled, "stop")));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
