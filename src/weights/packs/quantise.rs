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
use crate::kernels::{Dtype, Isa, Layout, Matrix, Packing, pack};

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
    let total: usize = pieces.iter().map(Piece::len).sum();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (tell, hear) = mpsc::channel();
    let work = |tell: &mpsc::Sender<Result<usize>>| {
        let mut memory = Memory::default();
        while !stop.load(Ordering::Relaxed) {
            let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let done = piece.write(target, &mut memory).map(|()| piece.len());
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

/// What a thread works with.
#[derive(Default)]
struct Memory {
    /// The rows of a piece, one after another.
    rows: Vec<u8>,
    packed: Vec<u8>,
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
        let (place, source) = (pack.place(tensor), tensor.source);
        let row_bytes = (source.len() as usize / source.rows.max(1)).max(1);
        let (rows, bytes) = match tensor.layout {
            Layout::Tiles(packing) => {
                let tiles = (PIECE_BYTES / (row_bytes * Packing::TILE_ROWS)).max(1);
                (tiles * Packing::TILE_ROWS, tiles * packing.tile_bytes(source.cols))
            }
            _ if source.strides.is_none() => return vec![Self { tensor, rows: 0..source.rows, to: place }],
            _ => {
                let rows = (PIECE_BYTES / row_bytes).max(1);
                (rows, rows * row_bytes)
            }
        };
        let piece = |index: usize| Self {
            tensor,
            rows: index * rows..((index + 1) * rows).min(source.rows),
            to: place.start + index * bytes..(place.start + (index + 1) * bytes).min(place.end),
        };
        (0..source.rows.div_ceil(rows)).map(piece).collect()
    }

    /// Bytes of the rows as the checkpoint has them.
    fn len(&self) -> usize {
        self.tensor.source.len() as usize / self.tensor.source.rows.max(1) * self.rows.len()
    }

    fn write(&self, target: &Target, Memory { rows, packed }: &mut Memory) -> Result<()> {
        let source = self.tensor.source;
        let bytes = if source.strides.is_none() {
            source.rows(self.rows.clone())
        } else {
            reserve(rows, self.len(), "a piece of gathered weights")?;
            source.gather(self.rows.clone(), rows);
            rows
        };
        let Layout::Tiles(packing) = self.tensor.layout else { return target.write(bytes, self.to.start) };
        // Codes would make a plausible number of it, which nobody could tell from a sound one.
        let scales = self.tensor.scales.map_or(&[][..], |scales| scales.matrix().data);
        let finite = match source.layout {
            Layout::Rows(dtype) => all_finite(bytes, dtype),
            // Of these the code of ones is no number.
            Layout::Fp8(_) => all_finite(scales, Dtype::F32) && bytes.iter().all(|code| code & 0x7f != 0x7f),
            _ => true,
        };
        if !finite {
            bail!(
                Malformed,
                "tensor `{}` has a value that is not finite, which no quantised weight can be: mend the checkpoint, or load it exact",
                self.tensor.name
            );
        }
        reserve(packed, self.to.len(), "a piece of quantised weights")?;
        packed.resize(self.to.len(), 0);
        let layout = source.layout.behind_rows(self.rows.start);
        let matrix = Matrix { layout, rows: self.rows.len(), cols: source.cols, data: bytes, scales };
        pack(Isa::detect(), packing, &matrix, 0..self.rows.len(), packed);
        target.write(packed, self.to.start)
    }
}

/// Empties `memory`, with room for `len` bytes of `what`.
fn reserve(memory: &mut Vec<u8>, len: usize, what: &str) -> Result<()> {
    memory.clear();
    memory.try_reserve(len).map_err(|_| Error::oom(Site::Load, "cpu", len as u64, what))
}
