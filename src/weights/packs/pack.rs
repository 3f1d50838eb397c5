//! The layout of a pack, byte by byte, before anything is quantised.

use std::ops::Range;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::header::Header;
use super::super::{MappedTensor, WeightTable};
use super::hex;
use crate::error::{Result, err};
use crate::graph::Weight;
use crate::kernels::{LAYOUT_VERSION, Layout, Packing};

/// The header is a multiple of this long, and every packed tensor begins at a multiple: a cache line of the
/// processor.
const ALIGN: usize = 64;

/// A pack: a safetensors header and the tensors behind it.
#[derive(Debug)]
pub(super) struct Pack<'a> {
    header: Vec<u8>,
    tensors: Vec<PackedTensor<'a>>,
    key: String,
    len: usize,
}

/// One tensor of a pack.
#[derive(Debug)]
pub(super) struct PackedTensor<'a> {
    pub name: &'a str,
    pub source: &'a MappedTensor,
    /// The source's scales, if they are apart.
    pub scales: Option<&'a MappedTensor>,
    pub layout: Layout,
    /// As kernels read it, where a vector is one row.
    pub rows: usize,
    pub cols: usize,
    /// The tensor's bytes, counted from the end of the header.
    bytes: Range<usize>,
}

impl<'a> Pack<'a> {
    /// Matrices of `wanted` are packed; vectors, and matrices that are to stay exact, are as they were. Without a `packing` all are.
    pub(super) fn new(table: &'a WeightTable, wanted: &[&'a Weight], packing: Option<Packing>) -> Result<Self> {
        let mut tensors = Vec::with_capacity(wanted.len());
        let (packed, rest): (Vec<&'a Weight>, Vec<&'a Weight>) =
            wanted.iter().copied().partition(|weight| packing.is_some() && weight.is_quantisable());
        let mut at = 0_usize;
        // Packed tensors take whole cache lines. Others may not, so they come last.
        for weight in packed.into_iter().chain(rest) {
            let name = weight.name.as_str();
            let source = table.get(name).ok_or_else(|| err!(Internal, "the shard has no tensor `{name}`"))?;
            let layout = match packing.filter(|_| weight.is_quantisable()) {
                Some(packing) => Layout::Tiles(packing),
                None => source.layout,
            };
            let (rows, cols) = if let [values] = *weight.shape { (1, values) } else { (source.rows, source.cols) };
            let end = layout.bytes(rows, cols).and_then(|bytes| at.checked_add(bytes));
            let end = end.ok_or_else(|| err!(OutOfRange, "tensor `{name}` is larger than any memory"))?;
            let scales = weight.scales.as_ref().and_then(|scales| table.get(&scales.name));
            tensors.push(PackedTensor { name, source, scales, layout, rows, cols, bytes: at..end });
            at = end;
        }
        let packing = packing.map_or("exact", Packing::name);
        let key = key(&tensors, packing);
        let header = header(&tensors, packing, &key)?;
        let len = header.len() + at;
        Ok(Self { header, tensors, key, len })
    }

    /// The header, with which the pack begins. It holds the [`key`](Self::key).
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    pub(super) fn tensors(&self) -> &[PackedTensor<'a>] {
        &self.tensors
    }

    /// The tensor's bytes, counted from the beginning of the pack.
    pub(super) fn place(&self, tensor: &PackedTensor) -> Range<usize> {
        self.header.len() + tensor.bytes.start..self.header.len() + tensor.bytes.end
    }

    /// Bytes of the pack.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A hash of the source weights, the packing and its layout, in hexadecimal.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

/// A hash that tells this content from any other without reading gigabytes. It covers names, shapes and types, each
/// source file's size and time of change, and the beginning and end of each tensor.
fn key(tensors: &[PackedTensor], packing: &str) -> String {
    const SAMPLE: usize = 4096;
    let mut hash = Sha256::new();
    hash.update(format!("{LAYOUT_VERSION} {packing}"));
    for tensor in tensors {
        let (source, data) = (tensor.source, tensor.source.data());
        let file = source.mapping.identity();
        let (name, layout) = (tensor.name, source.layout.name());
        // A name may hold any character, so its length comes first: no two lists of names look alike.
        let about =
            format!("{} {name} {} {} {layout} {} {}", name.len(), source.rows, source.cols, file.len, file.changed);
        hash.update(about);
        hash.update(&data[..data.len().min(SAMPLE)]);
        hash.update(&data[data.len().saturating_sub(SAMPLE)..]);
    }
    hex(&hash.finalize())
}

/// The header of the file.
fn header(tensors: &[PackedTensor], packing: &str, key: &str) -> Result<Vec<u8>> {
    let mut header = Header::about(json!({
        "format": "ortshard packed shard",
        "layout": LAYOUT_VERSION.to_string(),
        "packing": packing,
        "key": key,
    }));
    for tensor in tensors {
        let shape = match tensor.layout {
            Layout::Rows(_) => tensor.rows * tensor.cols,
            _ => tensor.bytes.len(),
        };
        header.add(tensor.name, tensor.layout, &[shape], tensor.bytes.clone());
    }
    header.bytes(ALIGN)
}
