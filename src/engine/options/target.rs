//! Choosing the device: explicit option, then `ORTSHARD_DEVICE`, then the best there is.

use std::fmt;

use super::EngineOptions;
use super::device::Device;
use super::kv_type::KvType;
use crate::error::{Error, Result, err};
use crate::kernels::Dtype;
use crate::runtime::Runtime;

const VARIABLE: &str = "ORTSHARD_DEVICE";

/// Where an engine's shards run, and how.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct Target {
    /// The device that the option or `ORTSHARD_DEVICE` asked for.
    pub requested: Device,
    /// The device that is used.
    pub device: Device,
    /// Whether it is an error if another device than the requested one is used.
    required: bool,
    /// Whether the stock operators are used on the processor, too.
    stock_operators: bool,
    /// Whether the stock operators compute in the checkpoint's own 16 bit type, and not in float32. CUDA's provider has attention in
    /// 16 bit types only. The processor's provider lacks kernels for them, and Core ML's lacks kernels for bfloat16.
    pub own_dtype: bool,
    /// Whether decode steps are captured as CUDA graphs.
    pub captures: bool,
    /// Whether a session that has lost memory is made anew. On the processor no memory is lost.
    pub rebuilds: bool,
}

impl Target {
    /// The processor with the native operators.
    pub(crate) const PROCESSOR: Self = Self {
        requested: Device::Cpu,
        device: Device::Cpu,
        required: false,
        stock_operators: false,
        own_dtype: false,
        captures: false,
        rebuilds: false,
    };

    /// Chooses the device. A missing one is an error if the options require it; otherwise the processor takes its place, and the log
    /// says so.
    pub(crate) fn choose(options: &EngineOptions, runtime: &Runtime) -> Result<Self> {
        let (required, stock_operators) = (options.require_device, options.stock_operators);
        let variable = std::env::var(VARIABLE).ok();
        let requested = requested(options.device, variable.as_deref())?;
        if stock_operators {
            check_kv_type(options, Device::Cpu, "stock_operators")?;
        }
        let device = match requested {
            // Nobody asked for CUDA, so the log need not say that the library lacks it.
            Device::Auto if !Device::Cuda(0).provider(None, false).is_offered(runtime) => Device::Cpu,
            Device::Auto => usable(Device::Cuda(0), options, false, runtime)?,
            device => usable(device, options, required, runtime)?,
        };
        let own_dtype = matches!(device, Device::Cuda(_));
        let captures = own_dtype && !options.no_graph_capture && runtime.releases_captures();
        let rebuilds = device != Device::Cpu;
        Ok(Self { requested, device, required, stock_operators, own_dtype, captures, rebuilds })
    }

    /// The target of a shard that runs on `device`: if the processor has taken the device's place, it keeps that place.
    pub(crate) fn at(self, device: Device) -> Self {
        if device == self.device { self } else { Self { requested: self.requested, ..Self::PROCESSOR } }
    }

    /// Whether the graph is written in the stock operators.
    pub(crate) fn stock(&self) -> bool {
        self.stock_operators || self.device != Device::Cpu
    }

    /// The type in which sessions in the stock operators compute, if the checkpoint's values have the type `stored`.
    pub(crate) fn dtype(&self, stored: Option<Dtype>) -> Dtype {
        match stored {
            Some(stored @ (Dtype::F16 | Dtype::BF16)) if self.own_dtype => stored,
            // Every float32 value fits into bfloat16, but not into float16.
            Some(Dtype::F32) | None if self.own_dtype => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// Whether the processor may take the device's place.
    pub(crate) fn may_fall_back(&self) -> bool {
        self.device != Device::Cpu && !(self.required && self.requested != Device::Auto)
    }
}

/// The device that the option asks for or, if the option leaves it open, the variable.
fn requested(option: Device, variable: Option<&str>) -> Result<Device> {
    match (option, variable) {
        (Device::Auto, Some(text)) if !text.is_empty() => text.parse().map_err(|e: Error| e.within(VARIABLE)),
        _ => Ok(option),
    }
}

/// Returns `device` if sessions can run on it, else an error or the processor.
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

/// Checks the type of KV caches: only the native operators have a choice, the stock ones keep caches in the type that they compute in.
fn check_kv_type(options: &EngineOptions, device: Device, what: impl fmt::Display) -> Result<()> {
    match options.kv_type {
        KvType::Auto => Ok(()),
        KvType::F32 if !matches!(device, Device::Cuda(_)) => Ok(()),
        other => Err(err!(Unsupported, "kv_type {other:?} is for native operators, not for {what}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

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
