//! config.json.

use std::sync::LazyLock;

use super::model::Suspect;

static MODEL: LazyLock<Suspect> = LazyLock::new(|| Suspect::new("config", "mistral_window"));

pub fn run(data: &[u8]) {
    MODEL.examine("config.json", data);
}
