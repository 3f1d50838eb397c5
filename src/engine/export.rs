//! Saving a shard as a standard ONNX model.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Result, bail, err};
use crate::graph::Graph;
use crate::graph::standard::{self, Blocks, Content, Form, Style};
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
    blocks: Option<Blocks>,
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
    let style = Style { form: Form::File, blocks, location: &location, positions: config.max_positions };
    let written = standard::write(graph, style, metadata);

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
        let stored = |name: &str| weights.get(name).ok_or_else(|| err!(Internal, "no tensor `{name}`"));
        match &tensor.content {
            Content::Weight(name) => stored(name)?.write_f32(&mut out),
            Content::Codes(name) => stored(name)?.write_codes(&mut out),
            Content::Scales(name) => stored(name)?.write_scales(&mut out),
            Content::Cosines => write_rotation(rope, positions, &mut out, |cos, _| cos),
            Content::Sines => write_rotation(rope, positions, &mut out, |_, sin| sin),
        }
        .map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Writes the half of each position's rotation that `half` picks.
fn write_rotation(
    rope: &Rope,
    positions: usize,
    out: &mut impl Write,
    half: impl for<'a> Fn(&'a [f32], &'a [f32]) -> &'a [f32],
) -> std::io::Result<()> {
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..positions {
        cos.clear();
        sin.clear();
        rope.rotation(position, &mut cos, &mut sin);
        half(&cos, &sin).iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
    }
    Ok(())
}
