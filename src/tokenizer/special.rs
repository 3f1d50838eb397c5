//! Which tokens are special, according to five files that need not agree.

use super::files::{Json, SideFiles};
use crate::error::Result;

/// The tokens that chat templates know by name.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];

/// The special tokens of a model.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
    pub(super) pad: Option<u32>,
    /// Variables for a chat template: `bos_token` and the like, with the token's spelling.
    pub(super) names: Vec<(&'static str, String)>,
    around: Option<(Option<u32>, Option<u32>)>,
}

/// The end-of-sequence ids of `generation_config.json`, then of `config.json`, each once.
pub(super) fn declared_eos(generation: &Json, model: &Json) -> Result<Vec<u32>> {
    let mut eos = Vec::new();
    for id in generation.ids("eos_token_id")?.into_iter().chain(model.ids("eos_token_id")?) {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    Ok(eos)
}

impl Special {
    pub(super) fn new(side: &SideFiles, id_of: impl Fn(&str) -> Option<u32>) -> Result<Self> {
        let mut names = Vec::new();
        for name in NAMES {
            let token = match side.tokenizer.token(name)? {
                Some(token) => Some(token),
                None => side.map.token(name)?,
            };
            names.extend(token.map(|token| (name, token.to_owned())));
        }
        let by_name = |name| names.iter().find(|(key, _)| *key == name).and_then(|(_, token)| id_of(token));
        let declared = |key| -> Result<Vec<u32>> {
            let mut ids = side.generation.ids(key)?;
            ids.extend(side.model.ids(key)?);
            Ok(ids)
        };

        let mut eos = declared_eos(&side.generation, &side.model)?;
        eos.extend(by_name("eos_token").filter(|id| !eos.contains(id)));
        let bos = by_name("bos_token").or(declared("bos_token_id")?.first().copied());
        let pad = by_name("pad_token").or(declared("pad_token_id")?.first().copied());

        let wanted = |flag, name| -> Result<Option<Option<u32>>> {
            Ok(side.tokenizer.flag(flag)?.map(|add| by_name(name).filter(|_| add)))
        };
        let (before, after) = (wanted("add_bos_token", "bos_token")?, wanted("add_eos_token", "eos_token")?);
        let around = (before.is_some() || after.is_some()).then(|| (before.flatten(), after.flatten()));
        Ok(Self { bos, eos, pad, names, around })
    }

    /// The ids to put before and after an encoded text, where `tokenizer_config.json` decides that and not the
    /// post-processor of `tokenizer.json`. This is the rule of `transformers` 5.
    pub(super) fn around(&self) -> Option<(Option<u32>, Option<u32>)> {
        self.around
    }
}
