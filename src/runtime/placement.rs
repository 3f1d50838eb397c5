//! Where ONNX Runtime has put a session's nodes, told by itself.
#![allow(unsafe_code, reason = "newer functions of the C API are called")]

use std::ffi::{CStr, c_char};
use std::ptr::{NonNull, null};

use ort::sys;

use super::Runtime;
use super::status::check;
use crate::error::{Result, Site, bail, err};

/// The session configuration entry that makes ONNX Runtime remember.
pub(super) const KEY: &CStr = c"session.record_ep_graph_assignment_info";
/// The first release that can tell, 1.24, and the version of its API.
const SINCE: u32 = 24;

const DOING: &str = "asking where nodes run";

/// How many of a session's nodes run where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    /// All nodes.
    pub nodes: usize,
    /// Those that run on the processor.
    pub cpu_nodes: usize,
}

type Function = unsafe extern "system" fn();

/// Version 24 of the C API as far as it is used here. Later versions only append to the table, so it begins with the
/// one that this library is built against.
#[repr(C)]
struct Api {
    older: sys::OrtApi,
    between: [Function; 89],
    session_assignment: unsafe extern "system" fn(
        *const sys::OrtSession,
        *mut *const *const sys::OrtEpAssignedSubgraph,
        *mut usize,
    ) -> sys::OrtStatusPtr,
    subgraph_provider:
        unsafe extern "system" fn(*const sys::OrtEpAssignedSubgraph, *mut *const c_char) -> sys::OrtStatusPtr,
    subgraph_nodes: unsafe extern "system" fn(
        *const sys::OrtEpAssignedSubgraph,
        *mut *const *const sys::OrtEpAssignedNode,
        *mut usize,
    ) -> sys::OrtStatusPtr,
}

/// Where the nodes of `session` run; it was made with [`KEY`].
pub(super) fn of(session: NonNull<sys::OrtSession>) -> Result<Placement> {
    let api = api()?;
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
        check(unsafe { (api.subgraph_provider)(subgraph, &raw mut provider) }, Site::Load, DOING)?;
        // SAFETY: as above.
        check(unsafe { (api.subgraph_nodes)(subgraph, &raw mut list, &raw mut nodes) }, Site::Load, DOING)?;
        // SAFETY: a NUL-terminated string of the session's.
        let provider = unsafe { CStr::from_ptr(provider) };
        placement.nodes += nodes;
        if provider == c"CPUExecutionProvider" {
            placement.cpu_nodes += nodes;
        }
    }
    Ok(placement)
}

/// Whether `runtime` can tell.
pub(super) fn known(runtime: &Runtime) -> Result<()> {
    if runtime.minor < SINCE {
        bail!(Unsupported, "ONNX Runtime {} cannot tell where nodes run, 1.{SINCE} and later can", runtime.version);
    }
    Ok(())
}

fn api() -> Result<&'static Api> {
    let runtime = Runtime::get()?;
    known(runtime)?;
    // SAFETY: the library's own entry point; the table of that version is static and as `Api` describes it.
    let api = unsafe { (runtime.base.GetApi)(SINCE).cast::<Api>().as_ref() };
    api.ok_or_else(|| err!(Runtime, "ONNX Runtime {} does not offer API {SINCE}", runtime.version))
}
