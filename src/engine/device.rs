//! Choosing the device: explicit option, then `ORTSHARD_DEVICE`, then the best there is.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, bail, err};
use crate::runtime::Runtime;

/// Where a shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// `ORTSHARD_DEVICE` if set, else the best device there is.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, by index.
    Cuda(u32),
    /// Apple's Core ML.
    CoreMl,
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

/// The device to use. `require` makes a missing one an error; otherwise the processor takes its place, and the log
/// says so.
pub(super) fn resolve(wanted: Device, require: bool, runtime: &Runtime) -> Result<Device> {
    let wanted = match (wanted, std::env::var("ORTSHARD_DEVICE")) {
        (Device::Auto, Ok(text)) if !text.is_empty() => text.parse().map_err(|e: Error| e.within("ORTSHARD_DEVICE"))?,
        (wanted, _) => wanted,
    };
    match wanted {
        // This version's shards run on the processor, so that is the best there is.
        Device::Auto | Device::Cpu => Ok(Device::Cpu),
        Device::Cuda(_) | Device::CoreMl => {
            let why = format!(
                "device {wanted} cannot be used: this version of ortshard runs shards on cpu only (ONNX Runtime {} \
                 offers {})",
                runtime.version(),
                runtime.providers().join(", ")
            );
            if require {
                bail!(DeviceUnavailable, "{why}");
            }
            log::warn!("{why}; using cpu");
            Ok(Device::Cpu)
        }
    }
}

#[cfg(test)]
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
