//! ONNX Runtime. No other module names it.
//!
//! One library, one environment and one thread pool serve the whole process: ONNX Runtime allows a single environment,
//! and sessions with pools of their own slow each other down threefold.

mod device;
mod native;
mod process;
mod run;
mod stock;
#[cfg(test)]
mod stock_tests;

use process::{exit, library, newer, status};

pub(crate) use device::cache::{CacheShape, DeviceCache};
pub(crate) use device::cuda::gpus;
pub(crate) use device::machine::{memory, processor};
pub(crate) use device::memory::DeviceMemory;
pub(crate) use device::placement::Placement;
pub(crate) use device::provider::{CORE_ML, Provider};
pub(crate) use process::arena::return_freed_memory;
pub(crate) use process::exit::enter;
pub(crate) use run::batch::{Angles, Batch, Segment};
pub(crate) use run::cancel::Cancel;
pub(crate) use run::rows::{OwnedPart, PartRows, Rows};
pub(crate) use run::session::{Contents, Session};
pub(crate) use run::tensor::{Tensor, TensorMut};
pub(crate) use run::values::Values;
pub(crate) use stock::{DecodeStep, DeviceRows, DeviceSession, Reserved, Take};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use ort::sys;
use parking_lot::{ReentrantMutex, RwLock, RwLockReadGuard};

use crate::error::{Result, bail, err};

/// How to load and start ONNX Runtime. The first load in a process decides for all.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// The library file, or a folder that holds it. `None`: search (see [`Runtime::load`]).
    pub library: Option<PathBuf>,
    /// Threads that one run may use. 0: as many as `ORTSHARD_THREADS` says, else as the process has processors.
    pub threads: usize,
    /// Whether idle threads sleep at once instead of spinning for a short while. Saves processor time between runs
    /// and costs speed within them.
    pub no_spinning: bool,
}

/// The loaded ONNX Runtime.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    base: &'static sys::OrtApiBase,
    version: String,
    /// The minor version: 31 of 1.31.1.
    minor: u32,
    path: PathBuf,
    threads: usize,
    providers: Vec<String>,
    /// CUDA captures a graph for the process as a whole, and nothing else may happen on CUDA meanwhile. A thread that
    /// captures holds this lock alone; all others that use CUDA share it.
    capturing: RwLock<()>,
}

static RUNTIME: OnceCell<Runtime> = OnceCell::new();
/// Held while ONNX Runtime is loaded: loading changes state of the whole process. A load that fails may be tried
/// again.
static LOADING: ReentrantMutex<()> = ReentrantMutex::new(());

impl Runtime {
    /// Loads ONNX Runtime, or returns the one this process has.
    ///
    /// The library is the first of: `options.library`; `ORTSHARD_ONNXRUNTIME`; `ORT_DYLIB_PATH`; a file beside the
    /// library or program that contains this code; the system loader's. What is named but unusable is an error, not a
    /// reason to search on. In a folder, files with a version in their names count, too: the newest of them.
    ///
    /// # Errors
    /// [`RuntimeNotFound`](crate::ErrorKind::RuntimeNotFound) with every place tried;
    /// [`InvalidState`](crate::ErrorKind::InvalidState) if another library or thread count is in use already, or if
    /// this is called from a log message of the load itself.
    pub fn load(options: &RuntimeOptions) -> Result<&'static Self> {
        if LOADING.is_owned_by_current_thread() {
            bail!(InvalidState, "ONNX Runtime is being loaded by this very thread");
        }
        let _loading = LOADING.lock();
        if let Some(runtime) = RUNTIME.get() {
            runtime.check_same(options)?;
            return Ok(runtime);
        }
        let runtime = RUNTIME.get_or_try_init(|| Self::start(options))?;
        Session::first()?;
        let (version, path, threads) = (&runtime.version, runtime.path.display(), runtime.threads);
        log::info!("ONNX Runtime {version} from {path}, {threads} threads");
        Ok(runtime)
    }

    /// The loaded runtime, loaded with default options if need be.
    pub fn get() -> Result<&'static Self> {
        match RUNTIME.get() {
            Some(runtime) => Ok(runtime),
            None => Self::load(&RuntimeOptions::default()),
        }
    }

    /// The runtime, if some call has loaded it.
    pub fn loaded() -> Option<&'static Self> {
        RUNTIME.get()
    }

    /// ONNX Runtime's version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Threads of the process-wide pool, the calling thread included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Execution providers compiled into the library, such as `CPUExecutionProvider`.
    pub fn providers(&self) -> &[String] {
        &self.providers
    }

    /// Held during anything that is done on CUDA, so that no graph is captured meanwhile.
    fn beside_captures(&self) -> RwLockReadGuard<'_, ()> {
        // Recursive, since work on a device enters ONNX Runtime several times with this held.
        self.capturing.read_recursive()
    }

    /// Whether captured graphs can be released one by one. If not, they would pile up.
    pub(crate) fn releases_captures(&self) -> bool {
        self.minor >= newer::GRAPHS_SINCE
    }

    fn start(options: &RuntimeOptions) -> Result<Self> {
        exit::register();
        exit::heed_forks();
        let _inside = enter()?;
        let library = library::load(options.library.as_deref())?;
        drop(enter()?);
        let threads = threads(options)?;
        let failed = |e: ort::Error| err!(Runtime, "ONNX Runtime's environment could not be created").with_source(e);
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads)
            .and_then(|pool| pool.with_inter_threads(1))
            .and_then(|pool| pool.with_spin_control(!options.no_spinning))
            .map_err(failed)?;
        let environment = ort::init()
            .with_name("ortshard")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .with_logger(Arc::new(forward_log))
            .build()
            .map_err(failed)?;
        environment.set_log_level(LogLevel::Warning);
        let providers = status::providers()?;
        exit::register();
        let library::Library { base, version, minor, path } = library;
        let capturing = RwLock::new(());
        Ok(Self { environment, base, version, minor, path, threads, providers, capturing })
    }

    fn check_same(&self, options: &RuntimeOptions) -> Result<()> {
        if let Some(wanted) = &options.library
            && !same_file(wanted, &self.path)
            && !library::inside(wanted).iter().any(|file| same_file(file, &self.path))
        {
            bail!(
                InvalidState,
                "ONNX Runtime is loaded from `{}` already; a process has one, so `{}` cannot be",
                self.path.display(),
                wanted.display()
            );
        }
        if options.threads != 0 && options.threads != self.threads {
            bail!(
                InvalidState,
                "ONNX Runtime runs with {} threads already; the first load decides, {} came too late",
                self.threads,
                options.threads
            );
        }
        Ok(())
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn threads(options: &RuntimeOptions) -> Result<usize> {
    const VARIABLE: &str = "ORTSHARD_THREADS";
    const MOST: usize = 1024;
    let wanted = match (options.threads, std::env::var(VARIABLE)) {
        (0, Ok(text)) if !text.is_empty() => {
            text.parse().map_err(|_| err!(InvalidArgument, "{VARIABLE} is `{text}`, not a number"))?
        }
        (wanted, _) => wanted,
    };
    match wanted {
        0 => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        1..=MOST => Ok(wanted),
        _ => Err(err!(OutOfRange, "threads is {wanted}, more than {MOST}")),
    }
}

fn forward_log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    let level = match level {
        LogLevel::Verbose => log::Level::Trace,
        LogLevel::Info => log::Level::Info,
        LogLevel::Warning => log::Level::Warn,
        LogLevel::Error | LogLevel::Fatal => log::Level::Error,
    };
    log::log!(target: "onnxruntime", level, "{message} ({location})");
}
