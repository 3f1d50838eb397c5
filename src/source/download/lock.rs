//! Lets one thread of one process at a time download a content.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Result, err};

/// The wait between two attempts at a lock that another process holds.
const SLICE: Duration = Duration::from_millis(50);

/// The time between two log lines of a long wait.
const REMIND: Duration = Duration::from_secs(10);

/// A lock, held until it is dropped. The operating system frees it if the process dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] Option<File>);

/// Waits for the lock at `path`. Calls `pause` meanwhile.
///
/// On a file system that cannot lock, nothing is locked: partial files are written at explicit offsets and checked by
/// hash, so two writers cost a second transfer, not a wrong file.
///
/// # Errors
/// `Io` if the file cannot be made; what `pause` returned.
pub(super) fn take(path: &Path, pause: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
    let shown = path.display();
    let fail = |e| err!(Io, "the lock file `{shown}` cannot be written").with_source(e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(fail)?;
    let mut remind = Instant::now() + REMIND;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(Some(file))),
            Err(TryLockError::Error(e)) => {
                log::warn!("`{shown}` cannot be locked ({e}); going on without");
                return Ok(Lock(None));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        pause()?;
        if Instant::now() >= remind {
            log::info!("waiting for another download to release `{shown}`");
            remind += REMIND;
        }
        std::thread::sleep(SLICE);
    }
}
