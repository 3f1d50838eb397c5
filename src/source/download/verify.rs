//! Checks a content by its entity tag.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;

use crate::error::{Result, bail, err};
use crate::source::files;
use crate::source::hub::Etag;

const CHUNK: usize = 1 << 20;

/// Checks the file at `path` against `etag`: 64 hexadecimal digits are its SHA-256, 40 the SHA-1 that git gives it. A
/// tag of another form says nothing about the content. The file is read back from the disk, so that the bytes that
/// will be used are checked, however many attempts or processes wrote them. `pause` is called after each MiB.
///
/// # Errors
/// `HashMismatch`, `Io`, what `pause` returned.
pub(super) fn check(path: &Path, etag: &Etag, pause: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let tag = etag.as_str();
    let hex = tag.bytes().all(|b| b.is_ascii_hexdigit());
    let (kind, actual) = match tag.len() {
        64 if hex => ("SHA-256", digest(Sha256::new(), path, pause)?),
        40 if hex => {
            let size = files::size_of(path)?.unwrap_or(0);
            ("git hash", digest(Sha1::new().chain_update(format!("blob {size}\0")), path, pause)?)
        }
        _ => {
            log::warn!("the hub gives no hash for `{}`: its length alone is checked", path.display());
            return Ok(());
        }
    };
    if !actual.eq_ignore_ascii_case(tag) {
        bail!(HashMismatch, "the content's {kind} is {actual}, the hub says {tag}");
    }
    Ok(())
}

fn digest<D: Digest>(mut state: D, path: &Path, pause: &mut dyn FnMut() -> Result<()>) -> Result<String> {
    let mut file = files::open_regular(path)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        pause()?;
        let n = file.read(&mut chunk).map_err(|e| err!(Io, "`{}` cannot be read", path.display()).with_source(e))?;
        if n == 0 {
            return Ok(hex(&state.finalize()));
        }
        state.update(&chunk[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
