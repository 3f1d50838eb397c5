//! A limit on the memory of an engine: every big block is reserved before it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result, Site};

/// How many bytes an engine may use, and how many it uses.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The device that messages name.
    device: String,
    limit: u64,
    used: AtomicU64,
}

/// Bytes taken from a [`Budget`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit` bytes for an engine on `device`. 0 means no limit.
    pub(crate) fn new(device: String, limit: u64) -> Arc<Self> {
        Arc::new(Self { device, limit: if limit == 0 { u64::MAX } else { limit }, used: AtomicU64::new(0) })
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        (self.limit != u64::MAX).then_some(self.limit)
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` for `what`.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64, site: Site, what: &str) -> Result<Reservation> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Reservation { budget: Arc::clone(self), bytes }),
            Err(used) => Err(Error::oom(
                site,
                &self.device,
                bytes,
                format!("{what} (memory_limit is {} bytes, {used} are in use)", self.limit),
            )),
        }
    }
}

impl Reservation {
    /// How many bytes are reserved.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_given_back() {
        let budget = Budget::new("cuda:1".into(), 100);
        let first = budget.reserve(60, Site::Load, "weights").unwrap();
        let error = budget.reserve(50, Site::Kv, "a cache").unwrap_err();
        let oom = error.out_of_memory().unwrap();
        assert_eq!((oom.site, oom.device.as_str(), oom.requested), (Site::Kv, "cuda:1", 50));
        assert_eq!(budget.used(), 60);
        assert!(error.to_string().contains("memory_limit is 100"), "{error}");
        drop(first);
        assert!(budget.reserve(100, Site::Kv, "a cache").is_ok());
        assert!(budget.reserve(u64::MAX, Site::Kv, "a cache").is_err());
    }
}
