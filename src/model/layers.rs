//! Which layers attend to a window of tokens only, and which rotate their heads.

use super::config::{MAX_POSITIONS, ModelConfig};
use super::fields::Fields;
use crate::error::{Result, bail};
use crate::kernels::Window;

/// The window of each layer; empty: none has one.
pub(super) type Windows = Vec<Option<Window>>;

/// `sliding_window`, with the class default where the key is absent; `null` means none.
pub(super) fn sliding_window(f: Fields, default: usize) -> Result<Option<usize>> {
    if f.has("sliding_window") { f.integer_or_null("sliding_window", 1..=MAX_POSITIONS) } else { Ok(Some(default)) }
}

/// `sliding_window`, of a class that has none by default.
pub(super) fn sliding_window_or_none(f: Fields) -> Result<Option<usize>> {
    f.integer_or_null("sliding_window", 1..=MAX_POSITIONS)
}

/// `window` on all of `layers` layers.
pub(super) fn on_all(layers: usize, window: Option<usize>) -> Windows {
    window.map_or(Vec::new(), |window| vec![Some(Window::Sliding(window)); layers])
}

/// The same for a class that does not read `layer_types`; transformers' caches do.
pub(super) fn one_window(f: Fields, layers: usize, window: Option<usize>) -> Result<Windows> {
    let slides = layer_types(f, layers)?.unwrap_or_default();
    if slides.contains(&true) && (window.is_none() || slides.contains(&false)) {
        return Err(f.unsupported("layer_types", "all layers slide, with sliding_window, or none"));
    }
    Ok(on_all(layers, window))
}

/// The window of each of `layers` layers: `window` on those that `layer_types` says slide, or, where that is absent,
/// on those for which `slides` holds. Empty: none has one.
pub(super) fn windows(
    f: Fields,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Windows> {
    let sliding = window.map(Window::Sliding);
    let Some(types) = layer_types(f, layers)? else {
        return Ok(match window {
            Some(_) => (0..layers).map(|layer| sliding.filter(|_| slides(layer))).collect(),
            None => Vec::new(),
        });
    };
    if window.is_none() && types.contains(&true) {
        bail!(Malformed, "{} has sliding_attention, and there is no sliding_window", f.name("layer_types"));
    }
    Ok(types.into_iter().map(|slides| sliding.filter(|_| slides)).collect())
}

/// `sliding_window_pattern`: with 4 every layer slides but each fourth.
pub(super) fn sliding_window_pattern(f: Fields, default: usize) -> Result<usize> {
    Ok(f.integer("sliding_window_pattern", 1..=1 << 20)?.unwrap_or(default))
}

/// The windows of families in which every layer but each `pattern`th slides, unless `layer_types` says otherwise.
pub(super) fn windows_but_each(f: Fields, layers: usize, pattern: usize) -> Result<Windows> {
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    let window = sliding_window(f, 4096)?;
    if window.is_none() && f.get("layer_types").is_none() && (0..layers).any(slides) {
        bail!(Malformed, "{} is null, and there are layers with a window", f.name("sliding_window"));
    }
    windows(f, layers, window, slides)
}

/// Refuses windows where the family has none: transformers' cache drops what lies before one all the same.
pub(super) fn no_window(f: Fields, c: &ModelConfig) -> Result<()> {
    let why = format!("no layer of {} slides", c.architecture);
    let window = f.integer_or_null("sliding_window", 1..=MAX_POSITIONS)?;
    if window.is_some_and(|window| window < c.max_positions) {
        return Err(f.unsupported("sliding_window", &why));
    }
    if layer_types(f, c.layers)?.is_some_and(|slides| slides.contains(&true)) {
        return Err(f.unsupported("layer_types", &why));
    }
    Ok(())
}

/// For each layer, whether `layer_types` says that it slides.
pub(super) fn layer_types(f: Fields, layers: usize) -> Result<Option<Vec<bool>>> {
    // The older spelling comes first.
    let kinds = kinds(f, layers, &["attention", "full_attention", "sliding_attention"])?;
    Ok(kinds.map(|kinds| kinds.iter().map(|kind| *kind == 2).collect()))
}

/// For each layer, which of the `known` kinds `layer_types` says that it is.
pub(super) fn kinds(f: Fields, layers: usize, known: &[&str]) -> Result<Option<Vec<usize>>> {
    let kinds = listed(f, "layer_types", known)?;
    if let Some(count) = kinds.as_ref().map(Vec::len).filter(|count| *count != layers) {
        bail!(Malformed, "{} has {count} entries, num_hidden_layers is {layers}", f.name("layer_types"));
    }
    Ok(kinds)
}

/// For each layer that the list `key` has, which of the `known` kinds it is.
pub(super) fn listed(f: Fields, key: &str, known: &[&str]) -> Result<Option<Vec<usize>>> {
    let Some(types) = f.texts(key)? else { return Ok(None) };
    let kind = |kind: &&str| {
        let place = known.iter().position(|known| known == kind);
        place.ok_or_else(|| f.unsupported(key, &format!("no layer computes `{kind}`")))
    };
    types.iter().map(kind).collect::<Result<_>>().map(Some)
}

/// The windows of Llama 4: `attention_chunk_size` on the layers that `layer_types` says are chunked, or, where that is absent, on
/// those for which `chunked` holds. With `null` none is.
pub(super) fn chunks(f: Fields, layers: usize, chunked: impl Fn(usize) -> bool) -> Result<Windows> {
    const SIZE: &str = "attention_chunk_size";
    let size = if f.has(SIZE) { f.integer_or_null(SIZE, 1..=MAX_POSITIONS)? } else { Some(8192) };
    // The older spelling comes first.
    let types = kinds(f, layers, &["attention", "full_attention", "chunked_attention"])?;
    let types: Option<Vec<bool>> = types.map(|kinds| kinds.iter().map(|kind| *kind == 2).collect());
    if size.is_none() && types.as_ref().is_some_and(|types| types.contains(&true)) {
        bail!(Malformed, "{} has chunked_attention, and there is no {SIZE}", f.name("layer_types"));
    }
    let chunked = types.unwrap_or_else(|| (0..layers).map(chunked).collect());
    Ok(chunked.into_iter().map(|is| size.filter(|_| is).map(Window::Chunked)).collect())
}

/// Which layers rotate their heads. `no_rope_layers` has, in spite of its name, a 0 for each layer that does not; where it is absent
/// or empty, one in `no_rope_layer_interval` does not.
pub(super) fn rotated(f: Fields, layers: usize) -> Result<Vec<bool>> {
    let interval = f.integer("no_rope_layer_interval", 1..=u64::from(u32::MAX))?.unwrap_or(4);
    let Some(given) = f.integers("no_rope_layers", 0..=1)?.filter(|given| !given.is_empty()) else {
        return Ok((1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect());
    };
    if given.len() < layers {
        let (name, count) = (f.name("no_rope_layers"), given.len());
        bail!(Malformed, "{name} has {count} entries, num_hidden_layers is {layers}");
    }
    Ok(given.iter().take(layers).map(|rotates| *rotates == 1).collect())
}

/// The windows of the Qwen families: those from `max_window_layers` on, and only if `use_sliding_window`.
pub(super) fn qwen_windows(f: Fields, layers: usize) -> Result<Windows> {
    let slides = f.flag("use_sliding_window")?.unwrap_or(false);
    let window = sliding_window(f, 4096)?.filter(|_| slides);
    let first = f.integer("max_window_layers", 0..=u64::from(u32::MAX))?.unwrap_or(28);
    windows(f, layers, window, |layer| layer >= first)
}
