//! Log
//!
//! Without a callback nothing is printed anywhere. With one, the library's and ONNX Runtime's messages come to it.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::{Mutex, RwLock};

use crate::engine::call_out;
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_STATE, ortshard_status};

constants! {
    /// How much is logged.
    enum ortshard_log_level {
        /// Only failures, such as running out of memory.
        ORTSHARD_LOG_ERROR = 1,
        /// Also what works otherwise than asked, such as a missing device.
        ORTSHARD_LOG_WARNING = 2,
        /// Also what happens once or seldom, such as the library file that was loaded.
        ORTSHARD_LOG_INFO = 3,
        /// Also what helps to find a mistake.
        ORTSHARD_LOG_DEBUG = 4,
        /// Everything.
        ORTSHARD_LOG_TRACE = 5,
    }
}

/// Takes one message: its ORTSHARD_LOG_* level, the part it comes from, such as "onnxruntime", and one line of UTF-8.
/// The texts live for the length of the call.
///
/// Called from any thread, from several at once; what it does is added to the time of the call that logs. It must
/// return normally (no longjmp, no C++ exception). It may call this library, and messages of such calls are dropped.
/// But it must not free engines, shards or requests, and loading, running, clearing and ortshard_log_set_callback()
/// return INVALID_STATE there: the message may come from a call that they would wait for.
pub type ortshard_log_callback =
    Option<unsafe extern "C" fn(level: i32, target: *const c_char, message: *const c_char, user_data: *mut c_void)>;

/// Sends log messages up to `level` (an ORTSHARD_LOG_* constant) to `callback`, in the whole process. NULL removes
/// the callback; `level` is not looked at then.
///
/// When this returns, the previous callback is not running and will not be called again: what its `user_data` points
/// to can be freed.
///
/// Errors: INVALID_STATE if called from a log callback, or in a program
/// that has set up another logger of Rust's log crate.
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_log_set_callback(
    level: i32,
    callback: ortshard_log_callback,
    user_data: *mut c_void,
) -> ortshard_status {
    guard(|| {
        let new = match callback {
            None => None,
            Some(callback) => Some(Sink { filter: filter(level)?, callback, user_data }),
        };
        if BUSY.get() {
            let message = "a log callback cannot set the log callback";
            return Err(Failure::new(ORTSHARD_ERROR_INVALID_STATE, message));
        }
        install(new.is_some())?;
        let mut sink = SINK.write();
        log::set_max_level(new.as_ref().map_or(LevelFilter::Off, |sink| sink.filter));
        *sink = new;
        Ok(())
    })
}

struct Sink {
    filter: LevelFilter,
    callback: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user_data: *mut c_void,
}

// SAFETY: the header says that the callback is called from any thread, so `user_data` must stand that.
unsafe impl Send for Sink {}
// SAFETY: as above, from several at once.
unsafe impl Sync for Sink {}

/// Held for reading while the callback runs, so that a removed callback has returned.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    /// Whether this thread is in the callback: a message from there must not lead back into it.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

struct Forward;

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        // A thread that is ending has no flag any more; its messages are dropped rather than risked.
        if BUSY.try_with(|busy| busy.replace(true)).unwrap_or(true) {
            return;
        }
        // A callback may wait for another thread that logs, while a third waits to change the callback.
        if let Some(sink) = SINK.read_recursive().as_ref().filter(|sink| record.level() <= sink.filter) {
            let target = CString::new(record.target()).unwrap_or_default();
            let message = CString::new(record.args().to_string().replace('\0', "\\0")).unwrap_or_default();
            call_out(|| {
                // SAFETY: the function and what it may be called with are those of `ortshard_log_set_callback`.
                unsafe { (sink.callback)(code(record.level()), target.as_ptr(), message.as_ptr(), sink.user_data) };
            });
        }
        BUSY.with(|busy| busy.set(false));
    }

    fn flush(&self) {}
}

/// Makes `Forward` the process's logger, once; nothing is to be done for removing what never was.
fn install(needed: bool) -> Result<(), Failure> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock();
    if needed && !*installed {
        log::set_logger(&Forward)
            .map_err(|_| Failure::new(ORTSHARD_ERROR_INVALID_STATE, "this program has a logger of its own already"))?;
        *installed = true;
    }
    Ok(())
}

fn code(level: Level) -> c_int {
    match level {
        Level::Error => ORTSHARD_LOG_ERROR,
        Level::Warn => ORTSHARD_LOG_WARNING,
        Level::Info => ORTSHARD_LOG_INFO,
        Level::Debug => ORTSHARD_LOG_DEBUG,
        Level::Trace => ORTSHARD_LOG_TRACE,
    }
}

fn filter(level: i32) -> Result<LevelFilter, Failure> {
    match level {
        ORTSHARD_LOG_ERROR => Ok(LevelFilter::Error),
        ORTSHARD_LOG_WARNING => Ok(LevelFilter::Warn),
        ORTSHARD_LOG_INFO => Ok(LevelFilter::Info),
        ORTSHARD_LOG_DEBUG => Ok(LevelFilter::Debug),
        ORTSHARD_LOG_TRACE => Ok(LevelFilter::Trace),
        _ => Err(Failure::invalid(format!("level is {level}, not an ORTSHARD_LOG_* constant"))),
    }
}
