//! The devices that shards run on.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, err};
use crate::runtime::{self, Provider, Runtime};

/// Where a shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// The device that `ORTSHARD_DEVICE` names; without the variable, the first NVIDIA GPU that can be used, else the processor.
    ///
    /// Core ML is never chosen automatically: it takes the linear layers and little else, so that every layer crosses to the
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
    /// The device.
    pub device: Device,
    /// The name that its maker gave it.
    pub name: String,
    /// Bytes of memory that the device has; 0 if unknown.
    pub total_memory: u64,
    /// Bytes of memory that are free now; 0 if unknown.
    pub available_memory: u64,
}

impl Device {
    /// The devices that are here and that the loaded ONNX Runtime has an execution provider for, the processor first.
    ///
    /// Loads ONNX Runtime if no call has yet; without ONNX Runtime the list has the processor alone. Whether a device can really be
    /// used, with all the libraries that its provider needs, shows when an engine is made on it.
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

    /// The execution provider that runs graphs on the device.
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
}
