//! Choosing the device: explicit option, then `ORTSHARD_DEVICE`, then the best there is.

use std::fmt;
use std::str::FromStr;

use super::{EngineOptions, KvType};
use crate::error::{Error, Result, err};
use crate::kernels::Dtype;
use crate::runtime::{self, Provider, Runtime};

const VARIABLE: &str = "ORTSHARD_DEVICE";

/// Where a shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// What `ORTSHARD_DEVICE` names; without it, the first NVIDIA GPU that can be used, else the processor.
    ///
    /// Core ML is never chosen by itself: it takes the linear layers and little else, so that every layer crosses to the
    /// processor and back several times.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, by index.
    Cuda(u32),
    /// Apple's Core ML.
    CoreMl,
}

/// A device that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Which.
    pub device: Device,
    /// What its maker calls it.
    pub name: String,
    /// Bytes of memory it has; 0 if unknown.
    pub total_memory: u64,
    /// Bytes of it that are free now; 0 if unknown.
    pub available_memory: u64,
}

impl Device {
    /// The devices that are here and that the loaded ONNX Runtime has an execution provider for, the processor first.
    ///
    /// Loads ONNX Runtime if no call has yet; where there is none, that leaves the processor. Whether a device can
    /// really be used, with all the libraries its provider needs, shows when an engine is made on it.
    pub fn list() -> Vec<DeviceInfo> {
        let (total_memory, available_memory) = runtime::memory();
        let mut list =
            vec![DeviceInfo { device: Self::Cpu, name: runtime::processor(), total_memory, available_memory }];
        let offered =
            |device: Self| Runtime::get().is_ok_and(|runtime| device.provider(None, false).is_offered(runtime));
        if offered(Self::Cuda(0)) {
            list.extend((0..).zip(runtime::gpus()).map(|(index, gpu)| DeviceInfo {
                device: Self::Cuda(index),
                name: gpu.name,
                total_memory: gpu.memory,
                available_memory: gpu.free,
            }));
        }
        if offered(Self::CoreMl) {
            let name = "Core ML".to_owned();
            list.push(DeviceInfo { device: Self::CoreMl, name, total_memory: 0, available_memory: 0 });
        }
        list
    }

    /// Who runs graphs on it.
    pub(crate) fn provider(self, memory_limit: Option<u64>, captures: bool) -> Provider {
        match self {
            Self::Auto | Self::Cpu => Provider::Cpu,
            Self::Cuda(index) => Provider::Cuda { index, memory_limit, captures },
            Self::CoreMl => Provider::Named(&runtime::CORE_ML),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::CoreMl => f.write_str("coreml"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `auto`, `cpu`, `cuda`, `cuda:1`, `coreml`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "coreml" => Ok(Self::CoreMl),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| err!(InvalidArgument, "device `{text}` is none of auto, cpu, cuda, cuda:N, coreml")),
        }
    }
}

/// Where an engine's shards are to run.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct Target {
    /// What was asked for, by the option or by `ORTSHARD_DEVICE`.
    pub requested: Device,
    /// What there is.
    pub device: Device,
    /// Whether anything else than the device is an error.
    required: bool,
    /// Whether to use ONNX Runtime's own operators on the processor too.
    stock_operators: bool,
    /// Whether those compute in the checkpoint's own 16 bit type, as CUDA does, instead of float32. CUDA's provider has attention
    /// in those only; the processor's lacks kernels for them, and Core ML's for bfloat16.
    pub own_dtype: bool,
    /// Whether decode steps are captured as CUDA graphs.
    pub captures: bool,
    /// Whether a session that has lost memory is made anew. On the processor nothing is lost.
    pub rebuilds: bool,
}

impl Target {
    /// The processor with this library's operators.
    pub(crate) const PROCESSOR: Self = Self {
        requested: Device::Cpu,
        device: Device::Cpu,
        required: false,
        stock_operators: false,
        own_dtype: false,
        captures: false,
        rebuilds: false,
    };

    /// The device to use. `require` makes a missing one an error; otherwise the processor takes its place, and the log
    /// says so.
    pub(crate) fn choose(options: &EngineOptions, runtime: &Runtime) -> Result<Self> {
        let (required, stock_operators) = (options.require_device, options.stock_operators);
        let variable = std::env::var(VARIABLE).ok();
        let requested = requested(options.device, variable.as_deref())?;
        if stock_operators {
            check_kv_type(options, Device::Cpu, "stock_operators")?;
        }
        let device = match requested {
            // Nobody asked for CUDA, so that a library does not have it is no news.
            Device::Auto if !Device::Cuda(0).provider(None, false).is_offered(runtime) => Device::Cpu,
            Device::Auto => usable(Device::Cuda(0), options, false, runtime)?,
            device => usable(device, options, required, runtime)?,
        };
        let own_dtype = matches!(device, Device::Cuda(_));
        let captures = own_dtype && !options.no_graph_capture && runtime.releases_captures();
        let rebuilds = device != Device::Cpu;
        Ok(Self { requested, device, required, stock_operators, own_dtype, captures, rebuilds })
    }

    /// The same once a shard runs on `device`: where the processor has taken the device's place, it keeps it.
    pub(crate) fn at(self, device: Device) -> Self {
        if device == self.device { self } else { Self { requested: self.requested, ..Self::PROCESSOR } }
    }

    /// Whether the graph is written in ONNX Runtime's operators.
    pub(crate) fn stock(&self) -> bool {
        self.stock_operators || self.device != Device::Cpu
    }

    /// What sessions keep values in, where those of the checkpoint are `stored` so.
    pub(crate) fn dtype(&self, stored: Option<Dtype>) -> Dtype {
        match stored {
            Some(stored @ (Dtype::F16 | Dtype::BF16)) if self.own_dtype => stored,
            // Of the two it is the one that any float32 value fits into.
            Some(Dtype::F32) | None if self.own_dtype => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// Whether the processor may take the device's place.
    pub(crate) fn may_fall_back(&self) -> bool {
        self.device != Device::Cpu && !(self.required && self.requested != Device::Auto)
    }
}

/// What the option or, if that leaves it open, the variable asks for.
fn requested(option: Device, variable: Option<&str>) -> Result<Device> {
    match (option, variable) {
        (Device::Auto, Some(text)) if !text.is_empty() => text.parse().map_err(|e: Error| e.within(VARIABLE)),
        _ => Ok(option),
    }
}

/// `device` if sessions can run on it, else an error or the processor.
fn usable(device: Device, options: &EngineOptions, required: bool, runtime: &Runtime) -> Result<Device> {
    let check = || {
        device.provider(None, false).check(runtime)?;
        if device == Device::Cpu { Ok(()) } else { check_kv_type(options, device, device) }
    };
    match check() {
        Ok(()) => Ok(device),
        Err(error) if required => Err(error),
        Err(error) => {
            log::warn!("{}; using cpu", error.chain());
            Ok(Device::Cpu)
        }
    }
}

/// Only this library's operators have a choice of KV caches; others keep them in the type that they compute in.
fn check_kv_type(options: &EngineOptions, device: Device, what: impl fmt::Display) -> Result<()> {
    match options.kv_type {
        KvType::Auto => Ok(()),
        KvType::F32 if !matches!(device, Device::Cuda(_)) => Ok(()),
        other => Err(err!(Unsupported, "kv_type {other:?} is for the processor's own operators, not for {what}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::CoreMl] {
            assert_eq!(device.to_string().parse::<Device>().ok(), Some(device));
        }
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_option_comes_before_the_variable() {
        assert_eq!(requested(Device::Cpu, Some("coreml")).unwrap(), Device::Cpu);
        assert_eq!(requested(Device::Cuda(1), Some("gpu")).unwrap(), Device::Cuda(1));
        assert_eq!(requested(Device::Auto, Some("cuda:2")).unwrap(), Device::Cuda(2));
        assert_eq!(requested(Device::Auto, Some("")).unwrap(), Device::Auto);
        assert_eq!(requested(Device::Auto, None).unwrap(), Device::Auto);
        assert!(requested(Device::Auto, Some("gpu")).unwrap_err().chain().starts_with("ORTSHARD_DEVICE: "));
    }
}
