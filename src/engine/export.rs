//! Saving a shard as a standard ONNX model.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Result, bail, err};
use crate::graph::Graph;
use crate::graph::standard::{self, Form};
use crate::model::{ModelConfig, Rope};
use crate::source::folder_of;
use crate::weights::WeightTable;

/// Writes `path` and `path` + `.data`. Both are written beside their final place and renamed when complete, the graph
/// last, so that a reader never sees a graph without its data.
pub(super) fn write(
    path: &Path,
    graph: &Graph,
    config: &ModelConfig,
    weights: &WeightTable,
    metadata: &[(&str, String)],
) -> Result<()> {
    check(config)?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| err!(InvalidArgument, "path `{}` does not end in a UTF-8 file name", path.display()))?;
    let folder = folder_of(path);
    let location = format!("{name}.data");
    let failed = |e: std::io::Error| err!(Io, "writing `{}`", path.display()).with_source(e);
    let written = standard::write(graph, Form::File, &location, config.max_positions, metadata);

    let mut data = NamedTempFile::new_in(folder).map_err(failed)?;
    write_data(data.as_file_mut(), &written, &config.rope, config.max_positions, weights)
        .map_err(|e| e.within(format_args!("writing `{location}`")))?;
    let mut model = NamedTempFile::new_in(folder).map_err(failed)?;
    model.write_all(&written.model).map_err(failed)?;

    data.persist(folder.join(&location)).map_err(|e| failed(e.error))?;
    model.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// Whether ONNX Runtime's own operators can run the model.
pub(super) fn check(config: &ModelConfig) -> Result<()> {
    if !config.head_dim.is_multiple_of(16) {
        bail!(
            Unsupported,
            "head_dim {} has no standard form: ONNX Runtime's GroupQueryAttention rotates heads in multiples of 16 only",
            config.head_dim
        );
    }
    Ok(())
}

/// Writes what belongs into the data file.
pub(super) fn write_data(
    file: impl Write + Seek,
    written: &standard::Standard,
    rope: &Rope,
    positions: usize,
    weights: &WeightTable,
) -> Result<()> {
    let failed = |e: std::io::Error| err!(Io, "the file cannot be written").with_source(e);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for tensor in &written.external {
        out.seek(SeekFrom::Start(tensor.offset)).map_err(failed)?;
        match tensor.name.as_str() {
            standard::COS | standard::SIN => {
                let (mut cos, mut sin) = (Vec::new(), Vec::new());
                for position in 0..positions {
                    cos.clear();
                    sin.clear();
                    rope.rotation(position, &mut cos, &mut sin);
                    let row = if tensor.name == standard::COS { &cos } else { &sin };
                    for value in row {
                        out.write_all(&value.to_le_bytes()).map_err(failed)?;
                    }
                }
            }
            name => {
                let stored = weights.get(name).ok_or_else(|| err!(Internal, "no tensor `{name}`"))?;
                stored.write_f32(&mut out).map_err(failed)?;
            }
        }
    }
    out.flush().map_err(failed)
}
