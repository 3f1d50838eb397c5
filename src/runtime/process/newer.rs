//! Functions of ONNX Runtime releases that are newer than the C API this library is built against.
#![allow(unsafe_code, reason = "newer functions of the C API are called")]

use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

use ort::sys;

use crate::error::{Result, Site, bail, err};
use crate::runtime::Runtime;
use crate::runtime::process::status::check;

/// The first release with [`Nodes`], 1.24, and the version of its API.
pub(in crate::runtime) const NODES_SINCE: u32 = 24;
/// The first release with [`Graphs`], 1.27, and the version of its API.
pub(in crate::runtime) const GRAPHS_SINCE: u32 = 27;

type Function = unsafe extern "system" fn();

/// Version 24 of the C API as far as it is used here. Later versions only append to the table, so it begins with the
/// one that this library is built against.
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "they are the functions' names")]
pub(in crate::runtime) struct Nodes {
    older: sys::OrtApi,
    between: [Function; 89],
    pub session_assignment: unsafe extern "system" fn(
        *const sys::OrtSession,
        *mut *const *const sys::OrtEpAssignedSubgraph,
        *mut usize,
    ) -> sys::OrtStatusPtr,
    pub provider_of_subgraph:
        unsafe extern "system" fn(*const sys::OrtEpAssignedSubgraph, *mut *const c_char) -> sys::OrtStatusPtr,
    pub nodes_of_subgraph: unsafe extern "system" fn(
        *const sys::OrtEpAssignedSubgraph,
        *mut *const *const sys::OrtEpAssignedNode,
        *mut usize,
    ) -> sys::OrtStatusPtr,
}

/// Version 27, as far as it is used here.
#[repr(C)]
struct Graphs {
    nodes: Nodes,
    between: [Function; 11],
    release_captured_graph: unsafe extern "system" fn(*mut sys::OrtSession, c_int) -> sys::OrtStatusPtr,
}

/// The functions that tell where nodes run.
pub(in crate::runtime) fn nodes() -> Result<&'static Nodes> {
    // SAFETY: the table of that version begins as `Nodes` describes.
    unsafe { table(NODES_SINCE) }
}

/// Makes the provider of `session` forget the captured graph `graph`.
pub(in crate::runtime) fn release_captured_graph(session: NonNull<sys::OrtSession>, graph: i32) -> Result<()> {
    // SAFETY: the table of that version begins as `Graphs` describes.
    let api: &Graphs = unsafe { table(GRAPHS_SINCE) }?;
    // SAFETY: a valid session.
    check(unsafe { (api.release_captured_graph)(session.as_ptr(), graph) }, Site::Run, "releasing a captured graph")
}

/// # Safety
/// The C API's table of version `since` begins with a `T`.
unsafe fn table<T>(since: u32) -> Result<&'static T> {
    let runtime = Runtime::get()?;
    if runtime.minor < since {
        bail!(Unsupported, "ONNX Runtime {} is older than 1.{since}", runtime.version);
    }
    // SAFETY: the library's own entry point; the table is static, and the caller vouches for its beginning.
    let api = unsafe { (runtime.base.GetApi)(since).cast::<T>().as_ref() };
    api.ok_or_else(|| err!(Runtime, "ONNX Runtime {} does not offer API {since}", runtime.version))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::graph::stock::probe;
    use crate::runtime::Provider;
    use crate::runtime::device::placement;
    use crate::runtime::run::session::{Contents, Session};

    /// Each function is at the place in the table where the releases that have it put it.
    #[test]
    fn functions_are_where_the_c_api_has_them() {
        let place = |bytes: usize| bytes / size_of::<Function>();
        assert_eq!(place(std::mem::offset_of!(Nodes, session_assignment)), 407);
        assert_eq!(place(std::mem::offset_of!(Nodes, nodes_of_subgraph)), 409);
        assert_eq!(place(std::mem::offset_of!(Graphs, release_captured_graph)), 421);
    }

    /// The processor captures nothing, so there is nothing to release, and nothing happens.
    #[test]
    fn a_graph_that_was_never_captured_is_released_without_harm() {
        let runtime = Runtime::get().unwrap();
        if placement::known(runtime).is_err() {
            return;
        }
        let (session, _) = Session::stock(&probe(), &Contents::default(), &Provider::Cpu, None).unwrap();
        assert_eq!(session.released(41).is_ok(), runtime.releases_captures());
    }
}
