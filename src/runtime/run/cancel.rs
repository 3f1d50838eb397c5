//! Stops runs from other threads, and at the end of the process.
#![allow(unsafe_code, reason = "run options are made through the C API")]

use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ort::sys;
use parking_lot::Mutex;

use crate::error::{Result, Site, err};
use crate::runtime::process::exit;
use crate::runtime::process::status::check;
use crate::runtime::run::session::c_string;

/// A request's flag: set from another thread, it stops the request's run.
#[derive(Debug)]
pub(crate) struct Cancel {
    run: Arc<RunControl>,
    /// The control of the run in progress, if the request takes part in a run under another request's flag.
    joined: Mutex<Option<Arc<RunControl>>>,
    asked: AtomicBool,
    /// Whether the flag has been set since the run in progress began, even if it has been cleared since.
    asked_since: AtomicBool,
    /// Held while the flag changes and ONNX Runtime is told, so that both change together.
    telling: Mutex<()>,
}

impl Cancel {
    /// A flag that is not set.
    pub(crate) fn new() -> Result<Self> {
        RunControl::new(c"cpu:0", None).map(Self::of)
    }

    /// A flag for runs on another device. Large runs under it give back the free memory of `arena`.
    pub(in crate::runtime) fn on(arena: &CStr) -> Result<Self> {
        RunControl::new(arena, None).map(Self::of)
    }

    /// As [`on`](Self::on), on a device that captures graphs: for the runs of the captured graph `graph`, or, with
    /// -1, for runs that are not captured.
    pub(in crate::runtime) fn of_graph(arena: &CStr, graph: i32) -> Result<Self> {
        RunControl::new(arena, Some(graph)).map(Self::of)
    }

    fn of(run: RunControl) -> Self {
        let run = Arc::new(run);
        ALL.lock().add(&run);
        Self {
            run,
            joined: Mutex::new(None),
            asked: AtomicBool::new(false),
            asked_since: AtomicBool::new(false),
            telling: Mutex::new(()),
        }
    }

    /// Does `work`, a run under the options of `other`. Setting this flag stops that run, too.
    pub(in crate::runtime) fn through<T>(&self, other: &Self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.run.through.lock() = Some(Arc::clone(&other.run));
        let done = if self.has_stopped() { other.run.terminate(true).and_then(|()| work()) } else { work() };
        *self.run.through.lock() = None;
        let cleared = other.run.terminate(false);
        done.and_then(|done| cleared.map(|()| done))
    }

    pub(in crate::runtime) fn options(&self, shrink: bool) -> NonNull<sys::OrtRunOptions> {
        if shrink { self.run.shrinking.0 } else { self.run.plain.0 }
    }

    /// Sets the flag: the run in progress stops, or the next one if there is none.
    pub(crate) fn cancel(&self) -> Result<()> {
        let _telling = self.telling.lock();
        self.asked.store(true, Ordering::SeqCst);
        self.asked_since.store(true, Ordering::SeqCst);
        self.run.terminate(true)?;
        self.joined.lock().as_ref().map_or(Ok(()), |run| run.terminate(true))
    }

    /// Whether a run under this flag has been told to stop, by this flag or by one that joined it.
    pub(in crate::runtime) fn has_stopped(&self) -> bool {
        self.run.stopped.load(Ordering::SeqCst)
    }

    /// Whether the flag is set.
    pub(crate) fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether the flag is set, or has been set since the last run began.
    pub(crate) fn was_set(&self) -> bool {
        self.is_set() || self.asked_since.load(Ordering::SeqCst)
    }

    /// Begins a run. If the flag is set now, it stops the run, even if it is cleared before the run looks at it.
    pub(crate) fn begin(&self) {
        // Waits for a cancellation that is just being told to ONNX Runtime: it would stop the run and leave no trace
        // here.
        let _telling = self.telling.lock();
        self.asked_since.store(self.is_set(), Ordering::SeqCst);
    }

    /// Clears the flag, because its cancellation has been reported or is not wanted any more.
    pub(crate) fn clear(&self) -> Result<()> {
        let _telling = self.telling.lock();
        self.asked.store(false, Ordering::SeqCst);
        self.run.terminate(false)
    }

    /// Takes part in a run under the flag `leader`. Setting this flag stops that run, too.
    pub(crate) fn join(&self, leader: &Self) {
        *self.joined.lock() = Some(Arc::clone(&leader.run));
    }

    /// Ends the part that [`join`](Self::join) began.
    pub(crate) fn leave(&self) {
        *self.joined.lock() = None;
    }

    /// Lets runs under this flag go on after the cancellation of another request has stopped one. If this flag is set
    /// itself, it stays set.
    pub(crate) fn resume(&self) {
        let _telling = self.telling.lock();
        // Neither call can fail with valid options. If one did, the next run would find the flag.
        let _ = self.run.terminate(false);
        if self.is_set() {
            let _ = self.run.terminate(true);
        }
    }
}

/// The controls of all requests, which are stopped when the process ends.
static ALL: Mutex<Controls> = Mutex::new(Controls { list: Vec::new(), live: 0 });

struct Controls {
    list: Vec<Weak<RunControl>>,
    /// How many there were when controls of dropped requests were last removed.
    live: usize,
}

impl Controls {
    fn add(&mut self, control: &Arc<RunControl>) {
        if self.list.len() > 2 * self.live + 64 {
            self.list.retain(|control| control.strong_count() > 0);
            self.live = self.list.len();
        }
        self.list.push(Arc::downgrade(control));
    }
}

/// Stops every run.
pub(in crate::runtime) fn stop_all() {
    // Another thread may be adding a control just now. The caller tries again.
    let Some(all) = ALL.try_lock() else { return };
    for control in all.list.iter().filter_map(Weak::upgrade) {
        // A run that cannot be told to stop is waited for.
        let _ = control.tell(true);
        // The control's own request releases it. If this reference were the last, it would be released here, inside
        // the handler.
        std::mem::forget(control);
    }
}

/// A request's run options, by which ONNX Runtime is told to stop.
#[derive(Debug)]
struct RunControl {
    plain: RunOptions,
    shrinking: RunOptions,
    /// The state that ONNX Runtime was last told.
    stopped: AtomicBool,
    /// The control under whose options the run in progress is, if not this one.
    through: Mutex<Option<Arc<RunControl>>>,
}

impl RunControl {
    fn new(arena: &CStr, graph: Option<i32>) -> Result<Self> {
        let _inside = exit::enter()?;
        let (plain, shrinking) = (RunOptions::new()?, RunOptions::new()?);
        shrinking.set(c"memory.enable_memory_arena_shrinkage", arena)?;
        if let Some(graph) = graph {
            let graph = c_string(&graph.to_string())?;
            plain.set(c"gpu_graph_id", &graph)?;
            shrinking.set(c"gpu_graph_id", &graph)?;
        }
        Ok(Self { plain, shrinking, stopped: AtomicBool::new(false), through: Mutex::new(None) })
    }

    fn terminate(&self, stop: bool) -> Result<()> {
        self.tell(stop)?;
        self.through.lock().as_ref().map_or(Ok(()), |other| other.terminate(stop))
    }

    fn tell(&self, stop: bool) -> Result<()> {
        let api = ort::api();
        self.stopped.store(stop, Ordering::SeqCst);
        let set = if stop { api.RunOptionsSetTerminate } else { api.RunOptionsUnsetTerminate };
        for options in [&self.plain, &self.shrinking] {
            // SAFETY: valid options; the flag is meant to be set from any thread.
            check(unsafe { set(options.0.as_ptr()) }, Site::Run, "cancelling")?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct RunOptions(NonNull<sys::OrtRunOptions>);

// SAFETY: read by runs; the terminate flag inside may be set from any thread meanwhile.
unsafe impl Send for RunOptions {}
// SAFETY: as above.
unsafe impl Sync for RunOptions {}

impl RunOptions {
    fn new() -> Result<Self> {
        let mut options = null_mut();
        // SAFETY: the out-pointer is valid.
        check(unsafe { (ort::api().CreateRunOptions)(&raw mut options) }, Site::Run, "creating run options")?;
        NonNull::new(options).map(Self).ok_or_else(|| err!(Internal, "ONNX Runtime returned no run options"))
    }

    fn set(&self, key: &CStr, value: &CStr) -> Result<()> {
        // SAFETY: valid options and strings, copied by the call.
        let status = unsafe { (ort::api().AddRunConfigEntry)(self.0.as_ptr(), key.as_ptr(), value.as_ptr()) };
        check(status, Site::Run, "setting run options")
    }
}

impl Drop for RunOptions {
    fn drop(&mut self) {
        if !exit::has_begun() {
            // SAFETY: made by `new`, released once.
            unsafe { (ort::api().ReleaseRunOptions)(self.0.as_ptr()) }
        }
    }
}
