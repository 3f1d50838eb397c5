//! Saving a shard as a standard ONNX model.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Result, bail, err};
use crate::graph::Graph;
use crate::graph::onnx::ElementType;
use crate::graph::stock::{self, Blocks, Content, Form, Style};
use crate::kernels::Dtype;
use crate::model::{ModelConfig, Rope};
use crate::source::folder_of;
use crate::weights::{self, NewFile, WeightTable};

/// Writes the graph to `path` and the weights to `path` + `.data`, both or none. The graph appears last, so that a reader never sees
/// a new graph without its data.
pub(crate) fn write(
    path: &Path,
    graph: &Graph,
    config: &ModelConfig,
    weights: &WeightTable,
    blocks: Option<Blocks>,
    metadata: &[(&str, String)],
) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        err!(InvalidArgument, "path `{}` does not end in the name of a file, in UTF-8", path.display())
    })?;
    let location = format!("{name}.data");
    let (dtype, positions) = (Dtype::F32, config.max_positions);
    let style =
        Style { form: Form::File, element: element(dtype), blocks, location: &location, place: &|_| None, positions };
    let written = stock::write(graph, style, metadata)?;

    // Both files are begun before either is written, so that an obstacle to one stops both.
    let model = NewFile::new(path)?;
    let data = NewFile::new(&folder_of(path).join(&location))?;
    if model.replaces_the_same_as(&data) {
        bail!(InvalidArgument, "`{}` and the `{location}` beside it are one file", path.display());
    }
    let failed = |e: std::io::Error| err!(Io, "writing `{}`", path.display()).with_source(e);
    write_data(data.as_file(), &written, dtype, &config.ropes, positions, weights)
        .map_err(|e| e.within(format_args!("writing `{location}`")))?;
    model.as_file().write_all(&written.model).map_err(failed)?;
    NewFile::publish_all([data, model])
}

/// The ONNX element type of weights of type `dtype`.
pub(crate) fn element(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
    }
}

/// Writes the content of the data file, all values as `dtype`.
pub(crate) fn write_data(
    file: impl Write + Seek,
    written: &stock::StockModel,
    dtype: Dtype,
    ropes: &[Rope],
    positions: usize,
    weights: &WeightTable,
) -> Result<()> {
    let failed = |e: std::io::Error| err!(Io, "the file cannot be written").with_source(e);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for tensor in &written.external {
        out.seek(SeekFrom::Start(tensor.offset)).map_err(failed)?;
        let stored = |name: &str| weights.get(name).ok_or_else(|| err!(Internal, "no tensor `{name}`"));
        match &tensor.content {
            Content::Weight(name) => stored(name)?.write_values(dtype, &mut out),
            Content::Codes(name) => stored(name)?.write_codes(&mut out),
            Content::Scales(name) => stored(name)?.write_scales(dtype, &mut out),
            Content::Plus(name, bits) => stored(name)?.write_sums(f32::from_bits(*bits), dtype, &mut out),
            Content::Ones(count) => (0..*count).try_for_each(|_| weights::write_value(1.0, dtype, &mut out)),
            Content::Cosines(rope) => write_rotation(&ropes[*rope], positions, dtype, &mut out, |cos, _| cos),
            Content::Sines(rope) => write_rotation(&ropes[*rope], positions, dtype, &mut out, |_, sin| sin),
        }
        .map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Writes the cosines or the sines of every position, whichever `half` picks.
fn write_rotation(
    rope: &Rope,
    positions: usize,
    dtype: Dtype,
    out: &mut impl Write,
    half: impl for<'a> Fn(&'a [f32], &'a [f32]) -> &'a [f32],
) -> std::io::Result<()> {
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..positions {
        cos.clear();
        sin.clear();
        rope.rotation(position, false, &mut cos, &mut sin);
        half(&cos, &sin).iter().try_for_each(|value| weights::write_value(*value, dtype, out))?;
    }
    Ok(())
}
