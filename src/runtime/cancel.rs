//! Stopping runs.
#![allow(unsafe_code, reason = "run options are made through the C API")]

use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ort::sys;
use parking_lot::Mutex;

use super::exit;
use super::session::c_string;
use super::status::check;
use crate::error::{Result, Site, err};

/// Stops a run from another thread.
#[derive(Debug)]
pub(crate) struct Cancel {
    run: Arc<RunControl>,
    /// The control of the run in progress, where that is another request's.
    joined: Mutex<Option<Arc<RunControl>>>,
    asked: AtomicBool,
    /// Whether it has been set since the run in progress began, though it may have been cleared again.
    asked_since: AtomicBool,
    /// Held while the flag and what ONNX Runtime is told change together.
    telling: Mutex<()>,
}

impl Cancel {
    /// A flag that is not set.
    pub(crate) fn new() -> Result<Self> {
        RunControl::new(c"cpu:0", None).map(Self::of)
    }

    /// A flag for runs on another device, whose large ones give back what is free in `arena`.
    pub(super) fn on(arena: &CStr) -> Result<Self> {
        RunControl::new(arena, None).map(Self::of)
    }

    /// The same where captured graphs are in use: the runs of graph `graph`, or with -1 those that are not captured.
    pub(super) fn of_graph(arena: &CStr, graph: i32) -> Result<Self> {
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

    /// Does `work`, a run under `other`'s options, which setting this flag stops as well.
    pub(super) fn through<T>(&self, other: &Self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.run.through.lock() = Some(Arc::clone(&other.run));
        let done = if self.has_stopped() { other.run.terminate(true).and_then(|()| work()) } else { work() };
        *self.run.through.lock() = None;
        let cleared = other.run.terminate(false);
        done.and_then(|done| cleared.map(|()| done))
    }

    pub(super) fn options(&self, shrink: bool) -> NonNull<sys::OrtRunOptions> {
        if shrink { self.run.shrinking.0 } else { self.run.plain.0 }
    }

    /// Sets the flag: the run in progress stops, or, if none is, the next one.
    pub(crate) fn cancel(&self) -> Result<()> {
        let _telling = self.telling.lock();
        self.asked.store(true, Ordering::SeqCst);
        self.asked_since.store(true, Ordering::SeqCst);
        self.run.terminate(true)?;
        self.joined.lock().as_ref().map_or(Ok(()), |run| run.terminate(true))
    }

    /// Whether a run under this flag has been told to stop, by it or by one that joined it.
    pub(super) fn has_stopped(&self) -> bool {
        self.run.stopped.load(Ordering::SeqCst)
    }

    /// Whether the flag is set.
    pub(crate) fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether the flag is set, or was in the course of the run that began last.
    pub(crate) fn was_set(&self) -> bool {
        self.is_set() || self.asked_since.load(Ordering::SeqCst)
    }

    /// A run begins. A flag that is set counts for it, even if it is cleared before the run looks.
    pub(crate) fn begin(&self) {
        // A cancellation in the middle of being told would stop the run and leave no trace.
        let _telling = self.telling.lock();
        self.asked_since.store(self.is_set(), Ordering::SeqCst);
    }

    /// Clears the flag: its cancellation has been reported, or is not wanted any more.
    pub(crate) fn clear(&self) -> Result<()> {
        let _telling = self.telling.lock();
        self.asked.store(false, Ordering::SeqCst);
        self.run.terminate(false)
    }

    /// Takes part in a run under `leader`'s flag, which setting this one stops as well.
    pub(crate) fn join(&self, leader: &Self) {
        *self.joined.lock() = Some(Arc::clone(&leader.run));
    }

    /// Ends what [`join`](Self::join) began.
    pub(crate) fn leave(&self) {
        *self.joined.lock() = None;
    }

    /// Lets runs under this flag go on after another's cancellation stopped one; its own stays set.
    pub(crate) fn resume(&self) {
        let _telling = self.telling.lock();
        // Neither can fail on valid options, and a flag left standing is found before the next run.
        let _ = self.run.terminate(false);
        if self.is_set() {
            let _ = self.run.terminate(true);
        }
    }
}

/// The controls of all requests, to be stopped when the process ends.
static ALL: Mutex<Controls> = Mutex::new(Controls { list: Vec::new(), live: 0 });

struct Controls {
    list: Vec<Weak<RunControl>>,
    /// How many there were when those that are gone were last removed.
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
pub(super) fn stop_all() {
    // Another thread may be about to add one: it is stopped the next time.
    let Some(all) = ALL.try_lock() else { return };
    for control in all.list.iter().filter_map(Weak::upgrade) {
        // What cannot be told to stop is waited for.
        let _ = control.tell(true);
        // Released by whom it is of; the last reference must not be this one.
        std::mem::forget(control);
    }
}

/// A request's run options, through which ONNX Runtime can be told to stop.
#[derive(Debug)]
struct RunControl {
    plain: RunOptions,
    shrinking: RunOptions,
    /// What both were last told.
    stopped: AtomicBool,
    /// Whose options the run in progress is under, if not these.
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
