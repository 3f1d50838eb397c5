//! One download of a content at a time, between threads and between processes.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Result, err};

/// How often a lock that another holds is tried.
const SLICE: Duration = Duration::from_millis(50);

/// How often a long wait is logged.
const REMIND: Duration = Duration::from_secs(10);

/// Held until dropped, and by the operating system's care no longer than its process lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] Option<File>);

/// Waits for the lock at `path`. `pause` is heard meanwhile.
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
