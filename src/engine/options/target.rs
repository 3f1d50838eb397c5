//! Choosing the device: explicit option, then `ORTSHARD_DEVICE`, then the best there is.

use std::fmt;

use super::EngineOptions;
use super::device::Device;
use super::kv_type::KvType;
use crate::error::{Error, Result, err};
use crate::kernels::Dtype;
use crate::runtime::Runtime;

const VARIABLE: &str = "ORTSHARD_DEVICE";

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
    fn the_option_comes_before_the_variable() {
        assert_eq!(requested(Device::Cpu, Some("coreml")).unwrap(), Device::Cpu);
        assert_eq!(requested(Device::Cuda(1), Some("gpu")).unwrap(), Device::Cuda(1));
        assert_eq!(requested(Device::Auto, Some("cuda:2")).unwrap(), Device::Cuda(2));
        assert_eq!(requested(Device::Auto, Some("")).unwrap(), Device::Auto);
        assert_eq!(requested(Device::Auto, None).unwrap(), Device::Auto);
        assert!(requested(Device::Auto, Some("gpu")).unwrap_err().chain().starts_with("ORTSHARD_DEVICE: "));
    }
}
