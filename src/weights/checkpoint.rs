//! Safetensors checkpoints, one file or several with an index: only the files and tensors a shard needs are touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use serde_json::Value;

use super::mapping::Mapping;
use super::{Stored, WeightTable};
use crate::error::{Result, bail, err};
use crate::graph::Weight;
use crate::kernels::Dtype;
use crate::source::{Folder, names};

/// An index of a checkpoint with 10,000 tensors is under 1 MB.
const INDEX_LIMIT: u64 = 64 << 20;

/// Maps the tensors of `wanted`, from `file` alone if one is named, else from where the checkpoint's index says.
/// `progress` hears (tensors done, bytes mapped) after each file and may stop the work
/// with an error.
pub(crate) fn load(
    folder: &Folder,
    file: Option<&str>,
    wanted: &[&Weight],
    progress: &mut dyn FnMut(usize, u64) -> Result<()>,
) -> Result<WeightTable> {
    let mut table = WeightTable::default();
    let mut bytes = 0;
    let files = match file {
        Some(file) => BTreeMap::from([(file.to_owned(), wanted.to_vec())]),
        None => by_file(folder, wanted)?,
    };
    for (file, weights) in &files {
        let mapping = Arc::new(Mapping::new(&folder.open_file(file)?, file)?);
        let (header, metadata) = SafeTensors::read_metadata(mapping.bytes())
            .map_err(|e| err!(Malformed, "`{file}` is not a sound safetensors file").with_source(e))?;
        for weight in weights {
            let stored = find(file, &mapping, header, &metadata, weight)?;
            bytes += stored.bytes.len() as u64;
            table.tensors.insert(weight.name.clone(), stored);
        }
        progress(table.tensors.len(), bytes)?;
    }
    Ok(table)
}

/// Which file holds each wanted tensor.
fn by_file<'a>(folder: &Folder, wanted: &[&'a Weight]) -> Result<BTreeMap<String, Vec<&'a Weight>>> {
    let mut files: BTreeMap<String, Vec<&Weight>> = BTreeMap::new();
    if !folder.has(names::INDEX)? {
        if !folder.has(names::WEIGHTS)? {
            bail!(NotFound, "`{}` holds neither {} nor {}", folder.root().display(), names::WEIGHTS, names::INDEX);
        }
        files.insert(names::WEIGHTS.into(), wanted.to_vec());
        return Ok(files);
    }
    let index = names::INDEX;
    let json: Value = serde_json::from_slice(&folder.read(index, INDEX_LIMIT)?)
        .map_err(|e| err!(Malformed, "{index} is not valid JSON").with_source(e))?;
    let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
        bail!(Malformed, "{index}: weight_map is missing or not an object");
    };
    for weight in wanted {
        let name = &weight.name;
        let file = match map.get(name) {
            Some(Value::String(file)) => file,
            Some(_) => bail!(Malformed, "{index}: weight_map.{name} is not a file name"),
            None => return Err(missing(name, index)),
        };
        folder.path(file).map_err(|e| err!(Malformed, "{index}: weight_map.{name}").with_source(e))?;
        files.entry(file.clone()).or_default().push(weight);
    }
    Ok(files)
}

fn missing(name: &str, file: &str) -> crate::error::Error {
    let hint = if name == "lm_head.weight" {
        "; config.json does not tie it to the embedding (tie_word_embeddings)"
    } else {
        ""
    };
    err!(NotFound, "tensor `{name}` is missing from {file}{hint}")
}

/// The tensor of one file that `weight` names, if its shape and type are as the graph needs them.
fn find(file: &str, mapping: &Arc<Mapping>, header: usize, metadata: &Metadata, weight: &Weight) -> Result<Stored> {
    let name = &weight.name;
    let info: &TensorInfo = metadata.info(name).ok_or_else(|| missing(name, file))?;
    if info.shape != weight.shape {
        bail!(
            Malformed,
            "tensor `{name}` in {file} has shape {:?}, config.json implies {:?}",
            info.shape,
            weight.shape
        );
    }
    let dtype = match info.dtype {
        FileDtype::F32 => Dtype::F32,
        FileDtype::F16 => Dtype::F16,
        FileDtype::BF16 => Dtype::BF16,
        other => bail!(Unsupported, "tensor `{name}` in {file} has dtype {other:?} (supported: F32, F16, BF16)"),
    };
    // The crate has checked offsets against the header's own sizes; the length prefix and header come before them.
    let begin = header + 8 + info.data_offsets.0;
    let end = header + 8 + info.data_offsets.1;
    let (rows, cols) = match *weight.shape {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => bail!(Internal, "tensor `{name}`: rank {} in the graph", weight.shape.len()),
    };
    if end > mapping.bytes().len() || end - begin != rows * cols * dtype.size() {
        bail!(Malformed, "tensor `{name}` in {file}: bytes {begin}..{end} do not match its shape or the file");
    }
    Ok(Stored { mapping: Arc::clone(mapping), bytes: begin..end, dtype, rows, cols })
}
