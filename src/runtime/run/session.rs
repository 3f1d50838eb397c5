//! A session: a shard's graph, loaded into ONNX Runtime. Any number of threads may run it.
#![allow(unsafe_code, reason = "sessions are made and run through the C API")]

use std::ffi::{CStr, CString};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ort::{AsPointer, sys};
use parking_lot::Mutex;

use crate::error::{ErrorKind, Result, Site, bail, err};
use crate::graph::{Graph, native, stock};
use crate::runtime::Runtime;
use crate::runtime::device::placement::{self, Placement};
use crate::runtime::device::provider::Provider;
use crate::runtime::native::Domain;
use crate::runtime::process::arena::with_arena;
use crate::runtime::process::exit;
use crate::runtime::process::newer;
use crate::runtime::process::status::{check, check_on};
use crate::runtime::run::cancel::Cancel;
use crate::runtime::run::values::Values;
use crate::weights::WeightTable;

const CREATING: &str = "creating the session";
const RUNNING: &str = "the run";

/// The data of a graph in the stock dialect.
#[derive(Debug, Default)]
pub(crate) struct Contents<'a> {
    /// The names of the files that the graph refers to, and their bytes.
    pub files: Vec<(String, &'a [u8])>,
    /// Whether matrices are quantised. ONNX Runtime's kernel for quantised matrices on the processor is hundreds of
    /// times slower unless it may pack them, and the packed ones replace the originals. Float32 matrices are not
    /// packed: that would double the memory and gain little.
    pub quantised: bool,
}

/// A graph that ONNX Runtime has loaded.
#[derive(Debug)]
pub(crate) struct Session {
    raw: NonNull<sys::OrtSession>,
    /// The device that an out-of-memory error names.
    device: String,
    /// Whether the session runs on CUDA.
    on_cuda: bool,
    /// Whether the session's arena is limited and used by nothing but the session's runs.
    limited: bool,
    /// The native operators that the session calls; released after it.
    _domain: Option<Domain>,
}

// SAFETY: ONNX Runtime allows concurrent Run calls on one session, and release from any thread.
unsafe impl Send for Session {}
// SAFETY: as above; `Run` is the only call made through a shared reference.
unsafe impl Sync for Session {}

impl Session {
    /// A session for `graph` in the native dialect, over `weights`. All its runs together allocate at most
    /// `arena_limit` bytes.
    pub(crate) fn native(graph: &Graph, weights: Arc<WeightTable>, arena_limit: Option<u64>) -> Result<Self> {
        Self::native_of(&native::write(graph), graph, weights, arena_limit)
    }

    /// As [`native`](Self::native), from a graph that has been written already.
    pub(crate) fn native_of(
        model: &[u8],
        graph: &Graph,
        weights: Arc<WeightTable>,
        arena_limit: Option<u64>,
    ) -> Result<Self> {
        let domain = Domain::new(graph, weights, Runtime::get()?.threads())?;
        let options = Options::new()?;
        // SAFETY: valid options; the domain outlives the session, which holds it.
        let status = unsafe { (ort::api().AddCustomOpDomain)(options.as_ptr(), domain.as_ptr()) };
        check(status, Site::Load, CREATING)?;
        Self::new(model, &options, arena_limit, &Provider::Cpu, Some(domain))
    }

    /// A session for `model`, a graph in the stock dialect, on `provider`. Nodes that the provider does not take run
    /// on the processor. ONNX Runtime copies the `contents`, so they may be dropped when this returns.
    ///
    /// # Errors
    /// [`DeviceUnavailable`](ErrorKind::DeviceUnavailable) if the provider takes no node at all;
    /// [`Unsupported`](ErrorKind::Unsupported) if this ONNX Runtime cannot tell where nodes run.
    pub(crate) fn stock(
        model: &[u8],
        contents: &Contents,
        provider: &Provider,
        arena_limit: Option<u64>,
    ) -> Result<(Self, Placement)> {
        placement::known(Runtime::get()?)?;
        let options = Options::new()?;
        options.set(placement::KEY, c"1")?;
        if !contents.quantised {
            options.set(c"session.disable_prepacking", c"1")?;
        } else if provider.is_cuda() {
            // Lets CUDA multiply many rows by the codes themselves. Else each run would make a 16 bit copy of the
            // weights. The kernels are tried out when the session is made, and need packed matrices.
            options.set(c"ep.cuda.fpa_intb_gemm", c"1")?;
        }
        provider.append(&options)?;
        for (location, content) in &contents.files {
            options.external_data(location, content)?;
        }
        let mut session = Self::new(model, &options, arena_limit, provider, None)?;
        session.limited &= !provider.captures();
        let placement = placement::of(session.raw)?;
        if placement.cpu_nodes == placement.nodes && !matches!(provider, Provider::Cpu) {
            bail!(DeviceUnavailable, "{} takes no node of the graph", provider.listed());
        }
        Ok((session, placement))
    }

    /// Makes a session and drops it, as a part of loading. ONNX Runtime makes most of its static objects with its
    /// first session, and the process must not end meanwhile (see [`exit`]).
    pub(in crate::runtime) fn first() -> Result<()> {
        Self::new(&stock::probe(), &Options::new()?, None, &Provider::Cpu, None).map(drop)
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *const sys::OrtSession {
        self.raw.as_ptr()
    }

    fn new(
        model: &[u8],
        options: &Options,
        arena_limit: Option<u64>,
        provider: &Provider,
        domain: Option<Domain>,
    ) -> Result<Self> {
        let runtime = Runtime::get()?;
        let (device, on_cuda) = (provider.device(), provider.is_cuda());
        let _beside = on_cuda.then(|| runtime.beside_captures());
        let mut session = null_mut();
        let created = with_arena(runtime, arena_limit, || {
            let _inside = exit::enter()?;
            let _loading = loading(options);
            // SAFETY: environment and options are valid, the bytes are read during the call only.
            let status = unsafe {
                (ort::api().CreateSessionFromArray)(
                    runtime.environment.ptr(),
                    model.as_ptr().cast(),
                    model.len(),
                    options.as_ptr(),
                    &raw mut session,
                )
            };
            check_on(&device, status, Site::Load, CREATING)
        });
        exit::register_again();
        // If the end of the process has stopped this, the error says so.
        created.or_else(|error| exit::enter().and(Err(error)))?;
        let raw = NonNull::new(session).ok_or_else(|| err!(Internal, "ONNX Runtime returned no session"))?;
        Ok(Self { raw, device, on_cuda, limited: arena_limit.is_some(), _domain: domain })
    }

    /// Runs the graph on `values`. `cancel` stops it between two operators. With `shrink`, the arena gives its memory
    /// back afterwards: that is for the large runs of a prompt, not for single tokens. A limited arena always does
    /// so, because pieces that are left from runs of other sizes would take the room of the next run.
    pub(crate) fn run(&self, values: &mut Values, cancel: &Cancel, shrink: bool) -> Result<()> {
        let _inside = exit::enter()?;
        let _beside = if self.on_cuda { Some(Runtime::get()?.beside_captures()) } else { None };
        self.run_now(values, cancel, shrink)
    }

    /// As [`run`](Self::run), for a run that CUDA captures as a graph.
    pub(in crate::runtime) fn capture(&self, values: &mut Values, cancel: &Cancel) -> Result<()> {
        let _inside = exit::enter()?;
        let _alone = Runtime::get()?.capturing.write();
        self.run_now(values, cancel, false)
    }

    fn run_now(&self, values: &mut Values, cancel: &Cancel, shrink: bool) -> Result<()> {
        // SAFETY: all pointers are valid for the call, and `Values` borrows what they point to; the output values
        // exist, so the run writes into their memory, which is borrowed exclusively.
        let status = unsafe {
            (ort::api().Run)(
                self.raw.as_ptr(),
                cancel.options(shrink || self.limited).as_ptr(),
                values.input_names.as_ptr(),
                values.inputs.as_ptr(),
                values.inputs.len(),
                values.output_names.as_ptr(),
                values.outputs.len(),
                values.outputs.as_mut_ptr(),
            )
        };
        exit::register_again();
        // ONNX Runtime's releases word a cancellation differently, so the flag decides: only if it was set can a
        // cancellation have happened, even if it has been cleared since.
        check_on(&self.device, status, Site::Run, RUNNING).map_err(|e| match e.kind() {
            ErrorKind::Runtime if cancel.has_stopped() || cancel.was_set() => {
                err!(Cancelled, "{RUNNING} was cancelled").with_source(e)
            }
            _ => e,
        })
    }
}

impl Session {
    /// Makes the device forget the captured graph `graph`, if there is one.
    pub(in crate::runtime) fn release_graph(&self, graph: i32) {
        // An error here means that no such graph was captured, which does not matter.
        if let Err(error) = self.released(graph) {
            log::debug!("captured graph {graph}: {}", error.chain());
        }
    }

    /// As [`release_graph`](Self::release_graph), with the error.
    pub(in crate::runtime) fn released(&self, graph: i32) -> Result<()> {
        let _beside = if self.on_cuda { Some(Runtime::get()?.beside_captures()) } else { None };
        newer::release_captured_graph(self.raw, graph)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        exit::release(|| {
            let _beside = Runtime::loaded().filter(|_| self.on_cuda).map(Runtime::beside_captures);
            // SAFETY: made by `new`, released once, before its operators.
            unsafe { (ort::api().ReleaseSession)(self.raw.as_ptr()) }
        });
    }
}

/// The options of the session that is being created. One session is created at a time.
static LOADING: Mutex<Option<Loading>> = Mutex::new(None);

struct Loading(*mut sys::OrtSessionOptions);

// SAFETY: valid options while they are in `LOADING`; the flag inside is meant to be set from any thread.
unsafe impl Send for Loading {}

/// Takes the options out of [`LOADING`] when it is dropped.
struct Loaded;

fn loading(options: &Options) -> Loaded {
    *LOADING.lock() = Some(Loading(options.as_ptr()));
    Loaded
}

impl Drop for Loaded {
    fn drop(&mut self) {
        *LOADING.lock() = None;
    }
}

/// Stops the creation of a session, if one is being created.
pub(in crate::runtime) fn stop_loading() {
    if let Some(Loading(options)) = LOADING.try_lock().as_deref().and_then(Option::as_ref) {
        // SAFETY: see `Loading`.
        let status = unsafe { (ort::api().SessionOptionsSetLoadCancellationFlag)(*options, true) };
        // If it cannot be stopped, it is waited for.
        drop(check(status, Site::Load, CREATING));
    }
}

/// The session options of every shard.
///
/// The thread pool is the process's. Graphs are not rewritten: they are written as they should run, and fusions that
/// depend on where a shard ends would change its last bits. Operators run one after another. Each value is allocated
/// when it is written: ONNX Runtime's alternative takes all of a run's memory at once, as much as an earlier run of
/// the same shape used. It tells shapes apart by the exclusive or of their sizes, so all runs with as many rows of
/// logits as tokens look alike, and such a run would take the memory of another one, and then its own.
pub(in crate::runtime) struct Options(NonNull<sys::OrtSessionOptions>);

impl Options {
    pub(in crate::runtime) fn new() -> Result<Self> {
        let api = ort::api();
        let mut options = null_mut();
        // SAFETY: the out-pointer is valid.
        check(unsafe { (api.CreateSessionOptions)(&raw mut options) }, Site::Load, CREATING)?;
        let options = Self(NonNull::new(options).ok_or_else(|| err!(Internal, "ONNX Runtime returned no options"))?);
        let raw = options.as_ptr();
        // SAFETY: valid options.
        check(unsafe { (api.DisableMemPattern)(raw) }, Site::Load, CREATING)?;
        let level = sys::GraphOptimizationLevel::ORT_DISABLE_ALL;
        // SAFETY: valid options.
        check(unsafe { (api.DisablePerSessionThreads)(raw) }, Site::Load, CREATING)?;
        // SAFETY: valid options.
        check(unsafe { (api.SetSessionGraphOptimizationLevel)(raw, level) }, Site::Load, CREATING)?;
        options.set(c"session.use_env_allocators", c"1")?;
        Ok(options)
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *mut sys::OrtSessionOptions {
        self.0.as_ptr()
    }

    /// Sets one of ONNX Runtime's session configuration entries.
    fn set(&self, key: &CStr, value: &CStr) -> Result<()> {
        // SAFETY: valid options and strings, copied by the call.
        let status = unsafe { (ort::api().AddSessionConfigEntry)(self.as_ptr(), key.as_ptr(), value.as_ptr()) };
        check(status, Site::Load, CREATING)
    }

    /// Makes `data` stand for the file `location` that the graph names, until the session is made.
    fn external_data(&self, location: &str, data: &[u8]) -> Result<()> {
        let location = path_string(location)?;
        let (name, bytes, len) = (location.as_ptr(), data.as_ptr().cast_mut().cast(), data.len());
        // SAFETY: one name, one buffer, one length; the options do not outlive the buffer, which is only read.
        let status = unsafe {
            (ort::api().AddExternalInitializersFromMemory)(
                self.as_ptr(),
                &raw const name,
                &raw const bytes,
                &raw const len,
                1,
            )
        };
        check(status, Site::Load, CREATING)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by `new`, released once.
        unsafe { (ort::api().ReleaseSessionOptions)(self.0.as_ptr()) }
    }
}

/// `text` as a C string, for names that come from this library's code.
pub(in crate::runtime) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| err!(Malformed, "a name contains a NUL byte: `{}`", text.escape_debug()))
}

/// `text` as ONNX Runtime takes file names here.
#[cfg(not(windows))]
fn path_string(text: &str) -> Result<CString> {
    c_string(text)
}

/// `text` as ONNX Runtime takes file names here.
#[cfg(windows)]
fn path_string(text: &str) -> Result<Vec<u16>> {
    Ok(text.encode_utf16().chain([0]).collect())
}
