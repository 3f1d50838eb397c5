//! A shard's fingerprint, 32 bytes: an exported state belongs to the shards with one fingerprint. It is the SHA-256 of an encoding
//! that is spelled out here, field by field, so that it is the same for all libraries with one [`VERSION`], whatever fields and
//! variants are called in their sources.
//!
//! A number is 8 bytes, little-endian. A text is the number of its bytes, and then the bytes. The encoding begins with:
//!
//! ```text
//! text      "ortshard shard"
//! number    VERSION
//! text      the architecture
//! numbers   hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size
//! number    the bits of rms_norm_eps as float32
//! numbers   0 or 1: tied head; bias of query, key and value; of the output projection; of the MLP
//! numbers   how many layers have a window given, and how large each one's is, 0 for none; the architecture says of which kind
//! number    how many rotations there are, and of each:
//! numbers   rotated pairs; the border between short and long texts, 0 for none; and of the one or the two sets of frequencies:
//! numbers   each pair's frequency and the factor on cosines and sines: the bits as float32, rounded to the upper 24
//! ...       what only this family has, as its file in `model` says
//! numbers   first and last layer
//! text      what KV rows are kept as
//! ```
//!
//! Then comes every tensor, in the order of the graph: its name, the number of its dimensions, the dimensions, the text that names
//! its layout, and its first and last 4,096 bytes, or all its bytes if there are fewer. So norms and biases are encoded whole.
//! Fine-tunes of one model differ in these bytes of their matrices, and no gigabytes are read.
//!
//! Two fields of config.json change no result and are left out: the dtype, and how long a sequence may be. What tensors
//! are called, whether experts are stacked and whether the head has a bias is left out, too, since the tensors say it.

use sha2::{Digest, Sha256};

use crate::graph::{Graph, Weight};
use crate::kernels::Window;
use crate::model::{Encoding, ModelConfig, Range};
use crate::weights::WeightTable;

/// The version rises with every change of the encoding.
const VERSION: u64 = 3;
const SAMPLE: usize = 4096;

pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of layers `range` with these `weights`, and with KV caches kept as `kv`.
pub(crate) fn of(config: &ModelConfig, range: Range, kv: &str, graph: &Graph, weights: &WeightTable) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(model(config, range, kv).0);
    self::weights(&mut hash, &graph.weights(), weights);
    hash.finalize().into()
}

/// Adds what tells the tensors `wanted` of the table from others of the same shapes.
pub(crate) fn weights(hash: &mut Sha256, wanted: &[&Weight], weights: &WeightTable) {
    for weight in wanted {
        let Some(stored) = weights.get(&weight.name) else { continue };
        let mut about = Encoding::default();
        about.text(&weight.name);
        about.number(weight.shape.len());
        for dim in &weight.shape {
            about.number(*dim);
        }
        about.text(stored.layout().name());
        hash.update(about.0);
        let data = stored.matrix().data;
        hash.update(&data[..data.len().min(SAMPLE)]);
        hash.update(&data[data.len().saturating_sub(SAMPLE)..]);
    }
}

fn model(config: &ModelConfig, range: Range, kv: &str) -> Encoding {
    let mut e = numbers("ortshard shard", config, config.tie_word_embeddings);
    e.number(range.start);
    e.number(range.end);
    e.text(kv);
    e
}

/// The encoding of `what`, of the numbers of `config` that decide results. Whether the head counts as tied is the caller's to say: it
/// can depend on which layers a shard has.
pub(crate) fn numbers(what: &str, config: &ModelConfig, tied: bool) -> Encoding {
    // The pattern has no `..`, so that whoever adds a field decides whether it belongs here.
    let ModelConfig {
        architecture,
        names: _,
        hidden_size,
        intermediate_size,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab_size,
        max_positions: _,
        rms_norm_eps,
        tie_word_embeddings: _,
        qkv_bias,
        o_bias,
        mlp_bias,
        head_bias: _,
        windows,
        rope: _,
        ropes,
        stacked_experts: _,
        blocks: _,
        dtype: _,
        family,
    } = config;
    let mut e = Encoding::default();
    e.text(what);
    e.number(VERSION as usize);
    e.text(architecture);
    for number in [hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size] {
        e.number(*number);
    }
    e.float(*rms_norm_eps);
    for flag in [tied, *qkv_bias, *o_bias, *mlp_bias] {
        e.number(flag.into());
    }
    e.number(windows.len());
    for window in windows {
        e.number(window.map_or(0, Window::size));
    }
    e.number(ropes.len());
    for rope in ropes {
        e.number(rope.pairs());
        e.number(rope.border().unwrap_or(0));
        for set in rope.sets() {
            set.inv_freq.iter().for_each(|frequency| e.computed(*frequency));
            e.computed(set.attention_factor);
        }
    }
    family.encode(&mut e);
    e
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::model::read_config;

    /// Written by hand from the description above. It changes with [`VERSION`] only.
    #[test]
    fn the_encoding_is_what_its_description_says() {
        let config = br#"{
            "architectures": ["MistralForCausalLM"], "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 10, "rms_norm_eps": 0.00001,
            "hidden_act": "silu", "max_position_embeddings": 64, "rope_theta": 10000.0, "sliding_window": 5,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16"
        }"#;
        let config = read_config(config).unwrap();
        let mut expected = Vec::new();
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        expected.extend(numbers(&[14]));
        expected.extend(b"ortshard shard");
        expected.extend(numbers(&[3, 18]));
        expected.extend(b"MistralForCausalLM");
        expected.extend(numbers(&[8, 16, 3, 2, 1, 4, 10]));
        // 1e-5 as float32.
        expected.extend(numbers(&[0x3727_c5ac]));
        expected.extend(numbers(&[1, 0, 0, 0]));
        expected.extend(numbers(&[3, 5, 5, 5]));
        // 10000^-(0/4) and 10000^-(2/4) are 0x3f800000 and 0x3c23d70a, the factor is 1.
        expected.extend(numbers(&[1, 2, 0, 0x003f_8000, 0x003c_23d7, 0x003f_8000]));
        expected.extend(numbers(&[1, 2, 4]));
        expected.extend(b"int8");
        assert_eq!(model(&config, Range::new(1, 2, 3).unwrap(), "int8").0, expected);
    }
}
