//! A bound on how much longer a tokenizer's stages can make a text.
//!
//! A dozen stages that each turn one letter into a hundred would fill any memory. So the most that each stage can do
//! is computed from its parameters, and a tokenizer whose stages multiply to too much is refused before it gets a
//! text.

use serde::Serialize;
use serde_json::Value;
use tokenizers::Tokenizer;

/// The most bytes that may become of one. Published tokenizers reach 1,000 at most by the factors below, which are
/// cautious: no text makes all stages grow at once.
const MOST: usize = 4096;

/// Refuses a tokenizer that can turn one byte into more than [`MOST`], on the way to tokens or back.
pub(super) fn check(tokenizer: &Tokenizer) -> tokenizers::Result<()> {
    let encoding = growth(tokenizer.get_normalizer())?
        .saturating_mul(growth(tokenizer.get_pre_tokenizer())?)
        .saturating_mul(growth(tokenizer.get_post_processor())?);
    let decoding = growth(tokenizer.get_decoder())?;
    for (growth, parts) in [(encoding, "normalizer, pre_tokenizer and post_processor"), (decoding, "decoder")] {
        if growth > MOST {
            return Err(format!("its {parts} can make a text over {MOST} times longer").into());
        }
    }
    Ok(())
}

/// How many bytes the stages may make of each byte, at most.
fn growth(stages: Option<&impl Serialize>) -> tokenizers::Result<usize> {
    Ok(stages.map(serde_json::to_value).transpose()?.map_or(1, |stages| factor(&stages)))
}

fn factor(stage: &Value) -> usize {
    let list = |key: &str| stage[key].as_array().map_or(&[][..], Vec::as_slice);
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    match stage["type"].as_str().unwrap_or_default() {
        "Sequence" => ["normalizers", "pretokenizers", "processors", "decoders"]
            .into_iter()
            .flat_map(list)
            .fold(1, |product, stage| product.saturating_mul(factor(stage))),
        "Replace" => match (length(&stage["content"]), length(&stage["pattern"]["String"])) {
            // An empty pattern matches beside every byte.
            (content, 0) => content + 1,
            (content, pattern) => content.div_ceil(pattern).max(1),
        },
        "Prepend" => length(&stage["prepend"]) + 1,
        // The longest decomposition, U+FDFA's, makes 33 bytes of 3.
        "NFKC" | "NFKD" | "Precompiled" => 11,
        "NFC" | "NFD" | "ByteLevel" => 3,
        "Lowercase" | "BertNormalizer" | "WordPiece" | "BPEDecoder" => 2,
        "Metaspace" => 4,
        "TemplateProcessing" => list("single").len().max(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn factors_multiply_along_a_chain() {
        let replace =
            |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        for (stage, wanted) in [
            (replace(json!({"String": " "}), "\u{2581}"), 3),
            (replace(json!({"String": "``"}), "\""), 1),
            (replace(json!({"String": ""}), "ab"), 3),
            (replace(json!({"Regex": " {2,}"}), "ab"), 3),
            (json!({"type": "Strip"}), 1),
            (json!({"type": "TemplateProcessing", "single": [{"Sequence": {}}, {"Sequence": {}}]}), 2),
            (json!({"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "NFKC"}]}), 121),
        ] {
            assert_eq!(factor(&stage), wanted, "{stage}");
        }
        let many = vec![replace(json!({"String": "a"}), "aa"); 100];
        assert_eq!(factor(&json!({"type": "Sequence", "decoders": many})), usize::MAX);
    }
}
