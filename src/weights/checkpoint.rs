//! Safetensors files, mapped: only the files and tensors a shard needs are touched.

use std::sync::Arc;

use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};
use serde_json::Value;

use super::catalogue::Catalogue;
use super::mapping::Mapping;
use super::{MappedTensor, WeightTable};
use crate::error::{Error, Result, bail, err};
use crate::graph::{Format, Weight};
use crate::kernels::{Dtype, Fp8, Layout, Mxfp4};
use crate::source::{ModelFiles, Transfer, mistaken_content};

/// What happens while weights are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// A small file is being fetched.
    Waiting,
    /// Files of weights are being fetched.
    Fetched(Transfer),
    /// So many tensors and bytes are mapped.
    Mapped { tensors: usize, bytes: u64 },
    /// So many bytes of the mapped weights are quantised.
    Packed { bytes: u64, total: u64 },
}

/// Called with each [`Event`]; an error that it returns stops the work and is passed on.
pub(crate) type OnEvent<'a> = dyn FnMut(Event) -> Result<()> + 'a;

/// Maps the tensors `wanted` from where `catalogue` says they are.
pub(crate) fn load(
    model: &dyn ModelFiles,
    catalogue: &Catalogue,
    wanted: &[&Weight],
    on: &mut OnEvent<'_>,
) -> Result<WeightTable> {
    let mut table = WeightTable::default();
    let mut bytes = 0;
    let places = catalogue.by_file(wanted)?;
    // All files are fetched before the first is mapped, so that the error names all that are missing.
    let names: Vec<&str> = places.keys().copied().collect();
    model.require_all(&names, &mut |now| on(Event::Fetched(now)))?;
    let mut files = Vec::with_capacity(names.len());
    for (file, weights) in &places {
        let mapped = Mapped::open(model, catalogue, file)?;
        for (weight, name) in weights {
            let stored = mapped.find(weight, name)?;
            bytes += stored.len();
            table.tensors.insert(weight.name.clone(), stored);
        }
        files.push((mapped, weights));
        on(Event::Mapped { tensors: table.tensors.len(), bytes })?;
    }
    for (at, (mapped, weights)) in files.iter().enumerate() {
        files[at + 1..].iter().try_for_each(|(later, _)| agree(mapped, later, weights))?;
    }
    Ok(table)
}

/// Refuses a tensor of `mapped` if the file `later` has it, too, with other values. transformers reads all files in
/// the order of their names, whatever the index says, and the last one counts.
fn agree(mapped: &Mapped, later: &Mapped, weights: &[(&Weight, &str)]) -> Result<()> {
    for (weight, name) in weights.iter().filter(|(_, name)| later.header.metadata.info(name).is_some()) {
        if mapped.find(weight, name)?.data() != later.find(weight, name)?.data() {
            bail!(
                Malformed,
                "tensor `{name}` is in {}, which the index names for it, and with other values in {}, from which transformers \
                 would take it",
                mapped.file,
                later.file
            );
        }
    }
    Ok(())
}

/// What a safetensors file says of itself.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// Bytes of it, behind the 8 that say so.
    pub bytes: usize,
    pub metadata: Arc<Metadata>,
}

/// The header of a mapped file.
pub(super) fn header(file: &str, mapping: &Mapping) -> Result<Header> {
    let read = SafeTensors::read_metadata(mapping.bytes());
    let (bytes, metadata) = read.map_err(|e| unsound(file, mapping.bytes(), e))?;
    Ok(Header { bytes, metadata: Arc::new(metadata) })
}

/// The error for a `file` that cannot be read. It says what to do where that is known.
fn unsound(file: &str, content: &[u8], error: SafeTensorError) -> Error {
    use SafeTensorError::{HeaderTooSmall, InvalidHeaderLength, MetadataIncompleteBuffer};
    if let Some(what) = mistaken_content(content) {
        return err!(Malformed, "`{file}` {what}");
    }
    let (is, wanted) = (content.len() as u64, declared_length(content));
    match (&error, wanted) {
        (HeaderTooSmall | InvalidHeaderLength, _) => {
            err!(Malformed, "`{file}` ends in its header, after {is} bytes: download it again").with_source(error)
        }
        (MetadataIncompleteBuffer, Some(wanted)) if wanted > is => {
            let lost = wanted - is;
            err!(Malformed, "`{file}` is cut short: {lost} of its {wanted} bytes are missing: download it again")
        }
        _ => err!(Malformed, "`{file}` is not a sound safetensors file").with_source(error),
    }
}

/// The length of a safetensors file as its header declares it.
fn declared_length(content: &[u8]) -> Option<u64> {
    let (length, rest) = content.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let tensors: serde_json::Map<String, Value> = serde_json::from_slice(header).ok()?;
    let ends = tensors.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max()?.checked_add(8 + header.len() as u64)
}

/// A mapped file.
struct Mapped<'a> {
    file: &'a str,
    mapping: Arc<Mapping>,
    header: Header,
}

impl<'a> Mapped<'a> {
    fn open(model: &dyn ModelFiles, catalogue: &Catalogue, file: &'a str) -> Result<Self> {
        let mapping = Arc::new(Mapping::new(&model.open(file, &mut |_| Ok(()))?, file)?);
        let header = catalogue.header(file, &mapping)?;
        Ok(Self { file, mapping, header })
    }

    /// The file's tensor `name`, if its shape and type are those that the graph needs for `weight`.
    fn find(&self, weight: &Weight, name: &str) -> Result<MappedTensor> {
        let file = self.file;
        let info: &TensorInfo = self
            .header
            .metadata
            .info(name)
            .ok_or_else(|| err!(NotFound, "tensor `{name}` is missing from {file}, which its index names"))?;
        // From one row to the next, where rows of two matrices lie in turns.
        let step = weight.strides().map_or(1, |strides| strides.row / weight.shape.last().copied().unwrap_or(1).max(1));
        let layout = match (info.dtype, weight.format) {
            (FileDtype::F32, Format::Numbers) => Layout::Rows(Dtype::F32),
            (FileDtype::F16, Format::Numbers) => Layout::Rows(Dtype::F16),
            (FileDtype::BF16, Format::Numbers) => Layout::Rows(Dtype::BF16),
            (FileDtype::U8, Format::Mxfp4) => Layout::Mxfp4(Mxfp4 { step, coded: false }),
            (FileDtype::U8, Format::Scales) => Layout::Scales,
            (FileDtype::F8_E4M3, Format::Fp8(block)) => Layout::Fp8(place(weight, block)),
            (other, Format::Fp8(_)) => bail!(
                Unsupported,
                "tensor `{name}` in {file} has dtype {other:?}, and quantization_config says that it is stored as F8_E4M3"
            ),
            (other, Format::Mxfp4 | Format::Scales) => bail!(
                Unsupported,
                "tensor `{name}` in {file} has dtype {other:?}, and four-bit floats and their scales are stored as U8"
            ),
            (other, Format::Numbers) => bail!(
                Unsupported,
                "tensor `{name}` in {file} has dtype {other:?} (supported: F32, F16, BF16; for quantised weights use the model \
                 they were made from)"
            ),
        };
        if let Layout::Fp8(fp8) = layout
            && !fp8.is_readable()
        {
            bail!(
                Unsupported,
                "tensor `{name}` in {file}: blocks of eight-bit floats begin at no multiple of 16 columns"
            );
        }
        if info.shape != weight.stored_shape() {
            bail!(
                Malformed,
                "tensor `{name}` in {file} has shape {:?}, config.json implies {:?}",
                info.shape,
                weight.stored_shape()
            );
        }
        // The safetensors crate has checked the offsets, which count from behind the length prefix and the header.
        let begin = self.header.bytes + 8 + info.data_offsets.0;
        let end = self.header.bytes + 8 + info.data_offsets.1;
        let strides = weight.strides();
        let (rows, cols) = match *weight.shape {
            [values] if strides.is_some() => (values, 1),
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => bail!(Internal, "tensor `{name}`: rank {} in the graph", weight.shape.len()),
        };
        let whole = layout.bytes(1, weight.tensor_shape().iter().product());
        if end > self.mapping.bytes().len() || whole != Some(end - begin) {
            bail!(Malformed, "tensor `{name}` in {file}: bytes {begin}..{end} do not match its shape or the file");
        }
        let part = weight.part.as_ref().map_or(Some(0), |part| layout.bytes(1, part.offset));
        let length = match strides {
            Some(strides) if rows > 0 && cols > 0 => {
                layout.bytes(1, (rows - 1) * strides.row + (cols - 1) * strides.column + 1)
            }
            _ => layout.bytes(rows, cols),
        };
        let own = part.zip(length).map(|(before, length)| begin + before..begin + before + length);
        let Some(bytes) = own.filter(|bytes| bytes.end <= end) else {
            bail!(Internal, "`{}` is no part of tensor `{name}`", weight.name);
        };
        let strides = strides.filter(|_| weight.is_gathered());
        Ok(MappedTensor { mapping: Arc::clone(&self.mapping), bytes, layout, rows, cols, strides })
    }
}

/// Where the scales of a matrix of eight-bit floats are in those of its tensor.
fn place(weight: &Weight, block: [usize; 2]) -> Fp8 {
    let cols = weight.tensor_shape().last().copied().unwrap_or(1).max(1);
    let offset = weight.part.as_ref().map_or(0, |part| part.offset);
    let transposed = weight.strides().is_some_and(|strides| strides.column != 1);
    Fp8 { block, across: cols.div_ceil(block[1].max(1)), first: [offset / cols, offset % cols], transposed }
}
