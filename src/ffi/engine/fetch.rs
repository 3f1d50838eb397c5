// The host's fetch callback as a source of files.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;

use crate::engine::call_out;
use crate::ffi::frame::failure::kind_of;
use crate::ffi::frame::status::{ORTSHARD_ERROR_NOT_FOUND, ORTSHARD_OK, ortshard_status};
use crate::{Error, ErrorKind, Fetch};

/// The function inside an `ortshard_fetch_callback`.
pub(in crate::ffi) type FetchFunction = unsafe extern "C" fn(
    model: *const c_char,
    revision: *const c_char,
    file: *const c_char,
    path: *mut c_char,
    capacity: usize,
    user_data: *mut c_void,
) -> ortshard_status;

/// Room for a path.
const CAPACITY: usize = 4096;

/// The host's callback as a source of files.
pub(in crate::ffi) struct HostFetch {
    fetch: FetchFunction,
    user_data: *mut c_void,
}

// SAFETY: the header says that the callback is called from any thread with this pointer.
unsafe impl Send for HostFetch {}
// SAFETY: as above, and from several at once.
unsafe impl Sync for HostFetch {}

impl HostFetch {
    pub(in crate::ffi) fn new(fetch: FetchFunction, user_data: *mut c_void) -> Self {
        Self { fetch, user_data }
    }
}

impl Fetch for HostFetch {
    fn fetch(&self, model: &str, revision: Option<&str>, file: &str) -> crate::Result<Option<PathBuf>> {
        let c = |text: &str| {
            CString::new(text).map_err(|_| Error::new(ErrorKind::Malformed, format!("`{}`", text.escape_debug())))
        };
        let (model, name) = (c(model)?, c(file)?);
        let revision = revision.map(c).transpose()?;
        let revision = revision.as_ref().map_or(std::ptr::null(), |revision| revision.as_ptr());
        let mut path = vec![0_u8; CAPACITY];
        let buffer = path.as_mut_ptr().cast();
        let status = call_out(|| {
            // SAFETY: as the header says; the buffer has the capacity that is told.
            unsafe { (self.fetch)(model.as_ptr(), revision, name.as_ptr(), buffer, CAPACITY, self.user_data) }
        });
        match status {
            ORTSHARD_OK => {}
            ORTSHARD_ERROR_NOT_FOUND => return Ok(None),
            _ => return Err(Error::new(kind_of(status), format!("the fetch callback returned {status} for `{file}`"))),
        }
        let path = CStr::from_bytes_until_nul(&path).ok().and_then(|path| path.to_str().ok());
        match path {
            Some(path) if !path.is_empty() => Ok(Some(PathBuf::from(path))),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the fetch callback gave no UTF-8 path for `{file}`"),
            )),
        }
    }
}
