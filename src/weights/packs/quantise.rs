//! Quantising a shard piece by piece on all cores, into a file or into memory.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::super::checkpoint::{Event, OnEvent};
use super::super::mapping::Scratch;
use super::pack::{Pack, PackedTensor};
use crate::error::{Error, Result, Site, bail, err};
use crate::kernels::{Dtype, Isa, Layout, Packing, pack};

/// Bytes of source weights that a thread takes at a time. More would take more memory for each thread; fewer would
/// report progress more often than anybody needs.
const PIECE_BYTES: usize = 1 << 20;

/// Where quantised bytes are written.
pub(super) enum Target<'a> {
    File(&'a File),
    Memory(&'a Scratch),
}

impl Target<'_> {
    pub(super) fn write(&self, bytes: &[u8], at: usize) -> Result<()> {
        match self {
            Self::File(file) => write_all_at(file, bytes, at as u64)
                .map_err(|e| err!(Io, "the packed shard cannot be written").with_source(e)),
            Self::Memory(memory) => {
                memory.write(bytes, at);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        (bytes, at) = (&bytes[written..], at + written as u64);
    }
    Ok(())
}

/// Writes the tensors of `pack`, but not its header. Calls `on` after each piece.
pub(super) fn write(pack: &Pack, threads: usize, target: &Target, on: &mut OnEvent<'_>) -> Result<()> {
    let pieces: Vec<Piece> = pack.tensors().iter().flat_map(|tensor| Piece::all(pack, tensor)).collect();
    let total: usize = pieces.iter().map(|piece| piece.source().len()).sum();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (tell, hear) = mpsc::channel();
    let work = |tell: &mpsc::Sender<Result<usize>>| {
        let mut memory = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let done = piece.write(target, &mut memory).map(|()| piece.source().len());
            if tell.send(done).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let mut started = 0;
        for _ in 0..threads.clamp(1, pieces.len().max(1)) {
            let tell = tell.clone();
            let worker = thread::Builder::new().name("ortshard-pack".into()).spawn_scoped(scope, move || work(&tell));
            started += usize::from(worker.is_ok());
        }
        drop(tell);
        if started == 0 {
            return Err(Error::oom(Site::Load, "cpu", PIECE_BYTES as u64, "a thread that quantises weights"));
        }
        let (mut done, mut outcome) = (0, Ok(()));
        for piece in hear {
            let told = piece.and_then(|bytes| {
                done += bytes;
                on(Event::Packed { bytes: done as u64, total: total as u64 })
            });
            if outcome.is_ok()
                && let Err(error) = told
            {
                outcome = Err(error);
                stop.store(true, Ordering::Relaxed);
            }
        }
        match outcome {
            Ok(()) if done < total => Err(err!(Internal, "a thread that quantises weights has died")),
            outcome => outcome,
        }
    })
}

/// Whether all values are numbers: an exponent of ones is an infinity or a NaN.
fn all_finite(bytes: &[u8], dtype: Dtype) -> bool {
    let narrow = |ones: u16| bytes.as_chunks().0.iter().all(|value| u16::from_le_bytes(*value) & ones != ones);
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().all(|value| f32::from_le_bytes(*value).is_finite()),
        Dtype::F16 => narrow(0x7c00),
        Dtype::BF16 => narrow(0x7f80),
    }
}

/// Some rows of a tensor.
struct Piece<'a> {
    tensor: &'a PackedTensor<'a>,
    rows: Range<usize>,
    /// The bytes of the pack that they become.
    to: Range<usize>,
}

impl<'a> Piece<'a> {
    fn all(pack: &Pack, tensor: &'a PackedTensor<'a>) -> Vec<Self> {
        let place = pack.place(tensor);
        let Layout::Tiles(packing) = tensor.layout else {
            return vec![Self { tensor, rows: 0..tensor.source.rows, to: place }];
        };
        let source = tensor.source;
        let row_bytes = (source.matrix().data.len() / source.rows.max(1)).max(1);
        let tiles = (PIECE_BYTES / (row_bytes * Packing::TILE_ROWS)).max(1);
        let rows = tiles * Packing::TILE_ROWS;
        let bytes = tiles * packing.tile_bytes(source.cols);
        let piece = |index: usize| Self {
            tensor,
            rows: index * rows..((index + 1) * rows).min(source.rows),
            to: place.start + index * bytes..(place.start + (index + 1) * bytes).min(place.end),
        };
        (0..source.rows.div_ceil(rows)).map(piece).collect()
    }

    fn source(&self) -> &'a [u8] {
        let (source, data) = (self.tensor.source, self.tensor.source.matrix().data);
        let row = data.len() / source.rows.max(1);
        &data[self.rows.start * row..self.rows.end * row]
    }

    fn write(&self, target: &Target, memory: &mut Vec<u8>) -> Result<()> {
        let Layout::Tiles(packing) = self.tensor.layout else {
            return target.write(self.source(), self.to.start);
        };
        // Codes would make a plausible number of it, which nobody could tell from a sound one.
        if matches!(self.tensor.source.layout(), Layout::Rows(dtype) if !all_finite(self.source(), dtype)) {
            bail!(
                Malformed,
                "tensor `{}` has a value that is not finite, which no quantised weight can be: mend the checkpoint, or load it exact",
                self.tensor.name
            );
        }
        memory.clear();
        memory
            .try_reserve(self.to.len())
            .map_err(|_| Error::oom(Site::Load, "cpu", self.to.len() as u64, "a piece of quantised weights"))?;
        memory.resize(self.to.len(), 0);
        pack(Isa::detect(), packing, &self.tensor.source.matrix(), self.rows.clone(), memory);
        target.write(memory, self.to.start)
    }
}
