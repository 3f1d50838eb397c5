//! Cancelling a generation from another thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::backend::Stop;
use crate::error::Result;

/// Cancels a generation from another thread.
#[derive(Clone)]
pub struct GenerationCancel {
    asked: Arc<AtomicBool>,
    run: Arc<dyn Stop>,
}

impl GenerationCancel {
    pub(super) fn new(run: Arc<dyn Stop>) -> Self {
        Self { asked: Arc::default(), run }
    }

    /// Ends the text: the step in progress, or the next one, gives no token and says
    /// [`Finish::Cancelled`](crate::Finish::Cancelled). Where the text has ended already, nothing happens. Never waits.
    pub fn cancel(&self) -> Result<()> {
        let stopped = self.run.stop();
        // Last: what is asked for is taken back as a whole, so nothing of it may come after.
        self.asked.store(true, Ordering::SeqCst);
        stopped
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Remembers a cancellation that has stopped a run, until it has been reported.
    pub(super) fn note(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// The cancellation has been reported, or nothing is left to be cancelled.
    pub(super) fn take_back(&self) -> Result<()> {
        self.asked.store(false, Ordering::SeqCst);
        self.run.clear()
    }
}

impl fmt::Debug for GenerationCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationCancel").field("asked", &self.asked).finish_non_exhaustive()
    }
}
