//! Safetensors checkpoints, one file or several with an index: only the files and tensors a shard needs are touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use serde_json::{Map, Value};

use super::mapping::Mapping;
use super::{Stored, WeightTable};
use crate::error::{Result, bail, err};
use crate::graph::Weight;
use crate::kernels::{Dtype, Layout};
use crate::source::{ModelFiles, Transfer, names};

/// An index of a checkpoint with 10,000 tensors is under 1 MB.
const INDEX_LIMIT: u64 = 64 << 20;

/// What happens while weights are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// Something small is on its way.
    Waiting,
    /// Files are being brought here.
    Fetched(Transfer),
    /// So much is mapped.
    Mapped { tensors: usize, bytes: u64 },
    /// So many of the bytes mapped are quantised.
    Packed { bytes: u64, total: u64 },
}

/// Hears of each [`Event`]; its error stops the work and is passed on.
pub(crate) type OnEvent<'a> = dyn FnMut(Event) -> Result<()> + 'a;

/// Maps the tensors of `wanted`, from `file` alone if one is named, else from where the checkpoint's index says.
pub(crate) fn load(
    model: &dyn ModelFiles,
    file: Option<&str>,
    wanted: &[&Weight],
    on: &mut OnEvent<'_>,
) -> Result<WeightTable> {
    let mut table = WeightTable::default();
    let mut bytes = 0;
    let files = match file {
        Some(file) => BTreeMap::from([(file.to_owned(), wanted.to_vec())]),
        None => by_file(model, wanted, on)?,
    };
    // All are fetched before any is mapped, and what is missing is named at once.
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    model.require_all(&names, &mut |now| on(Event::Fetched(now)))?;
    for (file, weights) in &files {
        let mapping = Arc::new(Mapping::new(&model.open(file, &mut |_| Ok(()))?, file)?);
        let (header, metadata) = header(file, &mapping)?;
        for weight in weights {
            let stored = find(file, &mapping, header, &metadata, weight)?;
            bytes += stored.bytes.len() as u64;
            table.tensors.insert(weight.name.clone(), stored);
        }
        on(Event::Mapped { tensors: table.tensors.len(), bytes })?;
    }
    Ok(table)
}

/// Whether the checkpoint holds the tensor `name`, in `file` alone if one is named. Brings the file that must be looked
/// into: the index, or the one that holds all tensors.
pub(crate) fn holds(model: &dyn ModelFiles, file: Option<&str>, name: &str, on: &mut OnEvent<'_>) -> Result<bool> {
    if file.is_none()
        && let Some(map) = weight_map(model, on)?
    {
        return Ok(map.contains_key(name));
    }
    let file = file.unwrap_or(names::WEIGHTS);
    let mapping = Mapping::new(&model.open(file, &mut |now| on(Event::Fetched(now)))?, file)?;
    let (_, metadata) = header(file, &mapping)?;
    Ok(metadata.info(name).is_some())
}

/// The index's map from tensors to files, if the checkpoint has an index.
fn weight_map(model: &dyn ModelFiles, on: &mut OnEvent<'_>) -> Result<Option<Map<String, Value>>> {
    let index = names::INDEX;
    let Some(content) = model.read(index, INDEX_LIMIT, &mut |_| on(Event::Waiting))? else {
        return Ok(None);
    };
    let mut json: Value =
        serde_json::from_slice(&content).map_err(|e| err!(Malformed, "{index} is not valid JSON").with_source(e))?;
    match json.as_object_mut().and_then(|json| json.remove("weight_map")) {
        Some(Value::Object(map)) => Ok(Some(map)),
        _ => bail!(Malformed, "{index}: weight_map is missing or not an object"),
    }
}

/// The header of a mapped file: its length, and what it says.
fn header(file: &str, mapping: &Mapping) -> Result<(usize, Metadata)> {
    SafeTensors::read_metadata(mapping.bytes())
        .map_err(|e| err!(Malformed, "`{file}` is not a sound safetensors file").with_source(e))
}

/// Which file holds each wanted tensor.
fn by_file<'a>(
    model: &dyn ModelFiles,
    wanted: &[&'a Weight],
    on: &mut OnEvent<'_>,
) -> Result<BTreeMap<String, Vec<&'a Weight>>> {
    let Some(map) = weight_map(model, on)? else {
        return Ok(BTreeMap::from([(names::WEIGHTS.into(), wanted.to_vec())]));
    };
    let index = names::INDEX;
    let mut files: BTreeMap<String, Vec<&Weight>> = BTreeMap::new();
    for weight in wanted {
        let name = &weight.name;
        let file = match map.get(name) {
            Some(Value::String(file)) => file,
            Some(_) => bail!(Malformed, "{index}: weight_map.{name} is not a file name"),
            None => return Err(missing(name, index)),
        };
        files.entry(file.clone()).or_default().push(weight);
    }
    Ok(files)
}

/// The files that hold `wanted`.
pub(crate) fn files(model: &dyn ModelFiles, wanted: &[&Weight], on: &mut OnEvent<'_>) -> Result<Vec<String>> {
    Ok(by_file(model, wanted, on)?.into_keys().collect())
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
    let layout = match info.dtype {
        FileDtype::F32 => Layout::Rows(Dtype::F32),
        FileDtype::F16 => Layout::Rows(Dtype::F16),
        FileDtype::BF16 => Layout::Rows(Dtype::BF16),
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
    if end > mapping.bytes().len() || layout.bytes(rows, cols) != Some(end - begin) {
        bail!(Malformed, "tensor `{name}` in {file}: bytes {begin}..{end} do not match its shape or the file");
    }
    Ok(Stored { mapping: Arc::clone(mapping), bytes: begin..end, layout, rows, cols })
}
