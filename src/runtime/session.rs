//! A session: one shard's graph, ready to run from any number of threads.
#![allow(unsafe_code, reason = "sessions are made and run through the C API")]

use std::ffi::{CStr, CString};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::{AsPointer, sys};
use parking_lot::Mutex;

use super::Runtime;
use super::arena::with_arena;
use super::native::Domain;
use super::status::check;
use super::tensor::{Tensor, TensorMut};
use crate::error::{ErrorKind, Result, Site, bail, err};
use crate::weights::WeightTable;

const CREATING: &str = "creating the session";
const RUNNING: &str = "the run";

/// A graph in ONNX Runtime.
#[derive(Debug)]
pub(crate) struct Session {
    raw: NonNull<sys::OrtSession>,
    /// Whether its arena is limited.
    limited: bool,
    /// The operators the session calls; released after it.
    _domain: Domain,
}

// SAFETY: ONNX Runtime allows concurrent Run calls on one session, and release from any thread.
unsafe impl Send for Session {}
// SAFETY: as above; `Run` is the only call made through a shared reference.
unsafe impl Sync for Session {}

impl Session {
    /// A session for `model`, a graph in the native dialect, over `weights`. Its runs allocate at most `arena_limit`
    /// bytes between them.
    pub(crate) fn new(model: &[u8], weights: Arc<WeightTable>, arena_limit: Option<u64>) -> Result<Self> {
        let runtime = Runtime::get()?;
        let api = ort::api();
        let domain = Domain::new(weights, runtime.threads())?;
        let options = Options::new()?;
        // SAFETY: valid options; the domain outlives the session, which holds it.
        check(unsafe { (api.AddCustomOpDomain)(options.0.as_ptr(), domain.as_ptr()) }, Site::Load, CREATING)?;
        let mut session = null_mut();
        with_arena(runtime, arena_limit, || {
            // SAFETY: environment and options are valid, the bytes are read during the call only.
            let status = unsafe {
                (api.CreateSessionFromArray)(
                    runtime.environment.ptr(),
                    model.as_ptr().cast(),
                    model.len(),
                    options.0.as_ptr(),
                    &raw mut session,
                )
            };
            check(status, Site::Load, CREATING)
        })?;
        let raw = NonNull::new(session).ok_or_else(|| err!(Internal, "ONNX Runtime returned no session"))?;
        Ok(Self { raw, limited: arena_limit.is_some(), _domain: domain })
    }

    /// Runs the graph on named inputs into a named output. `cancel` stops it between two operators. `shrink` gives the
    /// arena's memory back afterwards: for the large runs of a prompt, not for single tokens. A limited arena always does,
    /// because pieces left by runs of other sizes would take the room of the next.
    pub(crate) fn run(
        &self,
        inputs: &[(&CStr, &Tensor)],
        output_name: &CStr,
        output: &mut TensorMut,
        cancel: &Cancel,
        shrink: bool,
    ) -> Result<()> {
        const MOST: usize = 4;
        let mut names = [std::ptr::null(); MOST];
        let mut values = [std::ptr::null(); MOST];
        if inputs.len() > MOST {
            bail!(Internal, "a run with {} inputs", inputs.len());
        }
        for (i, (name, tensor)) in inputs.iter().enumerate() {
            names[i] = name.as_ptr();
            values[i] = tensor.as_ptr();
        }
        let output_name = output_name.as_ptr();
        let mut output_value = output.as_mut_ptr();
        // SAFETY: all pointers are valid for the call; the output value exists, so the run writes into its memory,
        // which the `TensorMut` borrows exclusively.
        let status = unsafe {
            (ort::api().Run)(
                self.raw.as_ptr(),
                cancel.options(shrink || self.limited).as_ptr(),
                names.as_ptr(),
                values.as_ptr(),
                inputs.len(),
                &raw const output_name,
                1,
                &raw mut output_value,
            )
        };
        // Releases word their own cancellation differently, but only the flag that was set can have caused it.
        check(status, Site::Run, RUNNING).map_err(|e| match e.kind() {
            ErrorKind::Runtime if cancel.run.stopped.load(Ordering::SeqCst) => {
                err!(Cancelled, "{RUNNING} was cancelled").with_source(e)
            }
            _ => e,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by `new`, released once, before its operators.
        unsafe { (ort::api().ReleaseSession)(self.raw.as_ptr()) }
    }
}

/// Session options of every shard: the process-wide pool, no graph rewriting (the graph is written as it should run,
/// and a fusion across the shard's border would change its last bits), operators one after another, and each value
/// allocated when it is written. (ONNX Runtime would rather take all of a run's memory at once, as an earlier run of the
/// same shape used it. But it tells shapes apart by the exclusive or of their sizes, so a run of as many rows of logits
/// as tokens takes that of any other such run, and then its own as well.)
struct Options(NonNull<sys::OrtSessionOptions>);

impl Options {
    fn new() -> Result<Self> {
        let api = ort::api();
        let mut options = null_mut();
        // SAFETY: the out-pointer is valid.
        check(unsafe { (api.CreateSessionOptions)(&raw mut options) }, Site::Load, CREATING)?;
        let options = Self(NonNull::new(options).ok_or_else(|| err!(Internal, "ONNX Runtime returned no options"))?);
        let raw = options.0.as_ptr();
        // SAFETY: valid options.
        check(unsafe { (api.DisableMemPattern)(raw) }, Site::Load, CREATING)?;
        let level = sys::GraphOptimizationLevel::ORT_DISABLE_ALL;
        // SAFETY: valid options.
        check(unsafe { (api.DisablePerSessionThreads)(raw) }, Site::Load, CREATING)?;
        // SAFETY: valid options.
        check(unsafe { (api.SetSessionGraphOptimizationLevel)(raw, level) }, Site::Load, CREATING)?;
        let (key, on) = (c"session.use_env_allocators", c"1");
        // SAFETY: valid options and strings, copied by the call.
        check(unsafe { (api.AddSessionConfigEntry)(raw, key.as_ptr(), on.as_ptr()) }, Site::Load, CREATING)?;
        Ok(options)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by `new`, released once.
        unsafe { (ort::api().ReleaseSessionOptions)(self.0.as_ptr()) }
    }
}

/// Stops a run from another thread.
#[derive(Debug)]
pub(crate) struct Cancel {
    run: Arc<RunControl>,
    /// The control of the run in progress, where that is another request's.
    joined: Mutex<Option<Arc<RunControl>>>,
    asked: AtomicBool,
}

impl Cancel {
    /// A flag that is not set.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { run: Arc::new(RunControl::new()?), joined: Mutex::new(None), asked: AtomicBool::new(false) })
    }

    fn options(&self, shrink: bool) -> NonNull<sys::OrtRunOptions> {
        if shrink { self.run.shrinking.0 } else { self.run.plain.0 }
    }

    /// Sets the flag: the run in progress stops, or, if none is, the next one.
    pub(crate) fn cancel(&self) -> Result<()> {
        self.asked.store(true, Ordering::SeqCst);
        self.run.terminate(true)?;
        self.joined.lock().as_ref().map_or(Ok(()), |run| run.terminate(true))
    }

    /// Whether the flag is set.
    pub(crate) fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Clears the flag once its cancellation has been reported.
    pub(crate) fn clear(&self) -> Result<()> {
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
        // Neither can fail on valid options, and a flag left standing is found before the next run.
        let _ = self.run.terminate(false);
        if self.is_set() {
            let _ = self.run.terminate(true);
        }
    }
}

/// A request's run options, through which ONNX Runtime can be told to stop.
#[derive(Debug)]
struct RunControl {
    plain: RunOptions,
    shrinking: RunOptions,
    /// What both were last told.
    stopped: AtomicBool,
}

impl RunControl {
    fn new() -> Result<Self> {
        let (plain, shrinking) = (RunOptions::new()?, RunOptions::new()?);
        let (key, arena) = (c"memory.enable_memory_arena_shrinkage", c"cpu:0");
        // SAFETY: valid options and strings, copied by the call.
        let status = unsafe { (ort::api().AddRunConfigEntry)(shrinking.0.as_ptr(), key.as_ptr(), arena.as_ptr()) };
        check(status, Site::Run, "creating run options")?;
        Ok(Self { plain, shrinking, stopped: AtomicBool::new(false) })
    }

    fn terminate(&self, stop: bool) -> Result<()> {
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
}

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: made by `new`, released once.
        unsafe { (ort::api().ReleaseRunOptions)(self.0.as_ptr()) }
    }
}

/// `text` as a C string for a name that the code itself wrote.
pub(super) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| err!(Malformed, "a name contains a NUL byte: `{}`", text.escape_debug()))
}
