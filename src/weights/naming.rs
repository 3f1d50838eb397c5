//! How checkpoints spell the names of tensors.
//!
//! Graphs use one spelling: that of the causal language model in transformers, `model.layers.0...`,
//! `model.norm.weight`, `model.embed_tokens.weight`, `lm_head.weight`. Files have other spellings. For the first two
//! below, the rule is that of transformers 5.24 for the classes that are read here (`rename_source_key` in
//! `core_model_loading.py`, with `base_model_prefix` "model"):
//!
//! | stored                                            | by whom                                   | read as           |
//! |---------------------------------------------------|-------------------------------------------|-------------------|
//! | `layers.0...`, `embed_tokens.weight`, `norm...`   | the base model was saved (`LlamaModel`)   | `model.layers...` |
//! | `model.model.layers...`, `model.lm_head.weight`   | a wrapper was saved                       | `model.layers...` |
//! | `language_model.model.layers...`                  | the text part of an older image-text model | `model.layers...` |
//! | `model.language_model.layers...`                  | the text part of a newer one              | `model.layers...` |
//! | `model.text_model.layers...`                      | the text part of an Idefics3 or a `SmolVLM` | `model.layers...` |
//! | `backbone.layers...`, `backbone.norm_f...`       | a Nemotron-H as published                 | `model.layers...` |
//!
//! Phi and Falcon-H1 have `model.final_layernorm...`, Nemotron-H has `model.embeddings.weight` and `model.norm_f...`,
//! LFM2 has `model.embedding_norm...`, and GPT-NeoX has `gpt_neox.layers.0...`, `gpt_neox.embed_in.weight` and
//! `gpt_neox.final_layer_norm...`; so have their graphs. GPT-NeoX's `embed_out.weight` is read as `lm_head.weight`, as in transformers 5.
//!
//! If a checkpoint has one tensor in two of the first spellings, the name that sorts first counts, as in
//! transformers. The last three spellings count in a checkpoint that has no tensor but a head in one of the first
//! spellings, whatever config.json says: for a model of text alone they mean nothing to transformers, which would go
//! on with random weights. What else a larger model has, for images or audio, no graph uses.

/// Which of the spellings a name is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// That of a causal language model or of a part of it.
    Own,
    /// That of the text part of a larger model.
    Nested,
}

/// How the names of a decoder's tensors begin: its layers and what stands around them.
const BODY: [&str; 12] = [
    "layers.",
    "embed_tokens.",
    "embeddings.",
    "norm.",
    "norm_f.",
    "final_layernorm.",
    "embedding_norm.",
    "embed_tokens_per_layer.",
    "per_layer_model_projection.",
    "per_layer_projection_norm.",
    "altup_projections.",
    "altup_unembed_projections.",
];

/// The name that graphs use for the tensor `stored`, if it can be one of theirs.
pub(super) fn standard(stored: &str) -> Option<(Kind, String)> {
    const NESTED: [&str; 5] = [
        "model.language_model.model.",
        "model.language_model.",
        "language_model.model.",
        "language_model.",
        "model.text_model.",
    ];
    if let Some(part) = stored.strip_prefix("gpt_neox.") {
        let body = ["layers.", "embed_in.", "final_layer_norm."].iter().any(|begin| part.starts_with(begin));
        return body.then(|| (Kind::Own, stored.to_owned()));
    }
    if let Some(part) = stored.strip_prefix("embed_out.") {
        return Some((Kind::Own, format!("lm_head.{part}")));
    }
    let nested = NESTED.iter().find_map(|prefix| stored.strip_prefix(prefix));
    let (kind, part) = if let Some(part) = nested {
        (Kind::Nested, part)
    } else {
        let base = ["model.", "backbone."].iter().find_map(|base| stored.strip_prefix(base));
        (Kind::Own, base.unwrap_or(stored))
    };
    if part.starts_with("lm_head.") {
        return Some((kind, part.to_owned()));
    }
    let part = part.strip_prefix("model.").filter(|_| kind == Kind::Own).unwrap_or(part);
    let body = BODY.iter().any(|begin| part.starts_with(begin));
    body.then(|| (kind, format!("model.{part}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_spelling() {
        for (stored, kind, wanted) in [
            ("model.layers.0.mlp.up_proj.weight", Kind::Own, "model.layers.0.mlp.up_proj.weight"),
            ("layers.0.mlp.up_proj.weight", Kind::Own, "model.layers.0.mlp.up_proj.weight"),
            ("model.model.norm.weight", Kind::Own, "model.norm.weight"),
            ("embed_tokens.weight", Kind::Own, "model.embed_tokens.weight"),
            ("lm_head.weight", Kind::Own, "lm_head.weight"),
            ("model.lm_head.weight", Kind::Own, "lm_head.weight"),
            ("embedding_norm.weight", Kind::Own, "model.embedding_norm.weight"),
            ("backbone.layers.0.mixer.D", Kind::Own, "model.layers.0.mixer.D"),
            ("backbone.embeddings.weight", Kind::Own, "model.embeddings.weight"),
            ("model.norm_f.weight", Kind::Own, "model.norm_f.weight"),
            ("model.final_layernorm.bias", Kind::Own, "model.final_layernorm.bias"),
            ("gpt_neox.layers.0.attention.dense.bias", Kind::Own, "gpt_neox.layers.0.attention.dense.bias"),
            ("gpt_neox.embed_in.weight", Kind::Own, "gpt_neox.embed_in.weight"),
            ("embed_out.weight", Kind::Own, "lm_head.weight"),
            ("embed_tokens_per_layer.weight", Kind::Own, "model.embed_tokens_per_layer.weight"),
            ("language_model.model.norm.weight", Kind::Nested, "model.norm.weight"),
            ("model.language_model.norm.weight", Kind::Nested, "model.norm.weight"),
            ("language_model.norm.weight", Kind::Nested, "model.norm.weight"),
            ("language_model.lm_head.weight", Kind::Nested, "lm_head.weight"),
            ("model.text_model.norm.weight", Kind::Nested, "model.norm.weight"),
        ] {
            assert_eq!(standard(stored), Some((kind, wanted.to_owned())), "{stored}");
        }
        for stored in [
            "vision_tower.layers.0.weight",
            "model.vision_model.encoder.layers.0.weight",
            "multi_modal_projector.norm.weight",
            "base_model.model.model.norm.weight",
            "model.model.model.norm.weight",
            "model.rotary_emb.inv_freq",
            "normal.weight",
            "gpt_neox.rotary_emb.inv_freq",
            "embed_in.weight",
            "score.weight",
            "mtp.layers.0.norm.weight",
            "model.vision.lm_head.weight",
            "",
        ] {
            assert_eq!(standard(stored), None, "{stored}");
        }
    }
}
