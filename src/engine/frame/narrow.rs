//! Hidden states in half as many bytes.

use half::bf16;

use super::options::{Beyond, PartType};
use crate::error::{Error, Result, Site, bail};
use crate::kernels::narrow_f16;

/// The bits of the largest half, and of the largest bfloat16.
const LARGEST_F16: u16 = 0x7bff;
const LARGEST_BF16: u16 = 0x7f7f;
/// Where the numbers begin that are nearer to the next power of two than to the largest half.
const BEYOND_F16: f32 = 65_520.0;

/// `values`, of rows of `width` each, as 16 bits each of `dtype`, rounded to nearest. Infinities and NaNs stay what they are. A number
/// that is beyond the largest one becomes that, or an error, as `beyond` says.
///
/// # Errors
/// `OutOfRange` for a number beyond the largest; `OutOfMemory`.
pub(crate) fn narrow(values: &[f32], width: usize, dtype: PartType, beyond: Beyond, what: &str) -> Result<Vec<u16>> {
    let mut narrow = Vec::new();
    let bytes = 2 * values.len() as u64;
    narrow.try_reserve_exact(values.len()).map_err(|_| Error::oom(Site::Run, "cpu", bytes, "rounded hidden states"))?;
    narrow_into(values, width, dtype, beyond, what, &mut narrow)?;
    Ok(narrow)
}

/// As [`narrow`], into `to`, which has room for them.
pub(crate) fn narrow_into(
    values: &[f32],
    width: usize,
    dtype: PartType,
    beyond: Beyond,
    what: &str,
    to: &mut Vec<u16>,
) -> Result<()> {
    to.clear();
    match dtype {
        PartType::F16 => to.extend(values.iter().map(|value| narrow_f16(*value))),
        PartType::F32 | PartType::Bf16 => to.extend(values.iter().map(|value| narrow_bf16(*value))),
    }
    if beyond == Beyond::Refuse {
        let largest = if dtype == PartType::F16 { LARGEST_F16 } else { LARGEST_BF16 };
        // Few values are so large: only those are looked at.
        let suspects = to.iter().enumerate().filter(|(_, bits)| **bits & 0x7fff == largest);
        for (index, _) in suspects {
            let value = values[index];
            if is_beyond(value, dtype) {
                bail!(
                    OutOfRange,
                    "{what}: {value:e}, in row {} of the output, is beyond the largest {}",
                    index / width.max(1),
                    dtype.name()
                );
            }
        }
    }
    Ok(())
}

fn is_beyond(value: f32, dtype: PartType) -> bool {
    match dtype {
        PartType::F32 => false,
        PartType::F16 => value.abs() >= BEYOND_F16,
        PartType::Bf16 => bf16::from_f32(value).is_infinite(),
    }
}

fn narrow_bf16(value: f32) -> u16 {
    let rounded = bf16::from_f32(value);
    if rounded.is_infinite() && value.is_finite() {
        return rounded.to_bits() & 0x8000 | LARGEST_BF16;
    }
    rounded.to_bits()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "a failing test panics; what is exact is")]
mod tests {
    use half::f16;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_beyond_the_largest_becomes_it_or_is_refused_by_name() {
        for (dtype, largest, rounded_down, beyond) in [
            (PartType::F16, 65504.0, 65519.996, 65520.0),
            (PartType::Bf16, f32::from_bits(0x7f7f_0000), f32::from_bits(0x7f7f_7fff), f32::from_bits(0x7f7f_8000)),
        ] {
            let wide = |bits: u16| match dtype {
                PartType::F16 => f16::from_bits(bits).to_f32(),
                _ => bf16::from_bits(bits).to_f32(),
            };
            let values = [1.0, -largest, rounded_down, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
            for kind in [Beyond::Saturate, Beyond::Refuse] {
                let narrow: Vec<f32> = narrow(&values, 3, dtype, kind, "x").unwrap().into_iter().map(wide).collect();
                assert_eq!(narrow[..5], [1.0, -largest, largest, f32::INFINITY, f32::NEG_INFINITY]);
                assert!(narrow[5].is_nan());
            }
            let values = [0.0, 0.0, 0.0, 0.0, -beyond];
            let saturated = narrow(&values, 3, dtype, Beyond::Saturate, "x").unwrap();
            assert_eq!(wide(saturated[4]), -largest);
            let error = narrow(&values, 3, dtype, Beyond::Refuse, "hidden_states").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
            let message = error.to_string();
            assert!(message.contains("hidden_states: ") && message.contains("in row 1"), "{message}");
            assert!(message.contains(&format!("the largest {}", dtype.name())), "{message}");
        }
    }
}
