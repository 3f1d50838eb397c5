//! model.safetensors.index.json.

use std::sync::LazyLock;

use super::model::Suspect;

static MODEL: LazyLock<Suspect> = LazyLock::new(|| Suspect::new("index", "llama_bias_sharded"));

pub fn run(data: &[u8]) {
    MODEL.examine("model.safetensors.index.json", data);
}
