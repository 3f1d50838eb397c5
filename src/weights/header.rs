//! Writes the header of a safetensors file: the length of a JSON text, and the text.

use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::error::{Result, err};
use crate::kernels::{Dtype, Layout};

/// Bytes of the length, with which the file begins.
const LENGTH: usize = 8;

/// The JSON object of a header: an entry for each tensor, by its name.
#[derive(Debug, Default)]
pub(super) struct Header(Map<String, Value>);

impl Header {
    /// A header with this `__metadata__`.
    pub(super) fn about(metadata: Value) -> Self {
        Self(Map::from_iter([("__metadata__".into(), metadata)]))
    }

    /// Adds a tensor whose content is at `bytes`, counted from the end of the header. Packed content gets no type
    /// that other readers know.
    pub(super) fn add(&mut self, name: &str, layout: Layout, shape: &[usize], bytes: Range<usize>) {
        let dtype = match layout {
            Layout::Tiles(_) | Layout::Mxfp4(_) | Layout::Scales => "U8",
            Layout::Fp8(_) => "F8_E4M3",
            Layout::Rows(Dtype::F32) => "F32",
            Layout::Rows(Dtype::F16) => "F16",
            Layout::Rows(Dtype::BF16) => "BF16",
        };
        let offsets = [bytes.start, bytes.end];
        self.0.insert(name.into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
    }

    /// The header's bytes, padded to a multiple of `align` with spaces, which the format allows at the end of the
    /// text.
    pub(super) fn bytes(self, align: usize) -> Result<Vec<u8>> {
        let json =
            serde_json::to_string(&Value::Object(self.0)).map_err(|e| err!(Internal, "a header").with_source(e))?;
        let len = (LENGTH + json.len()).next_multiple_of(align);
        let mut header = Vec::with_capacity(len);
        header.extend_from_slice(&((len - LENGTH) as u64).to_le_bytes());
        header.extend_from_slice(json.as_bytes());
        header.resize(len, b' ');
        Ok(header)
    }
}
