//! Appends the content of an answer to a partial file.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method};

use super::client::{self, Client, header};
use super::retry::Failure;
use crate::error::{Error, Result, err};
use crate::source::files::{OnTransfer, Transfer};

const CHUNK: usize = 256 << 10;

/// The caller is told of progress after this many bytes or this much time, whichever comes first.
const REPORT_BYTES: u64 = 1 << 20;
const REPORT_TIME: Duration = Duration::from_millis(200);

/// A content that is not complete yet.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Partial {
    /// The partial file at `path`, with the bytes that an earlier attempt left.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|e| unwritable(&path, e))?;
        Ok(Self { path, file, len })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Starts again with no bytes.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn reset(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| unwritable(&self.path, e))?;
        self.len = 0;
        Ok(())
    }

    /// Writes the file to the disk and moves it to `place`, whole or not at all.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish(self, place: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| unwritable(&self.path, e))?;
        drop(self.file);
        std::fs::rename(&self.path, place).map_err(|e| unwritable(place, e))
    }

    /// Removes the file, because its content is wrong.
    pub(super) fn discard(self) {
        drop(self.file);
        if let Err(e) = std::fs::remove_file(&self.path) {
            log::warn!("`{}` holds a wrong content and cannot be removed: {e}", self.path.display());
        }
    }

    /// Writes at an explicit offset, so that another writer of the same content does no harm on a file system without
    /// locks.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.len;
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(len))?;
            file.write_all(bytes)
        };
        write(&mut self.file).map_err(|e| unwritable(&self.path, e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// Why an attempt ended early.
pub(super) enum Stop {
    /// The network failed.
    Failed(Failure),
    /// The server sends another content than it announced.
    Wrong(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(Failure::Final(error))
    }
}

/// One attempt to fetch `partial` up to `size` bytes (`None`: up to the end of what the server sends).
pub(super) fn bring(
    client: &Client,
    url: &str,
    partial: &mut Partial,
    size: Option<u64>,
    on: &mut OnTransfer<'_>,
) -> Result<(), Stop> {
    let from = partial.len();
    let response = client.request(&Method::GET, url, from, &mut |_| false)?;
    match response.status().as_u16() {
        // The server has ignored the range: this is the whole content.
        200 => partial.reset()?,
        206 if range_start(response.headers()) == Some(from) => {}
        206 => {
            partial.reset()?;
            return Err(again("the server sent another range than the one it was asked for").into());
        }
        // The bytes that are here are not the beginning of the content. They are dropped. Then no range is asked for,
        // so this happens once.
        416 if from > 0 => {
            partial.reset()?;
            return Err(again("the server cannot resume what lies here").into());
        }
        404 | 410 => return Err(err!(NotFound, "the hub no longer has the file").into()),
        _ => return Err(client.refused(&response).into()),
    }
    let length = header(response.headers(), "content-length").and_then(|text| text.parse::<u64>().ok());
    let announced = length.map(|length| partial.len().saturating_add(length));
    if let (Some(size), Some(announced)) = (size, announced)
        && size != announced
    {
        return Err(Stop::Wrong(err!(HashMismatch, "the server sends {announced} bytes, the hub says {size}")));
    }
    receive(&pump(response.into_body().into_reader())?, partial, size.or(announced), on)
}

/// The pieces of a body, up to an empty one.
type Chunks = Receiver<std::io::Result<Vec<u8>>>;

/// Reads `body` on a thread of its own, so that the caller can be asked whether to go on while no byte comes. The
/// thread ends with the body, at the client's timeout, or when nobody receives any more.
fn pump(mut body: impl Read + Send + 'static) -> Result<Chunks> {
    let (send, chunks) = mpsc::sync_channel(2);
    let read = move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = body.read(&mut chunk).map(|n| {
                chunk.truncate(n);
                chunk
            });
            let more = read.as_ref().is_ok_and(|chunk| !chunk.is_empty());
            if send.send(read).is_err() || !more {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("ortshard-download".to_owned()).spawn(read);
    thread.map_err(|e| err!(Io, "a download needs a thread, and there is none").with_source(e))?;
    Ok(chunks)
}

fn receive(chunks: &Chunks, partial: &mut Partial, size: Option<u64>, on: &mut OnTransfer<'_>) -> Result<(), Stop> {
    let (mut heard, mut when) = (partial.len(), Instant::now());
    let bytes_total = size.unwrap_or(0);
    on(Transfer { bytes_done: partial.len(), bytes_total })?;
    loop {
        match chunks.recv_timeout(REPORT_TIME) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(again("the transfer broke off").into()),
            Ok(chunk) => {
                let chunk = chunk.map_err(client::broken)?;
                if chunk.is_empty() {
                    break;
                }
                if size.is_some_and(|size| partial.len() + chunk.len() as u64 > size) {
                    return Err(Stop::Wrong(err!(HashMismatch, "the server sends more than {bytes_total} bytes")));
                }
                partial.append(&chunk)?;
            }
        }
        if partial.len() - heard >= REPORT_BYTES || when.elapsed() >= REPORT_TIME {
            (heard, when) = (partial.len(), Instant::now());
            on(Transfer { bytes_done: heard, bytes_total })?;
        }
    }
    match size {
        Some(size) if partial.len() < size => {
            Err(again(format!("the transfer ended after {} of {size} bytes", partial.len())).into())
        }
        _ => Ok(()),
    }
}

fn again(message: impl Into<String>) -> Failure {
    Failure::Later(err!(Io, "{}", message.into()), None)
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// `path` could not be written.
pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let why = match error.kind() {
        IoKind::StorageFull | IoKind::QuotaExceeded => ": the disk is full",
        IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => ": no permission; HF_HUB_CACHE chooses another place",
        _ => "",
    };
    err!(Io, "`{}` cannot be written{why}", path.display()).with_source(error)
}
