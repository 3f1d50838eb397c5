//! Where a session's nodes run, as ONNX Runtime itself reports it.
#![allow(unsafe_code, reason = "newer functions of the C API are called")]

use std::ffi::CStr;
use std::ptr::{NonNull, null};

use ort::sys;

use crate::error::{Result, Site, bail};
use crate::runtime::Runtime;
use crate::runtime::process::newer;
use crate::runtime::process::status::check;

/// The session configuration entry that makes ONNX Runtime keep this information.
pub(in crate::runtime) const KEY: &CStr = c"session.record_ep_graph_assignment_info";

const DOING: &str = "asking where nodes run";

/// How many of a session's nodes run where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    /// All nodes.
    pub nodes: usize,
    /// The nodes that run on the processor.
    pub cpu_nodes: usize,
}

/// Where the nodes of `session` run. The session must have been made with [`KEY`].
pub(in crate::runtime) fn of(session: NonNull<sys::OrtSession>) -> Result<Placement> {
    let api = newer::nodes()?;
    let (mut subgraphs, mut count) = (null(), 0);
    // SAFETY: a valid session and out-pointers; the list belongs to the session.
    let status = unsafe { (api.session_assignment)(session.as_ptr(), &raw mut subgraphs, &raw mut count) };
    check(status, Site::Load, DOING)?;
    let mut placement = Placement { nodes: 0, cpu_nodes: 0 };
    for index in 0..count {
        // SAFETY: the call returned `count` subgraphs.
        let subgraph = unsafe { *subgraphs.add(index) };
        let (mut provider, mut list, mut nodes) = (null(), null(), 0);
        // SAFETY: a valid subgraph and out-pointer.
        check(unsafe { (api.provider_of_subgraph)(subgraph, &raw mut provider) }, Site::Load, DOING)?;
        // SAFETY: as above.
        check(unsafe { (api.nodes_of_subgraph)(subgraph, &raw mut list, &raw mut nodes) }, Site::Load, DOING)?;
        // SAFETY: a NUL-terminated string of the session's.
        let provider = unsafe { CStr::from_ptr(provider) };
        placement.nodes += nodes;
        if provider == c"CPUExecutionProvider" {
            placement.cpu_nodes += nodes;
        }
    }
    Ok(placement)
}

/// Fails if `runtime` cannot tell where nodes run.
pub(in crate::runtime) fn known(runtime: &Runtime) -> Result<()> {
    const SINCE: u32 = newer::NODES_SINCE;
    if runtime.minor < SINCE {
        bail!(Unsupported, "ONNX Runtime {} cannot tell where nodes run, 1.{SINCE} and later can", runtime.version);
    }
    Ok(())
}
