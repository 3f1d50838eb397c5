//! Checkpoints whose matrices are eight-bit floats (`quantization_config` with `fp8`), as `DeepSeek` V3 is published.

use super::Fields;
use crate::error::{Result, bail};

/// The most rows or columns that a block may have.
const MAX_BLOCK: u64 = 1 << 16;

/// Rows and columns of the blocks that share a scale, if `quantization_config` says that matrices are stored so. It may say nothing else.
pub(super) fn blocks(f: Fields) -> Result<Option<[usize; 2]>> {
    let Some(config) = f.object("quantization_config")? else { return Ok(None) };
    match config.text("quant_method")? {
        Some("fp8") => {}
        Some(_) => {
            return Err(
                config.unsupported("quant_method", "supported is fp8; or take the checkpoint that is not quantised")
            );
        }
        None => bail!(Malformed, "{} is missing", config.name("quant_method")),
    }
    for (key, only) in [("fmt", "e4m3"), ("activation_scheme", "dynamic")] {
        if config.get(key).is_some() && config.text(key)? != Some(only) {
            return Err(config.unsupported(key, &format!("supported is {only}")));
        }
    }
    let size = if config.has("weight_block_size") {
        config.integers("weight_block_size", 16..=MAX_BLOCK)?.unwrap_or_default()
    } else {
        vec![128, 128]
    };
    match *size {
        [rows, columns] if rows.is_multiple_of(16) && columns.is_multiple_of(16) => Ok(Some([rows, columns])),
        _ => Err(config.unsupported("weight_block_size", "a block has rows and columns in multiples of 16")),
    }
}
