//! Execution providers: where a session's nodes may run besides the processor.
#![allow(unsafe_code, reason = "providers are added to session options through the C API")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null_mut};

use crate::error::{Error, ErrorKind, Result, Site, bail, err};
use crate::graph::stock;
use crate::runtime::Runtime;
use crate::runtime::device::cuda_libraries;
use crate::runtime::process::status::check;
use crate::runtime::run::session::{Contents, Options, Session, c_string};
use crate::runtime::run::tensor::MemoryInfo;

const ADDING: &str = "adding the execution provider";

/// The execution provider for a graph in the stock dialect. ONNX Runtime's CPU provider runs the nodes that it does
/// not take.
#[derive(Debug, Clone)]
pub(crate) enum Provider {
    /// The CPU provider alone.
    Cpu,
    /// NVIDIA's GPUs.
    Cuda {
        index: u32,
        /// Bytes that ONNX Runtime's arena on the GPU may take.
        memory_limit: Option<u64>,
        /// Whether a run is captured as a CUDA graph if its options name one.
        captures: bool,
    },
    /// A provider that is added by its name.
    Named(&'static Named),
}

/// A provider that ONNX Runtime adds by its name.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its name in the list of providers.
    listed: &'static str,
    /// Its name for the function that adds it.
    name: &'static CStr,
    /// Its name in messages.
    device: &'static str,
    options: &'static [(&'static CStr, &'static CStr)],
}

/// Apple's Core ML. The newer of its two model formats keeps float32 as it is.
pub(crate) static CORE_ML: Named = Named {
    listed: "CoreMLExecutionProvider",
    name: c"CoreML",
    device: "coreml",
    options: &[(c"ModelFormat", c"MLProgram")],
};

impl Provider {
    /// The provider's name in ONNX Runtime's list of providers.
    pub(crate) fn listed(&self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda { .. } => "CUDAExecutionProvider",
            Self::Named(named) => named.listed,
        }
    }

    /// The device's name in messages.
    pub(crate) fn device(&self) -> String {
        match self {
            Self::Cpu => "cpu".into(),
            Self::Cuda { index, .. } => format!("cuda:{index}"),
            Self::Named(named) => named.device.into(),
        }
    }

    /// Whether this is the CUDA provider.
    pub(in crate::runtime) fn is_cuda(&self) -> bool {
        matches!(self, Self::Cuda { .. })
    }

    /// Whether runs are captured as CUDA graphs.
    pub(crate) fn captures(&self) -> bool {
        matches!(self, Self::Cuda { captures: true, .. })
    }

    /// The provider whose memory the sessions work in. Sessions of providers that are added by name work in the
    /// processor's memory.
    pub(in crate::runtime) fn memory(&self) -> Self {
        match self {
            Self::Cuda { index, memory_limit, .. } => {
                Self::Cuda { index: *index, memory_limit: *memory_limit, captures: false }
            }
            Self::Cpu | Self::Named(_) => Self::Cpu,
        }
    }

    /// ONNX Runtime's names for that memory and for its arena.
    pub(in crate::runtime) fn memory_info(&self) -> Result<(MemoryInfo, CString)> {
        match self {
            Self::Cuda { index, .. } => Ok((MemoryInfo::new(c"Cuda", *index)?, c_string(&format!("gpu:{index}"))?)),
            Self::Cpu | Self::Named(_) => Ok((MemoryInfo::cpu()?, c"cpu:0".into())),
        }
    }

    /// Whether the loaded ONNX Runtime has this provider.
    pub(crate) fn is_offered(&self, runtime: &Runtime) -> bool {
        runtime.providers().iter().any(|name| name == self.listed())
    }

    /// Tries with a session of one node whether sessions can run on this provider.
    ///
    /// # Errors
    /// [`DeviceUnavailable`](ErrorKind::DeviceUnavailable) with the reason.
    pub(crate) fn check(&self, runtime: &Runtime) -> Result<()> {
        let (version, offered) = (runtime.version(), runtime.providers().join(", "));
        self.try_out(runtime).map_err(|why| {
            let device = self.device();
            let message = format!("device {device} cannot be used with ONNX Runtime {version}, which offers {offered}");
            Error::new(ErrorKind::DeviceUnavailable, message).with_source(why)
        })
    }

    fn try_out(&self, runtime: &Runtime) -> Result<()> {
        if matches!(self, Self::Cpu) {
            return Ok(());
        }
        if !self.is_offered(runtime) {
            bail!(DeviceUnavailable, "it has no {}", self.listed());
        }
        Session::stock(&stock::probe(), &Contents::default(), self, None).map(drop)
    }

    /// Adds the provider to a session's options.
    pub(in crate::runtime) fn append(&self, options: &Options) -> Result<()> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda { index, memory_limit, captures } => append_cuda(options, *index, *memory_limit, *captures),
            Self::Named(named) => {
                let keys: Vec<_> = named.options.iter().map(|(key, _)| key.as_ptr()).collect();
                let values: Vec<_> = named.options.iter().map(|(_, value)| value.as_ptr()).collect();
                let (raw, name) = (options.as_ptr(), named.name.as_ptr());
                let append = ort::api().SessionOptionsAppendExecutionProvider;
                // SAFETY: valid options and as many values as keys, copied by the call.
                check(unsafe { append(raw, name, keys.as_ptr(), values.as_ptr(), keys.len()) }, Site::Load, ADDING)
            }
        }
    }
}

fn append_cuda(options: &Options, index: u32, memory_limit: Option<u64>, captures: bool) -> Result<()> {
    cuda_libraries::preload(Runtime::get()?);
    let api = ort::api();
    let mut settings = vec![
        (c"device_id", index.to_string()),
        // TF32 rounds the factors of products, and exact arithmetic is promised.
        (c"use_tf32", "0".into()),
        (c"arena_extend_strategy", "kSameAsRequested".into()),
        (c"enable_cuda_graph", u8::from(captures).to_string()),
    ];
    settings.extend(memory_limit.map(|bytes| (c"gpu_mem_limit", bytes.to_string())));
    let keys: Vec<*const c_char> = settings.iter().map(|(key, _)| key.as_ptr()).collect();
    let texts: Vec<CString> = settings.iter().filter_map(|(_, text)| CString::new(text.as_str()).ok()).collect();
    let values: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();

    let mut cuda = null_mut();
    // SAFETY: the out-pointer is valid.
    check(unsafe { (api.CreateCUDAProviderOptions)(&raw mut cuda) }, Site::Load, ADDING)?;
    let cuda = NonNull::new(cuda).ok_or_else(|| err!(Internal, "ONNX Runtime returned no CUDA options"))?;
    // SAFETY: as many values as keys; the options are used once and released, on every path.
    unsafe {
        let update = (api.UpdateCUDAProviderOptions)(cuda.as_ptr(), keys.as_ptr(), values.as_ptr(), keys.len());
        let appended = check(update, Site::Load, ADDING).and_then(|()| {
            let append = api.SessionOptionsAppendExecutionProvider_CUDA_V2;
            check(append(options.as_ptr(), cuda.as_ptr()), Site::Load, ADDING)
        });
        (api.ReleaseCUDAProviderOptions)(cuda.as_ptr());
        appended
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::runtime::device::placement;

    /// A provider that official builds for Linux have and accept, and that takes no node of this library's graphs.
    static IDLE: Named = Named { listed: "AzureExecutionProvider", name: c"AZURE", device: "azure", options: &[] };

    #[test]
    fn a_provider_that_takes_no_node_is_no_device() {
        let runtime = Runtime::get().unwrap();
        let error = Provider::Named(&IDLE).check(runtime).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceUnavailable);
        let tried = Provider::Named(&IDLE).is_offered(runtime) && placement::known(runtime).is_ok();
        assert!(!tried || error.chain().contains("takes no node"), "{}", error.chain());
    }
}
