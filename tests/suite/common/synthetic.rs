//! Models of any shape, written when a test needs them: Llama with tied embeddings and weights in bf16.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use ortshard::ShardSpec;

/// A tensor's name and shape.
pub(crate) type Tensor = (String, Vec<usize>);

/// The shape of a model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
}

impl Shape {
    /// Writes a folder with random weights, small enough for every number on the way to stay finite.
    pub(crate) fn write(&self, folder: &Path) -> ShardSpec {
        std::fs::write(folder.join("config.json"), self.config(true)).unwrap();
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, self.hidden]),
            ("model.norm.weight".to_owned(), vec![self.hidden]),
        ];
        tensors.extend((0..self.layers).flat_map(|layer| self.layer(layer)));
        write(&folder.join("model.safetensors"), &tensors, Content::Random);
        ShardSpec::whole(folder.to_str().unwrap())
    }

    pub(crate) fn config(&self, tied: bool) -> String {
        let Self { layers, hidden, inner, heads, kv_heads, vocabulary, positions } = self;
        format!(
            r#"{{"architectures":["LlamaForCausalLM"],"hidden_size":{hidden},"intermediate_size":{inner},
            "num_hidden_layers":{layers},"num_attention_heads":{heads},"num_key_value_heads":{kv_heads},
            "vocab_size":{vocabulary},"max_position_embeddings":{positions},"tie_word_embeddings":{tied}}}"#
        )
    }

    /// The tensors of one layer.
    pub(crate) fn layer(&self, layer: usize) -> Vec<Tensor> {
        let (hidden, inner) = (self.hidden, self.inner);
        let kv = hidden / self.heads * self.kv_heads;
        [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ]
        .map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape))
        .to_vec()
    }
}

/// What a file's tensors hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Numbers of either sign around 1/64.
    Random,
    /// Zeros that take no room on disk.
    Sparse,
}

/// Writes a safetensors file of bf16 tensors; returns their bytes.
pub(crate) fn write(path: &Path, tensors: &[Tensor], content: Content) -> u64 {
    let mut end = 0;
    let mut entries = Vec::new();
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<usize>() * 2;
        entries.push(format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    if content == Content::Random {
        let mut state = 1_u32;
        for _ in 0..end / 2 {
            // A linear congruential generator (Numerical Recipes): sign and mantissa from its upper bits.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = 0x3c00 | (state >> 16 & 0x8000) as u16 | (state >> 24 & 0xff) as u16;
            file.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    file.into_inner().unwrap().set_len((8 + header.len() + end) as u64).unwrap();
    end as u64
}
